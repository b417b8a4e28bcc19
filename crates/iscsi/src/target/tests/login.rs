//! The login phase: stages, refusals, its limit.

use super::*;

#[test]
fn login_answers_each_key_and_declares_its_own() {
    let mut pair = Pair::new(Authentication::None);
    let keys = [
        ("InitiatorName", INITIATOR),
        ("TargetName", TARGET),
        ("MaxBurstLength", "65536"),
        ("MaxRecvDataSegmentLength", "65536"),
        (RESEND_KEY, "Yes"),
        ("X-com.example", "1"),
    ];
    let (pdu, answers) = pair.login(stage::OPERATIONAL, Some(stage::FULL_FEATURE), &keys);
    assert_eq!((pdu.status, pdu.tsih, pdu.stat_sn, pdu.exp_cmd_sn, pdu.max_cmd_sn), (0, 7, 100, 1, 4));
    let expected = [
        ("TargetPortalGroupTag", "1"),
        ("MaxRecvDataSegmentLength", "262144"),
        ("MaxBurstLength", "65536"),
        (RESEND_KEY, "Yes"),
        ("X-com.example", "NotUnderstood"),
    ];
    assert_eq!(answers, expected.into_iter().collect());
}

#[test]
fn security_without_a_method_passes_where_none_is_demanded() {
    let mut pair = Pair::new(Authentication::None);
    let keys = [("InitiatorName", INITIATOR), ("TargetName", TARGET), ("AuthMethod", "CHAP,None")];
    let (pdu, answers) = pair.login(stage::SECURITY, Some(stage::OPERATIONAL), &keys);
    assert!(pdu.transit);
    assert_eq!(answers.get("AuthMethod"), Some("None"));
    let (pdu, _) = pair.login(stage::OPERATIONAL, Some(stage::FULL_FEATURE), &[("ErrorRecoveryLevel", "0")]);
    assert_eq!((pdu.status, pdu.tsih), (0, 7));
}

#[test]
fn text_may_be_split_over_login_pdus() {
    let mut pair = Pair::new(Authentication::None);
    let text = format!("InitiatorName={INITIATOR}\0TargetName={TARGET}\0");
    let (first, second) = text.as_bytes().split_at(20);
    let header = Login { continues: true, ..login(stage::OPERATIONAL, None, 1) };
    pair.send(header.build(), first);
    let (answer, data) = pair.answer();
    assert!(matches!(answer, Response::LoginResponse(pdu) if !pdu.transit && pdu.status == 0));
    assert!(data.is_empty());
    let (pdu, _) = pair.login_raw(stage::OPERATIONAL, Some(stage::FULL_FEATURE), second);
    assert_eq!((pdu.status, pdu.tsih), (0, 7));
}

#[test]
fn illegal_logins_are_refused_with_their_status() {
    let names = [("InitiatorName", INITIATOR), ("TargetName", TARGET)];
    let status = |keys: &[(&str, &str)]| {
        let mut pair = Pair::new(Authentication::None);
        let (pdu, _) = pair.login(stage::OPERATIONAL, Some(stage::FULL_FEATURE), keys);
        assert!(pair.target.closed().is_some());
        pdu.status
    };
    assert_eq!(status(&names[..1]), login_status::MISSING_PARAMETER);
    assert_eq!(status(&names[1..]), login_status::MISSING_PARAMETER);
    assert_eq!(status(&[names[0], ("TargetName", "iqn.2026-01.test:other")]), login_status::NOT_FOUND);
    assert_eq!(status(&[names[0], ("SessionType", "Strange")]), login_status::SESSION_TYPE_NOT_SUPPORTED);
    let twice = [names[0], names[1], ("MaxBurstLength", "512"), ("MaxBurstLength", "1024")];
    assert_eq!(status(&twice), login_status::INITIATOR_ERROR);
    let mut unknown = Pair::new(Authentication::None);
    unknown.known = false;
    let (pdu, _) = unknown.login(stage::OPERATIONAL, Some(stage::FULL_FEATURE), &names);
    assert_eq!(pdu.status, login_status::AUTHORIZATION_FAILURE);
    let mut illegal_stage = Pair::new(Authentication::None);
    assert_eq!(illegal_stage.login(2, Some(3), &names).0.status, login_status::INITIATOR_ERROR);
    let mut backwards = Pair::new(Authentication::None);
    assert_eq!(
        backwards.login(stage::OPERATIONAL, Some(stage::SECURITY), &names).0.status,
        login_status::INITIATOR_ERROR
    );
    let mut version = Pair::new(Authentication::None);
    version.send(Login { version_min: 1, ..login(1, Some(3), 1) }.build(), b"");
    assert!(matches!(version.answer().0, Response::LoginResponse(pdu)
        if pdu.status == login_status::UNSUPPORTED_VERSION && pdu.task_tag == 1));
}

#[test]
fn anything_but_a_login_before_login_ends_the_connection() {
    let mut pair = Pair::new(Authentication::None);
    pair.send(NopOut::default().build(), b"");
    assert_eq!(pair.closed(), "PDU with opcode 0x00 before the login was complete");
    let mut huge = Pair::new(Authentication::None);
    let mut header = login(1, Some(3), 1).build();
    header.set_data_len(0xff_ffff);
    huge.feed(&header.0);
    assert!(huge.closed().contains("16777215 bytes"), "{}", huge.closed());
}

#[test]
fn half_a_login_is_cut_at_its_limit() {
    let mut pair = Pair::new(Authentication::None);
    let limit = pair.target.next_deadline().unwrap();
    assert_eq!(limit, pair.now + LOGIN_TIME);
    pair.target.tick(Instant::from_nanos(limit.as_nanos() - 1));
    assert!(pair.target.closed().is_none());
    pair.target.tick(limit);
    assert_eq!(pair.closed(), "no complete login within 15 s");
    assert_eq!(pair.target.next_deadline(), None);
}

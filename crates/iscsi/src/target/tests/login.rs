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
    assert!(!pair.target.has_output());
    let mut huge = Pair::new(Authentication::None);
    let mut header = login(1, Some(3), 1).build();
    header.set_data_len(0xff_ffff);
    huge.feed(&header.0);
    assert!(huge.closed().contains("16777215 bytes"), "{}", huge.closed());
}

#[test]
fn anything_but_a_login_during_login_is_told_why() {
    let mut pair = Pair::new(Authentication::None);
    pair.login(stage::OPERATIONAL, None, &NAMES);
    let (answer, _) = pair.ask(NopOut::default().build(), b"");
    assert!(
        matches!(answer, Response::LoginResponse(pdu) if pdu.status == login_status::INVALID_DURING_LOGIN)
    );
    assert!(pair.target.closed().is_some());
}

#[test]
fn a_login_request_before_the_answer_to_the_last_ends_the_connection() {
    let mut pair = Pair::new(Authentication::None);
    pair.absent = true;
    let names = NAMES.into_iter().collect::<TextList>().encode();
    pair.send(login(stage::OPERATIONAL, None, 1).build(), &names);
    pair.send(login(stage::OPERATIONAL, None, 1).build(), b"");
    assert!(pair.closed().ends_with("while a login request was not answered"), "{}", pair.closed());
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

const NAMES: [(&str, &str); 2] = [("InitiatorName", INITIATOR), ("TargetName", TARGET)];

#[test]
fn text_may_be_cut_anywhere_into_any_number_of_pdus() {
    let text =
        [NAMES.as_slice(), &[("MaxBurstLength", "4096")]].concat().into_iter().collect::<TextList>().encode();
    for size in 1..=text.len() {
        let mut pair = Pair::new(Authentication::None);
        let pieces: Vec<&[u8]> = text.chunks(size).collect();
        if pieces.len() > LOGIN_PDUS as usize {
            continue;
        }
        let (last, first) = pieces.split_last().unwrap();
        for piece in first {
            let header = Login { continues: true, ..login(stage::OPERATIONAL, None, 1) };
            pair.send(header.build(), piece);
            let (Response::LoginResponse(pdu), data) = pair.answer() else { panic!("no answer") };
            assert!(!pdu.transit && !pdu.continues && pdu.status == 0 && data.is_empty());
        }
        let (pdu, answers) = pair.login_raw(stage::OPERATIONAL, Some(stage::FULL_FEATURE), last);
        assert_eq!((pdu.status, pdu.tsih, answers.get("MaxBurstLength")), (0, 7, Some("4096")), "{size}");
    }
}

#[test]
fn all_legal_ways_through_the_stages_end_in_full_feature_phase() {
    use stage::{FULL_FEATURE, OPERATIONAL, SECURITY};
    let ways: [&[(u8, Option<u8>)]; 6] = [
        &[(OPERATIONAL, Some(FULL_FEATURE))],
        &[(OPERATIONAL, None), (OPERATIONAL, None), (OPERATIONAL, Some(FULL_FEATURE))],
        &[(SECURITY, Some(FULL_FEATURE))],
        &[(SECURITY, None), (SECURITY, Some(FULL_FEATURE))],
        &[(SECURITY, Some(OPERATIONAL)), (OPERATIONAL, Some(FULL_FEATURE))],
        &[
            (SECURITY, None),
            (SECURITY, Some(OPERATIONAL)),
            (OPERATIONAL, None),
            (OPERATIONAL, Some(FULL_FEATURE)),
        ],
    ];
    for way in ways {
        let mut pair = Pair::new(Authentication::None);
        for (step, (current, next)) in way.iter().enumerate() {
            let keys = if step == 0 { NAMES.as_slice() } else { &[] };
            let (pdu, answers) = pair.login(*current, *next, keys);
            let moved = pdu.transit.then_some(pdu.next_stage);
            assert_eq!((pdu.status, pdu.current_stage, moved), (0, *current, *next), "{way:?}");
            assert_eq!(answers.get("TargetPortalGroupTag").is_some(), step == 0, "told once, at first");
        }
        assert!(pair.target.closed().is_none());
        assert_eq!(pair.target.framing().1, RECV_DATA_SEGMENT);
    }
}

#[test]
fn a_stage_out_of_turn_is_refused() {
    use stage::{FULL_FEATURE, OPERATIONAL, SECURITY};
    for (first, second) in [
        ((SECURITY, Some(OPERATIONAL)), (SECURITY, Some(FULL_FEATURE))),
        ((SECURITY, None), (OPERATIONAL, Some(FULL_FEATURE))),
        ((OPERATIONAL, None), (SECURITY, Some(OPERATIONAL))),
        ((OPERATIONAL, None), (FULL_FEATURE, None)),
    ] {
        let mut pair = Pair::new(Authentication::None);
        pair.login(first.0, first.1, &NAMES);
        let (pdu, _) = pair.login(second.0, second.1, &[]);
        assert_eq!(pdu.status, login_status::INITIATOR_ERROR, "{first:?} {second:?}");
    }
}

#[test]
fn an_answer_longer_than_a_login_pdu_comes_in_pieces() {
    let mut pair = Pair::new(Authentication::None);
    pair.login(stage::OPERATIONAL, None, &NAMES);
    let long = "X-".to_owned() + &"a".repeat(TEXT_KEY_BYTES - 5);
    let keys: Vec<(String, &str)> = (100..100 + TEXT_PAIRS).map(|i| (format!("{long}{i}"), "1")).collect();
    let text = keys.iter().map(|(key, value)| (key.as_str(), *value)).collect::<TextList>().encode();
    let (first, second) = text.split_at(LOGIN_DATA_SEGMENT);
    let header = Login { continues: true, ..login(stage::OPERATIONAL, None, 1) };
    pair.send(header.build(), first);
    pair.answer();
    let last = login(stage::OPERATIONAL, Some(stage::FULL_FEATURE), 1);
    pair.send(last.build(), second);
    let (Response::LoginResponse(pdu), mut all) = pair.answer() else { panic!("no answer") };
    assert!(pdu.continues && !pdu.transit && all.len() == LOGIN_DATA_SEGMENT);
    pair.send(last.build(), b"");
    let (Response::LoginResponse(pdu), rest) = pair.answer() else { panic!("no answer") };
    assert!(!pdu.continues && pdu.transit && pdu.tsih == 7);
    all.extend_from_slice(&rest);
    let answers = TextList::parse(&all).unwrap();
    assert_eq!(answers.len(), TEXT_PAIRS);
    assert!(answers.iter().all(|(_, value)| value == "NotUnderstood"));
}

#[test]
fn text_before_the_end_of_our_answer_is_refused() {
    let mut pair = Pair::new(Authentication::None);
    pair.login(stage::OPERATIONAL, None, &NAMES);
    let keys: Vec<(String, &str)> = (0..TEXT_PAIRS).map(|i| (format!("X-{i:058}"), "1")).collect();
    let text = keys.iter().map(|(key, value)| (key.as_str(), *value)).collect::<TextList>().encode();
    let header = login(stage::OPERATIONAL, None, 1);
    pair.send(Login { continues: true, ..header }.build(), &text[..8000]);
    pair.answer();
    pair.send(header.build(), &text[8000..]);
    let (Response::LoginResponse(pdu), _) = pair.answer() else { panic!("no answer") };
    assert!(pdu.continues);
    let (pdu, _) = pair.login(stage::OPERATIONAL, None, &[("MaxBurstLength", "512")]);
    assert_eq!(pdu.status, login_status::INITIATOR_ERROR);
}

#[test]
fn names_may_be_repeated_but_not_changed() {
    for (name, status) in [(INITIATOR, 0), ("iqn.2026-01.test:host-b", login_status::INITIATOR_ERROR)] {
        let mut pair = Pair::new(Authentication::None);
        pair.login(stage::SECURITY, Some(stage::OPERATIONAL), &NAMES);
        let keys = [("InitiatorName", name), ("TargetName", TARGET)];
        let (pdu, _) = pair.login(stage::OPERATIONAL, Some(stage::FULL_FEATURE), &keys);
        assert_eq!(pdu.status, status, "{name}");
    }
}

#[test]
fn a_key_is_negotiated_once_in_a_login() {
    let mut pair = Pair::new(Authentication::None);
    pair.login(stage::OPERATIONAL, None, &NAMES);
    pair.login(stage::OPERATIONAL, None, &[("MaxBurstLength", "512")]);
    let (pdu, _) = pair.login(stage::OPERATIONAL, None, &[("MaxBurstLength", "512")]);
    assert_eq!(pdu.status, login_status::INITIATOR_ERROR);
    assert!(pair.closed().ends_with("key MaxBurstLength came twice"));
}

#[test]
fn a_target_with_an_alias_tells_it_to_sessions() {
    let params = Params { target_alias: Some("array one".to_owned()), ..params(Authentication::None) };
    let mut pair = Pair::with(params.clone());
    let (_, answers) = pair.login(stage::SECURITY, Some(stage::OPERATIONAL), &NAMES);
    assert_eq!(answers.get("TargetAlias"), Some("array one"));
    let mut pair = Pair::with(params);
    let keys = [("InitiatorName", INITIATOR), ("SessionType", "Discovery")];
    let (_, answers) = pair.login(stage::OPERATIONAL, Some(stage::FULL_FEATURE), &keys);
    assert_eq!((answers.get("TargetAlias"), answers.get("TargetPortalGroupTag")), (None, None));
}

#[test]
fn the_session_and_connection_ids_stay_during_login() {
    let change: [fn(&mut Login); 3] = [|l| l.isid[5] = 1, |l| l.tsih = 1, |l| l.cid = 1];
    for change in change {
        let mut pair = Pair::new(Authentication::None);
        pair.login(stage::OPERATIONAL, None, &NAMES);
        let mut header = login(stage::OPERATIONAL, Some(stage::FULL_FEATURE), 1);
        change(&mut header);
        pair.send(header.build(), b"");
        let (Response::LoginResponse(pdu), _) = pair.answer() else { panic!("no answer") };
        assert_eq!(pdu.status, login_status::INITIATOR_ERROR);
    }
}

#[test]
fn a_login_has_so_many_pdus_and_keys_and_no_more() {
    let mut pair = Pair::new(Authentication::None);
    pair.login(stage::OPERATIONAL, None, &NAMES);
    for _ in 1..LOGIN_PDUS {
        assert_eq!(pair.login(stage::OPERATIONAL, None, &[]).0.status, 0);
    }
    assert_eq!(pair.login(stage::OPERATIONAL, None, &[]).0.status, login_status::INITIATOR_ERROR);

    // With the two names: one key below the bound is taken, one above is not.
    for (more, status) in
        [(LOGIN_KEYS - 2 - TEXT_PAIRS, 0), (LOGIN_KEYS - 1 - TEXT_PAIRS, login_status::INITIATOR_ERROR)]
    {
        let mut pair = Pair::new(Authentication::None);
        pair.login(stage::OPERATIONAL, None, &NAMES);
        let keys =
            |from: usize, count| (from..from + count).map(|i| (format!("X-{i}"), "1")).collect::<TextList>();
        pair.login_raw(stage::OPERATIONAL, None, &keys(0, TEXT_PAIRS).encode());
        let (pdu, _) = pair.login_raw(stage::OPERATIONAL, None, &keys(1000, more).encode());
        assert_eq!(pdu.status, status, "{more}");
    }
}

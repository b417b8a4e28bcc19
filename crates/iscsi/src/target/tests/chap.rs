//! CHAP: who gets in and who does not.

use super::*;
use crate::chap::{self, Algorithm, CHALLENGE_MAX};

const FIRST: [(&str, &str); 3] =
    [("InitiatorName", INITIATOR), ("TargetName", TARGET), ("AuthMethod", "CHAP,None")];

/// CHAP up to the challenge.
fn challenged(secret: Option<&'static str>, known: bool, algorithms: &str) -> (Pair, Algorithm) {
    let mut pair = Pair::new(Authentication::Chap);
    (pair.secret, pair.known) = (secret, known);
    let (pdu, answers) = pair.login(stage::SECURITY, Some(stage::OPERATIONAL), &FIRST);
    assert_eq!((pdu.transit, answers.get("AuthMethod")), (false, Some("CHAP")));
    let (_, answers) = pair.login(stage::SECURITY, None, &[("CHAP_A", algorithms)]);
    assert_eq!(answers.get("CHAP_I"), Some("5"));
    assert_eq!(answers.get("CHAP_C"), Some(chap::encode_binary(&CHALLENGE.bytes).as_str()));
    (pair, Algorithm::of(answers.get("CHAP_A").unwrap()).unwrap())
}

fn response(algorithm: Algorithm, secret: &str) -> String {
    chap::encode_binary(&algorithm.response(CHALLENGE.id, &Secret::new(secret), &CHALLENGE.bytes))
}

/// CHAP up to the response; returns the last answer.
fn chap(secret: Option<&'static str>, known: bool, used: &str) -> (Pair, LoginResponse) {
    let (mut pair, algorithm) = challenged(secret, known, "5");
    let response = response(algorithm, used);
    let keys = [("CHAP_N", "anyone"), ("CHAP_R", response.as_str())];
    let (pdu, _) = pair.login(stage::SECURITY, Some(stage::FULL_FEATURE), &keys);
    (pair, pdu)
}

#[test]
fn chap_lets_in_who_knows_the_secret() {
    let (pair, pdu) = chap(Some("correct horse"), true, "correct horse");
    assert_eq!((pdu.status, pdu.tsih), (0, 7));
    assert!(pair.target.closed().is_none());
}

#[test]
fn chap_refuses_a_wrong_secret_no_secret_and_unknown_names_alike() {
    for (secret, known) in
        [(Some("correct horse"), true), (None, true), (Some("battery"), false), (None, false)]
    {
        let (pair, pdu) = chap(secret, known, "battery");
        assert_eq!(pdu.status, login_status::AUTHENTICATION_FAILURE, "{secret:?} {known}");
        assert!(pair.closed().contains("wrong CHAP response, or no such initiator"));
    }
}

/// What a name without a secret is measured against must be nobody's secret.
#[test]
fn a_name_without_a_secret_gets_in_with_none() {
    for known in [true, false] {
        let (mut pair, algorithm) = challenged(None, known, "5");
        let hash = algorithm.response(CHALLENGE.id, &Secret::new(CHALLENGE.bytes), &CHALLENGE.bytes);
        let response = chap::encode_binary(&hash);
        let keys = [("CHAP_N", "anyone"), ("CHAP_R", response.as_str())];
        let (pdu, _) = pair.login(stage::SECURITY, Some(stage::FULL_FEATURE), &keys);
        assert_eq!(pdu.status, login_status::AUTHENTICATION_FAILURE, "{known}");
    }
}

#[test]
fn a_portal_that_demands_chap_cannot_be_entered_around_it() {
    let names = [("InitiatorName", INITIATOR), ("TargetName", TARGET)];
    let none = [("InitiatorName", INITIATOR), ("TargetName", TARGET), ("AuthMethod", "None")];
    for (current, next, keys) in [
        (stage::OPERATIONAL, stage::FULL_FEATURE, &names[..]),
        (stage::SECURITY, stage::FULL_FEATURE, &names[..]),
        (stage::SECURITY, stage::OPERATIONAL, &none[..]),
    ] {
        let mut pair = Pair::new(Authentication::Chap);
        pair.secret = Some("correct horse");
        let (pdu, _) = pair.login(current, Some(next), keys);
        assert_eq!(pdu.status, login_status::AUTHENTICATION_FAILURE, "{current} to {next}");
    }
    // Not by leaving security halfway either.
    let mut pair = Pair::new(Authentication::Chap);
    pair.secret = Some("correct horse");
    pair.login(
        stage::SECURITY,
        None,
        &[("InitiatorName", INITIATOR), ("TargetName", TARGET), ("AuthMethod", "CHAP")],
    );
    let (pdu, _) = pair.login(stage::OPERATIONAL, Some(stage::FULL_FEATURE), &[]);
    assert_ne!(pdu.status, login_status::SUCCESS);
}

#[test]
fn the_initiators_order_chooses_the_algorithm() {
    for (offer, chosen) in [("5", Algorithm::Md5), ("8,7,6,5", Algorithm::Sha256), ("6,5,7", Algorithm::Md5)]
    {
        let (mut pair, algorithm) = challenged(Some("correct horse"), true, offer);
        assert_eq!(algorithm, chosen, "{offer}");
        let response = response(algorithm, "correct horse");
        let keys = [("CHAP_N", "anyone"), ("CHAP_R", response.as_str())];
        let (pdu, _) = pair.login(stage::SECURITY, Some(stage::FULL_FEATURE), &keys);
        assert_eq!((pdu.status, pdu.tsih), (0, 7), "{offer}");
    }
    let mut pair = Pair::new(Authentication::Chap);
    pair.login(stage::SECURITY, None, &FIRST);
    let (pdu, _) = pair.login(stage::SECURITY, None, &[("CHAP_A", "6,8")]);
    assert_eq!(pdu.status, login_status::AUTHENTICATION_FAILURE);
}

#[test]
fn a_response_reads_in_base64_as_well() {
    let (mut pair, algorithm) = challenged(Some("correct horse"), true, "5");
    let bytes = algorithm.response(CHALLENGE.id, &Secret::new("correct horse"), &CHALLENGE.bytes);
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = "0b".to_owned();
    for three in bytes.chunks(3) {
        let bits =
            three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        text.extend((0..=three.len()).map(|i| char::from(digits[(bits >> (18 - 6 * i)) as usize & 63])));
    }
    text.push_str("==");
    let keys = [("CHAP_N", "anyone"), ("CHAP_R", text.as_str())];
    let (pdu, _) = pair.login(stage::SECURITY, Some(stage::FULL_FEATURE), &keys);
    assert_eq!((pdu.status, pdu.tsih), (0, 7), "{}", pair.closed());
}

#[test]
fn steps_that_are_not_in_order_are_refused_with_their_status() {
    let right = response(Algorithm::Md5, "correct horse");
    let (short, long) = (right[..32].to_owned(), format!("{right}00"));
    let cases: [(&[(&str, &str)], u16); 6] = [
        (&[], login_status::MISSING_PARAMETER),
        (&[("CHAP_N", "anyone")], login_status::MISSING_PARAMETER),
        (&[("CHAP_R", &right)], login_status::MISSING_PARAMETER),
        (&[("CHAP_N", "anyone"), ("CHAP_R", &short)], login_status::INITIATOR_ERROR),
        (&[("CHAP_N", "anyone"), ("CHAP_R", &long)], login_status::INITIATOR_ERROR),
        (&[("CHAP_N", "anyone"), ("CHAP_R", "secret")], login_status::INITIATOR_ERROR),
    ];
    for (keys, status) in cases {
        let (mut pair, _) = challenged(Some("correct horse"), true, "5");
        let (pdu, _) = pair.login(stage::SECURITY, Some(stage::FULL_FEATURE), keys);
        assert_eq!(pdu.status, status, "{keys:?}");
    }
    let mut pair = Pair::new(Authentication::Chap);
    pair.login(stage::SECURITY, None, &FIRST);
    assert_eq!(pair.login(stage::SECURITY, None, &[]).0.status, login_status::MISSING_PARAMETER);
}

#[test]
fn the_algorithm_may_come_with_the_method() {
    let mut pair = Pair::new(Authentication::Chap);
    pair.secret = Some("correct horse");
    let keys = [FIRST.as_slice(), &[("CHAP_A", "5")]].concat();
    let (_, answers) = pair.login(stage::SECURITY, None, &keys);
    assert_eq!((answers.get("AuthMethod"), answers.get("CHAP_A")), (Some("CHAP"), Some("5")));
    let response = response(Algorithm::Md5, "correct horse");
    let keys = [("CHAP_N", "anyone"), ("CHAP_R", response.as_str())];
    assert_eq!(pair.login(stage::SECURITY, Some(stage::FULL_FEATURE), &keys).0.tsih, 7);
}

/// The last step with the initiator's own challenge, against a target with this secret for it.
fn mutual(
    ours: Option<&'static str>,
    used: &str,
    id: &str,
    challenge: &str,
) -> (Pair, LoginResponse, TextList) {
    let (mut pair, algorithm) = {
        let mut pair = Pair::new(Authentication::Chap);
        (pair.secret, pair.mutual) = (Some("correct horse"), ours);
        pair.login(stage::SECURITY, None, &FIRST);
        pair.login(stage::SECURITY, None, &[("CHAP_A", "5")]);
        (pair, Algorithm::Md5)
    };
    let response = response(algorithm, used);
    let keys = [("CHAP_N", "anyone"), ("CHAP_R", response.as_str()), ("CHAP_I", id), ("CHAP_C", challenge)];
    let keys: Vec<_> = keys.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let (pdu, answers) = pair.login(stage::SECURITY, Some(stage::OPERATIONAL), &keys);
    (pair, pdu, answers)
}

#[test]
fn a_challenged_target_proves_itself() {
    let (_, pdu, answers) = mutual(Some("battery staple"), "correct horse", "0x11", "0x0102030405");
    assert!(pdu.status == 0 && pdu.transit);
    assert_eq!(answers.get("CHAP_N"), Some("the-array"));
    let expected = Algorithm::Md5.response(17, &Secret::new("battery staple"), &[1, 2, 3, 4, 5]);
    assert_eq!(answers.get("CHAP_R"), Some(chap::encode_binary(&expected).as_str()));
}

#[test]
fn a_target_proves_nothing_where_that_would_give_something_away() {
    let reflected = chap::encode_binary(&CHALLENGE.bytes);
    let ours = Some("battery staple");
    for (ours, used, challenge, why) in [
        (None, "correct horse", "0x01", "mutual CHAP, for which it has no secret"),
        (ours, "wrong", "0x01", "wrong CHAP response"),
        (ours, "correct horse", &reflected, "our own challenge back"),
        (Some("correct horse"), "correct horse", "0x01", "same secret in both directions"),
    ] {
        let (pair, pdu, answers) = mutual(ours, used, "1", challenge);
        assert_eq!(pdu.status, login_status::AUTHENTICATION_FAILURE, "{why}");
        assert!(answers.is_empty() && pair.closed().contains(why), "{why}: {}", pair.closed());
    }
}

#[test]
fn challenges_to_the_target_have_their_bounds() {
    let (longest, too_long) = (vec![1; CHALLENGE_MAX], vec![1; CHALLENGE_MAX + 1]);
    let (longest, too_long) = (chap::encode_binary(&longest), chap::encode_binary(&too_long));
    for (id, challenge, status) in [
        ("255", "0x01", 0),
        ("0", longest.as_str(), 0),
        ("256", "0x01", login_status::INITIATOR_ERROR),
        ("-1", "0x01", login_status::INITIATOR_ERROR),
        ("1", "0x", login_status::INITIATOR_ERROR),
        ("1", &too_long, login_status::INITIATOR_ERROR),
        ("1", "", login_status::MISSING_PARAMETER),
        ("", "0x01", login_status::MISSING_PARAMETER),
    ] {
        let (_, pdu, _) = mutual(Some("battery staple"), "correct horse", id, challenge);
        assert_eq!(pdu.status, status, "{id} {challenge}");
    }
}

#[test]
fn no_secret_is_ever_printed() {
    let mut pair = Pair::new(Authentication::Chap);
    (pair.secret, pair.mutual) = (Some("correct horse"), Some("battery staple"));
    pair.login(stage::SECURITY, None, &FIRST);
    let printed = format!("{:?}", pair.target);
    assert!(printed.contains("Secret(***)") && printed.contains("the-array"));
    for secret in ["correct horse", "battery staple"] {
        assert!(!printed.contains(secret) && !printed.contains(&format!("{:?}", secret.as_bytes())));
    }
}

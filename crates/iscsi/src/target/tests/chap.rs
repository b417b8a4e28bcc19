//! CHAP: who gets in and who does not.

use super::*;
use crate::chap;

/// CHAP up to the response; returns the last answer.
fn chap(secret: Option<&'static str>, known: bool, used: &str) -> (Pair, LoginResponse) {
    let mut pair = Pair::new(Authentication::Chap);
    (pair.secret, pair.known) = (secret, known);
    let keys = [("InitiatorName", INITIATOR), ("TargetName", TARGET), ("AuthMethod", "CHAP,None")];
    let (pdu, answers) = pair.login(stage::SECURITY, Some(stage::OPERATIONAL), &keys);
    assert_eq!((pdu.transit, answers.get("AuthMethod")), (false, Some("CHAP")));
    let (_, answers) = pair.login(stage::SECURITY, None, &[("CHAP_A", "5")]);
    assert_eq!((answers.get("CHAP_A"), answers.get("CHAP_I")), (Some("5"), Some("5")));
    let challenge = chap::decode_binary(answers.get("CHAP_C").unwrap(), 64).unwrap();
    let response = chap::encode_binary(&chap::response(5, &Secret::new(used), &challenge));
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

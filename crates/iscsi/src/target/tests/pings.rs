//! Pings both ways.

use super::*;

#[test]
fn a_silent_initiator_is_pinged_and_then_cut() {
    let mut pair = Pair::logged_in(&[]);
    let ping_at = pair.now + PING_AFTER;
    pair.target.tick(Instant::from_nanos(ping_at.as_nanos() - 1));
    assert!(pair.answers().is_empty());
    pair.target.tick(ping_at);
    let (Response::NopIn(ping), _) = pair.answer() else { panic!("no ping") };
    assert_eq!(ping.task_tag, RESERVED_TAG);
    let cut_at = ping_at + PING_ANSWER;
    pair.target.tick(Instant::from_nanos(cut_at.as_nanos() - 1));
    assert!(pair.target.closed().is_none());
    pair.target.tick(cut_at);
    assert_eq!(pair.closed(), "no answer to a ping within 15 s");
}

/// A ping stands behind what was to be sent before: it cannot be answered as long as the initiator takes that.
#[test]
fn an_initiator_that_takes_its_output_is_not_silent() {
    let mut pair = Pair::logged_in(&[]);
    let ping_at = pair.now + PING_AFTER;
    pair.target.took_output(Instant::from_nanos(pair.now.as_nanos() + 7), false);
    pair.target.tick(ping_at);
    assert!(!pair.target.is_pinging() && pair.answers().is_empty());
    let ping_at = Instant::from_nanos(ping_at.as_nanos() + 7);
    pair.target.tick(ping_at);
    assert!(pair.target.is_pinging() && pair.answers().len() == 1);
    let taken_at = ping_at + (PING_ANSWER - Duration::from_nanos(1));
    pair.target.took_output(taken_at, false);
    pair.target.tick(taken_at + (PING_ANSWER - Duration::from_nanos(1)));
    assert!(pair.target.closed().is_none());
    pair.target.tick(taken_at + PING_ANSWER);
    assert_eq!(pair.closed(), "no answer to a ping within 15 s");
}

#[test]
fn a_ping_that_is_answered_starts_the_silence_anew() {
    let mut pair = Pair::logged_in(&[]);
    pair.now = pair.now + PING_AFTER;
    pair.target.tick(pair.now);
    let (Response::NopIn(ping), _) = pair.answer() else { panic!("no ping") };
    pair.now = pair.now + Duration::from_secs(1);
    let answer = NopOut {
        immediate: true,
        final_bit: true,
        task_tag: RESERVED_TAG,
        transfer_tag: ping.transfer_tag,
        cmd_sn: pair.cmd_sn,
        ..NopOut::default()
    };
    pair.send(answer.build(), b"");
    assert!(pair.answers().is_empty());
    assert_eq!(pair.target.next_deadline(), Some(pair.now + PING_AFTER));
}

#[test]
fn an_initiators_ping_is_echoed() {
    let mut pair = Pair::logged_in(&[]);
    let ping = NopOut {
        immediate: true,
        final_bit: true,
        task_tag: 9,
        transfer_tag: RESERVED_TAG,
        cmd_sn: 1,
        ..NopOut::default()
    };
    pair.send(ping.build(), b"are you there");
    let (answer, data) = pair.answer();
    assert!(matches!(answer, Response::NopIn(pdu) if pdu.task_tag == 9 && pdu.exp_cmd_sn == 1));
    assert_eq!(data, b"are you there");
}

fn ping(tag: u32) -> NopOut {
    NopOut {
        immediate: true,
        final_bit: true,
        task_tag: tag,
        transfer_tag: RESERVED_TAG,
        cmd_sn: 1,
        ..NopOut::default()
    }
}

#[test]
fn an_echo_is_no_longer_than_the_initiator_takes() {
    let mut pair = Pair::logged_in(&[("MaxRecvDataSegmentLength", "512")]);
    for (sent, back) in [(0, 0), (511, 511), (512, 512), (513, 512), (4096, 512)] {
        let (answer, data) = pair.ask(ping(9).build(), &vec![7; sent]);
        assert!(matches!(answer, Response::NopIn(pdu) if pdu.transfer_tag == RESERVED_TAG));
        assert_eq!(data, vec![7; back]);
    }
}

#[test]
fn answers_to_no_ping_are_no_answers() {
    let mut pair = Pair::logged_in(&[]);
    pair.now = pair.now + PING_AFTER;
    pair.target.tick(pair.now);
    pair.answers();
    // At the same instant: only the tag can tell.
    let stray = NopOut { transfer_tag: 12_345, ..ping(RESERVED_TAG) };
    pair.send(stray.build(), b"");
    assert!(pair.answers().is_empty());
    pair.target.tick(pair.now + PING_ANSWER);
    assert_eq!(pair.closed(), "no answer to a ping within 15 s");
}

#[test]
fn anything_heard_is_a_sign_of_life() {
    let mut pair = Pair::logged_in(&[]);
    pair.now = pair.now + PING_AFTER;
    pair.target.tick(pair.now);
    pair.answers();
    pair.now = pair.now + Duration::from_secs(1);
    let bytes = pair.pdu(ping(9).build(), &[0; 512]);
    pair.feed(&bytes[..48]);
    assert_eq!(pair.target.next_deadline(), Some(pair.now + PING_AFTER), "a header is enough");
}

#[test]
fn a_discovery_session_is_pinged_but_does_not_ping() {
    let mut pair = Pair::new(Authentication::None);
    let keys = [("InitiatorName", INITIATOR), ("SessionType", "Discovery")];
    pair.login(stage::OPERATIONAL, Some(stage::FULL_FEATURE), &keys);
    pair.send(ping(9).build(), b"");
    assert_eq!(pair.rejected(), reject_reason::PROTOCOL_ERROR);
    pair.target.tick(pair.now + PING_AFTER);
    let (Response::NopIn(pdu), _) = pair.answer() else { panic!("no ping") };
    pair.send(NopOut { transfer_tag: pdu.transfer_tag, ..ping(RESERVED_TAG) }.build(), b"");
    assert!(pair.answers().is_empty());
}

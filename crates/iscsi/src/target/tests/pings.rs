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

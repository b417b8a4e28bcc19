//! The command window and what is rejected.

use super::*;

#[test]
fn commands_outside_the_window_are_dropped_in_silence() {
    let mut pair = Pair::logged_in(&[]);
    let header = ScsiCommand { cmd_sn: 5, ..pair.command(3, WRITE_10, 0) };
    pair.send(header.build(), b"");
    let header = ScsiCommand { cmd_sn: 0, ..header };
    pair.send(header.build(), b"");
    assert!(pair.commands.is_empty() && pair.answers().is_empty() && pair.target.closed().is_none());
    let header = ScsiCommand { cmd_sn: 1, ..header };
    pair.send(header.build(), b"");
    assert_eq!(pair.commands.len(), 1);
}

#[test]
fn a_gap_in_command_numbers_ends_the_connection() {
    let mut pair = Pair::logged_in(&[]);
    let header = ScsiCommand { cmd_sn: 3, ..pair.command(3, WRITE_10, 0) };
    pair.send(header.build(), b"");
    assert_eq!(pair.closed(), "command number 3 where 1 was next on the only connection");
}

#[test]
fn the_window_closes_when_the_queue_is_full_and_opens_again() {
    let mut pair = Pair::logged_in(&[]);
    for tag in 1..=5 {
        let header = pair.command(tag, WRITE_10, 0);
        pair.send(header.build(), b"");
    }
    assert_eq!(pair.commands.len(), 4, "the fifth is outside the window of four");
    pair.good(2, &[]);
    let (Response::ScsiResponse(pdu), _) = pair.answer() else { panic!("not a response") };
    assert_eq!((pdu.exp_cmd_sn, pdu.max_cmd_sn), (5, 5));
}

#[test]
fn what_is_no_request_is_rejected_with_its_header_until_it_is_too_much() {
    let mut pair = Pair::logged_in(&[]);
    let strange = Bhs::new(0x1d);
    pair.send(strange, b"data");
    let (Response::Reject(pdu), data) = pair.answer() else { panic!("not rejected") };
    assert_eq!(pdu.reason, reject_reason::COMMAND_NOT_SUPPORTED);
    assert_eq!(data[..5], [0x1d, 0, 0, 0, 0]);
    let header = pair.command(1, WRITE_10, 0);
    pair.send(header.build(), b"");
    pair.answers();
    let again = ScsiCommand { cmd_sn: pair.cmd_sn, ..header };
    pair.send(again.build(), b"");
    assert!(
        matches!(pair.answer().0, Response::Reject(pdu) if pdu.reason == reject_reason::TASK_IN_PROGRESS)
    );
    for _ in 0..REJECTS {
        pair.send(strange, b"");
    }
    assert_eq!(pair.closed(), "more than 64 rejected PDUs");
}

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

#[test]
fn immediate_commands_have_a_bound_of_their_own() {
    let mut pair = Pair::logged_in(&[]);
    for tag in 0..4 {
        let header = pair.command(tag, READ_10, 512);
        pair.send(header.build(), b"");
    }
    let immediate = |pair: &mut Pair, tag| {
        let header = ScsiCommand { immediate: true, ..pair.command(tag, READ_10, 512) };
        pair.send(ScsiCommand { cmd_sn: 5, ..header }.build(), b"");
    };
    for tag in 0..IMMEDIATE_COMMANDS as u32 {
        immediate(&mut pair, 100 + tag);
    }
    assert_eq!(pair.commands.len(), 4 + IMMEDIATE_COMMANDS);
    assert!(pair.commands[4].immediate && !pair.commands[0].immediate);
    immediate(&mut pair, 200);
    assert_eq!(pair.rejected(), reject_reason::IMMEDIATE_COMMAND_REJECT);
    pair.good(100, &[]);
    let (Response::ScsiResponse(pdu), _) = pair.answer() else { panic!("no response") };
    assert_eq!((pdu.exp_cmd_sn, pdu.max_cmd_sn), (5, 4), "no room in the window for that");
    immediate(&mut pair, 200);
    assert_eq!(pair.commands.len(), 5 + IMMEDIATE_COMMANDS);
}

#[test]
fn all_numbers_wrap_around() {
    let mut pair = Pair::new(Authentication::None);
    pair.cmd_sn = u32::MAX - 1;
    let names: TextList = [("InitiatorName", INITIATOR), ("TargetName", TARGET)].into_iter().collect();
    let header = Login {
        exp_stat_sn: u32::MAX - 2,
        ..login(stage::OPERATIONAL, Some(stage::FULL_FEATURE), pair.cmd_sn)
    };
    let (Response::LoginResponse(pdu), _) = pair.ask(header.build(), &names.encode()) else {
        panic!("no login")
    };
    assert_eq!((pdu.stat_sn, pdu.exp_cmd_sn, pdu.max_cmd_sn), (u32::MAX - 2, u32::MAX - 1, 1));
    for (step, expected) in
        [(u32::MAX - 1, u32::MAX), (u32::MAX, 0), (0, 1), (1, 2), (2, 3)].into_iter().enumerate()
    {
        let header = pair.command(step as u32, READ_10, 0);
        pair.send(header.build(), b"");
        pair.good(step as u32, &[]);
        let (Response::ScsiResponse(pdu), _) = pair.answer() else { panic!("no response") };
        assert_eq!((pdu.stat_sn, pdu.exp_cmd_sn), expected);
        assert_eq!(pdu.max_cmd_sn, expected.1.wrapping_add(3));
    }
}

#[test]
fn requests_that_carry_no_number_of_their_own_do_not_move_it() {
    let mut pair = Pair::logged_in(&[]);
    let ping =
        NopOut { immediate: true, task_tag: 9, transfer_tag: RESERVED_TAG, cmd_sn: 1, ..NopOut::default() };
    for (immediate, expected) in [(true, 1), (false, 2)] {
        let (answer, _) = pair.ask(NopOut { immediate, ..ping }.build(), b"");
        assert!(matches!(answer, Response::NopIn(pdu) if pdu.exp_cmd_sn == expected), "{answer:?}");
    }
}

#[test]
fn what_has_no_place_after_login_is_rejected_with_its_reason() {
    let mut pair = Pair::logged_in(&[]);
    for (header, reason) in [
        (Snack::default().build(), reject_reason::SNACK_REJECT),
        (login(1, Some(3), 1).build(), reject_reason::PROTOCOL_ERROR),
        (Bhs::new(0x1c), reject_reason::COMMAND_NOT_SUPPORTED),
        (Bhs::new(0x21), reject_reason::COMMAND_NOT_SUPPORTED),
    ] {
        pair.send(header, b"");
        assert_eq!(pair.rejected(), reason);
    }
    let header = ScsiCommand { task_tag: RESERVED_TAG, ..pair.command(0, READ_10, 0) };
    pair.send(header.build(), b"");
    assert_eq!(pair.rejected(), reject_reason::PROTOCOL_ERROR);
    assert!(pair.target.closed().is_none());
}

#[test]
fn so_many_rejects_and_no_more() {
    let mut pair = Pair::logged_in(&[]);
    for _ in 0..REJECTS {
        pair.send(Bhs::new(0x1c), b"");
    }
    assert_eq!(pair.answers().len(), REJECTS as usize);
    assert!(pair.target.closed().is_none());
    pair.send(Bhs::new(0x1c), b"");
    assert_eq!(pair.closed(), "more than 64 rejected PDUs");
}

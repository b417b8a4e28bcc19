//! Commands that end before the SCSI layer has them.

use super::*;

const FULL: Completion<'_> = Completion { status: 0x28, sense: &[], data_in: &[], has: None, takes: None };

/// The status and residual of the one response that is there.
fn refused(pair: &mut Pair) -> (u8, bool, u32) {
    let (Response::ScsiResponse(pdu), _) = pair.answer() else { panic!("no response") };
    (pdu.status, pdu.underflow, pdu.residual)
}

#[test]
fn a_refused_command_is_answered_when_nothing_more_of_it_can_come() {
    // It waits for room: nothing is on its way.
    let mut pair = Pair::logged_in(&[]);
    pair.roomy = false;
    let header = pair.command(3, WRITE_10, 2048);
    pair.send(header.build(), &[1; 512]);
    pair.complete(3, &FULL);
    assert_eq!(refused(&mut pair), (0x28, true, 2048));

    // Unsolicited data is on its way.
    let mut pair = Pair::logged_in(&[("InitialR2T", "No"), ("FirstBurstLength", "1024")]);
    let header = ScsiCommand { final_bit: false, ..pair.command(3, WRITE_10, 2048) };
    pair.send(header.build(), &[1; 512]);
    pair.complete(3, &FULL);
    pair.complete(3, &FULL);
    pair.data_out(3, RESERVED_TAG, 0, 512, &[1; 256], false);
    assert!(pair.answers().is_empty());
    pair.data_out(3, RESERVED_TAG, 1, 768, &[1; 256], true);
    assert_eq!(refused(&mut pair), (0x28, true, 2048));
    assert!(pair.discarded.is_empty(), "the driver knows");

    // Two R2Ts are open.
    let keys = [("ImmediateData", "No"), ("MaxBurstLength", "512"), ("MaxOutstandingR2T", "2")];
    let mut pair = Pair::logged_in(&keys);
    let header = pair.command(3, WRITE_10, 2048);
    pair.send(header.build(), b"");
    let open = pair.r2ts();
    pair.data_out(3, open[0].transfer_tag, 0, 0, &[1; 256], false);
    pair.complete(3, &FULL);
    pair.data_out(3, open[0].transfer_tag, 1, 256, &[1; 256], true);
    assert!(pair.answers().is_empty(), "nor is a third sent");
    pair.data_out(3, open[1].transfer_tag, 0, 512, &[1; 512], true);
    assert_eq!(refused(&mut pair), (0x28, true, 2048));
    assert!(pair.commands.is_empty());
}

#[test]
fn a_command_may_be_refused_as_soon_as_its_header_is_known() {
    for whole in [true, false] {
        let mut pair = Pair::logged_in(&[("InitialR2T", "No")]);
        let header = ScsiCommand { final_bit: whole, ..pair.command(3, WRITE_10, 1024) };
        let bytes = pair.pdu(header.build(), &[1; 512]);
        let (first, rest) = bytes.split_at(100);
        pair.feed(first);
        pair.complete(3, &FULL);
        assert!(pair.answers().is_empty(), "its own PDU is on its way");
        pair.feed(rest);
        if !whole {
            assert!(pair.answers().is_empty());
            pair.data_out(3, RESERVED_TAG, 0, 512, &[1; 512], true);
        }
        assert_eq!(refused(&mut pair).0, 0x28);
        assert!(pair.commands.is_empty() && pair.solicits.is_empty());
    }
}

#[test]
fn a_command_aborted_while_its_data_comes_leaves_no_trace() {
    let mut pair = Pair::logged_in(&[]);
    let header = pair.command(3, WRITE_10, 512);
    let bytes = pair.pdu(header.build(), &[1; 512]);
    pair.feed(&bytes[..100]);
    assert_eq!(pair.target.abort(3), Aborted::Dropped);
    pair.feed(&bytes[100..]);
    assert!(pair.answers().is_empty() && pair.commands.is_empty());
    assert!(pair.target.open_tasks().is_empty());
}

#[test]
fn data_for_an_ended_command_does_not_touch_the_next_with_its_tag() {
    let mut pair = Pair::logged_in(&[("ImmediateData", "No")]);
    let header = pair.command(3, WRITE_10, 512);
    pair.send(header.build(), b"");
    let old = pair.r2ts()[0];
    pair.target.abort(3);
    let header = pair.command(3, WRITE_10, 512);
    pair.send(header.build(), b"");
    let new = pair.r2ts()[0];
    pair.data_out(3, old.transfer_tag, 0, 0, &[1; 512], true);
    assert!(pair.answers().is_empty() && pair.commands.is_empty());
    pair.data_out(3, new.transfer_tag, 0, 0, &[2; 512], true);
    assert_eq!(pair.commands[0].data, [2; 512]);
}

#[test]
fn data_that_may_not_come_is_not_waited_for() {
    let mut pair = Pair::logged_in(&[]);
    let header = ScsiCommand { final_bit: false, ..pair.command(3, WRITE_10, 1024) };
    pair.send(header.build(), &[1; 512]);
    assert_eq!(pair.status(3), (CHECK, [0x0b, 0x0c, 0x0c]), "InitialR2T=Yes: none is owed");
}

#[test]
fn a_fault_in_the_middle_waits_for_the_end_of_the_sequence() {
    let mut pair = Pair::logged_in(&[("ImmediateData", "No")]);
    let header = pair.command(3, WRITE_10, 2048);
    pair.send(header.build(), b"");
    let r2t = pair.r2ts()[0];
    pair.data_out(3, r2t.transfer_tag, 0, 0, &[1; 512], false);
    pair.data_out(3, r2t.transfer_tag, 2, 1024, &[1; 512], false);
    assert!(pair.answers().is_empty());
    assert_eq!(pair.discarded, [3]);
    pair.data_out(3, r2t.transfer_tag, 3, 1536, &[1; 512], true);
    assert_eq!(pair.status(3), (CHECK, [0x0b, 0x47, 0x05]));
    assert_eq!(pair.discarded, [3], "said once");
}

#[test]
fn commands_that_no_target_of_ours_knows_are_told_so() {
    let extended = [0, 17, 1, 0].into_iter().chain([0; 16]).collect::<Vec<u8>>();
    let read_length = vec![0, 5, 2, 0, 0, 0, 0x10, 0];
    for (ahs, bidi) in [(extended, None), (read_length, Some(0x1000)), (Vec::new(), Some(0))] {
        let mut pair = Pair::logged_in(&[]);
        let header = pair.command(3, WRITE_10, 512);
        let mut bhs = ScsiCommand { read: bidi.is_some(), ..header }.build();
        bhs.0[4] = (ahs.len() / 4) as u8;
        let mut bytes = bhs.0.to_vec();
        bytes.extend_from_slice(&ahs);
        pair.feed(&bytes);
        let (response, sense) = pair.answer();
        let Response::ScsiResponse(pdu) = response else { panic!("{response:?}") };
        assert_eq!((pdu.underflow, pdu.residual), (true, 512));
        let read = bidi.unwrap_or(0);
        assert_eq!((pdu.bidi_underflow, pdu.bidi_residual), (read > 0, read));
        assert_eq!(status_of((response, sense), 3), (CHECK, [0x05, 0x20, 0x00]));
        assert!(pair.commands.is_empty() && pair.solicits.is_empty());
    }
    let mut pair = Pair::logged_in(&[]);
    let mut bhs = pair.command(3, READ_10, 512).build();
    bhs.0[4] = 1;
    let bytes = [bhs.0.as_slice(), &[0, 5, 9, 0]].concat();
    pair.feed(&bytes);
    assert_eq!(pair.rejected(), reject_reason::INVALID_PDU_FIELD);
}

#[test]
fn an_initiator_that_owes_data_and_sends_none_is_given_up() {
    let mut pair = Pair::logged_in(&[("ImmediateData", "No")]);
    let start = pair.now;
    let alive = |pair: &mut Pair, now: Instant| {
        pair.now = now;
        let ping = NopOut {
            immediate: true,
            task_tag: 9,
            transfer_tag: RESERVED_TAG,
            cmd_sn: pair.cmd_sn,
            ..NopOut::default()
        };
        pair.send(ping.build(), b"");
        pair.target.tick(now);
        pair.answers();
    };
    let header = pair.command(3, WRITE_10, 2048);
    pair.send(header.build(), b"");
    let r2t = pair.r2ts()[0];
    alive(&mut pair, start + DATA_TIME);
    pair.data_out(3, r2t.transfer_tag, 0, 0, &[1; 512], false);
    alive(&mut pair, start + DATA_TIME + DATA_TIME);
    let limit = start + DATA_TIME + DATA_TIME + DATA_TIME;
    alive(&mut pair, Instant::from_nanos(limit.as_nanos() - 1));
    assert!(pair.target.closed().is_none());
    assert_eq!(pair.target.next_deadline(), Some(limit));
    pair.target.tick(limit);
    assert_eq!(pair.closed(), "data was asked for and none came within 60 s");
}

#[test]
fn who_is_let_off_its_data_owes_nothing() {
    let mut pair = Pair::logged_in(&[("ImmediateData", "No")]);
    let header = pair.command(3, WRITE_10, 2048);
    pair.send(header.build(), b"");
    let start = pair.now;
    for look in [DATA_TIME, 2 * DATA_TIME] {
        pair.now = start + look;
        let ping = NopOut {
            immediate: true,
            task_tag: 9,
            transfer_tag: RESERVED_TAG,
            cmd_sn: 2,
            ..NopOut::default()
        };
        pair.send(ping.build(), b"");
        pair.target.tick(pair.now);
        pair.target.abort(3);
    }
    assert!(pair.target.closed().is_none(), "{}", pair.closed());
}

#[test]
fn who_waits_for_the_driver_owes_nothing() {
    let mut pair = Pair::logged_in(&[]);
    pair.roomy = false;
    let header = pair.command(3, WRITE_10, 2048);
    pair.send(header.build(), b"");
    let header = pair.command(4, READ_10, 2048);
    pair.send(header.build(), b"");
    for _ in 0..20 {
        pair.now = pair.now + PING_AFTER;
        let ping = NopOut {
            immediate: true,
            task_tag: 9,
            transfer_tag: RESERVED_TAG,
            cmd_sn: 3,
            ..NopOut::default()
        };
        pair.send(ping.build(), b"");
        pair.target.tick(pair.now);
    }
    assert!(pair.target.closed().is_none(), "{}", pair.closed());
}

//! Digests.

use super::*;

#[test]
fn digests_are_in_force_after_login_and_damage_ends_the_command() {
    let keys = [("HeaderDigest", "CRC32C,None"), ("DataDigest", "CRC32C,None")];
    let mut pair = Pair::logged_in(&keys);
    pair.after_login(&[("HeaderDigest", "CRC32C"), ("DataDigest", "CRC32C")]);
    let header = pair.command(3, WRITE_10, 512);
    pair.send(header.build(), &[7; 512]);
    assert_eq!(pair.commands[0].data, [7; 512]);
    pair.good(3, &[]);
    assert_eq!(pair.status(3).0, 0);
    let header = pair.command(4, WRITE_10, 512);
    let mut bytes = Vec::new();
    write_pdu(&mut bytes, header.build(), &[7; 512], pair.digests);
    bytes[60] ^= 1;
    pair.feed(&bytes);
    let mut answers = pair.answers();
    let (Response::Reject(reject), rejected) = answers.remove(0) else { panic!("not rejected") };
    assert_eq!((reject.reason, &rejected[..]), (reject_reason::DATA_DIGEST_ERROR, &bytes[..48]));
    assert_eq!(status_of(answers.remove(0), 4), (CHECK, [0x0b, 0x47, 0x05]));
    assert_eq!((pair.discarded.as_slice(), pair.commands.len()), (&[4][..], 1));
}

const BOTH: [(&str, &str); 2] = [("HeaderDigest", "CRC32C"), ("DataDigest", "CRC32C")];

/// Sends a PDU whose data is damaged on the way.
fn damaged(pair: &mut Pair, header: Bhs, data: &[u8]) {
    let mut bytes = pair.pdu(header, data);
    bytes[52] ^= 0x10;
    pair.feed(&bytes);
}

fn data_out(tag: u32, r2t: &R2t, data_sn: u32, offset: u32, last: bool) -> Bhs {
    let (task_tag, transfer_tag) = (tag, r2t.transfer_tag);
    DataOut { final_bit: last, task_tag, transfer_tag, data_sn, buffer_offset: offset, ..DataOut::default() }
        .build()
}

#[test]
fn damaged_data_ends_its_command_after_the_last_data() {
    let keys = [BOTH.as_slice(), &[("ImmediateData", "No")]].concat();
    for last in [false, true] {
        let mut pair = Pair::logged_in(&keys);
        let header = pair.command(3, WRITE_10, 1024);
        pair.send(header.build(), b"");
        let r2t = pair.r2ts()[0];
        let (first, second) = (data_out(3, &r2t, 0, 0, false), data_out(3, &r2t, 1, 512, true));
        if last {
            pair.send(first, &[1; 512]);
            damaged(&mut pair, second, &[1; 512]);
        } else {
            damaged(&mut pair, first, &[1; 512]);
            assert_eq!(pair.rejected(), reject_reason::DATA_DIGEST_ERROR);
            assert_eq!(pair.discarded, [3]);
            pair.send(second, &[1; 512]);
        }
        let mut answers = pair.answers();
        let status = answers.pop().unwrap();
        assert_eq!(answers.len(), usize::from(last));
        assert_eq!(status_of(status, 3), (CHECK, [0x0b, 0x47, 0x05]));
        assert!(pair.commands.is_empty() && pair.target.open_tasks().is_empty());
    }
}

#[test]
fn a_damaged_request_leaves_no_gap() {
    let mut pair = Pair::logged_in(&BOTH);
    let ping = NopOut { task_tag: 9, transfer_tag: RESERVED_TAG, cmd_sn: 1, ..NopOut::default() };
    damaged(&mut pair, ping.build(), b"are you there");
    assert_eq!(pair.rejected(), reject_reason::DATA_DIGEST_ERROR);
    pair.cmd_sn = 2;
    let header = pair.command(3, READ_10, 512);
    pair.send(header.build(), b"");
    assert_eq!(pair.commands.len(), 1);
}

#[test]
fn a_damaged_header_ends_the_connection() {
    let mut pair = Pair::logged_in(&BOTH);
    let header = pair.command(3, READ_10, 512);
    let mut bytes = pair.pdu(header.build(), b"");
    bytes[20] ^= 1;
    pair.feed(&bytes);
    assert!(pair.closed().starts_with("header digest"), "{}", pair.closed());
    assert!(pair.commands.is_empty());
}

#[test]
fn data_damaged_again_and_again_ends_the_connection() {
    let mut pair = Pair::logged_in(&BOTH);
    for tag in 0..=REJECTS {
        let header = pair.command(tag, WRITE_10, 512);
        damaged(&mut pair, header.build(), &[1; 512]);
        pair.answers();
    }
    assert_eq!(pair.closed(), "more than 64 rejected PDUs");
}

#[test]
fn damaged_data_of_an_ended_command_does_not_touch_the_next_with_its_tag() {
    let keys = [BOTH.as_slice(), &[("ImmediateData", "No")]].concat();
    let mut pair = Pair::logged_in(&keys);
    let header = pair.command(3, WRITE_10, 512);
    pair.send(header.build(), b"");
    let old = pair.r2ts()[0];
    pair.target.abort(3);
    let header = pair.command(3, WRITE_10, 512);
    pair.send(header.build(), b"");
    let new = pair.r2ts()[0];
    damaged(&mut pair, data_out(3, &old, 0, 0, true), &[1; 512]);
    assert_eq!(pair.rejected(), reject_reason::DATA_DIGEST_ERROR);
    pair.send(data_out(3, &new, 0, 0, true), &[2; 512]);
    assert_eq!(pair.commands[0].data, [2; 512]);
}

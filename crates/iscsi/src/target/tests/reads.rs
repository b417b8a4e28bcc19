//! Data from the target, status, residuals.

use super::*;

#[test]
fn data_in_is_cut_into_segments_and_bursts_and_carries_the_status() {
    // A segment that is no number of whole words is not filled to its end.
    let keys = [("MaxRecvDataSegmentLength", "1027"), ("MaxBurstLength", "1536")];
    let mut pair = Pair::logged_in(&keys);
    let header = pair.command(3, READ_10, 4096);
    pair.send(header.build(), b"");
    assert_eq!(pair.commands[0].read_length, 4096);
    let data: Vec<u8> = (0..3000u32).map(|i| i as u8).collect();
    pair.good(3, &data);
    let answers = pair.answers();
    let pdus: Vec<_> = answers
        .iter()
        .map(|(answer, data)| match answer {
            Response::DataIn(pdu) => {
                (pdu.data_sn, pdu.buffer_offset, data.len(), pdu.final_bit, pdu.has_status)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        pdus,
        [
            (0, 0, 1024, false, false),
            (1, 1024, 512, true, false),
            (2, 1536, 1024, false, false),
            (3, 2560, 440, true, true)
        ]
    );
    assert_eq!(answers.iter().flat_map(|(_, data)| data.clone()).collect::<Vec<_>>(), data);
    let (Response::DataIn(last), _) = &answers[3] else { panic!("not data") };
    assert_eq!((last.underflow, last.overflow, last.residual), (true, false, 1096));
}

#[test]
fn residuals_count_what_did_not_fit() {
    let mut pair = Pair::logged_in(&[]);
    let header = pair.command(3, READ_10, 100);
    pair.send(header.build(), b"");
    pair.good(3, &[1; 512]);
    let (Response::DataIn(pdu), data) = pair.answer() else { panic!("not data") };
    assert_eq!((data.len(), pdu.overflow, pdu.residual), (100, true, 412));
    let header = pair.command(5, READ_10, 512);
    pair.send(header.build(), b"");
    pair.complete(5, &Completion { data_in: &[1; 512], has: Some(2048), ..Completion::default() });
    let (Response::DataIn(pdu), _) = pair.answer() else { panic!("not data") };
    assert_eq!((pdu.overflow, pdu.residual), (true, 1536));
    let header = pair.command(4, WRITE_10, 1000);
    pair.send(header.build(), &[0; 1000]);
    pair.complete(4, &Completion { takes: Some(512), ..Completion::default() });
    let (Response::ScsiResponse(pdu), _) = pair.answer() else { panic!("not a response") };
    assert_eq!((pdu.underflow, pdu.residual), (true, 488));
}

#[test]
fn sense_goes_with_the_response() {
    let mut pair = Pair::logged_in(&[]);
    let header = pair.command(3, READ_10, 512);
    pair.send(header.build(), b"");
    pair.complete(3, &Completion { status: CHECK, sense: &[0x70, 0, 5], ..Completion::default() });
    let (Response::ScsiResponse(pdu), data) = pair.answer() else { panic!("not a response") };
    assert_eq!((pdu.status, data.as_slice()), (CHECK, &[0, 3, 0x70, 0, 5][..]));
}

#[test]
fn sense_is_no_longer_than_sense_can_be() {
    let mut pair = Pair::logged_in(&[]);
    let header = pair.command(3, READ_10, 512);
    pair.send(header.build(), b"");
    pair.complete(3, &Completion { status: CHECK, sense: &[7; 1000], ..Completion::default() });
    let (_, data) = pair.answer();
    assert_eq!((data.len(), &data[..2]), (2 + SENSE_BYTES, &[0, SENSE_BYTES as u8][..]));
}

#[test]
fn data_and_sense_may_come_together() {
    let mut pair = Pair::logged_in(&[]);
    let header = pair.command(3, READ_10, 1024);
    pair.send(header.build(), b"");
    let done =
        Completion { status: CHECK, sense: &[0x70, 0, 1], data_in: &[5; 600], ..Completion::default() };
    pair.complete(3, &done);
    let answers = pair.answers();
    let (Response::DataIn(data), bytes) = &answers[0] else { panic!("no data") };
    assert!(data.final_bit && !data.has_status && data.stat_sn == 0 && bytes.len() == 600);
    let (Response::ScsiResponse(pdu), sense) = &answers[1] else { panic!("no response") };
    assert_eq!((pdu.status, pdu.exp_data_sn, pdu.underflow, pdu.residual), (CHECK, 1, true, 424));
    assert_eq!(sense[2..], [0x70, 0, 1]);
}

#[test]
fn a_command_without_data_says_what_it_would_have_had() {
    let mut pair = Pair::logged_in(&[]);
    let header = ScsiCommand { read: false, ..pair.command(3, READ_10, 0) };
    pair.send(header.build(), b"");
    assert_eq!((pair.commands[0].read_length, pair.commands[0].write_length), (0, 0));
    pair.good(3, &[1; 36]);
    let (Response::ScsiResponse(pdu), data) = pair.answer() else { panic!("no response") };
    assert_eq!((pdu.overflow, pdu.residual, data.len()), (true, 36, 0));
}

#[test]
fn a_residual_beyond_its_field_is_its_most() {
    let mut pair = Pair::logged_in(&[]);
    let header = pair.command(3, READ_10, 512);
    pair.send(header.build(), b"");
    pair.complete(3, &Completion { data_in: &[1; 512], has: Some(1 << 40), ..Completion::default() });
    let (Response::DataIn(pdu), _) = pair.answer() else { panic!("not data") };
    assert_eq!((pdu.overflow, pdu.residual), (true, u32::MAX));
}

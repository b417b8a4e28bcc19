//! Golden bytes of the codec, by the layouts and examples of RFC 7143.

use super::request::{DataOut, Login, NopOut, ScsiCommand, TaskManagement, task_function};
use super::response::{DataIn, LoginResponse, R2t, ScsiResponse};
use super::*;
use proptest::prelude::*;

fn bhs(hex: &str) -> Bhs {
    let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    Bhs(bytes.try_into().expect("48 bytes of hex"))
}

fn check_request(hex: &str, request: impl Into<Request>) {
    let (expected, request) = (bhs(hex), request.into());
    assert_eq!(request.build(), expected);
    assert_eq!(Request::parse(&expected), Some(request));
}

fn check_response(hex: &str, response: impl Into<Response>) {
    let (expected, response) = (bhs(hex), response.into());
    assert_eq!(response.build(), expected);
    assert_eq!(Response::parse(&expected), Some(response));
}

#[test]
fn requests_stand_as_in_section_11() {
    let mut cdb = [0; 16];
    cdb[..10].copy_from_slice(&[0x2a, 0, 0, 0, 0, 8, 0, 0, 1, 0]);
    check_request(
        "01 a1 0000 00000000 0001000000000000 00000010 00000200 00000003 00000004 2a000000000800000100 000000000000",
        ScsiCommand {
            final_bit: true,
            write: true,
            attribute: 1,
            lun: 1 << 48,
            task_tag: 0x10,
            expected_data_length: 512,
            cmd_sn: 3,
            exp_stat_sn: 4,
            cdb,
            ..ScsiCommand::default()
        },
    );
    check_request(
        "43 87 0000 00000000 400001370000 0000 00000001 0007 0000 00000005 00000006 00000000000000000000000000000000",
        Login {
            immediate: true,
            transit: true,
            current_stage: 1,
            next_stage: 3,
            isid: [0x40, 0, 1, 0x37, 0, 0],
            task_tag: 1,
            cid: 7,
            cmd_sn: 5,
            exp_stat_sn: 6,
            ..Login::default()
        },
    );
    check_request(
        "05 80 0000 00000000 0000000000000000 00000010 00000077 00000000 00000004 00000000 00000002 00001000 00000000",
        DataOut {
            final_bit: true,
            task_tag: 0x10,
            transfer_tag: 0x77,
            exp_stat_sn: 4,
            data_sn: 2,
            buffer_offset: 4096,
            ..DataOut::default()
        },
    );
    check_request(
        "42 81 0000 00000000 0002000000000000 00000011 00000010 00000003 00000004 00000002 00000000 0000000000000000",
        TaskManagement {
            immediate: true,
            final_bit: true,
            function: task_function::ABORT_TASK,
            lun: 2 << 48,
            task_tag: 0x11,
            referenced_task_tag: 0x10,
            cmd_sn: 3,
            exp_stat_sn: 4,
            ref_cmd_sn: 2,
            exp_data_sn: 0,
        },
    );
}

#[test]
fn responses_stand_as_in_section_11() {
    check_response(
        "21 82 00 02 00000000 0000000000000000 00000010 00000000 00000005 00000006 00000045 00000001 00000000 00000100",
        ScsiResponse {
            final_bit: true,
            underflow: true,
            status: 2,
            task_tag: 0x10,
            stat_sn: 5,
            exp_cmd_sn: 6,
            max_cmd_sn: 0x45,
            exp_data_sn: 1,
            residual: 256,
            ..ScsiResponse::default()
        },
    );
    check_response(
        "25 81 0000 00000000 0000000000000000 00000010 ffffffff 00000005 00000006 00000045 00000002 00002000 00000000",
        DataIn {
            final_bit: true,
            has_status: true,
            task_tag: 0x10,
            transfer_tag: RESERVED_TAG,
            stat_sn: 5,
            exp_cmd_sn: 6,
            max_cmd_sn: 0x45,
            data_sn: 2,
            buffer_offset: 8192,
            ..DataIn::default()
        },
    );
    check_response(
        "31 80 0000 00000000 0001000000000000 00000010 00000077 00000005 00000006 00000045 00000001 00010000 00020000",
        R2t {
            final_bit: true,
            lun: 1 << 48,
            task_tag: 0x10,
            transfer_tag: 0x77,
            stat_sn: 5,
            exp_cmd_sn: 6,
            max_cmd_sn: 0x45,
            r2t_sn: 1,
            buffer_offset: 0x10000,
            desired_length: 0x20000,
        },
    );
    check_response(
        "23 87 0000 00000000 400001370000 0009 00000001 00000000 00000005 00000006 00000045 0201 0000 0000000000000000",
        LoginResponse {
            transit: true,
            current_stage: 1,
            next_stage: 3,
            isid: [0x40, 0, 1, 0x37, 0, 0],
            tsih: 9,
            task_tag: 1,
            stat_sn: 5,
            exp_cmd_sn: 6,
            max_cmd_sn: 0x45,
            status: 0x0201,
            ..LoginResponse::default()
        },
    );
}

/// The examples of RFC 7143 appendix A.4 (32 bytes of zeroes, of ones, ascending).
#[test]
fn digests_are_those_of_the_standards_examples() {
    let ascending: Vec<u8> = (0..32).collect();
    for (data, digest) in [
        (vec![0; 32], [0xaa, 0x36, 0x91, 0x8a]),
        (vec![0xff; 32], [0x43, 0xab, 0xa8, 0x62]),
        (ascending, [0x4e, 0x79, 0xdd, 0x46]),
    ] {
        let mut out = Vec::new();
        write_pdu(&mut out, Bhs::new(opcode::NOP_OUT), &data, Digests { header: false, data: true });
        assert_eq!(out[Bhs::LEN + 32..], digest);
    }
}

fn all_digests() -> [Digests; 4] {
    [(false, false), (true, false), (false, true), (true, true)]
        .map(|(header, data)| Digests { header, data })
}

#[test]
fn frames_read_back_whatever_the_pieces_they_come_in() {
    for digests in all_digests() {
        let mut stream = Vec::new();
        let bodies: [&[u8]; 4] = [b"", b"x", b"four", b"seven..and some more"];
        for (tag, body) in bodies.iter().enumerate() {
            let pdu = NopOut { task_tag: tag as u32, ..NopOut::default() };
            write_pdu(&mut stream, pdu.build(), body, digests);
        }
        for step in [1, 3, 47, 48, 49, 1000] {
            let mut reader = FrameReader::new(64);
            reader.set_mode(digests, 64);
            let mut found = Vec::new();
            for piece in stream.chunks(step) {
                reader.receive(piece);
                while let Some(frame) = reader.next_frame().unwrap() {
                    found.push((frame.header.task_tag(), frame.data.to_vec()));
                }
            }
            let expected: Vec<_> =
                bodies.iter().enumerate().map(|(tag, body)| (tag as u32, body.to_vec())).collect();
            assert_eq!(found, expected, "{digests:?} in steps of {step}");
            assert_eq!(reader.pending(), 0);
        }
    }
}

#[test]
fn additional_headers_are_passed_over() {
    let mut stream = Vec::new();
    let mut header = NopOut { task_tag: 7, ..NopOut::default() }.build();
    header.0[4] = 2;
    header.set_data_len(3);
    stream.extend_from_slice(&header.0);
    stream.extend_from_slice(b"ahs-ahs-abc\0");
    let mut reader = FrameReader::new(64);
    reader.receive(&stream);
    let frame = reader.next_frame().unwrap().unwrap();
    assert_eq!((frame.ahs, frame.data), (&b"ahs-ahs-"[..], &b"abc"[..]));
}

#[test]
fn a_length_above_the_bound_is_refused_at_the_header() {
    let mut reader = FrameReader::new(8192);
    let mut header = Bhs::new(opcode::LOGIN);
    header.set_data_len(8193);
    reader.receive(&header.0);
    assert!(matches!(reader.next_frame(), Err(FrameError::DataTooLong { len: 8193, max: 8192, .. })));
    header.set_data_len(8192);
    let mut reader = FrameReader::new(8192);
    reader.receive(&header.0);
    assert!(reader.next_frame().unwrap().is_none());
}

#[test]
fn each_flipped_bit_is_found_by_a_digest() {
    let digests = Digests { header: true, data: true };
    let mut stream = Vec::new();
    write_pdu(&mut stream, NopOut::default().build(), b"some data", digests);
    for bit in 0..stream.len() * 8 {
        let mut damaged = stream.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let mut reader = FrameReader::new(64);
        reader.set_mode(digests, 64);
        reader.receive(&damaged);
        // A damaged length may make the PDU longer than what came: then it does not complete, which is as good.
        assert!(!matches!(reader.next_frame(), Ok(Some(_))), "bit {bit}");
    }
}

#[test]
fn text_reads_back_and_refuses_what_is_none() {
    let list: TextList = [("A.b-c", "1"), ("X-y", ""), ("Z", "a=b")].into_iter().collect();
    assert_eq!(TextList::parse(&list.encode()), Ok(list.clone()));
    assert_eq!(list.encode(), b"A.b-c=1\0X-y=\0Z=a=b\0");
    assert_eq!(
        TextList::parse(b"A=1"),
        Ok([("A", "1")].into_iter().collect()),
        "the last NUL may be missing"
    );
    for bad in [&b"A"[..], b"=1", b"A B=1", b"A=\xff", &[b'k'; 64]] {
        assert!(TextList::parse(bad).is_err(), "{bad:?}");
    }
    let long_key = [&[b'k'; 64][..], b"=1"].concat();
    assert_eq!(TextList::parse(&long_key), Err(TextError::KeyLength { len: 64 }));
    let many = b"A=1\0".repeat(crate::limits::TEXT_PAIRS + 1);
    assert_eq!(TextList::parse(&many), Err(TextError::TooManyPairs));
}

proptest! {
    #[test]
    fn any_header_parses_without_panic_and_rebuilds_to_its_own_fields(bytes in prop::array::uniform32(any::<u8>()), rest in prop::array::uniform16(any::<u8>())) {
        let mut header = [0; 48];
        header[..32].copy_from_slice(&bytes);
        header[32..].copy_from_slice(&rest);
        let header = Bhs(header);
        if let Some(request) = Request::parse(&header) {
            prop_assert_eq!(Request::parse(&request.build()), Some(request));
        }
        if let Some(response) = Response::parse(&header) {
            prop_assert_eq!(Response::parse(&response.build()), Some(response));
        }
    }

    #[test]
    fn any_bytes_are_framed_within_bounds(stream in prop::collection::vec(any::<u8>(), 0..4096), step in 1usize..512) {
        let mut reader = FrameReader::new(512);
        'stream: for piece in stream.chunks(step) {
            reader.receive(piece);
            loop {
                match reader.next_frame() {
                    Ok(Some(frame)) => prop_assert!(frame.data.len() <= 512),
                    Ok(None) => break,
                    Err(_) => break 'stream,
                }
            }
        }
    }

    #[test]
    fn any_text_parses_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        if let Ok(list) = TextList::parse(&bytes) {
            prop_assert_eq!(TextList::parse(&list.encode()), Ok(list));
        }
    }
}

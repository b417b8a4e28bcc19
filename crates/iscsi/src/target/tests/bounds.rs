//! Bounds on sizes: the last that is taken, and the first that is not. Bounds on numbers and times stand with what they bound.

use super::*;

#[test]
fn a_data_segment_after_login() {
    for (len, taken) in [(RECV_DATA_SEGMENT, true), (RECV_DATA_SEGMENT + 1, false)] {
        let mut pair = Pair::logged_in(&[("MaxRecvDataSegmentLength", "16777215")]);
        let ping = NopOut {
            immediate: true,
            task_tag: 9,
            transfer_tag: RESERVED_TAG,
            cmd_sn: 1,
            ..NopOut::default()
        };
        pair.send(ping.build(), &vec![7; len]);
        assert_eq!(pair.target.closed().is_none(), taken, "{len}");
        assert_eq!(pair.answers().len(), usize::from(taken));
    }
}

#[test]
fn a_data_segment_during_login() {
    for (len, taken) in [(LOGIN_DATA_SEGMENT, true), (LOGIN_DATA_SEGMENT + 1, false)] {
        let mut pair = Pair::new(Authentication::None);
        pair.send(Login { continues: true, ..login(stage::OPERATIONAL, None, 1) }.build(), &vec![b'a'; len]);
        assert_eq!(pair.target.closed().is_none(), taken, "{len}");
    }
}

#[test]
fn the_text_of_one_login_request() {
    for (extra, status) in [(0, 0), (1, login_status::INITIATOR_ERROR)] {
        let mut pair = Pair::new(Authentication::None);
        for _ in 1..TEXT_BYTES / LOGIN_DATA_SEGMENT {
            let header = Login { continues: true, ..login(stage::OPERATIONAL, None, 1) };
            pair.send(header.build(), &[0; LOGIN_DATA_SEGMENT]);
            pair.answer();
        }
        let mut text = format!("InitiatorName={INITIATOR}\0TargetName={TARGET}\0").into_bytes();
        text.resize(LOGIN_DATA_SEGMENT - 1 + extra, 0);
        pair.send(Login { continues: true, ..login(stage::OPERATIONAL, None, 1) }.build(), &text);
        pair.answer();
        let (pdu, _) = pair.login_raw(stage::OPERATIONAL, None, &[0]);
        assert_eq!(pdu.status, status, "{extra}");
    }
}

#[test]
fn the_data_of_one_command() {
    for (total, asked) in [(COMMAND_DATA, 1), (COMMAND_DATA + 1, 0)] {
        let mut pair = Pair::logged_in(&[]);
        pair.roomy = false;
        let header = pair.command(3, WRITE_10, total);
        pair.send(header.build(), b"");
        assert_eq!(pair.solicits.len(), asked);
        assert_eq!(pair.answers().len(), 1 - asked);
    }
}

#[test]
fn unsolicited_data_of_one_command() {
    let first_burst = FIRST_BURST as usize;
    for (len, asked) in [(first_burst, 1), (first_burst + 1, 0)] {
        let mut pair = Pair::logged_in(&[("FirstBurstLength", "16777215")]);
        pair.roomy = false;
        let header = pair.command(3, WRITE_10, 2 * FIRST_BURST);
        pair.send(header.build(), &vec![1; len]);
        assert_eq!(pair.solicits.len(), asked);
        if asked == 0 {
            assert_eq!(pair.status(3), (CHECK, [0x0b, 0x0c, 0x0d]));
        }
    }
}

#[test]
fn a_burst_and_the_r2ts_of_one_command() {
    let mut pair = Pair::logged_in(&[("MaxBurstLength", "16777215"), ("MaxOutstandingR2T", "65535")]);
    let header = pair.command(3, WRITE_10, COMMAND_DATA);
    pair.send(header.build(), b"");
    let r2ts = pair.r2ts();
    assert_eq!(r2ts.len(), OUTSTANDING_R2T);
    assert!(r2ts.iter().all(|r2t| r2t.desired_length == MAX_BURST));
}

#[test]
fn a_data_segment_that_we_send() {
    let mut pair = Pair::logged_in(&[("MaxRecvDataSegmentLength", "16777215")]);
    let header = pair.command(3, READ_10, 2 * SEND_DATA_SEGMENT as u32 + 4);
    pair.send(header.build(), b"");
    pair.good(3, &vec![1; 2 * SEND_DATA_SEGMENT + 4]);
    let lengths: Vec<usize> = pair.answers().iter().map(|(_, data)| data.len()).collect();
    assert_eq!(lengths, [SEND_DATA_SEGMENT, SEND_DATA_SEGMENT, 4]);
}

#[test]
fn the_name_of_an_initiator() {
    use umbra_base::limits::ISCSI_NAME_BYTES;
    for (len, status) in [
        (0, login_status::INITIATOR_ERROR),
        (1, 0),
        (ISCSI_NAME_BYTES, 0),
        (ISCSI_NAME_BYTES + 1, login_status::INITIATOR_ERROR),
    ] {
        let mut pair = Pair::new(Authentication::None);
        let name = "i".repeat(len);
        let keys = [("InitiatorName", name.as_str()), ("TargetName", TARGET)];
        assert_eq!(pair.login(stage::OPERATIONAL, None, &keys).0.status, status, "{len}");
    }
}

#[test]
fn the_value_of_a_key() {
    for (len, status) in [(TEXT_VALUE_BYTES, 0), (TEXT_VALUE_BYTES + 1, login_status::INITIATOR_ERROR)] {
        let mut pair = Pair::new(Authentication::None);
        let value = "v".repeat(len);
        let text =
            format!("InitiatorName={INITIATOR}\0TargetName={TARGET}\0X-io.test={value}\0").into_bytes();
        let (first, rest) = text.split_at(LOGIN_DATA_SEGMENT);
        let header = Login { continues: true, ..login(stage::OPERATIONAL, None, 1) };
        pair.send(header.build(), first);
        pair.answer();
        let (pdu, answers) = pair.login_raw(stage::OPERATIONAL, None, rest);
        assert_eq!(pdu.status, status, "{len}");
        let understood = (status == 0).then_some("NotUnderstood");
        assert_eq!(answers.get("X-io.test"), understood, "the whole value was read as one");
    }
}

/// One request, in one PDU and in two.
#[test]
fn the_text_of_one_text_request() {
    for (len, pieces, taken) in
        [(TEXT_BYTES, 1, true), (TEXT_BYTES + 1, 1, false), (TEXT_BYTES, 2, true), (TEXT_BYTES + 1, 2, false)]
    {
        let mut pair = Pair::logged_in(&[]);
        let mut text = b"SendTargets=\0".to_vec();
        text.resize(len, 0);
        let mut request = Text {
            immediate: true,
            final_bit: true,
            task_tag: 6,
            transfer_tag: RESERVED_TAG,
            cmd_sn: pair.cmd_sn,
            ..Text::default()
        };
        if pieces == 2 {
            let first = Text { continues: true, final_bit: false, ..request };
            pair.send(first.build(), &text[..len / 2]);
            let (Response::TextResponse(answer), _) = pair.answer() else { panic!("not taken") };
            request.transfer_tag = answer.transfer_tag;
            text.drain(..len / 2);
        }
        pair.send(request.build(), &text);
        match pair.answer().0 {
            Response::TextResponse(answer) => assert!(taken && answer.final_bit, "{len} in {pieces}"),
            Response::Reject(_) => assert!(!taken, "{len} in {pieces}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_parts_of_a_text_by_themselves() {
    let pair = |key: usize, value: usize| format!("{}={}", "k".repeat(key), "v".repeat(value)).into_bytes();
    let pairs = |count: usize| b"k=v\0".repeat(count);
    let rows = [
        (pair(TEXT_KEY_BYTES, 0), true),
        (pair(TEXT_KEY_BYTES + 1, 0), false),
        (pair(1, TEXT_VALUE_BYTES), true),
        (pair(1, TEXT_VALUE_BYTES + 1), false),
        (pairs(TEXT_PAIRS), true),
        (pairs(TEXT_PAIRS + 1), false),
        (vec![0; TEXT_BYTES], true),
        (vec![0; TEXT_BYTES + 1], false),
    ];
    for (text, taken) in rows {
        assert_eq!(TextList::parse(&text).is_ok(), taken, "{} bytes", text.len());
    }
}

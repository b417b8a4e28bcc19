//! Discovery and text in full feature phase.

use super::*;

#[test]
fn discovery_names_the_target_and_its_portals_and_does_nothing_else() {
    let mut pair = Pair::new(Authentication::None);
    let keys =
        [("InitiatorName", INITIATOR), ("SessionType", "Discovery"), ("MaxRecvDataSegmentLength", "512")];
    let (pdu, _) = pair.login(stage::OPERATIONAL, Some(stage::FULL_FEATURE), &keys);
    assert_eq!(pdu.status, 0);
    let text =
        Text { final_bit: true, task_tag: 5, transfer_tag: RESERVED_TAG, cmd_sn: 1, ..Text::default() };
    pair.send(text.build(), b"SendTargets=All\0");
    let (Response::TextResponse(pdu), data) = pair.answer() else { panic!("no text") };
    assert!(pdu.final_bit && pdu.transfer_tag == RESERVED_TAG);
    let expected = [
        ("TargetName", TARGET),
        ("TargetAddress", "192.0.2.1:3260,1"),
        ("TargetAddress", "[2001:db8::1]:3260,2"),
    ];
    assert_eq!(TextList::parse(&data).unwrap(), expected.into_iter().collect());
    let header = ScsiCommand { cmd_sn: 2, ..pair.command(3, READ_10, 512) };
    pair.send(header.build(), b"");
    assert!(matches!(pair.answer().0, Response::Reject(pdu) if pdu.reason == reject_reason::PROTOCOL_ERROR));
}

#[test]
fn a_long_text_comes_in_pieces() {
    let portals = (0..40).map(|i| Portal { address: format!("192.0.2.{i}:3260"), group: i }).collect();
    let mut pair = Pair::with(Params { portals, ..params(Authentication::None) });
    let keys =
        [("InitiatorName", INITIATOR), ("SessionType", "Discovery"), ("MaxRecvDataSegmentLength", "512")];
    pair.login(stage::OPERATIONAL, Some(stage::FULL_FEATURE), &keys);
    let mut text =
        Text { final_bit: true, task_tag: 5, transfer_tag: RESERVED_TAG, cmd_sn: 1, ..Text::default() };
    let mut all = Vec::new();
    let mut question = &b"SendTargets=All\0"[..];
    loop {
        pair.send(text.build(), question);
        let (Response::TextResponse(pdu), data) = pair.answer() else { panic!("no text") };
        assert!(data.len() <= 512);
        all.extend_from_slice(&data);
        if pdu.final_bit {
            break;
        }
        assert!(pdu.continues);
        (text.transfer_tag, text.cmd_sn, question) = (pdu.transfer_tag, text.cmd_sn + 1, b"");
    }
    assert_eq!(TextList::parse(&all).unwrap().len(), 41);
}

/// One exchange in a logged-in session.
fn ask(pair: &mut Pair, tag: u32, text: &[u8]) -> TextList {
    let pdu = Text {
        immediate: true,
        final_bit: true,
        task_tag: tag,
        transfer_tag: RESERVED_TAG,
        cmd_sn: pair.cmd_sn,
        ..Text::default()
    };
    pair.send(pdu.build(), text);
    let (Response::TextResponse(answer), data) = pair.answer() else { panic!("no text") };
    assert_eq!((answer.task_tag, answer.final_bit, answer.transfer_tag), (tag, true, RESERVED_TAG));
    TextList::parse(&data).unwrap()
}

#[test]
fn a_session_may_ask_for_its_own_target_alone() {
    let mut pair = Pair::logged_in(&[]);
    for question in ["SendTargets=\0".to_owned(), format!("SendTargets={}\0", TARGET.to_uppercase())] {
        let answers = ask(&mut pair, 5, question.as_bytes());
        assert_eq!(answers.len(), 3);
        assert_eq!(
            (answers.get("TargetName"), answers.get("TargetAddress")),
            (Some(TARGET), Some("192.0.2.1:3260,1"))
        );
    }
    assert!(ask(&mut pair, 5, b"SendTargets=iqn.2026-01.test:other\0").is_empty());
    assert_eq!(ask(&mut pair, 5, b"SendTargets=All\0").get("SendTargets"), Some("Reject"));
}

#[test]
fn a_new_segment_counts_from_the_next_pdu_on() {
    let mut pair = Pair::logged_in(&[("MaxRecvDataSegmentLength", "1024")]);
    assert!(ask(&mut pair, 5, b"MaxRecvDataSegmentLength=2048\0").is_empty());
    let header = pair.command(3, READ_10, 2048);
    pair.send(header.build(), b"");
    pair.good(3, &[1; 2048]);
    assert_eq!(pair.answers().len(), 1);
    let answers = ask(&mut pair, 6, b"MaxBurstLength=512\0X-com.example=1\0InitiatorAlias=a\0");
    let expected = [("MaxBurstLength", "Reject"), ("X-com.example", "NotUnderstood")];
    assert_eq!(answers, expected.into_iter().collect());
}

#[test]
fn an_answer_keeps_to_the_segment_of_before_and_of_after() {
    for (before, after) in [("512", "4096"), ("4096", "512")] {
        let portals = (0..40).map(|i| Portal { address: format!("192.0.2.{i}:3260"), group: i }).collect();
        let mut pair = Pair::with(Params { portals, ..params(Authentication::None) });
        let keys =
            [("InitiatorName", INITIATOR), ("TargetName", TARGET), ("MaxRecvDataSegmentLength", before)];
        pair.login(stage::OPERATIONAL, Some(stage::FULL_FEATURE), &keys);
        let pdu = Text {
            immediate: true,
            final_bit: true,
            transfer_tag: RESERVED_TAG,
            cmd_sn: 1,
            ..Text::default()
        };
        let question = format!("MaxRecvDataSegmentLength={after}\0SendTargets=\0");
        let (answer, data) = pair.ask(pdu.build(), question.as_bytes());
        assert!(matches!(answer, Response::TextResponse(pdu) if pdu.continues), "{before} {after}");
        assert_eq!(data.len(), 512, "{before} {after}");
    }
}

#[test]
fn a_text_may_come_in_pieces() {
    let mut pair = Pair::logged_in(&[]);
    let mut pdu = Text {
        immediate: true,
        continues: true,
        task_tag: 5,
        transfer_tag: RESERVED_TAG,
        cmd_sn: 1,
        ..Text::default()
    };
    pair.send(pdu.build(), b"SendTar");
    let (Response::TextResponse(answer), data) = pair.answer() else { panic!("no text") };
    assert!(!answer.final_bit && !answer.continues && data.is_empty());
    assert_ne!(answer.transfer_tag, RESERVED_TAG);
    (pdu.transfer_tag, pdu.continues, pdu.final_bit) = (answer.transfer_tag, false, true);
    pair.send(pdu.build(), b"gets=\0");
    let (Response::TextResponse(answer), data) = pair.answer() else { panic!("no text") };
    assert!(answer.final_bit);
    assert_eq!(TextList::parse(&data).unwrap().len(), 3);
}

#[test]
fn text_that_is_none_and_exchanges_that_are_none_are_rejected() {
    let mut pair = Pair::logged_in(&[]);
    let pdu = Text { immediate: true, final_bit: true, task_tag: 5, cmd_sn: 1, ..Text::default() };
    let first = |pdu: Text| Text { transfer_tag: RESERVED_TAG, ..pdu };
    let endless = Text { continues: true, final_bit: false, ..first(pdu) };
    let cases = [
        (first(pdu), b"no equals".to_vec()),
        (pdu, Vec::new()),
        (endless, vec![b'a'; TEXT_BYTES + 1]),
        (first(pdu), b"SendTargets=\0SendTargets=\0".to_vec()),
    ];
    for (pdu, data) in cases {
        pair.send(pdu.build(), &data);
        let (Response::Reject(answer), _) = pair.answer() else { panic!("not rejected") };
        assert_eq!(answer.reason, reject_reason::PROTOCOL_ERROR);
    }
    assert_eq!(ask(&mut pair, 6, b"SendTargets=\0").len(), 3);
}

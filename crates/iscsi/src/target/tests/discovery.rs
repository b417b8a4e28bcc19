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

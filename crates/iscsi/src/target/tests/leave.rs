//! Logout, and what the target says unasked.

use super::*;

fn logout(reason: u8, cid: u16) -> Logout {
    Logout { immediate: true, final_bit: true, reason, task_tag: 78, cid, cmd_sn: 1, ..Logout::default() }
}

#[test]
fn each_reason_of_a_logout_has_its_answer() {
    let mut pair = Pair::logged_in(&[]);
    for (reason, cid, response) in
        [(1, 5, logout_response::CID_NOT_FOUND), (2, 0, logout_response::RECOVERY_NOT_SUPPORTED)]
    {
        let (answer, _) = pair.ask(logout(reason, cid).build(), b"");
        assert!(matches!(answer, Response::LogoutResponse(pdu) if pdu.response == response), "{reason}");
    }
    pair.send(logout(3, 0).build(), b"");
    assert_eq!(pair.rejected(), reject_reason::INVALID_PDU_FIELD);
    assert_eq!(pair.logouts, 0);
    for reason in [0, 1] {
        let mut pair = Pair::logged_in(&[]);
        pair.send(logout(reason, 0).build(), b"");
        assert_eq!(pair.logouts, 1, "{reason}");
        pair.target.logout_done();
        let (answer, _) = pair.answer();
        assert!(matches!(answer, Response::LogoutResponse(pdu) if pdu.response == logout_response::CLOSED));
        assert_eq!(pair.closed(), "logged out");
    }
}

#[test]
fn after_a_logout_all_else_is_rejected() {
    let mut pair = Pair::logged_in(&[]);
    pair.send(logout(0, 0).build(), b"");
    let header = pair.command(3, READ_10, 512);
    pair.send(header.build(), b"");
    assert_eq!(pair.rejected(), reject_reason::WAITING_FOR_LOGOUT);
    assert!(pair.commands.is_empty());
}

fn told(pair: &mut Pair, event: AsyncEvent<'_>) -> (AsyncMessage, Vec<u8>) {
    pair.target.announce(pair.now, event);
    match pair.answer() {
        (Response::AsyncMessage(pdu), data) => (pdu, data),
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_carry_their_parameters() {
    let mut pair = Pair::logged_in(&[]);
    for (event, code, parameters) in [
        (AsyncEvent::RequestLogout { seconds: 9 }, 1, (0, 0, 9)),
        (AsyncEvent::DropConnection { wait: 2, retain: 0 }, 2, (0, 2, 0)),
        (AsyncEvent::DropSession { wait: 3, retain: 4 }, 3, (0, 3, 4)),
        (AsyncEvent::Negotiate { seconds: 5 }, 4, (0, 0, 5)),
    ] {
        let (pdu, data) = told(&mut pair, event);
        assert_eq!((pdu.event, (pdu.parameter1, pdu.parameter2, pdu.parameter3)), (code, parameters));
        assert!(pdu.final_bit && pdu.task_tag == RESERVED_TAG && data.is_empty());
    }
    let (pdu, data) = told(&mut pair, AsyncEvent::Scsi { lun: Lun(5 << 48), sense: &[0x70, 0, 6] });
    assert_eq!((pdu.event, pdu.lun, data), (0, 5 << 48, vec![0, 3, 0x70, 0, 6]));
    let next = pdu.stat_sn.wrapping_add(1);
    assert_eq!(told(&mut pair, AsyncEvent::Negotiate { seconds: 5 }).0.stat_sn, next, "each has its number");
}

#[test]
fn who_stays_after_being_asked_to_leave_is_cut() {
    let ask = |pair: &mut Pair| drop(told(pair, AsyncEvent::RequestLogout { seconds: 3 }));
    let mut pair = Pair::logged_in(&[]);
    ask(&mut pair);
    let limit = pair.now + Duration::from_secs(3);
    assert_eq!(pair.target.next_deadline(), Some(limit));
    pair.target.tick(Instant::from_nanos(limit.as_nanos() - 1));
    assert!(pair.target.closed().is_none());
    pair.target.tick(limit);
    assert_eq!(pair.closed(), "no logout within 3 s after it was asked for");

    let mut pair = Pair::logged_in(&[]);
    ask(&mut pair);
    pair.send(logout(0, 0).build(), b"");
    pair.target.tick(limit);
    assert!(pair.target.closed().is_none(), "what remains is the driver's");
}

#[test]
fn nothing_is_announced_before_login_or_to_discovery() {
    let mut pair = Pair::new(Authentication::None);
    pair.target.announce(pair.now, AsyncEvent::RequestLogout { seconds: 3 });
    assert!(!pair.target.has_output());
    let keys = [("InitiatorName", INITIATOR), ("SessionType", "Discovery")];
    pair.login(stage::OPERATIONAL, Some(stage::FULL_FEATURE), &keys);
    pair.target.announce(pair.now, AsyncEvent::Scsi { lun: Lun(0), sense: &[] });
    assert!(!pair.target.has_output());
}

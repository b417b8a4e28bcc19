//! What an initiator hears before its session ends at the wish of the target or its owner (RFC 7143 section 11.9.1).

use crate::lab::{HOST_A, HOST_B, Lab, unit};
use crate::raw::Raw;
use std::thread;
use umbra_iscsi::pdu::response::AsyncMessage;
use umbra_iscsi::pdu::{RESERVED_TAG, Response};
use umbra_target::{Access, limits};

/// The target drops all connections of the session.
const DROP_SESSION: u8 = 3;

/// What the target says without being asked, and then nothing more.
fn last_words(raw: &mut Raw) -> Option<AsyncMessage> {
    let words = match raw.receive()? {
        (Response::AsyncMessage(pdu), data) => {
            assert!(data.is_empty() && pdu.final_bit && pdu.task_tag == RESERVED_TAG);
            pdu
        }
        other => panic!("{other:?}"),
    };
    assert!(raw.receive().is_none(), "the connection goes on");
    Some(words)
}

/// Event, Time2Wait, Time2Retain.
fn parameters(words: Option<AsyncMessage>) -> Option<(u8, u16, u16)> {
    words.map(|pdu| (pdu.event, pdu.parameter2, pdu.parameter3))
}

#[test]
fn who_is_logged_in_is_told_that_the_target_stops_and_when_to_come_back() {
    let lab = Lab::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("iscsi.sock");
    lab.target.listen_unix(&path).unwrap();
    let mut near = Raw::connect_unix(&path);
    near.login(HOST_B, &[]);
    let (mut far, mut in_login) = (lab.login(HOST_A), Raw::connect(lab.addr));
    in_login.send_bytes(b"C");
    lab.target.shutdown();
    for raw in [&mut near, &mut far] {
        assert_eq!(parameters(last_words(raw)), Some((DROP_SESSION, limits::STOPPED_WAIT, 0)));
    }
    assert!(
        last_words(&mut in_login).is_none(),
        "only a login response may come before the login is complete"
    );
}

#[test]
fn a_host_whose_sessions_are_dropped_is_told_that_it_may_come_back_at_once() {
    let lab = Lab::new();
    let (mut one, mut two, mut other) = (lab.login(HOST_A), lab.login(HOST_A), lab.login(HOST_B));
    lab.target.drop_sessions(HOST_A);
    for raw in [&mut one, &mut two] {
        assert_eq!(parameters(last_words(raw)), Some((DROP_SESSION, 0, 0)));
    }
    other.ping();
    lab.login(HOST_A).ping();
}

#[test]
fn the_message_waits_for_no_command() {
    let lab = Lab::new();
    let unit = unit();
    lab.set(HOST_A, &[(0, &unit, Access::ReadWrite)]);
    let mut raw = lab.login(HOST_A);
    unit.hold_writes();
    raw.start_write(0, 0, &[1; 512]);
    unit.wait_for_held(1);
    thread::scope(|scope| {
        let fence = scope.spawn(|| lab.target.drop_sessions(HOST_A));
        assert_eq!(parameters(last_words(&mut raw)), Some((DROP_SESSION, 0, 0)));
        lab.login(HOST_B).give_others_time();
        assert!(!fence.is_finished(), "the write is still inside the unit");
        unit.release_writes();
    });
}

#[test]
fn what_waits_for_the_socket_comes_before_the_message() {
    let lab = Lab::new();
    lab.set(HOST_A, &[(0, &unit(), Access::ReadWrite)]);
    let mut raw = lab.login(HOST_A);
    // More than sockets hold.
    for _ in 0..32 {
        raw.start(0, &[0x28, 0, 0, 0, 0, 0, 0, 0x08, 0, 0], None, 1 << 20);
    }
    lab.login(HOST_B).give_others_time();
    thread::scope(|scope| {
        scope.spawn(|| lab.target.drop_sessions(HOST_A));
        let mut next = None;
        loop {
            match raw.receive().expect("the connection ended without a word") {
                (Response::DataIn(pdu), _) if pdu.has_status => next = Some(pdu.stat_sn.wrapping_add(1)),
                (Response::DataIn(_), _) => {}
                (Response::ScsiResponse(pdu), _) => next = Some(pdu.stat_sn.wrapping_add(1)),
                (Response::AsyncMessage(pdu), _) => {
                    assert_eq!((pdu.event, Some(pdu.stat_sn)), (DROP_SESSION, next));
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(raw.receive().is_none(), "the connection goes on");
    });
}

#[test]
fn a_login_that_replaces_its_own_session_is_no_news() {
    let lab = Lab::new();
    let mut old = lab.login(HOST_A);
    let mut new = Raw::connect(lab.addr);
    new.isid = old.isid;
    new.login(HOST_A, &[]);
    assert!(last_words(&mut old).is_none());
    new.ping();
}

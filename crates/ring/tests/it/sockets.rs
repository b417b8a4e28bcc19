//! Sockets of both kinds: streams arrive whole and in order, ends are told, what is cancelled or dropped ends.

use crate::lab::{Lab, backends, with_both};
use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    thread,
};
use umbra_ring::{MAX_PARTS, Parts, Socket};

/// Two ends of a TCP connection over loopback.
fn tcp_pair() -> (OwnedFd, OwnedFd) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one.into(), listener.accept().unwrap().0.into())
}

fn unix_pair() -> (OwnedFd, OwnedFd) {
    let (one, other) = UnixStream::pair().unwrap();
    (one.into(), other.into())
}

/// Runs `test` with both engines and both kinds of socket; the other end is a blocking stream of the test's own.
fn with_pairs(test: impl Fn(&mut Lab, Socket, UnixStream)) {
    with_both(|lab| {
        for pair in [unix_pair, tcp_pair] {
            let (ours, theirs) = pair();
            let socket = lab.shard.socket(ours).unwrap();
            // Reading and writing are the same system calls for both kinds.
            test(lab, socket, UnixStream::from(theirs));
        }
    });
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

#[test]
fn a_long_stream_is_received_whole_and_in_order() {
    with_pairs(|lab, socket, mut peer| {
        let sent = pattern(3 << 20);
        let sender = thread::spawn(move || peer.write_all(&sent));
        let mut received = Vec::new();
        loop {
            let buf = lab.shard.buffer(50_000).unwrap();
            lab.shard.recv(1, &socket, buf);
            let done = lab.next();
            let buf = done.payload.buf().unwrap();
            assert_eq!(done.result.unwrap() as usize, buf.len());
            if buf.is_empty() {
                break;
            }
            received.extend_from_slice(&buf);
        }
        sender.join().unwrap().unwrap();
        assert!(received == pattern(3 << 20));
    });
}

#[test]
fn a_gather_list_larger_than_any_socket_buffer_is_sent_whole_and_in_order() {
    with_pairs(|lab, socket, peer| {
        let receiver = thread::spawn(move || {
            let mut received = Vec::new();
            // A send that repeats itself must fail here, not fill the memory.
            peer.take(MAX_PARTS as u64 * 60_000 + 1).read_to_end(&mut received).map(|_| received)
        });
        let bytes = pattern(MAX_PARTS * 60_000);
        let mut list = Parts::default();
        for chunk in bytes.chunks(60_000) {
            let part = lab.filled(chunk);
            list.push(part).unwrap();
        }
        lab.shard.send(5, &socket, list);
        let done = lab.next();
        assert_eq!((done.token, done.result.unwrap() as usize), (5, bytes.len()));
        assert_eq!(done.payload.parts().unwrap().count(), MAX_PARTS);
        socket.shutdown().unwrap();
        assert!(receiver.join().unwrap().unwrap() == bytes);
    });
}

#[test]
fn a_peer_that_has_gone_ends_receives_and_fails_sends() {
    with_pairs(|lab, socket, peer| {
        let buf = lab.shard.buffer(10).unwrap();
        lab.shard.recv(1, &socket, buf);
        lab.start();
        drop(peer);
        let done = lab.next();
        assert_eq!(done.result.unwrap(), 0, "the end of the stream");
        // TCP takes one send before it learns that nobody listens.
        let failed = (0..1000).find_map(|token| {
            let buf = lab.filled(b"into the void");
            lab.shard.send(token, &socket, buf);
            lab.next().result.err()
        });
        let kind = failed.unwrap().kind();
        assert!(matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{kind:?}");
    });
}

#[test]
fn a_receive_without_room_is_refused() {
    with_pairs(|lab, socket, _peer| {
        let full = lab.filled(b"x");
        lab.shard.recv(1, &socket, full);
        assert_eq!(lab.next().result.unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn a_shutdown_ends_what_waits() {
    with_pairs(|lab, socket, _peer| {
        let buf = lab.shard.buffer(10).unwrap();
        lab.shard.recv(1, &socket, buf);
        assert!(lab.is_quiet());
        socket.shutdown().unwrap();
        let done = lab.next();
        assert_eq!(done.result.unwrap(), 0);
        socket.shutdown().unwrap();
    });
}

#[test]
fn what_is_cancelled_completes_once_with_its_buffer_and_others_go_on() {
    with_pairs(|lab, socket, mut peer| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let other = lab.shard.socket(ours).unwrap();
        for (token, socket) in [(1, &socket), (2, &other)] {
            let buf = lab.shard.buffer(10).unwrap();
            lab.shard.recv(token, socket, buf);
        }
        assert!(lab.is_quiet());
        lab.shard.cancel(1).unwrap();
        let done = lab.next();
        assert_eq!((done.token, done.result.unwrap_err().raw_os_error()), (1, Some(125)), "ECANCELED");
        assert_eq!(done.payload.buf().unwrap().spare(), 10);
        theirs.write_all(b"ab").unwrap();
        let done = lab.next();
        assert_eq!((done.token, &done.payload.buf().unwrap()[..]), (2, &b"ab"[..]));
        lab.shard.cancel(1).unwrap();
        assert!(lab.is_quiet(), "there is nothing left to cancel");

        let buf = lab.shard.buffer(10).unwrap();
        lab.shard.recv(3, &socket, buf);
        peer.write_all(b"c").unwrap();
        assert_eq!(lab.next().result.unwrap(), 1, "the socket lives on");
    });
}

#[test]
fn what_is_cancelled_before_it_started_completes_too() {
    with_pairs(|lab, socket, _peer| {
        let buf = lab.shard.buffer(10).unwrap();
        lab.shard.recv(1, &socket, buf);
        lab.shard.cancel(1).unwrap();
        assert_eq!(lab.next().result.unwrap_err().raw_os_error(), Some(125));
    });
}

#[test]
fn a_send_that_is_stuck_can_be_cancelled() {
    with_pairs(|lab, socket, _peer| {
        let mut list = Parts::default();
        for _ in 0..7 {
            let mut part = lab.shard.buffer(1 << 20).unwrap();
            part.fill_zero();
            list.push(part).unwrap();
        }
        lab.shard.send(9, &socket, list);
        assert!(lab.is_quiet(), "no socket buffer holds 7 MiB");
        lab.shard.cancel(9).unwrap();
        let done = lab.next();
        assert_eq!(done.result.unwrap_err().raw_os_error(), Some(125));
        assert_eq!(done.payload.parts().unwrap().count(), 7);
    });
}

#[test]
fn a_listener_accepts_until_it_is_cancelled() {
    with_both(|lab| {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let unix = UnixListener::bind(folder.path().join("socket")).unwrap();
        let path = folder.path().join("socket");
        let connect_tcp = || OwnedFd::from(TcpStream::connect(address).unwrap());
        let connect_unix = || OwnedFd::from(UnixStream::connect(&path).unwrap());
        accepts(lab, tcp.into(), &connect_tcp);
        accepts(lab, unix.into(), &connect_unix);
    });
}

fn accepts(lab: &mut Lab, listener: OwnedFd, connect: &dyn Fn() -> OwnedFd) {
    let listener = lab.shard.socket(listener).unwrap();
    lab.shard.accept(1, &listener);
    let peers: Vec<_> = (0..5).map(|_| UnixStream::from(connect())).collect();
    let sockets: Vec<_> = lab.take(5).into_iter().map(|done| done.payload.socket().unwrap()).collect();
    for (peer, text) in peers.iter().zip([b"1", b"2", b"3", b"4", b"5"]) {
        (&mut &*peer).write_all(text).unwrap();
    }
    for (token, socket) in sockets.iter().enumerate() {
        let buf = lab.shard.buffer(1).unwrap();
        lab.shard.recv(token as u64, socket, buf);
    }
    let mut texts: Vec<_> = lab.take(5).into_iter().map(|done| done.payload.buf().unwrap()[0]).collect();
    texts.sort_unstable();
    assert_eq!(texts, b"12345", "each connection is accepted once");

    lab.shard.cancel(1).unwrap();
    let done = lab.next();
    assert_eq!(done.result.unwrap_err().raw_os_error(), Some(125));
    assert!(done.payload.socket().is_none());
}

#[test]
fn a_socket_moves_to_another_shard_when_nothing_uses_it() {
    for backend in backends() {
        let (mut lab, mut other) = (Lab::new(backend), Lab::new(backend));
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let socket = lab.shard.socket(ours).unwrap();
        let buf = lab.shard.buffer(1).unwrap();
        lab.shard.recv(1, &socket, buf);
        lab.start();
        let socket = lab.shard.release(socket).unwrap_err();
        peer.write_all(b"a").unwrap();
        assert_eq!(lab.next().result.unwrap(), 1);

        let fd = lab.shard.release(socket).unwrap();
        let socket = other.shard.socket(fd).unwrap();
        let buf = other.filled(b"moved");
        other.shard.send(2, &socket, buf);
        assert_eq!(other.next().result.unwrap(), 5);
        let mut text = [0; 5];
        peer.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"moved");
        peer.write_all(b"b").unwrap();
        let buf = other.shard.buffer(1).unwrap();
        other.shard.recv(3, &socket, buf);
        assert_eq!(other.next().result.unwrap(), 1);
        assert!(lab.is_quiet());
    }
}

#[test]
fn a_shard_that_ends_with_operations_that_wait_ends_at_once_and_closes_its_sockets() {
    for backend in backends() {
        for pair in [unix_pair, tcp_pair] {
            let mut lab = Lab::new(backend);
            let (ours, theirs) = pair();
            let socket = lab.shard.socket(ours).unwrap();
            let buf = lab.shard.buffer(10).unwrap();
            lab.shard.recv(1, &socket, buf);
            assert!(lab.is_quiet());
            drop((lab, socket));
            let mut text = String::new();
            let _reset_or_end = UnixStream::from(theirs).read_to_string(&mut text);
            assert_eq!(text, "");
        }
    }
}

#[test]
fn many_connections_at_once_are_served_to_their_ends() {
    with_both(|lab| {
        let mut peers = Vec::new();
        let mut sockets = Vec::new();
        for token in 0..40_u64 {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let socket = lab.shard.socket(ours).unwrap();
            let buf = lab.shard.buffer(64).unwrap();
            lab.shard.recv(token, &socket, buf);
            sockets.push(socket);
            peers.push(theirs);
        }
        let echo = thread::spawn(move || {
            for (number, mut peer) in peers.into_iter().enumerate().rev() {
                peer.write_all(&[number as u8; 20]).unwrap();
                let mut back = [0; 20];
                peer.read_exact(&mut back).unwrap();
                assert_eq!(back, [number as u8; 20]);
            }
        });
        let mut ended = 0;
        while ended < 40 {
            let done = lab.next();
            let (token, count) = (done.token, done.result.unwrap());
            let socket = &sockets[token as usize];
            match done.payload {
                umbra_ring::Payload::Buf(buf) if count > 0 => lab.shard.send(token, socket, buf),
                umbra_ring::Payload::Buf(_) => ended += 1,
                payload => {
                    let mut buf = payload.parts().unwrap().drain().next().unwrap();
                    buf.clear();
                    lab.shard.recv(token, socket, buf);
                }
            }
        }
        echo.join().unwrap();
    });
}

#[test]
fn operations_that_are_done_at_once_keep_no_receive_waiting() {
    let memory = || rustix::fs::memfd_create("busy", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    with_pairs(|lab, socket, mut peer| {
        // A hundred small messages fit without being taken.
        let (ours, _theirs) = unix_pair();
        let (file, other) = (lab.shard.file(memory()), lab.shard.socket(ours).unwrap());
        for is_file in [true, false] {
            let buf = lab.shard.buffer(4).unwrap();
            lab.shard.recv(1, &socket, buf);
            assert!(lab.is_quiet());
            peer.write_all(b"news").unwrap();
            let turns = (0..100).take_while(|_| {
                let buf = lab.filled(b"busy");
                match is_file {
                    true => lab.shard.write(2, &file, 0, buf),
                    false => lab.shard.send(2, &other, buf),
                }
                lab.next().token == 2
            });
            assert!(turns.count() < 10, "the news waited too long");
            assert_eq!(lab.next().token, 2);
        }
    });
}

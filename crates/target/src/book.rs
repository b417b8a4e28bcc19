//! The book of connections: who is there, on which shard, as which session. It is looked into when connections begin, log in
//! and end, never for a command.
//!
//! What always holds: a nexus (initiator, ISID, portal group) stands in the book at most once; a connection is struck off only when
//! nothing of it runs any more.

use crate::limits::{CONNECTIONS, CONNECTIONS_PER_PEER, LOGINS_PER_PEER};
use crate::slot::lock;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use umbra_iscsi::target::{Resend, SessionKind};

/// A logged-in session, for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// The initiator's name, as it gave it.
    pub initiator: String,
    /// The initiator's part of the session's name.
    pub isid: [u8; 6],
    /// Ours.
    pub tsih: u16,
    /// Normal, or discovery.
    pub kind: SessionKind,
    /// Whether it resends unflushed writes after a reconnect.
    pub resend: Resend,
    /// Where it comes from, `ADDRESS:PORT` or `unix`.
    pub peer: String,
    /// The portal group that it came to.
    pub portal_group: u16,
}

impl SessionInfo {
    /// Whether both are one nexus: a later login with it replaces the session (RFC 7143 section 6.3.5).
    fn is_same_nexus(&self, other: &SessionInfo) -> bool {
        let name = |info: &SessionInfo| (info.initiator.to_ascii_lowercase(), info.isid, info.portal_group);
        self.kind == SessionKind::Normal && other.kind == SessionKind::Normal && name(self) == name(other)
    }
}

/// Whose connections are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum PeerKey {
    Address(IpAddr),
    Local,
}

impl PeerKey {
    /// The same for all addresses that one machine can give itself: those of an IPv6 network of 64 bits, in which it takes as
    /// many as it likes. An IPv4 address is one, also where it came by a socket of IPv6.
    fn counted(self) -> PeerKey {
        const NETWORK: u128 = !0 << 64;
        match self {
            PeerKey::Address(address) => PeerKey::Address(match address.to_canonical() {
                IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
                address => address,
            }),
            PeerKey::Local => PeerKey::Local,
        }
    }
}

/// Where a connection is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub id: u64,
    pub shard: usize,
}

/// Why a session is not enrolled.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotEnrolled {
    /// These have the nexus, and must end first.
    Taken(Vec<Place>),
    TooMany,
    /// The connection ended meanwhile.
    Gone,
}

#[derive(Debug)]
struct Entry {
    shard: usize,
    peer: PeerKey,
    session: Option<SessionInfo>,
}

#[derive(Debug, Default)]
struct Pages {
    all: BTreeMap<u64, Entry>,
    last_id: u64,
    last_tsih: u16,
    closed: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Book(Mutex<Pages>);

impl Book {
    /// Takes in a connection, on the shard that has the fewest of `shards`, if there is room.
    pub fn admit(&self, peer: PeerKey, shards: usize) -> Result<Place, &'static str> {
        let peer = peer.counted();
        let mut pages = lock(&self.0);
        if pages.closed {
            return Err("the target stops");
        }
        let of_peer = || pages.all.values().filter(|entry| entry.peer == peer);
        let strangers = pages.all.values().filter(|entry| entry.peer != PeerKey::Local).count();
        if peer != PeerKey::Local && strangers >= CONNECTIONS {
            return Err("too many connections");
        }
        if of_peer().count() >= CONNECTIONS_PER_PEER {
            return Err("too many connections from this address");
        }
        if of_peer().filter(|entry| entry.session.is_none()).count() >= LOGINS_PER_PEER {
            return Err("too many connections from this address that do not log in");
        }
        let load = |shard: &usize| pages.all.values().filter(|entry| entry.shard == *shard).count();
        let shard = (0..shards).min_by_key(load).unwrap_or(0);
        pages.last_id += 1;
        let id = pages.last_id;
        pages.all.insert(id, Entry { shard, peer, session: None });
        Ok(Place { id, shard })
    }

    /// Enters a session and gives it its handle.
    pub fn enroll(&self, id: u64, mut session: SessionInfo, most: usize) -> Result<SessionInfo, NotEnrolled> {
        let mut pages = lock(&self.0);
        let taken = pages.places(|info| info.is_same_nexus(&session));
        if !taken.is_empty() {
            return Err(NotEnrolled::Taken(taken));
        }
        let of_host = pages.places(|info| info.initiator.eq_ignore_ascii_case(&session.initiator)).len();
        if of_host >= most {
            return Err(NotEnrolled::TooMany);
        }
        session.tsih = pages.next_tsih();
        let entry = pages.all.get_mut(&id).ok_or(NotEnrolled::Gone)?;
        entry.session = Some(session.clone());
        Ok(session)
    }

    /// Whether a session has this handle.
    pub fn has_tsih(&self, tsih: u16) -> bool {
        !self.places(|info| info.tsih == tsih).is_empty()
    }

    /// Where the sessions are that `which` names.
    pub fn places(&self, which: impl Fn(&SessionInfo) -> bool) -> Vec<Place> {
        lock(&self.0).places(which)
    }

    /// All logged-in sessions.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        lock(&self.0).all.values().filter_map(|entry| entry.session.clone()).collect()
    }

    /// Forgets a connection of which nothing runs any more.
    pub fn strike_off(&self, id: u64) {
        lock(&self.0).all.remove(&id);
    }

    /// Takes nobody in any more.
    pub fn close(&self) {
        lock(&self.0).closed = true;
    }
}

impl Pages {
    fn places(&self, which: impl Fn(&SessionInfo) -> bool) -> Vec<Place> {
        let named = self.all.iter().filter(|(_, entry)| entry.session.as_ref().is_some_and(&which));
        named.map(|(id, entry)| Place { id: *id, shard: entry.shard }).collect()
    }

    /// A handle that no session has; never 0.
    fn next_tsih(&mut self) -> u16 {
        loop {
            self.last_tsih = self.last_tsih.wrapping_add(1);
            let taken =
                |entry: &Entry| entry.session.as_ref().is_some_and(|info| info.tsih == self.last_tsih);
            if self.last_tsih != 0 && !self.all.values().any(taken) {
                return self.last_tsih;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(initiator: &str, isid: u8) -> SessionInfo {
        SessionInfo {
            initiator: initiator.to_owned(),
            isid: [isid; 6],
            tsih: 0,
            kind: SessionKind::Normal,
            resend: Resend::No,
            peer: "unix".to_owned(),
            portal_group: 1,
        }
    }

    #[test]
    fn a_nexus_stands_once_and_its_holder_is_named() {
        let book = Book::default();
        let first = book.admit(PeerKey::Local, 2).unwrap();
        let second = book.admit(PeerKey::Local, 2).unwrap();
        assert_ne!(first.shard, second.shard, "spread over the shards");
        assert_eq!(book.enroll(first.id, session("a", 1), 2).unwrap().tsih, 1);
        assert_eq!(book.enroll(second.id, session("A", 1), 2), Err(NotEnrolled::Taken(vec![first])));
        assert_eq!(book.enroll(second.id, session("a", 2), 1), Err(NotEnrolled::TooMany));
        book.strike_off(first.id);
        assert_eq!(book.enroll(second.id, session("a", 1), 1).unwrap().tsih, 2);
        assert_eq!(book.enroll(first.id, session("b", 1), 1), Err(NotEnrolled::Gone));
        assert!(book.has_tsih(2) && !book.has_tsih(1));
    }

    const FULL: &str = "too many connections from this address";
    const SILENT: &str = "too many connections from this address that do not log in";

    fn v4(n: u32) -> PeerKey {
        PeerKey::Address(IpAddr::from(n.to_be_bytes()))
    }

    fn address(text: &str) -> PeerKey {
        PeerKey::Address(text.parse().unwrap())
    }

    /// How many of a peer are admitted, each of which logs in if `logs_in`, and why the next is not.
    fn crowd(book: &Book, peer: impl Fn(usize) -> PeerKey, logs_in: bool) -> (usize, &'static str) {
        for n in 0.. {
            match book.admit(peer(n), 1) {
                Ok(place) if logs_in => {
                    book.enroll(place.id, session(&format!("host-{n}"), 1), 1).unwrap();
                }
                Ok(_) => {}
                Err(why) => return (n, why),
            }
        }
        unreachable!()
    }

    #[test]
    fn a_peer_has_so_many_sessions_and_the_unix_socket_as_many() {
        for peer in [v4(1), PeerKey::Local, address("2001:db8::1")] {
            let book = Book::default();
            assert_eq!(crowd(&book, |_| peer, true), (CONNECTIONS_PER_PEER, FULL), "{peer:?}");
            assert!(book.admit(v4(2), 1).is_ok(), "others are not concerned");
            book.strike_off(1);
            assert!(book.admit(peer, 1).is_ok(), "there is room again");
        }
    }

    #[test]
    fn a_peer_has_so_many_connections_that_do_not_log_in_beside_its_sessions() {
        for peer in [v4(1), PeerKey::Local] {
            let book = Book::default();
            let place = book.admit(peer, 1).unwrap();
            book.enroll(place.id, session("decent", 1), 1).unwrap();
            assert_eq!(crowd(&book, |_| peer, false), (LOGINS_PER_PEER, SILENT), "{peer:?}");
        }
    }

    /// Whoever has one address of such a network has all of them.
    #[test]
    fn peers_of_one_ipv6_network_are_counted_together_and_those_of_ipv4_one_by_one() {
        let book = Book::default();
        let host = |n: usize| address(&format!("2001:db8:0:7:{:x}::{n:x}", n * 1000));
        assert_eq!(crowd(&book, host, false), (LOGINS_PER_PEER, SILENT));
        assert!(book.admit(address("2001:db8:0:8::1"), 1).is_ok(), "the next network");
        assert!(book.admit(address("2001:db8:0:6:ffff:ffff:ffff:ffff"), 1).is_ok(), "the one before");
        let mapped = |n: usize| address(if n.is_multiple_of(2) { "::ffff:192.0.2.1" } else { "192.0.2.1" });
        assert_eq!(crowd(&book, mapped, false), (LOGINS_PER_PEER, SILENT), "one machine, by two sockets");
        assert!(book.admit(address("::ffff:192.0.2.2"), 1).is_ok(), "another one");
    }

    #[test]
    fn strangers_are_bounded_and_the_unix_socket_is_not_crowded_out() {
        let book = Book::default();
        assert_eq!(crowd(&book, |n| v4(n as u32), false), (CONNECTIONS, "too many connections"));
        assert!(book.admit(PeerKey::Local, 1).is_ok());
        book.close();
        assert!(book.admit(PeerKey::Local, 1).is_err());
    }
}

//! Listening, and taking connections in. One shard listens; the book says which one serves.

use super::{
    Kind, Server,
    connection::{Conn, Login, Receiving},
    token,
};
use crate::book::PeerKey;
use crate::limits::QUEUE_DEPTH;
use crate::message::{Message, Newcomer, Portal, post};
use crate::unit::LogicalUnit;
use rustix::net::sockopt::{set_tcp_nodelay, socket_peercred};
use rustix::net::{SocketAddrAny, getpeername, getsockname};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use umbra_iscsi::limits::LOGIN_DATA_SEGMENT;
use umbra_iscsi::pdu::Receiver;
use umbra_iscsi::target::{Connection, DataTo, Params};
use umbra_ring::{Parts, Socket};

/// A listening socket.
#[derive(Debug)]
pub(super) struct Listening {
    socket: Socket,
    portal: Portal,
    /// Accepting failed: to be tried again.
    halted: bool,
}

impl<U: LogicalUnit> Server<U> {
    pub(super) fn listen(&mut self, listener: OwnedFd, portal: Portal) {
        match self.shard.socket(listener) {
            Ok(socket) => {
                let listening = Listening { socket, portal, halted: false };
                let at = self.listeners.insert(listening);
                self.shard.accept(token(Kind::Accept, at, 0), &self.listeners[at].socket);
            }
            Err(error) => tracing::error!(%error, "a portal cannot be listened on"),
        }
    }

    pub(super) fn accepted(&mut self, at: usize, result: io::Result<u32>, socket: Option<Socket>) {
        match (socket, self.listeners.get_mut(at)) {
            (Some(socket), Some(listening)) => {
                let portal = listening.portal.clone();
                self.take_in(socket, portal);
            }
            (None, Some(listening)) => {
                // Out of descriptors or memory: better wait for connections to end than spin.
                listening.halted = true;
                if let Err(error) = result {
                    tracing::warn!(%error, "accepting a connection failed");
                }
            }
            (_, None) => {}
        }
    }

    pub(super) fn listen_again(&mut self) {
        for (at, listening) in self.listeners.iter_mut().filter(|(_, listening)| listening.halted) {
            listening.halted = false;
            self.shard.accept(token(Kind::Accept, at, 0), &listening.socket);
        }
    }

    pub(super) fn stop_listening(&mut self) {
        for listening in self.listeners.drain() {
            let _already_closed = listening.socket.shutdown();
        }
    }

    fn take_in(&mut self, socket: Socket, portal: Portal) {
        let who = Peer::of(&socket, &portal);
        let refuse =
            |why: &dyn std::fmt::Display| tracing::warn!(peer = who.name, %why, "connection refused");
        if portal.local
            && let Err(why) = check_trusted(&socket)
        {
            return refuse(&why);
        }
        let place = match self.common.book.admit(who.key, self.common.shards) {
            Ok(place) => place,
            Err(why) => return refuse(&why),
        };
        let Ok(socket) = self.shard.release(socket) else {
            self.common.book.strike_off(place.id);
            return refuse(&"its socket is in use");
        };
        let Peer { name: peer, local, .. } = who;
        let newcomer = Newcomer { id: place.id, socket, portal, peer, local };
        if place.shard == self.number {
            self.adopt(newcomer);
        } else if let Some(remote) = self.common.remotes().get(place.shard) {
            post(remote, Message::Adopt(newcomer));
        }
    }

    /// Serves a connection from now on.
    pub(super) fn adopt(&mut self, newcomer: Newcomer) {
        let Newcomer { id, socket, portal, peer, local } = newcomer;
        let socket = match self.shard.socket(socket) {
            Ok(socket) if self.stopping.is_none() => socket,
            Ok(_) => return self.common.book.strike_off(id),
            Err(error) => {
                tracing::warn!(%error, peer, "connection refused");
                return self.common.book.strike_off(id);
            }
        };
        let config = &self.common.config;
        let params = Params {
            target_name: config.iqn.to_ascii_lowercase(),
            target_alias: None,
            authentication: portal.authentication,
            portal_group_tag: portal.group,
            portals: self.common.portals(local.as_deref(), portal.group),
            queue_depth: QUEUE_DEPTH,
        };
        let c = self.conns.insert(Conn {
            id,
            peer,
            portal,
            ports: self.common.ports(),
            socket,
            core: Connection::new(params, self.now),
            touched: false,
            receiver: Receiver::new(LOGIN_DATA_SEGMENT),
            block: None,
            at: 0,
            receiving: Receiving::Nothing,
            bulk: false,
            to: DataTo::Skip,
            here: Vec::new(),
            incoming: HashMap::new(),
            soliciting: VecDeque::new(),
            out: VecDeque::new(),
            head: None,
            out_bytes: 0,
            sending: None,
            sending_bytes: 0,
            sent_bytes: 0,
            taken_bytes: 0,
            ping_end: 0,
            parts: Parts::with_capacity(),
            queue: VecDeque::new(),
            waiting: VecDeque::new(),
            calls: 0,
            running: 0,
            ordered: false,
            starved: false,
            starting: false,
            login: Login::default(),
            initiator: String::new(),
            nexus: None,
            fences: Vec::new(),
            over: None,
            shut: false,
        });
        self.by_id.insert(id, c);
        self.parse(c);
        self.touch(c);
    }
}

/// Who is at the other end.
struct Peer {
    name: String,
    key: PeerKey,
    local: Option<String>,
}

impl Peer {
    fn of(socket: &Socket, portal: &Portal) -> Peer {
        if portal.local {
            return Peer { name: "unix".to_owned(), key: PeerKey::Local, local: None };
        }
        let _works_without = set_tcp_nodelay(socket.as_fd(), true);
        // A peer that is gone already counts as a stranger.
        let address = getpeername(socket.as_fd()).ok().flatten().and_then(internet);
        Peer {
            name: address.map_or_else(|| "tcp".to_owned(), |address| address.to_string()),
            key: PeerKey::Address(address.map_or(IpAddr::from([0, 0, 0, 0]), |address| address.ip())),
            local: getsockname(socket.as_fd()).ok().and_then(internet).map(|address| address.to_string()),
        }
    }
}

/// A host that came by IPv4 to a listener for both is told, and counted, by its IPv4 address. Scopes of IPv6 mean nothing
/// to others and go.
fn internet(address: SocketAddrAny) -> Option<SocketAddr> {
    let address = SocketAddr::try_from(address).ok()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// Whether the process at the other end runs as root or as we do (design X1).
fn check_trusted(socket: &Socket) -> Result<(), String> {
    let ours = rustix::process::geteuid();
    match socket_peercred(socket.as_fd()) {
        Ok(peer) if peer.uid == ours || peer.uid.is_root() => Ok(()),
        Ok(peer) => Err(format!("wrong user {}", peer.uid.as_raw())),
        Err(error) => Err(format!("no peer credentials: {error}")),
    }
}

//! A connection and the session on it.

use super::Server;
use crate::fence::Fence;
use crate::host::Host;
use crate::limits::{LINGER, SEND_TIME};
use crate::message::Portal;
use crate::slot::LunMap;
use crate::unit::LogicalUnit;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};
use umbra_base::Instant;
use umbra_iscsi::pdu::Receiver;
use umbra_iscsi::target::{CloseReason, Command, Connection, DataTo, SessionRequest};
use umbra_ring::{Account, Buf, Parts, Socket};
use umbra_scsi::WriteCache;
use umbra_scsi::attention::Attentions;
use umbra_scsi::copy::Operations;
use umbra_scsi::topology::Port;

/// One connection, which is one session.
pub(super) struct Conn<U> {
    pub id: u64,
    pub peer: String,
    pub portal: Portal,
    /// All ports of the target, as they were when it came.
    pub ports: Arc<[Port]>,
    pub socket: Socket,
    pub core: Connection,
    /// In the list of those to look after.
    pub touched: bool,

    /// Where the stream stands.
    pub receiver: Receiver,
    /// Bytes received; `None` while an operation has them.
    pub block: Option<Buf>,
    /// How many of them were looked at.
    pub at: usize,
    pub receiving: Receiving,
    /// The last PDU had much data, and the next is likely to: its header is received by itself, so that all of its data can go
    /// straight to where it belongs.
    pub bulk: bool,
    /// Where the data of the PDU goes that is being received.
    pub to: DataTo,
    /// Of it, what goes to the core.
    pub here: Vec<u8>,
    /// Data of commands that have not all of it, by tag.
    pub incoming: HashMap<u32, Buf>,
    /// Commands that wait for memory before they ask for their data: tag, bytes.
    pub soliciting: VecDeque<(u32, u32)>,

    /// To be sent, in order; `head` is the open page of headers at its end.
    pub out: VecDeque<Buf>,
    pub head: Option<Buf>,
    pub out_bytes: usize,
    /// Since when the socket has bytes; it takes no others meanwhile.
    pub sending: Option<Instant>,
    /// Bytes that the socket is being given, and those that it has taken.
    pub sending_bytes: usize,
    pub sent_bytes: u64,
    /// How many of those the peer had acknowledged at the last look, and where among all our last ping ends.
    pub taken_bytes: u64,
    pub ping_end: u64,
    pub parts: Parts,

    pub queue: VecDeque<Queued>,
    /// Commands that change their unit slowly, and wait until others that do so are done.
    pub waiting: VecDeque<Queued>,
    /// Slow changes under way.
    pub calls: usize,
    /// Commands under way.
    pub running: usize,
    /// One of them is ordered.
    pub ordered: bool,
    /// In the list of those that wait for memory.
    pub starved: bool,
    /// Its commands are being begun: what that brings to an end begins no others.
    pub starting: bool,

    pub login: Login,
    /// The name of who is logged in.
    pub initiator: String,
    /// Not of discovery sessions: they see no LUNs, and their end is none of a normal session of the same name.
    pub nexus: Option<Nexus<U>>,
    /// Dropped with the connection.
    pub fences: Vec<Fence>,
    /// Since when it is over.
    pub over: Option<Instant>,
    pub shut: bool,
}

/// What of a connection receives.
#[derive(Debug)]
pub(super) enum Receiving {
    Nothing,
    /// Into the block.
    Block,
    /// A header only; `tail` is the rest of the block.
    Header {
        tail: Buf,
    },
    /// Straight into a command's buffer, of which `tail` was split off; `before` bytes were there.
    Straight {
        tag: u32,
        tail: Buf,
        before: usize,
        /// The command is still there.
        wanted: bool,
    },
}

impl Receiving {
    /// A command has ended: what is being received for it goes nowhere.
    pub fn forget(&mut self, ended: u32) {
        if let Receiving::Straight { tag, wanted, .. } = self {
            *wanted &= *tag != ended;
        }
    }
}

/// A command that has not begun, with its data.
#[derive(Debug)]
pub(super) struct Queued {
    pub command: Command,
    pub data: Option<Buf>,
}

/// How far a login has come.
#[derive(Debug, Default)]
pub(super) struct Login {
    /// A question to the directory is under way.
    pub asking: bool,
    /// Of the host, when the directory was asked: who is dropped after that does not get in.
    pub epoch: u64,
    /// What waits to be enrolled.
    pub request: Option<SessionRequest>,
}

/// The session's side of its units.
pub(super) struct Nexus<U> {
    pub host: Arc<Host<U>>,
    /// The memory that its host has of this shard, with all its sessions.
    pub account: Arc<Account>,
    /// What it sees.
    pub luns: Arc<LunMap<U>>,
    pub cache: WriteCache,
    /// Its name for reservations.
    pub scsi: umbra_scsi::reservation::Nexus,
    /// Its copies, by LUN.
    pub copies: BTreeMap<u16, Arc<Mutex<Operations>>>,
    /// Unit attentions by LUN.
    pub attentions: BTreeMap<u16, Attentions>,
}

impl<U> fmt::Debug for Nexus<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nexus").field("scsi", &self.scsi).finish_non_exhaustive()
    }
}

impl<U: LogicalUnit> Server<U> {
    /// Goes on with the end of a connection, if it is over.
    pub(super) fn settle(&mut self, c: usize) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(c) else { return };
        let Some(reason) = conn.core.closed() else { return };
        if conn.over.is_none() {
            self.tasks.iter_mut().filter(|(_, task)| task.conn == c).for_each(|(_, task)| task.give_up());
        }
        let since = *conn.over.get_or_insert(now);
        conn.queue.clear();
        conn.waiting.clear();
        conn.soliciting.clear();
        // Who has replaced it waits for its end, and takes nothing here any more.
        let mute = matches!(reason, CloseReason::PeerClosed | CloseReason::Socket(_) | CloseReason::Replaced);
        if mute && conn.sending.is_none() {
            conn.out.clear();
            (conn.head, conn.out_bytes) = (None, 0);
        }
        let said = conn.out_bytes == 0 && conn.sending.is_none();
        if (said || mute || has_lingered(since, now)) && !std::mem::replace(&mut conn.shut, true) {
            // Who hears of the end finds its reservations gone, unless something still runs under them.
            if let Some(nexus) = conn.nexus.as_ref().filter(|_| conn.running == 0) {
                Self::nexus_lost(&nexus.luns, &nexus.scsi);
            }
            // What is being received or sent ends by this.
            if let Err(error) = conn.socket.shutdown() {
                tracing::warn!(session = conn.id, %error, "a socket cannot be shut down");
            }
        }
        let idle = matches!(conn.receiving, Receiving::Nothing) && conn.sending.is_none();
        if conn.shut && idle && conn.running == 0 && !conn.login.asking {
            self.remove(c);
        }
    }

    fn remove(&mut self, c: usize) {
        let conn = self.conns.remove(c);
        self.by_id.remove(&conn.id);
        if let Some(nexus) = &conn.nexus {
            nexus.host.forget_session(conn.id);
            Self::nexus_lost(&nexus.luns, &nexus.scsi);
        }
        log_end(&conn);
        self.common.book.strike_off(conn.id);
        // Whoever waits for its end hears of it now: it stands in no book any more.
        drop(conn);
    }

    /// What time makes due.
    pub(super) fn look_after(&mut self, c: usize) {
        let now = self.now;
        self.look_at_output(c);
        let conn = &mut self.conns[c];
        let pinged = conn.core.is_pinging();
        conn.core.tick(now);
        let pings = !pinged && conn.core.is_pinging();
        if conn.sending.is_some_and(|since| takes_nothing(since, now)) {
            conn.core
                .close(CloseReason::Socket(format!("the peer took nothing for {} s", SEND_TIME.as_secs())));
            conn.shut = conn.socket.shutdown().is_ok();
        }
        self.transmit(c);
        if pings {
            let conn = &mut self.conns[c];
            conn.ping_end = conn.sent_bytes + (conn.sending_bytes + conn.out_bytes) as u64;
        }
        self.touch(c);
    }

    /// A peer that takes what lies before our ping lives, and cannot have answered it yet.
    fn look_at_output(&mut self, c: usize) {
        let (now, deaf) = (self.now, self.is_clogged(c));
        let conn = &mut self.conns[c];
        let waits = conn.socket.unacknowledged().unwrap_or(0);
        let taken = conn.sent_bytes.saturating_sub(waits);
        let ping_end = conn.core.is_pinging().then_some(conn.ping_end);
        if proves_life(conn.taken_bytes, taken, ping_end) {
            conn.core.took_output(now, deaf);
        }
        conn.taken_bytes = conn.taken_bytes.max(taken);
    }
}

/// Whether a peer that had taken so many bytes and has taken more since cannot have answered our ping, which ends there. That
/// it has taken the ping itself says nothing: its kernel does that for it.
fn proves_life(before: u64, taken: u64, ping_end: Option<u64>) -> bool {
    taken > before && ping_end.is_none_or(|end| taken < end)
}

/// Whether a connection that is over since then has had its time for its last words.
fn has_lingered(over: Instant, now: Instant) -> bool {
    now >= over + LINGER
}

/// Whether a peer has had its time to take what its socket was given then.
fn takes_nothing(sending: Instant, now: Instant) -> bool {
    now >= sending + SEND_TIME
}

fn log_end<U>(conn: &Conn<U>) {
    let (id, peer, initiator) = (conn.id, conn.peer.as_str(), conn.initiator.as_str());
    match conn.core.closed() {
        None => tracing::error!(session = id, peer, initiator, "connection ended without a reason"),
        Some(
            reason @ (CloseReason::LoggedOut
            | CloseReason::PeerClosed
            | CloseReason::Replaced
            | CloseReason::TargetClosed(_)),
        ) => {
            tracing::info!(session = id, peer, initiator, %reason, "connection ended");
        }
        Some(reason) => tracing::warn!(session = id, peer, initiator, %reason, "connection cut"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn who_takes_what_lies_before_our_ping_lives() {
        assert!(proves_life(10, 11, None) && !proves_life(10, 10, None) && !proves_life(10, 9, None));
        assert!(
            proves_life(10, 11, Some(12)) && !proves_life(10, 12, Some(12)) && !proves_life(10, 13, Some(12))
        );
    }

    #[test]
    fn a_slow_peer_has_its_time_to_the_last_tick_and_no_longer() {
        let tick = Duration::from_nanos(1);
        let since = Instant::from_nanos(7_000_000_000);
        for (is_over, time) in
            [(takes_nothing as fn(Instant, Instant) -> bool, SEND_TIME), (has_lingered, LINGER)]
        {
            let due = since + time;
            assert!(!is_over(since, since) && !is_over(since, since + (time - tick)));
            assert!(is_over(since, due) && is_over(since, due + tick));
        }
        assert_eq!((SEND_TIME, LINGER), (Duration::from_secs(30), Duration::from_secs(5)));
    }
}

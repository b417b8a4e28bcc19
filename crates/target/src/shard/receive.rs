//! From the socket to the protocol machine and to the buffers of commands.
//!
//! Picture: bytes are received into a block. Headers and what the machine wants for itself are taken from there; data of
//! commands is copied to its command's buffer if it is short, and received straight into it if it is long. After long
//! data the next header is received by itself, so that nothing of the data behind it comes into the block.
//!
//! What always holds: a connection that owes us the taking of its output, or waits for memory, is not listened to.

use super::{
    Kind, Server,
    connection::{Conn, Receiving},
    token,
};
use crate::limits::{RECEIVE_BYTES, STRAIGHT_BYTES};
use crate::outcome::Outcome;
use crate::unit::LogicalUnit;
use std::io;
use umbra_iscsi::pdu::{Expects, HeaderStep};
use umbra_iscsi::target::{CloseReason, Connection, DataTo, Event};
use umbra_ring::{Buf, LARGEST};
use umbra_scsi::{Sense, SenseFormat, status};

/// Whether a connection can go on with what it has received.
enum Next {
    GoOn,
    /// It needs more bytes, or has ended.
    Stop,
}

impl<U: LogicalUnit> Server<U> {
    /// A receive has completed.
    pub(super) fn received(&mut self, c: usize, result: io::Result<u32>, buf: Option<Buf>) {
        self.touch(c);
        let Some(conn) = self.conns.get_mut(c) else { return };
        let straight = std::mem::replace(&mut conn.receiving, Receiving::Nothing);
        match result {
            Ok(0) => conn.core.close(CloseReason::PeerClosed),
            Ok(_) => {}
            Err(error) => conn.core.close(CloseReason::Socket(error.to_string())),
        }
        let Some(mut buf) = buf else { return };
        match straight {
            Receiving::Straight { tag, tail, before, wanted } => {
                conn.receiver.data(&buf[before..]);
                if !rejoined(&mut buf, tail, &mut conn.core) {
                    return;
                }
                if wanted {
                    conn.incoming.insert(tag, buf);
                }
                if matches!(conn.receiver.expects(), Expects::Header { .. }) {
                    self.arrived(c);
                }
            }
            Receiving::Header { tail } => {
                if !rejoined(&mut buf, tail, &mut conn.core) {
                    return;
                }
                conn.block = Some(buf);
            }
            Receiving::Block | Receiving::Nothing => conn.block = Some(buf),
        }
        self.parse(c);
    }

    /// Takes what has been received apart, then receives more.
    pub(super) fn parse(&mut self, c: usize) {
        loop {
            let Some(conn) = self.conns.get_mut(c) else { return };
            if conn.core.closed().is_some() || !matches!(conn.receiving, Receiving::Nothing) {
                return;
            }
            if self.is_clogged(c) {
                return; // The end of its sending comes back here.
            }
            let Some(conn) = self.conns.get_mut(c) else { return };
            let next = match conn.receiver.expects() {
                Expects::Header { len } => self.header(c, len),
                Expects::Data { left } => self.data(c, left),
                Expects::Trailer { len } => self.trailer(c, len),
            };
            match next {
                Next::GoOn => {}
                Next::Stop => return self.receive(c),
            }
        }
    }

    fn header(&mut self, c: usize, len: usize) -> Next {
        let now = self.now;
        let conn = &mut self.conns[c];
        let Conn { core, receiver, block, at, bulk, to, here, .. } = conn;
        let Some(bytes) = block.as_ref().and_then(|block| block.get(*at..*at + len)) else {
            return Next::Stop;
        };
        let data = match receiver.header(bytes) {
            Ok(HeaderStep::Longer) => return Next::GoOn,
            Ok(HeaderStep::Whole { bhs, ahs }) => {
                *to = core.header(now, &bhs, ahs);
                here.clear();
                bhs.data_len()
            }
            Err(error) => {
                core.broken(error);
                return Next::Stop;
            }
        };
        *at += len;
        *bulk = data >= STRAIGHT_BYTES;
        if data == 0 {
            self.arrived(c);
        } else if let DataTo::Task { tag, total, .. } = conn.to {
            self.make_room(c, tag, total);
        }
        Next::GoOn
    }

    /// Sees to it that a command has a buffer for all of its data; refuses it if there is no memory.
    fn make_room(&mut self, c: usize, tag: u32, total: u32) {
        if self.conns[c].incoming.contains_key(&tag) {
            return;
        }
        let outcome = match self.buffer(c, total as usize) {
            Ok(buf) => {
                self.conns[c].incoming.insert(tag, buf);
                return;
            }
            Err(_) if total as usize > LARGEST => {
                Outcome::check(Sense::INVALID_FIELD_IN_CDB, SenseFormat::Fixed)
            }
            Err(_) => Outcome::status(status::TASK_SET_FULL),
        };
        self.conns[c].to = DataTo::Skip;
        self.answer(c, tag, outcome, None);
    }

    fn data(&mut self, c: usize, left: usize) -> Next {
        let Conn { receiver, block, at, to, here, incoming, core, .. } = &mut self.conns[c];
        let Some(bytes) = block.as_ref().map(|block| &block[*at..]).filter(|bytes| !bytes.is_empty()) else {
            return Next::Stop;
        };
        let bytes = &bytes[..bytes.len().min(left)];
        receiver.data(bytes);
        match to {
            DataTo::Here => here.extend_from_slice(bytes),
            DataTo::Skip => {}
            DataTo::Task { tag, .. } => {
                // A command that ended meanwhile has no buffer any more.
                let taken = incoming.get_mut(tag).map_or(bytes.len(), |buf| buf.append(bytes));
                if taken < bytes.len() {
                    core.close(CloseReason::Socket("more data than its command has room for".to_owned()));
                }
            }
        }
        *at += bytes.len();
        if bytes.len() == left && matches!(receiver.expects(), Expects::Header { .. }) {
            self.arrived(c);
        }
        Next::GoOn
    }

    fn trailer(&mut self, c: usize, len: usize) -> Next {
        let now = self.now;
        let Conn { receiver, block, at, .. } = &mut self.conns[c];
        let Some(bytes) = block.as_ref().and_then(|block| block.get(*at..*at + len)) else {
            return Next::Stop;
        };
        *at += len;
        match receiver.trailer(bytes) {
            Ok(()) => self.arrived(c),
            Err(error) => {
                tracing::warn!(session = self.conns[c].id, %error, "a PDU is dropped");
                self.conns[c].core.digest_failed(now);
                self.after_pdu(c);
            }
        }
        Next::GoOn
    }

    /// All of a PDU is there.
    fn arrived(&mut self, c: usize) {
        let now = self.now;
        let Conn { core, here, .. } = &mut self.conns[c];
        core.arrived(now, here);
        self.after_pdu(c);
    }

    fn after_pdu(&mut self, c: usize) {
        self.pump(c);
        let conn = &mut self.conns[c];
        let (digests, max_data) = conn.core.framing();
        conn.receiver.set_mode(digests, max_data);
        if conn.here.capacity() > RECEIVE_BYTES {
            conn.here = Vec::new();
        }
        self.transmit(c);
    }

    /// Does what the protocol machine asks for.
    pub(super) fn pump(&mut self, c: usize) {
        while let Some(event) = self.conns[c].core.next_event() {
            match event {
                Event::Command(command) => {
                    let incoming = &mut self.conns[c].incoming;
                    // Not even a hash is due where nothing came.
                    let data = if incoming.is_empty() { None } else { incoming.remove(&command.tag) };
                    self.enqueue(c, command, data);
                }
                Event::Solicit { tag, total } => {
                    self.conns[c].soliciting.push_back((tag, total));
                    self.solicit(c);
                }
                Event::Discard { tag } => {
                    self.conns[c].incoming.remove(&tag);
                    self.conns[c].soliciting.retain(|(waiting, _)| *waiting != tag);
                }
                Event::Identify { initiator, .. } => self.identify(c, initiator),
                Event::SessionReady(request) => {
                    self.conns[c].login.request = Some(request);
                    self.enroll(c);
                }
                Event::TaskManagement(request) => self.manage(c, &request),
                Event::Logout => self.log_out(c),
            }
        }
    }

    /// Gives commands that want to ask for their data its buffer, in order, as far as there is memory.
    pub(super) fn solicit(&mut self, c: usize) {
        while let Some((tag, total)) = self.conns[c].soliciting.front().copied() {
            if !self.conns[c].incoming.contains_key(&tag) {
                match self.buffer(c, total as usize) {
                    Ok(buf) => {
                        self.conns[c].incoming.insert(tag, buf);
                    }
                    Err(_) if total as usize > LARGEST => {
                        self.conns[c].soliciting.pop_front();
                        self.answer(
                            c,
                            tag,
                            Outcome::check(Sense::INVALID_FIELD_IN_CDB, SenseFormat::Fixed),
                            None,
                        );
                        continue;
                    }
                    // An ordered command and those before it would wait for memory that those behind it have.
                    Err(_) if self.conns[c].core.has_ordered() => {
                        self.conns[c].soliciting.pop_front();
                        self.answer(c, tag, Outcome::status(status::TASK_SET_FULL), None);
                        continue;
                    }
                    Err(_) => return self.starve(c),
                }
            }
            self.conns[c].soliciting.pop_front();
            self.conns[c].core.solicit(tag);
        }
        self.transmit(c);
    }

    /// Receives what is missing.
    fn receive(&mut self, c: usize) {
        let conn = &mut self.conns[c];
        if conn.core.closed().is_some() {
            return;
        }
        let token = token(Kind::Receive, c, 0);
        if let (Expects::Data { left }, DataTo::Task { tag, .. }) = (conn.receiver.expects(), conn.to)
            && left >= STRAIGHT_BYTES
            && let Some(mut buf) = conn.incoming.remove(&tag)
        {
            let before = buf.len();
            let tail = buf.split_off((before + left).min(buf.room()));
            conn.receiving = Receiving::Straight { tag, tail, before, wanted: true };
            self.shard.recv(token, &conn.socket, buf);
            return;
        }
        let mut block = match conn.block.take().map_or_else(|| self.frames.take(RECEIVE_BYTES), Ok) {
            Ok(block) => block,
            Err(error) => return conn.core.close(CloseReason::Socket(error.to_string())),
        };
        block.copy_within(conn.at.., 0);
        block.truncate(block.len() - conn.at);
        conn.at = 0;
        conn.receiving = match conn.receiver.expects() {
            Expects::Header { len } if conn.bulk => Receiving::Header { tail: block.split_off(len) },
            _ => Receiving::Block,
        };
        self.shard.recv(token, &conn.socket, block);
    }
}

/// Puts a buffer together again; the connection ends if that cannot be.
fn rejoined(buf: &mut Buf, tail: Buf, core: &mut Connection) -> bool {
    let whole = buf.join(tail).is_ok();
    if !whole {
        // Parts of one buffer that lie side by side always join.
        core.close(CloseReason::Socket("a buffer came back in pieces".to_owned()));
    }
    whole
}

//! From the protocol machine to the socket.
//!
//! Picture: headers are written one after another into pages; data of a read follows its header as a part of the buffer that
//! the file was read into. All parts wait in `out`; one send at a time takes a portion of them.
//!
//! What always holds: bytes leave in the order in which the machine made them; a peer that takes nothing holds up its own
//! session, at [`OUTPUT_BYTES`](crate::limits::OUTPUT_BYTES), and is cut after [`SEND_TIME`](crate::limits::SEND_TIME).

use super::{Kind, Server, connection::Conn, token};
use crate::limits::{REPLY_BYTES, SEND_BYTES};
use crate::outcome::Outcome;
use crate::unit::LogicalUnit;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use umbra_iscsi::target::{CloseReason, Completion, Transmit};
use umbra_ring::{Buf, BufPool, MAX_PARTS, PAGE, Parts};
use umbra_scsi::status;

/// Where the machine's output goes.
struct Outlet<'a> {
    out: &'a mut VecDeque<Buf>,
    head: &'a mut Option<Buf>,
    bytes: &'a mut usize,
    frames: &'a mut BufPool,
    /// The data of the command that was just answered, as far as it has not been taken; `taken` bytes of it were.
    reply: Option<Buf>,
    taken: usize,
    failed: Option<String>,
}

impl Outlet<'_> {
    /// Closes the page of headers; what is free of it goes on behind the data.
    fn close_head(&mut self) {
        if let Some(mut head) = self.head.take_if(|head| !head.is_empty()) {
            let rest = head.split_off(head.len());
            self.out.push_back(head);
            *self.head = (rest.room() > 0).then_some(rest);
        }
    }

    fn page(&mut self) -> Option<&mut Buf> {
        if self.head.as_ref().is_none_or(|head| head.spare() == 0) {
            self.close_head();
            match self.frames.take(PAGE) {
                Ok(page) => *self.head = Some(page),
                Err(error) => self.failed = Some(error.to_string()),
            }
        }
        self.head.as_mut()
    }
}

impl Transmit for Outlet<'_> {
    fn bytes(&mut self, mut bytes: &[u8]) {
        *self.bytes += bytes.len();
        while !bytes.is_empty() {
            let Some(page) = self.page() else { return };
            let taken = page.append(bytes);
            bytes = &bytes[taken..];
        }
    }

    fn data(&mut self, _tag: u32, range: Range<usize>) {
        let Some(reply) = self.reply.as_mut().filter(|_| range.start >= self.taken) else {
            self.failed = Some("data of a command was sent out of order".to_owned());
            return;
        };
        // What lies between was short: the machine has copied it.
        if range.start > self.taken {
            drop(reply.split_to(range.start - self.taken));
        }
        // Mostly one PDU takes all of it.
        let part = match range.len() == reply.len() {
            true => self.reply.take(),
            false => Some(reply.split_to(range.len())),
        };
        self.taken = range.end;
        *self.bytes += range.len();
        self.close_head();
        self.out.extend(part);
    }
}

fn filled(mut buf: Buf, bytes: &[u8]) -> Buf {
    buf.append(bytes);
    buf
}

impl<U: LogicalUnit> Server<U> {
    /// Answers a command, with the data in `buf` if it has some there.
    pub(super) fn answer(&mut self, c: usize, tag: u32, outcome: Outcome, buf: Option<Buf>) {
        let reply = match &outcome.reply {
            Some(bytes) if bytes.len() <= REPLY_BYTES => match self.frames.take(bytes.len().max(1)) {
                Ok(buf) => Some(filled(buf, bytes)),
                Err(error) => return self.conns[c].core.close(CloseReason::Socket(error.to_string())),
            },
            Some(bytes) => match self.buffer(c, bytes.len()) {
                Ok(buf) => Some(filled(buf, bytes)),
                Err(_) => return self.answer(c, tag, Outcome::status(status::TASK_SET_FULL), None),
            },
            None => buf.filter(|_| outcome.is_good()),
        };
        let data_in = reply.as_deref().unwrap_or_default();
        let Outcome { status, sense, has, takes, .. } = &outcome;
        let done = Completion { status: *status, sense, data_in, has: *has, takes: *takes };
        self.conns[c].core.complete(tag, &done);
        self.transmit(c, reply);
    }

    /// Takes over what the machine has to send; `reply` is the data of the command that it was just told of.
    pub(super) fn transmit(&mut self, c: usize, reply: Option<Buf>) {
        let Conn { core, out, head, out_bytes, .. } = &mut self.conns[c];
        if !core.has_output() {
            return;
        }
        let frames = &mut self.frames;
        let mut outlet = Outlet { out, head, bytes: out_bytes, frames, reply, taken: 0, failed: None };
        core.transmit(&mut outlet);
        if let Some(why) = outlet.failed {
            core.close(CloseReason::Socket(why));
        }
        self.touch(c);
    }

    /// Gives the socket its next portion.
    pub(super) fn send(&mut self, c: usize) {
        let now = self.now;
        let conn = &mut self.conns[c];
        if conn.sending.is_some() || conn.out_bytes == 0 || conn.shut {
            return;
        }
        let mut parts = std::mem::take(&mut conn.parts);
        let mut bytes = 0;
        while bytes < SEND_BYTES && parts.count() < MAX_PARTS {
            let Some(part) = conn.out.pop_front() else {
                // The open page of headers comes last; what is free of it stays.
                if let Some(head) = conn.head.as_mut().filter(|head| !head.is_empty()) {
                    let rest = head.split_off(head.len());
                    let part = std::mem::replace(head, rest);
                    conn.head.take_if(|rest| rest.room() == 0);
                    bytes += part.len();
                    let _there_is_room = parts.push(part);
                }
                break;
            };
            bytes += part.len();
            let _there_is_room = parts.push(part);
        }
        conn.out_bytes -= bytes;
        conn.sending = Some(now);
        self.shard.send(token(Kind::Send, c, 0), &conn.socket, parts);
    }

    /// A send has completed.
    pub(super) fn sent(&mut self, c: usize, result: io::Result<u32>, parts: Option<Parts>) {
        self.touch(c);
        let Some(conn) = self.conns.get_mut(c) else { return };
        conn.sending = None;
        if let Some(mut parts) = parts {
            parts.drain().for_each(drop);
            conn.parts = parts;
        }
        if let Err(error) = result {
            conn.core.close(CloseReason::Socket(error.to_string()));
            return;
        }
        // Commands and requests may have waited for this.
        self.start_commands(c);
        self.parse(c);
    }
}

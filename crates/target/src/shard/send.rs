//! From the protocol machine to the socket.
//!
//! Picture: headers are written one after another into pages; data of a read follows its header as a part of the buffer that
//! the file was read into. All parts wait in `out`; one send at a time takes a portion of them.
//!
//! What always holds: bytes leave in the order in which the machine made them; a peer that takes nothing holds up its own
//! session, at [`OUTPUT_BYTES`](crate::limits::OUTPUT_BYTES), and is cut after [`SEND_TIME`](crate::limits::SEND_TIME).

use super::{Kind, Server, connection::Conn, token};
use crate::limits::{FRAME_BYTES, OUTPUT_BYTES, OUTPUT_BYTES_SCARCE, REPLY_BYTES, SEND_BYTES};
use crate::outcome::Outcome;
use crate::unit::LogicalUnit;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use umbra_iscsi::target::{CloseReason, Completion, Transmit};
use umbra_ring::{Buf, BufPool, MAX_PARTS, PAGE, Parts};
use umbra_scsi::status;

/// The data of the command that was just answered.
enum Reply<'a> {
    Nothing,
    /// Short: goes out with the headers.
    Short(&'a [u8]),
    /// Goes out as it is; `taken` bytes of it were.
    Long {
        buf: Option<Buf>,
        taken: usize,
    },
}

/// Where the machine's output goes.
struct Outlet<'a> {
    out: &'a mut VecDeque<Buf>,
    head: &'a mut Option<Buf>,
    bytes: &'a mut usize,
    frames: &'a mut BufPool,
    reply: Reply<'a>,
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
        let (slot, taken) = match &mut self.reply {
            Reply::Short(bytes) => {
                let part = &bytes[range];
                return self.bytes(part);
            }
            Reply::Long { buf, taken } if range.start >= *taken => (buf, taken),
            _ => return self.failed = Some("data of a command was sent out of order".to_owned()),
        };
        let Some(buf) = slot else { return };
        // What lies between was short: the machine has copied it.
        if range.start > *taken {
            drop(buf.split_to(range.start - *taken));
        }
        *taken = range.end;
        // Mostly one PDU takes all of it.
        let part = match range.len() == buf.len() {
            true => slot.take(),
            false => Some(buf.split_to(range.len())),
        };
        *self.bytes += range.len();
        self.close_head();
        self.out.extend(part);
    }
}

/// Whether so many bytes for one socket are too many, with so many bytes in frames.
fn is_too_much(waiting: usize, in_frames: usize) -> bool {
    let scarce = in_frames > FRAME_BYTES / 3;
    waiting > if scarce { OUTPUT_BYTES_SCARCE } else { OUTPUT_BYTES }
}

impl<U: LogicalUnit> Server<U> {
    /// Answers a command, with the data in `buf` if it has some there.
    pub(super) fn answer(&mut self, c: usize, tag: u32, outcome: Outcome, buf: Option<Buf>) {
        let long = match &outcome.reply {
            Some(bytes) if bytes.len() <= REPLY_BYTES => None,
            Some(bytes) => match self.buffer(c, bytes.len()) {
                Ok(mut buf) => {
                    buf.append(bytes);
                    Some(buf)
                }
                Err(_) => return self.answer(c, tag, Outcome::status(status::TASK_SET_FULL), None),
            },
            None => buf.filter(|_| outcome.is_good()),
        };
        let short = outcome.reply.as_deref().filter(|_| long.is_none());
        let Outcome { status, sense, has, takes, .. } = &outcome;
        let data_in = short.or(long.as_deref()).unwrap_or_default();
        let done = Completion { status: *status, sense, data_in, has: *has, takes: *takes };
        self.conns[c].core.complete(tag, &done);
        let reply = short.map_or(Reply::Long { buf: long, taken: 0 }, Reply::Short);
        self.hand_over(c, reply);
    }

    /// Takes over what the machine has to send that answers no command.
    pub(super) fn transmit(&mut self, c: usize) {
        self.hand_over(c, Reply::Nothing);
    }

    fn hand_over(&mut self, c: usize, reply: Reply<'_>) {
        let Conn { core, out, head, out_bytes, .. } = &mut self.conns[c];
        if !core.has_output() {
            return;
        }
        let mut outlet =
            Outlet { out, head, bytes: out_bytes, frames: &mut self.frames, reply, failed: None };
        core.transmit(&mut outlet);
        if let Some(why) = outlet.failed {
            core.close(CloseReason::Socket(why));
        }
        self.touch(c);
    }

    /// Whether so much waits for a connection's socket that its commands and requests wait too.
    pub(super) fn is_clogged(&self, c: usize) -> bool {
        let waiting = self.conns.get(c).map_or(0, |conn| conn.out_bytes);
        is_too_much(waiting, self.frames.in_use())
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
        conn.sending_bytes = bytes;
        conn.sending = Some(now);
        self.shard.send(token(Kind::Send, c, 0), &conn.socket, parts);
    }

    /// A send has completed.
    pub(super) fn sent(&mut self, c: usize, result: io::Result<u32>, parts: Option<Parts>) {
        self.touch(c);
        let Some(conn) = self.conns.get_mut(c) else { return };
        conn.sending = None;
        conn.sent_bytes += std::mem::take(&mut conn.sending_bytes) as u64;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{CONNECTIONS, CONNECTIONS_PER_PEER, RECEIVE_BYTES};

    #[test]
    fn less_waits_for_a_socket_where_frames_are_scarce() {
        let plenty = FRAME_BYTES / 3;
        for (in_frames, most) in
            [(0, OUTPUT_BYTES), (plenty, OUTPUT_BYTES), (plenty + 1, OUTPUT_BYTES_SCARCE)]
        {
            assert!(!is_too_much(most, in_frames) && is_too_much(most + 1, in_frames), "{in_frames}");
        }
    }

    /// What the limit promises: when all connections have what they may have then, beside what was in use before, frames are
    /// not used up.
    #[test]
    fn what_is_left_when_frames_are_scarce_is_enough_for_every_connection() {
        let connections = CONNECTIONS + CONNECTIONS_PER_PEER;
        assert!(FRAME_BYTES / 3 + connections * (OUTPUT_BYTES_SCARCE + RECEIVE_BYTES) < FRAME_BYTES);
    }
}

//! One session of the generator: a table of slots, each with one request after the other, over one socket that never waits.
//!
//! Picture: a slot's bytes are the header of its command and all of its data, made once; a request sets a few numbers in
//! them and names them for the next writev. What is received is looked at in one buffer and never copied on.
//! What always holds: a slot has one request at a time, and its bytes stay as they are until that is answered.

use crate::{
    contents,
    wire::{Answer, HEADER, Header, Wanted, Way, Wire},
};
use anyhow::{Context, Result, ensure};
use std::{
    collections::VecDeque,
    io::{self, ErrorKind, IoSlice, Read, Write},
    net::TcpStream,
    ops::Range,
};
use umbra_bench_common::places::Places;

/// Bytes received at a time: all answers to 32 reads of 4 KiB, and room.
const INPUT: usize = 256 << 10;
/// Parts given to the socket at a time.
const PARTS: usize = 64;

/// What sessions ask for, again and again.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Reading or writing.
    pub way: Way,
    /// Bytes of a request.
    pub len: usize,
    /// Requests of each session at a time.
    pub depth: usize,
    /// In what is written.
    pub salt: u64,
}

/// Sees all data that is read.
pub trait Sink {
    /// `bytes` stand at `offset` of the LUN.
    fn data(&mut self, offset: u64, bytes: &[u8]) -> Result<()>;
}

/// Looks at nothing.
#[derive(Debug)]
pub struct Unseen;

impl Sink for Unseen {
    fn data(&mut self, _offset: u64, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }
}

struct Slot {
    /// A header and all data of a write.
    bytes: Vec<u8>,
    /// Headers of data that was asked for.
    heads: Vec<Header>,
    offset: u64,
    /// Bytes of a read that have not come yet.
    missing: usize,
}

/// Something to be sent.
enum Piece {
    Bytes(usize, Range<usize>),
    Head(usize, usize),
    Pong(Box<Header>),
}

/// Data that is being received.
struct Incoming {
    slot: usize,
    /// Where in the LUN the next byte stands.
    offset: u64,
    left: usize,
    last: bool,
}

/// A session and its slots.
pub struct Session {
    stream: TcpStream,
    wire: Box<dyn Wire>,
    load: Load,
    places: Places,
    slots: Vec<Slot>,
    /// Bytes of data that go with a command.
    immediate: usize,
    out: VecDeque<Piece>,
    /// Bytes of the first piece that are sent.
    sent: usize,
    input: Box<[u8]>,
    have: usize,
    incoming: Option<Incoming>,
    /// Requests that may still begin.
    pub quota: u64,
    busy: usize,
    done: u64,
}

impl Session {
    /// A session on a connection that is ready for commands.
    pub fn new(stream: TcpStream, wire: Box<dyn Wire>, load: Load, places: Places) -> Result<Session> {
        stream.set_nonblocking(true).context("make a socket that does not wait")?;
        let mut immediate = 0;
        let slots = (0..load.depth).map(|slot| {
            let (header, with_it) = wire.template(load.way, slot, load.len);
            immediate = with_it;
            let mut bytes = header.to_vec();
            if load.way == Way::Write {
                bytes.extend_from_slice(&contents::filler(load.len));
            }
            Slot { bytes, heads: Vec::new(), offset: 0, missing: 0 }
        });
        let slots = slots.collect();
        Ok(Session {
            stream,
            wire,
            load,
            places,
            slots,
            immediate,
            out: VecDeque::with_capacity(PARTS),
            sent: 0,
            input: vec![0; INPUT].into(),
            have: 0,
            incoming: None,
            quota: 0,
            busy: 0,
            done: 0,
        })
    }

    /// Its socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Begins `quota` requests, as many at a time as there are slots. All slots are idle before.
    pub fn begin(&mut self, quota: u64) {
        (self.quota, self.done) = (quota, 0);
        (0..self.slots.len()).for_each(|slot| self.start(slot));
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.busy == 0
    }

    /// Requests done since it began.
    pub fn done(&self) -> u64 {
        self.done
    }

    fn start(&mut self, at: usize) {
        if self.quota == 0 {
            return;
        }
        self.quota -= 1;
        self.busy += 1;
        let slot = &mut self.slots[at];
        slot.offset = self.places.next();
        if let Some(header) = slot.bytes.first_chunk_mut() {
            self.wire.request(header, slot.offset);
        }
        match self.load.way {
            Way::Read => slot.missing = self.load.len,
            Way::Write => contents::stamp(&mut slot.bytes[HEADER..], slot.offset, self.load.salt),
        }
        self.out.push_back(Piece::Bytes(at, 0..HEADER + self.immediate));
    }

    fn end(&mut self, at: usize) -> Result<()> {
        ensure!(self.slots[at].missing == 0, "{} bytes of a read did not come", self.slots[at].missing);
        self.busy -= 1;
        self.done += 1;
        self.start(at);
        Ok(())
    }

    /// Takes what has come; what follows from it waits to be sent.
    pub fn receive(&mut self, sink: &mut impl Sink) -> Result<()> {
        loop {
            let free = self.input.len() - self.have;
            match self.stream.read(&mut self.input[self.have..]) {
                Ok(0) => anyhow::bail!("the server closed the connection"),
                Ok(received) => {
                    self.have += received;
                    self.take(sink)?;
                    if received < free {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("receive"),
            }
        }
    }

    fn take(&mut self, sink: &mut impl Sink) -> Result<()> {
        let mut at = 0;
        loop {
            if let Some(incoming) = &mut self.incoming {
                let len = incoming.left.min(self.have - at);
                sink.data(incoming.offset, &self.input[at..at + len])?;
                (at, incoming.left) = (at + len, incoming.left - len);
                incoming.offset += len as u64;
                if incoming.left > 0 {
                    break;
                }
                let (slot, last) = (incoming.slot, incoming.last);
                self.incoming = None;
                if last {
                    self.end(slot)?;
                }
            }
            let Some(header) = self.input[at..self.have].first_chunk() else { break };
            let answer = self.wire.answer(header)?;
            at += HEADER;
            self.answered(answer)?;
        }
        self.input.copy_within(at..self.have, 0);
        self.have -= at;
        Ok(())
    }

    fn answered(&mut self, answer: Answer) -> Result<()> {
        match answer {
            Answer::Data { slot, at, len, last } => {
                let place = self.slots.get_mut(slot).filter(|place| place.missing >= len);
                let place = place.context("data that nobody asked for")?;
                place.missing -= len;
                let offset = place.offset + at as u64;
                self.incoming = Some(Incoming { slot, offset, left: len, last });
                Ok(())
            }
            Answer::Done { slot } => {
                ensure!(slot < self.slots.len(), "an answer to nothing");
                self.end(slot)
            }
            Answer::Wanted { slot, transfer_tag, at, len } => {
                ensure!(
                    slot < self.slots.len() && at + len <= self.load.len,
                    "more is asked for than there is"
                );
                self.give(&Wanted { slot, transfer_tag }, at, len);
                Ok(())
            }
            Answer::Pinged(pong) => {
                self.out.push_back(Piece::Pong(Box::new(pong)));
                Ok(())
            }
        }
    }

    /// Sends data that was asked for, in segments.
    fn give(&mut self, wanted: &Wanted, at: usize, len: usize) {
        let slot = &mut self.slots[wanted.slot];
        if at == self.immediate {
            slot.heads.clear(); // The first of this command.
        }
        let (mut from, end) = (at, at + len);
        let mut number = 0;
        while from < end {
            let to = end.min(from + self.wire.segment());
            slot.heads.push(self.wire.data_out(wanted, number, from, to - from, to == end));
            self.out.push_back(Piece::Head(wanted.slot, slot.heads.len() - 1));
            self.out.push_back(Piece::Bytes(wanted.slot, HEADER + from..HEADER + to));
            (from, number) = (to, number + 1);
        }
    }

    /// Sends what waits; false if the socket takes no more by now.
    pub fn send(&mut self) -> Result<bool> {
        while !self.out.is_empty() {
            let mut parts = [IoSlice::new(&[]); PARTS];
            let mut count = 0;
            for (part, piece) in parts.iter_mut().zip(&self.out) {
                let bytes = match piece {
                    Piece::Bytes(slot, range) => &self.slots[*slot].bytes[range.clone()],
                    Piece::Head(slot, head) => &self.slots[*slot].heads[*head][..],
                    Piece::Pong(header) => &header[..],
                };
                *part = IoSlice::new(if count == 0 { &bytes[self.sent..] } else { bytes });
                count += 1;
            }
            match (&self.stream).write_vectored(&parts[..count]) {
                Ok(sent) => self.forget(sent),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("send"),
            }
        }
        Ok(true)
    }

    /// So many bytes are sent.
    fn forget(&mut self, sent: usize) {
        self.sent += sent;
        while let Some(piece) = self.out.front() {
            let len = match piece {
                Piece::Bytes(_, range) => range.len(),
                Piece::Head(..) | Piece::Pong(_) => HEADER,
            };
            if self.sent < len {
                return;
            }
            self.sent -= len;
            self.out.pop_front();
        }
    }
}

/// A connection, its small packets sent at once.
pub fn connect(address: std::net::SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

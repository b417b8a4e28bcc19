//! The floor: what moving the same bytes over TCP and a file costs by itself.
//!
//! Picture: a thread for each connection, two buffers, and three system calls: recv, then pread or pwrite for each request
//! that it brought, then one send for all answers. What always holds: nothing is copied in here, and nothing allocated.

use super::{announce, wait_for_end};
use crate::{
    contents::fill,
    floor::Request,
    wire::{HEADER, Way},
};
use anyhow::{Context, Result};
use std::{
    fs::File,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
    thread,
};

/// Bytes received and sent at a time, about.
const PORTION: usize = 256 << 10;

/// Serves until the parent has had enough.
pub fn serve(path: &Path, bytes: u64) -> Result<()> {
    announce(start(path, bytes)?);
    wait_for_end();
    Ok(())
}

/// Makes a file of `bytes` bytes, all written, and serves it from now on.
pub fn start(path: &Path, bytes: u64) -> Result<SocketAddr> {
    let mut options = File::options();
    let file = options.read(true).write(true).create_new(true).open(path).context("make the floor's file")?;
    fill(bytes, |at, part| Ok(file.write_all_at(part, at)?))?;
    let (file, listener) = (Arc::new(file), TcpListener::bind("127.0.0.1:0")?);
    let socket = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let file = file.clone();
            thread::spawn(move || Connection::new(stream, &file).serve());
        }
    });
    Ok(socket)
}

struct Connection<'a> {
    stream: TcpStream,
    file: &'a File,
    input: Box<[u8]>,
    have: usize,
    out: Box<[u8]>,
    filled: usize,
}

impl<'a> Connection<'a> {
    fn new(stream: TcpStream, file: &'a File) -> Connection<'a> {
        let [input, out] = [(); 2].map(|()| vec![0; PORTION + HEADER].into());
        Connection { stream, file, input, have: 0, out, filled: 0 }
    }

    /// Until the other end has gone.
    fn serve(mut self) -> Result<()> {
        self.stream.set_nodelay(true)?;
        while self.receive()? {
            self.answer_all()?;
            self.send()?;
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<bool> {
        let received = self.stream.read(&mut self.input[self.have..])?;
        self.have += received;
        Ok(received > 0)
    }

    fn send(&mut self) -> Result<()> {
        self.stream.write_all(&self.out[..self.filled])?;
        self.filled = 0;
        Ok(())
    }

    /// Answers every request that has come.
    fn answer_all(&mut self) -> Result<()> {
        let mut at = 0;
        while let Some(header) = self.input[at..self.have].first_chunk() {
            let request = Request::decode(header).context("no request of ours")?;
            at += HEADER;
            match request.way {
                Way::Read => self.read(&request)?,
                Way::Write => at = self.write(&request, at)?,
            }
        }
        self.input.copy_within(at..self.have, 0);
        self.have -= at;
        Ok(())
    }

    fn head(&mut self, request: &Request) -> Result<()> {
        if self.filled + HEADER > self.out.len() {
            self.send()?;
        }
        self.out[self.filled..self.filled + HEADER].copy_from_slice(&request.encode());
        self.filled += HEADER;
        Ok(())
    }

    fn read(&mut self, request: &Request) -> Result<()> {
        self.head(request)?;
        let (mut offset, mut left) = (request.offset, request.len as usize);
        while left > 0 {
            if self.filled == self.out.len() {
                self.send()?;
            }
            let len = left.min(self.out.len() - self.filled);
            self.file.read_exact_at(&mut self.out[self.filled..self.filled + len], offset)?;
            (self.filled, left, offset) = (self.filled + len, left - len, offset + len as u64);
        }
        Ok(())
    }

    /// Writes data that stands at `at`, receiving what is missing; returns where the next request stands.
    fn write(&mut self, request: &Request, mut at: usize) -> Result<usize> {
        let (mut offset, mut left) = (request.offset, request.len as usize);
        loop {
            let len = left.min(self.have - at);
            self.file.write_all_at(&self.input[at..at + len], offset)?;
            (at, left, offset) = (at + len, left - len, offset + len as u64);
            if left == 0 {
                self.head(request)?;
                return Ok(at);
            }
            // What was answered must not wait for what is still on its way.
            self.send()?;
            (at, self.have) = (0, 0);
            self.receive()?.then_some(()).context("the other end has gone")?;
        }
    }
}

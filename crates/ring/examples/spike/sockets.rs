//! Echoes of 4 KiB: a client and a server thread over one connection.

use crate::{
    ENGINES, config,
    table::{self, Row, repeat},
};
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::Arc,
    thread,
    time::Duration,
};
use umbra_ring::{Backend, Buf, Completion, PAGE, Parts, Payload, Shard, Socket, Workers};

/// Most that is received at a time.
const BURST: usize = 32 * PAGE;
const RECV: u64 = 1;
const SEND: u64 = 2;

pub fn measure() {
    let workers = &Arc::new(Workers::start(1, 16).unwrap());
    for (name, tcp) in [("unix socket", false), ("TCP over loopback", true)] {
        let mut rows: Vec<Row<'_>> = Vec::new();
        for depth in [1, 32] {
            rows.push((format!("blocking, QD {depth}"), Box::new(move |time| blocking(tcp, depth, time))));
            for backend in ENGINES {
                rows.push((
                    format!("shards, {backend}, QD {depth}"),
                    Box::new(move |time| shards(tcp, backend, workers, depth, time)),
                ));
            }
        }
        table::measure(&format!("echo of 4 KiB, {name}"), &mut rows);
    }
}

fn pair(tcp: bool) -> (OwnedFd, OwnedFd) {
    if !tcp {
        let (one, other) = UnixStream::pair().unwrap();
        return (one.into(), other.into());
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, _) = listener.accept().unwrap();
    one.set_nodelay(true).unwrap();
    other.set_nodelay(true).unwrap();
    (one.into(), other.into())
}

fn blocking(tcp: bool, depth: usize, time: Duration) -> (u64, Duration) {
    let (client, server) = pair(tcp);
    // Reading and writing are the same for both kinds of socket.
    let (mut client, mut server) = (UnixStream::from(client), UnixStream::from(server));
    let echo = thread::spawn(move || {
        let mut bytes = vec![0; BURST];
        while let Ok(count @ 1..) = server.read(&mut bytes) {
            if server.write_all(&bytes[..count]).is_err() {
                return; // The client has ended in the middle.
            }
        }
    });
    let mut bytes = vec![0; depth * PAGE];
    client.write_all(&bytes).unwrap();
    let mut left = 0;
    let result = repeat(time, || {
        let count = client.read(&mut bytes).unwrap();
        let messages = (left + count) / PAGE;
        left = (left + count) % PAGE;
        client.write_all(&bytes[..messages * PAGE]).unwrap();
        messages as u64
    });
    client.shutdown(Shutdown::Both).unwrap();
    echo.join().unwrap();
    result
}

fn shards(
    tcp: bool,
    backend: Backend,
    workers: &Arc<Workers>,
    depth: usize,
    time: Duration,
) -> (u64, Duration) {
    let (client, server) = pair(tcp);
    let setup = config(backend, workers);
    let echo = thread::spawn(move || {
        let mut end = End::new(&setup, server, 0);
        while end.turn().is_some() {}
    });
    let mut end = End::new(&config(backend, workers), client, depth);
    let (bytes, time) = repeat(time, || end.turn().unwrap() as u64);
    end.socket.shutdown().unwrap();
    echo.join().unwrap();
    (bytes / PAGE as u64, time)
}

/// One end of a connection, which sends back what it receives. One buffer is received into while the other is sent.
struct End {
    shard: Shard<()>,
    socket: Socket,
    done: Vec<Completion<()>>,
    /// Received while the send before was not through.
    waiting: Parts,
    idle: Vec<Buf>,
    sending: bool,
}

impl End {
    fn new(setup: &umbra_ring::Config, fd: OwnedFd, depth: usize) -> End {
        let mut shard: Shard<()> = Shard::new(setup).unwrap();
        let socket = shard.socket(fd).unwrap();
        let mut idle: Vec<Buf> = (0..16).map(|_| shard.buffer(BURST).unwrap()).collect();
        shard.recv(RECV, &socket, idle.pop().unwrap());
        let mut end =
            End { shard, socket, done: Vec::new(), waiting: Parts::with_capacity(), idle, sending: false };
        if depth > 0 {
            let mut first = end.shard.buffer(depth * PAGE).unwrap();
            first.fill_zero();
            end.waiting.push(first).unwrap();
            end.send();
        }
        end
    }

    /// Waits once, and says how many bytes arrived; none at the end of the connection.
    fn turn(&mut self) -> Option<usize> {
        self.shard.wait(None, &mut self.done).unwrap();
        let mut received = 0;
        for completion in std::mem::take(&mut self.done) {
            let count = completion.result.ok()?;
            match completion.payload {
                Payload::Buf(_) if count == 0 => return None,
                Payload::Buf(buf) => {
                    received += buf.len();
                    self.waiting.push(buf).unwrap();
                    let mut next = self.idle.pop().unwrap_or_else(|| self.shard.buffer(BURST).unwrap());
                    next.clear();
                    self.shard.recv(RECV, &self.socket, next);
                }
                Payload::Parts(mut parts) => {
                    self.idle.extend(parts.drain());
                    self.sending = false;
                }
                _ => unreachable!("nothing else was asked for"),
            }
        }
        self.send();
        Some(received)
    }

    fn send(&mut self) {
        if !self.sending && self.waiting.count() > 0 {
            self.sending = true;
            self.shard.send(SEND, &self.socket, std::mem::take(&mut self.waiting));
        }
    }
}

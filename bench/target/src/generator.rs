//! The load: sessions on one thread, driven by what their sockets have and take.
//!
//! What always holds: every contender meets the same requests at the same places in the same order.

use crate::{
    contents::Checker,
    floor::Floor,
    login::login,
    session::{Load, Session, Sink, Unseen, connect},
    wire::Way,
};
use anyhow::{Context, Result, ensure};
use rustix::{
    event::{Timespec, epoll},
    io::Errno,
};
use std::{
    net::SocketAddr,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};
use umbra_bench_common::places::{Order, Places};

/// How long a server may say nothing.
const PATIENCE: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };
/// Requests of a session whose data is looked at before anything is measured: of each size, so many bytes.
const CHECKED_BYTES: u64 = 64 << 20;

/// What a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// iSCSI.
    Iscsi,
    /// The floor's.
    Floor,
}

/// Where a server is.
#[derive(Debug, Clone, Copy)]
pub struct Address {
    /// What it speaks.
    pub protocol: Protocol,
    /// Where it listens.
    pub socket: SocketAddr,
}

/// What is asked for by how many sessions, and where.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    /// The requests.
    pub load: Load,
    /// Sessions.
    pub sessions: usize,
    /// How they follow each other.
    pub order: Order,
    /// Bytes of the LUN.
    pub span: u64,
}

/// When a run is over.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    /// After this time, and what is under way then.
    Time(Duration),
    /// After so many requests of each session.
    Count(u64),
}

/// What came of a run.
#[derive(Debug, Clone, Copy)]
pub struct Done {
    /// Requests.
    pub count: u64,
    /// From the first to the last.
    pub time: Duration,
}

/// Sessions with one server.
pub struct Generator {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    sessions: Vec<Session>,
    /// Of each session: whether it waits until its socket takes more.
    blocked: Vec<bool>,
}

impl Generator {
    /// Connects and logs in.
    pub fn open(address: Address, work: Work) -> Result<Generator> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let sessions: Vec<Session> =
            (0..work.sessions).map(|number| session(address, work, number)).collect::<Result<_>>()?;
        for (number, session) in sessions.iter().enumerate() {
            epoll::add(&epoll, session.stream(), data(number), epoll::EventFlags::IN)?;
        }
        let blocked = vec![false; sessions.len()];
        Ok(Generator { epoll, events: Vec::with_capacity(sessions.len()), sessions, blocked })
    }

    /// Runs to the limit; the clock starts here.
    pub fn run(&mut self, limit: Limit, sink: &mut impl Sink) -> Result<Done> {
        let (quota, time) = match limit {
            Limit::Time(time) => (u64::MAX, time),
            Limit::Count(count) => (count, Duration::MAX),
        };
        let start = Instant::now();
        for number in 0..self.sessions.len() {
            self.sessions[number].begin(quota);
            self.send(number)?;
        }
        while !self.sessions.iter().all(Session::is_idle) {
            self.wait()?;
            if start.elapsed() >= time {
                self.sessions.iter_mut().for_each(|session| session.quota = 0);
            }
            for at in 0..self.events.len() {
                let epoll::Event { flags, data } = self.events[at];
                let number = data.u64() as usize;
                if flags != epoll::EventFlags::OUT {
                    self.sessions[number].receive(sink)?;
                }
                self.send(number)?;
            }
        }
        let count = self.sessions.iter().map(Session::done).sum();
        Ok(Done { count, time: start.elapsed() })
    }

    fn wait(&mut self) -> Result<()> {
        self.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&PATIENCE)) {
            Ok(0) => anyhow::bail!("the server has said nothing for {} s", PATIENCE.tv_sec),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("wait for sockets"),
        }
    }

    fn send(&mut self, number: usize) -> Result<()> {
        let blocked = !self.sessions[number].send()?;
        if blocked != self.blocked[number] {
            self.blocked[number] = blocked;
            let mut what = epoll::EventFlags::IN;
            what.set(epoll::EventFlags::OUT, blocked);
            epoll::modify(&self.epoll, self.sessions[number].stream(), data(number), what)?;
        }
        Ok(())
    }
}

/// Writes by the same sessions as will be measured, reads it back, and looks at every byte.
pub fn check(address: Address, work: Work, salt: u64) -> Result<()> {
    let count = (CHECKED_BYTES / work.load.len as u64).min(4096);
    let with = |way| Work { load: Load { way, salt, ..work.load }, ..work };
    let limit = Limit::Count(count);
    Generator::open(address, with(Way::Write))?.run(limit, &mut Unseen).context("write what is checked")?;
    let mut checker = Checker { salt, bytes: 0 };
    Generator::open(address, with(Way::Read))?.run(limit, &mut checker).context("read it back")?;
    let expected = count * work.sessions as u64 * work.load.len as u64;
    ensure!(checker.bytes == expected, "{} bytes came back of {expected}", checker.bytes);
    Ok(())
}

fn session(address: Address, work: Work, number: usize) -> Result<Session> {
    let mut stream = connect(address.socket).with_context(|| format!("connect to {}", address.socket))?;
    let places = Places::new(work.order, work.span, work.load.len as u64, number as u64 + 1);
    match address.protocol {
        Protocol::Floor => Session::new(stream, Box::new(Floor), work.load, places),
        Protocol::Iscsi => {
            let wire = login(&mut stream)?;
            Session::new(stream, Box::new(wire), work.load, places)
        }
    }
}

fn data(number: usize) -> epoll::EventData {
    epoll::EventData::new_u64(number as u64)
}

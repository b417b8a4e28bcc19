//! The one thread that carries out what the engine decides: connects, moves bytes, answers requests.
//!
//! Requests come from the threads of the file view and of the control socket through a list and an eventfd; answers go
//! straight to whoever waits. What always holds: this thread opens no file and writes to none, so that nothing it does
//! can wait for the device that it serves (the one exception is the array's socket, which is on no such device: S7).

use super::{
    LinkStatus,
    engine::{Done, Engine, Failure, Request},
    spec::Endpoint,
};
use crate::limits::{CALL_TIME, CONNECT_TIME};
use fuser::{Errno, ReplyData, ReplyEmpty, ReplyWrite};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{Arc, Condvar, Mutex, MutexGuard, mpsc},
    time::Duration,
};
use umbra_base::{Error, ErrorCode, Instant, Result};
use umbra_sys::clock::boottime_nanos;

/// Reads from the connection before other work gets its turn.
const READS_IN_A_ROW: usize = 16;

/// Who waits for a request.
pub(super) enum Waiter {
    Read(ReplyData),
    Write(ReplyWrite, u32),
    Empty(ReplyEmpty),
    Channel(mpsc::Sender<Result<Vec<u8>, Failure>>),
}

enum Input {
    Request(Request, Waiter),
    Refresh,
    Close,
    Fail(String),
    Status(mpsc::Sender<LinkStatus>),
}

struct Shared {
    inbox: Mutex<Vec<Input>>,
    wake: OwnedFd,
    phase: Mutex<Phase>,
    phase_changed: Condvar,
}

/// What those wait for who start or end an attachment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Phase {
    link: String,
    reason: Option<String>,
    ended: bool,
}

/// The way to the driver from other threads.
#[derive(Clone)]
pub(super) struct Handle {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Handle {
    fn send(&self, input: Input) {
        lock(&self.shared.inbox).push(input);
        // A full counter still wakes.
        let _ = rustix::io::write(&self.shared.wake, &1u64.to_ne_bytes());
    }

    /// Hands a request over; `waiter` gets the answer.
    pub(super) fn request(&self, request: Request, waiter: Waiter) {
        self.send(Input::Request(request, waiter));
    }

    /// A request whose answer this thread waits for, within a limit. Not for the driver's own thread.
    pub(super) fn call(&self, request: Request) -> io::Result<Vec<u8>> {
        let (sender, receiver) = mpsc::channel();
        self.send(Input::Request(request, Waiter::Channel(sender)));
        match receiver.recv_timeout(CALL_TIME) {
            Ok(Ok(data)) => Ok(data),
            Ok(Err(failure)) => Err(io::Error::from_raw_os_error(errno(failure).code())),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(io::ErrorKind::TimedOut.into()),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(io::Error::from_raw_os_error(Errno::EIO.code())),
        }
    }

    pub(super) fn status(&self) -> LinkStatus {
        let (sender, receiver) = mpsc::channel();
        self.send(Input::Status(sender));
        receiver.recv_timeout(CALL_TIME).unwrap_or_default()
    }

    pub(super) fn refresh(&self) {
        self.send(Input::Refresh);
    }

    pub(super) fn fail(&self, reason: &str) {
        self.send(Input::Fail(reason.to_owned()));
    }

    /// Logs out and waits until the driver has ended.
    pub(super) fn close(&self, limit: Duration) {
        self.send(Input::Close);
        let phase = lock(&self.shared.phase);
        let _ = self.shared.phase_changed.wait_timeout_while(phase, limit, |phase| !phase.ended);
    }

    /// Waits until the LUN is verified and ready.
    pub(super) fn wait_up(&self, limit: Duration) -> Result<()> {
        let waiting = |phase: &mut Phase| !matches!(phase.link.as_str(), "up" | "failed");
        let phase = lock(&self.shared.phase);
        let (phase, _) = self
            .shared
            .phase_changed
            .wait_timeout_while(phase, limit, waiting)
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let reason = phase.reason.clone().unwrap_or_else(|| "no answer".to_owned());
        match phase.link.as_str() {
            "up" => Ok(()),
            "failed" => Err(Error::new(ErrorCode::AccessDenied, format!("the LUN cannot be used: {reason}"))),
            _ => Err(Error::new(ErrorCode::Unreachable, format!("no session with the array: {reason}"))
                .hint("is the array running, and does it know this host?")),
        }
    }
}

pub(super) fn errno(failure: Failure) -> Errno {
    match failure {
        Failure::NoSpace => Errno::ENOSPC,
        Failure::ReadOnly => Errno::EROFS,
        Failure::OutOfRange => Errno::EFBIG,
        Failure::Io => Errno::EIO,
    }
}

impl Waiter {
    fn answer(self, result: Result<Vec<u8>, Failure>) {
        match (self, result) {
            (Waiter::Read(reply), Ok(data)) => reply.data(&data),
            (Waiter::Read(reply), Err(failure)) => reply.error(errno(failure)),
            (Waiter::Write(reply, len), Ok(_)) => reply.written(len),
            (Waiter::Write(reply, _), Err(failure)) => reply.error(errno(failure)),
            (Waiter::Empty(reply), Ok(_)) => reply.ok(),
            (Waiter::Empty(reply), Err(failure)) => reply.error(errno(failure)),
            // Whoever asked may have gone.
            (Waiter::Channel(sender), result) => drop(sender.send(result)),
        }
    }
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    fn connect(endpoint: &Endpoint) -> io::Result<Stream> {
        match endpoint {
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_nonblocking(true)?;
                Ok(Stream::Unix(stream))
            }
            Endpoint::Tcp(address) => {
                let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
                for address in address.to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, CONNECT_TIME) {
                        Ok(stream) => {
                            stream.set_nodelay(true)?;
                            stream.set_nonblocking(true)?;
                            return Ok(Stream::Tcp(stream));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => stream.read(buffer),
            Stream::Tcp(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => stream.write(bytes),
            Stream::Tcp(stream) => stream.write(bytes),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Unix(stream) => stream.as_fd(),
            Stream::Tcp(stream) => stream.as_fd(),
        }
    }
}

pub(super) struct Driver {
    engine: Engine,
    endpoint: Endpoint,
    stream: Option<Stream>,
    shared: Arc<Shared>,
    waiters: HashMap<u64, Waiter>,
    next_id: u64,
    closing: bool,
}

impl Driver {
    pub(super) fn new(engine: Engine, endpoint: Endpoint) -> Result<(Driver, Handle)> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|e| Error::io("make an eventfd", e))?;
        let shared = Arc::new(Shared {
            inbox: Mutex::default(),
            wake,
            phase: Mutex::default(),
            phase_changed: Condvar::new(),
        });
        let handle = Handle { shared: Arc::clone(&shared) };
        let waiters = HashMap::new();
        Ok((Driver { engine, endpoint, stream: None, shared, waiters, next_id: 0, closing: false }, handle))
    }

    /// Runs until the engine was closed.
    pub(super) fn run(mut self) {
        while !(self.closing && self.engine.wants_close()) {
            self.take_inputs();
            self.keep_connected();
            self.engine.tick(now());
            self.write();
            if self.engine.wants_close() {
                self.stream = None;
            }
            self.answer();
            self.publish(false);
            if self.closing && self.engine.wants_close() {
                break;
            }
            self.wait();
            self.read();
        }
        self.take_inputs();
        self.answer();
        self.publish(true);
    }

    fn take_inputs(&mut self) {
        let inputs = std::mem::take(&mut *lock(&self.shared.inbox));
        for input in inputs {
            match input {
                Input::Request(request, waiter) => {
                    self.next_id += 1;
                    self.waiters.insert(self.next_id, waiter);
                    self.engine.request(self.next_id, request);
                }
                Input::Refresh => self.engine.refresh(),
                Input::Fail(reason) => self.engine.fail(reason),
                Input::Close => {
                    self.closing = true;
                    self.engine.close(now());
                }
                Input::Status(sender) => drop(sender.send(self.engine.status())),
            }
        }
    }

    fn keep_connected(&mut self) {
        if !self.engine.wants_connection(now()) {
            return;
        }
        match Stream::connect(&self.endpoint) {
            Ok(stream) => {
                self.stream = Some(stream);
                self.engine.connected(now());
            }
            Err(error) => {
                let place = match &self.endpoint {
                    Endpoint::Unix(path) => path.display().to_string(),
                    Endpoint::Tcp(address) => address.clone(),
                };
                self.lost(format!("connect to {place}: {error}"));
            }
        }
    }

    fn lost(&mut self, reason: String) {
        self.stream = None;
        self.engine.disconnected(now(), reason);
    }

    fn write(&mut self) {
        while let Some(stream) = &mut self.stream {
            let bytes = self.engine.unsent();
            if bytes.is_empty() {
                return;
            }
            match stream.write(bytes) {
                Ok(n) => self.engine.sent(n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.lost(format!("send to the array: {error}")),
            }
        }
    }

    fn read(&mut self) {
        for _ in 0..READS_IN_A_ROW {
            let Some(stream) = &mut self.stream else { return };
            let Some(space) = self.engine.space() else { return };
            let room = space.len();
            match stream.read(space) {
                Ok(0) => return self.lost("the array closed the connection".to_owned()),
                Ok(n) => {
                    self.engine.received(now(), n);
                    if n < room {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.lost(format!("receive from the array: {error}")),
            }
        }
    }

    fn answer(&mut self) {
        while let Some(Done { id, result }) = self.engine.next_done() {
            if let Some(waiter) = self.waiters.remove(&id) {
                waiter.answer(result);
            }
        }
    }

    fn publish(&self, ended: bool) {
        let (link, reason) = self.engine.phase();
        let mut phase = lock(&self.shared.phase);
        if phase.link != link || phase.ended != ended {
            *phase = Phase { link: link.to_owned(), reason: reason.map(str::to_owned), ended };
            self.shared.phase_changed.notify_all();
        } else if phase.reason.as_deref() != reason {
            phase.reason = reason.map(str::to_owned);
        }
    }

    fn wait(&self) {
        let timeout = self.engine.next_deadline().map(|deadline| timespec(deadline.since(now())));
        let mut fds = vec![PollFd::new(&self.shared.wake, PollFlags::IN)];
        if let Some(stream) = &self.stream {
            let write = if self.engine.unsent().is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            fds.push(PollFd::new(stream, PollFlags::IN | write));
        }
        // An interrupted or failed wait is a short one: the loop looks at everything again.
        let _ = poll(&mut fds, timeout.as_ref());
        if fds[0].revents().contains(PollFlags::IN) {
            let _ = rustix::io::read(&self.shared.wake, &mut [0u8; 8]);
        }
    }
}

fn now() -> Instant {
    Instant::from_nanos(boottime_nanos())
}

/// At least a millisecond, so that a deadline that has just not been reached does not make the loop spin.
fn timespec(wait: Duration) -> Timespec {
    let wait = wait.max(Duration::from_millis(1));
    Timespec { tv_sec: wait.as_secs().min(3600) as i64, tv_nsec: i64::from(wait.subsec_nanos()) }
}

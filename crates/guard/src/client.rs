//! The service's side of the guard.
//!
//! Every call blocks, at most for the time it is given, and may be made from any thread: a thaw overtakes a freeze that
//! stalls. When the guard ends for whatever reason, all calls that wait end with `guard_lost`, and the service is told
//! once; it then calls [`crate::recover`]. Dropping the client closes the socket, and the guard undoes everything.

use rustix::{
    net::{AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, shutdown, socketpair},
    process::Pid,
};
use std::{
    collections::HashMap,
    fmt,
    os::fd::OwnedFd,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};
use umbra_base::{Error, ErrorCode, Result};

use crate::{
    FileSystem, Thawed, Undo,
    protocol::{Numbered, Reply, Request},
    wire::{self, Received},
};

/// The program that is the guard: `umbra guard`, by the path of the service's own executable.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Usually `/proc/self/exe`.
    pub program: PathBuf,
    /// Usually `guard`.
    pub args: Vec<String>,
}

/// Called once, from a thread of the client, if the guard dies or thaws without having been told to. The error says why.
pub type OnLost = Box<dyn FnOnce(Error) + Send>;

/// What a guard is to guard.
#[derive(Debug, Clone)]
pub struct Prepare {
    /// The set's id; the record is named after it.
    pub set: String,
    /// The service's runtime folder, best in tmpfs.
    pub runtime: PathBuf,
    /// Paths on the file systems to be frozen; several on one file system are fine.
    pub mounts: Vec<PathBuf>,
    /// Undo commands of writers.
    pub undos: Vec<Undo>,
    /// How long file systems may be frozen.
    pub hold: Duration,
}

/// A guard.
pub struct Client {
    shared: Arc<Shared>,
    pid: Pid,
}

struct Shared {
    socket: OwnedFd,
    next: AtomicU64,
    state: Mutex<State>,
}

struct State {
    waiting: HashMap<u64, mpsc::Sender<Reply>>,
    on_lost: Option<OnLost>,
    gone: bool,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("pid", &self.pid).finish_non_exhaustive()
    }
}

impl Client {
    /// Starts a guard. It does nothing until [`Client::prepare`].
    pub fn spawn(launch: &Launch, on_lost: OnLost) -> Result<Client> {
        let what = |source: std::io::Error| {
            Error::new(ErrorCode::GuardLost, format!("start the guard {}", launch.program.display()))
                .because(source)
        };
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(|error| what(error.into()))?;
        let mut command = Command::new(&launch.program);
        command.args(&launch.args).stdin(theirs).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(what)?;
        drop(command); // It holds the guard's end of the socket.
        let pid =
            Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX)).expect("a child's id is positive");
        let state = State { waiting: HashMap::new(), on_lost: Some(on_lost), gone: false };
        let shared = Arc::new(Shared { socket: ours, next: AtomicU64::new(1), state: Mutex::new(state) });
        let reader = shared.clone();
        thread::Builder::new().name("guard".to_owned()).spawn(move || reader.read(child)).map_err(what)?;
        Ok(Client { shared, pid })
    }

    /// The primary's process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Makes the guard ready: everything is opened, the record is written, the processes are there. Once only. The answer
    /// has each file system once.
    pub fn prepare(&self, what: &Prepare, within: Duration) -> Result<Vec<FileSystem>> {
        for path in &what.mounts {
            self.done(Request::Mount { path: path.clone() }, within)?;
        }
        for undo in &what.undos {
            self.done(Request::Undo { undo: undo.clone() }, within)?;
        }
        let hold_ms = millis(what.hold);
        let prepare = Request::Prepare { set: what.set.clone(), runtime: what.runtime.clone(), hold_ms };
        match self.call(prepare, within)? {
            Reply::Prepared { file_systems } => Ok(file_systems),
            other => Err(unexpected(&other)),
        }
    }

    /// Writes back all file systems; outside the window.
    pub fn sync(&self, within: Duration) -> Result<()> {
        self.done(Request::Sync, within)
    }

    /// Before a writer is frozen: from now on its undo is owed, and the guard runs it by itself after `window`, or when
    /// the service is gone.
    pub fn arm(&self, writer: &str, window: Duration, within: Duration) -> Result<()> {
        self.done(Request::Arm { undo: writer.to_owned(), within_ms: millis(window) }, within)
    }

    /// Freezes every file system, all at once; fails if one fails, and then thaws the others. Once only. Should it not
    /// answer in time, [`Client::thaw`] is the next call.
    pub fn freeze(&self, within: Duration) -> Result<()> {
        self.done(Request::Freeze, within)
    }

    /// Proves that every file system is frozen by us still: nothing thawed since the freeze, and FIFREEZE answers EBUSY.
    /// If it is not so, everything is thawed and the error is `freeze_not_proven`.
    pub fn attest(&self, within: Duration) -> Result<()> {
        self.done(Request::Attest, within)
    }

    /// Thaws every file system; done when the last one is free. May be called at any time, and again.
    pub fn thaw(&self, within: Duration) -> Result<Thawed> {
        match self.call(Request::Thaw, within)? {
            Reply::Thawed(thawed) => Ok(thawed),
            other => Err(unexpected(&other)),
        }
    }

    /// Runs the undo command of `writer`, if it is owed. One that fails is run again when the guard ends.
    pub fn run_undo(&self, writer: &str, within: Duration) -> Result<()> {
        self.done(Request::RunUndo { undo: writer.to_owned() }, within)
    }

    /// Ends the guard: it thaws, runs what undo commands are owed still, removes its record. Its death is no loss then.
    pub fn finish(&self, within: Duration) -> Result<()> {
        self.shared.lock().on_lost = None;
        self.done(Request::Finish, within)
    }

    fn done(&self, request: Request, within: Duration) -> Result<()> {
        match self.call(request, within)? {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    fn call(&self, request: Request, within: Duration) -> Result<Reply> {
        let name = format!("{request:?}");
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = mpsc::channel();
        {
            let mut state = self.shared.lock();
            if state.gone {
                return Err(lost());
            }
            state.waiting.insert(id, sender);
        }
        let sent = wire::transmit(&self.shared.socket, &Numbered { id, body: request }, SendFlags::DONTWAIT);
        let reply = match sent {
            Ok(()) => receiver.recv_timeout(within),
            Err(_) => Err(mpsc::RecvTimeoutError::Disconnected),
        };
        self.shared.lock().waiting.remove(&id);
        match reply {
            Ok(Reply::Failed(failure)) => Err(failure.into()),
            Ok(reply) => Ok(reply),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(lost()),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let text = format!("the guard did not answer within {} ms to {name}", within.as_millis());
                Err(Error::new(ErrorCode::TimedOut, text).param("limit_ms", within.as_millis()))
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.lock().on_lost = None;
        let _ = shutdown(&self.shared.socket, Shutdown::Both);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under this lock, and its content is consistent at every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of the client's thread: hands replies to those who wait, until the guard is gone.
    fn read(&self, mut child: Child) {
        while let Ok(Received::Message(Numbered { id, body })) =
            wire::receive(&self.socket, RecvFlags::empty())
        {
            match body {
                Reply::Failed(failure) if id == 0 => self.lose(failure.into()),
                body => {
                    if let Some(waiting) = self.lock().waiting.remove(&id) {
                        let _ = waiting.send(body); // It may have stopped waiting.
                    }
                }
            }
        }
        let mut state = self.lock();
        state.gone = true;
        state.waiting.clear();
        drop(state);
        self.lose(lost());
        let _ = child.wait(); // It is our child, and gone or about to go.
    }

    fn lose(&self, error: Error) {
        let on_lost = self.lock().on_lost.take();
        if let Some(on_lost) = on_lost {
            on_lost(error);
        }
    }
}

fn lost() -> Error {
    Error::new(ErrorCode::GuardLost, "the freeze guard has ended")
}

fn unexpected(reply: &Reply) -> Error {
    Error::new(ErrorCode::ProtocolError, format!("an answer of the guard that was not asked for: {reply:?}"))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

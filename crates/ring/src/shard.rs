//! A shard: the I/O of one thread.

use crate::{
    Account, Backend, Buf, Completion, File, NoBuffer, Parts, Payload, Remote, Socket, Workers,
    backend::Engine,
    busy::BusyPoll,
    inline::{Inline, is_in_a_file},
    plain::Plain,
    remote::{Arrival, Waker},
    syscalls,
    verdict::{Verdict, invalid, panicked, payload, refreshed, too_many, verdict},
};
use std::{
    fmt,
    io::{self, IoSlice},
    marker::PhantomData,
    os::fd::OwnedFd,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    thread::yield_now,
    time::{Duration, Instant},
};
use umbra_sys::{
    bufpool::BufPool,
    uring::{Op, Reaped},
};

/// A wait that is asked to take longer returns early: some system calls count its milliseconds in 32 bits.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// How a shard is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// What carries its I/O.
    pub backend: Backend,
    /// Operations at a time, at most; one accept, and the shard's own waiting for messages, count like any other.
    pub depth: u32,
    /// Bytes of all its buffers together, at most.
    pub buffers: usize,
    /// Who makes calls that may block ([`Shard::call`]); no operation ever stands behind them.
    pub workers: Arc<Workers>,
    /// How long a wait keeps the processor, at most, before it sleeps, where waits have been as short lately. Zero: it
    /// sleeps at once.
    pub busy_poll: Duration,
}

/// The files, sockets, buffers and messages of one thread. `M` is what other threads send it, and what calls return.
///
/// Operations start at the next [`Shard::wait`] but one at the latest. Those on the same file may be done in any order; what must come after
/// something is submitted after its completion. A stream socket carries one receive and one send at a time.
pub struct Shard<M> {
    arrivals: Receiver<Arrival<M>>,
    engine: Engine,
    pool: BufPool,
    /// What completed without the engine.
    ready: Vec<Completion<M>>,
    remote: Remote<M>,
    workers: Arc<Workers>,
    busy: BusyPoll,
    /// The last wait was over without the engine.
    passed_by: bool,
    /// A ring belongs to the thread that made it.
    thread: PhantomData<*const ()>,
}

impl<M: Send + 'static> Shard<M> {
    /// A shard of the calling thread.
    pub fn new(config: &Config) -> io::Result<Shard<M>> {
        let waker = Arc::new(Waker::new()?);
        let (inbox, arrivals) = channel();
        let depth = config.depth.max(2);
        let mut engine = Engine::new(config.backend, depth, || Plain::new(depth, waker.clone()))?;
        let mut pool = BufPool::new(config.buffers);
        let event = Arc::new(engine.socket(waker.event()?)?);
        // The count of an event has eight bytes.
        let wake = Op::Wake { event, buf: pool.take(8)? };
        engine.push(0, wake).map_err(|_| too_many())?;
        let ready = Vec::with_capacity(depth as usize);
        let remote = Remote { inbox, waker };
        let workers = config.workers.clone();
        let busy = BusyPoll::new(config.busy_poll);
        Ok(Shard {
            arrivals,
            engine,
            pool,
            ready,
            remote,
            workers,
            busy,
            passed_by: false,
            thread: PhantomData,
        })
    }

    /// What carries the I/O, [`Backend::Auto`] decided.
    pub fn backend(&self) -> Backend {
        self.engine.backend()
    }

    /// Operations that have not completed yet, the shard's own one included.
    pub fn in_flight(&self) -> usize {
        self.engine.in_flight()
    }

    /// An empty buffer with room for exactly `len` bytes.
    pub fn buffer(&mut self, len: usize) -> Result<Buf, NoBuffer> {
        self.pool.take(len)
    }

    /// The same in somebody's name, who gets no more than is left for all others ([`BufPool::take_for`]).
    pub fn buffer_for(&mut self, account: &Arc<Account>, len: usize) -> Result<Buf, NoBuffer> {
        self.pool.take_for(account, len)
    }

    /// Takes a file or block device into the shard.
    pub fn file(&mut self, fd: impl Into<OwnedFd>) -> File {
        let fd = fd.into();
        let inline = Rc::new(Inline::of(&fd, self.backend()));
        File { descriptor: Arc::new(self.engine.file(fd)), inline }
    }

    /// Takes a connected or listening stream socket into the shard.
    pub fn socket(&mut self, fd: impl Into<OwnedFd>) -> io::Result<Socket> {
        Ok(Socket(Arc::new(self.engine.socket(fd.into())?)))
    }

    /// The descriptor of a socket, to be given to another shard. The socket comes back if it has other handles or
    /// operations in flight.
    pub fn release(&mut self, socket: Socket) -> Result<OwnedFd, Socket> {
        match Arc::try_unwrap(socket.0) {
            Ok(descriptor) => Ok(self.engine.release(descriptor)),
            Err(shared) => Err(Socket(shared)),
        }
    }

    /// A way for other threads to send messages here.
    pub fn remote(&self) -> Remote<M> {
        self.remote.clone()
    }

    /// Reads into the spare room of `buf` from byte `offset` on, until it is full. The end of the file before that is
    /// `UnexpectedEof`; what was read until then is filled.
    pub fn read(&mut self, token: u64, file: &File, offset: u64, mut buf: Buf) {
        let (before, len) = (buf.len(), buf.spare());
        let whole = len > 0 && self.read_now(file, offset, &mut buf);
        let done = (buf.len() - before) as u32;
        let op = Op::Read { file: file.descriptor.clone(), offset, buf, done };
        match whole {
            true => self.complete(token, op, Ok(len as u32)),
            false => self.start(token, op, offset, len),
        }
    }

    /// The same here and now, where that is worth more than handing it over and cannot block. False: what was read is in
    /// `buf`, and [`Shard::submit_read`] goes on behind it, or tells what is wrong.
    pub fn read_now(&self, file: &File, offset: u64, buf: &mut Buf) -> bool {
        file.inline.read(&file.descriptor, offset, buf)
    }

    /// The same as [`Shard::read`], for what cannot be done here and now.
    pub fn submit_read(&mut self, token: u64, file: &File, offset: u64, buf: Buf) {
        let len = buf.spare();
        let op = Op::Read { file: file.descriptor.clone(), offset, buf, done: 0 };
        self.start(token, op, offset, len);
    }

    /// Writes the filled bytes of `parts` to byte `offset` and on, all of them.
    pub fn write(&mut self, token: u64, file: &File, offset: u64, parts: impl Into<Parts>) {
        let (parts, descriptor) = (parts.into(), &file.descriptor);
        let len = parts.bytes();
        let rest = |done, patience| syscalls::write_parts(descriptor, &parts, offset, done, patience);
        if len > 0 && file.inline.write(offset, len, rest) {
            let op = Op::Write { file: descriptor.clone(), offset, parts, done: 0 };
            return self.complete(token, op, Ok(len as u32));
        }
        self.submit_write(token, file, offset, parts);
    }

    /// The same here and now, where that is worth more than handing it over. False: [`Shard::submit_write`] does it, or
    /// tells what is wrong; some of it may be written already.
    pub fn write_now(&self, file: &File, offset: u64, data: &[u8]) -> bool {
        file.inline.write(offset, data.len(), |done, patience| {
            syscalls::write(&file.descriptor, &[IoSlice::new(&data[done..])], offset + done as u64, patience)
        })
    }

    /// The same as [`Shard::write`], for what cannot be done here and now.
    pub fn submit_write(&mut self, token: u64, file: &File, offset: u64, parts: impl Into<Parts>) {
        let parts = parts.into();
        let len = parts.bytes();
        let op = Op::Write { file: file.descriptor.clone(), offset, parts, done: 0 };
        self.start(token, op, offset, len);
    }

    /// Makes what was written, by operations completed before this, survive the loss of the machine. `data_only`
    /// spares what reading it back does not need, such as times.
    pub fn sync(&mut self, token: u64, file: &File, data_only: bool) {
        self.push(token, Op::Sync { file: file.descriptor.clone(), data_only });
    }

    /// Receives what there is, at least a byte, into the spare room of `buf`. Zero bytes: the peer sends no more.
    pub fn recv(&mut self, token: u64, socket: &Socket, buf: Buf) {
        let full = buf.spare() == 0;
        let op = Op::Recv { socket: socket.0.clone(), buf };
        match full {
            // Zero bytes would say that the peer has ended.
            true => self.complete(token, op, Err(invalid("a receive needs a buffer with room"))),
            false => self.push(token, op),
        }
    }

    /// Sends the filled bytes of `parts`, all of them.
    pub fn send(&mut self, token: u64, socket: &Socket, parts: impl Into<Parts>) {
        let parts = parts.into();
        let len = parts.bytes();
        let op = Op::Send { socket: socket.0.clone(), parts, done: 0 };
        self.start(token, op, 0, len);
    }

    /// Accepts connections, each a completion with a [`Payload::Socket`], until cancelled or an error that another try
    /// would meet again: a completion without a payload.
    pub fn accept(&mut self, token: u64, listener: &Socket) {
        self.push(token, Op::Accept { socket: listener.0.clone() });
    }

    /// Ends every operation of `token` early if it can be; each still completes, with ECANCELED (a write or send may
    /// have moved some of its bytes) or with its result. Looks at every operation in flight: meant for the end of connections, not for each command.
    pub fn cancel(&mut self, token: u64) -> io::Result<()> {
        self.engine.cancel(token)
    }

    /// Has a worker call `job`, which may block. What it returns completes as a message; a panic, or too many jobs
    /// that wait already, as an error.
    pub fn call(&mut self, token: u64, job: impl FnOnce() -> M + Send + 'static) {
        let workers = self.workers.clone();
        self.call_by(&workers, token, job);
    }

    /// The same by workers of the caller's choice: jobs that may block for long keep others waiting, unless they have
    /// workers of their own.
    pub fn call_by(&mut self, workers: &Workers, token: u64, job: impl FnOnce() -> M + Send + 'static) {
        let Remote { inbox, waker } = self.remote.clone();
        let submitted = workers.submit(Box::new(move || {
            let result = catch_unwind(AssertUnwindSafe(job)).map_err(|panic| panicked(&*panic));
            // A shard that is gone needs no answer.
            let _gone = inbox.send(Arrival { token, result });
            waker.wake();
        }));
        if submitted.is_err() {
            let queue = workers.queue();
            let why = io::Error::new(
                io::ErrorKind::ResourceBusy,
                format!("{queue} calls wait for a worker already; try again when some have returned"),
            );
            self.ready.push(Completion { token, result: Err(why), payload: Payload::None });
        }
    }

    /// Starts everything submitted since the last call (or the one before, if something has completed already: what follows
    /// from that is then started in the same system call), then waits until something has completed or `timeout` has
    /// passed (None: as long as it takes; zero: not at all), and appends what has completed. May return early and
    /// with nothing.
    pub fn wait(
        &mut self,
        timeout: Option<Duration>,
        completions: &mut Vec<Completion<M>>,
    ) -> io::Result<()> {
        let before = completions.len();
        self.collect(completions);
        if completions.len() > before && !std::mem::replace(&mut self.passed_by, true) {
            return Ok(());
        }
        self.passed_by = false;
        if completions.len() > before || timeout == Some(Duration::ZERO) {
            return self.look(completions);
        }
        match self.busy.is_wanted() {
            true => self.wait_busily(timeout, completions),
            false => self.sleep(timeout, completions),
        }
    }

    /// Looks for a while before it sleeps, if that has paid off lately.
    fn wait_busily(
        &mut self,
        timeout: Option<Duration>,
        completions: &mut Vec<Completion<M>>,
    ) -> io::Result<()> {
        let before = completions.len();
        let start = Instant::now();
        let window = self.busy.window().min(timeout.unwrap_or(Duration::MAX));
        while completions.len() == before && start.elapsed() < window {
            self.look(completions)?;
            // Whoever is to send what is looked for may need this processor.
            if completions.len() == before {
                yield_now();
            }
        }
        if completions.len() == before {
            let left = timeout.map(|time| time.saturating_sub(start.elapsed()));
            self.sleep(left, completions)?;
        }
        self.busy.waited((completions.len() > before).then(|| start.elapsed()));
        Ok(())
    }

    /// Takes what has completed.
    fn look(&mut self, completions: &mut Vec<Completion<M>>) -> io::Result<()> {
        let entered = self.engine.enter(Some(Duration::ZERO));
        self.reap(completions);
        entered
    }

    /// Waits in the kernel.
    fn sleep(&mut self, timeout: Option<Duration>, completions: &mut Vec<Completion<M>>) -> io::Result<()> {
        let before = completions.len();
        self.remote.waker.doze();
        self.collect(completions);
        let timeout = match completions.len() > before {
            true => Some(Duration::ZERO),
            false => timeout.map(|time| time.min(LONGEST_WAIT)),
        };
        let entered = self.engine.enter(timeout);
        self.remote.waker.rise();
        self.reap(completions);
        entered
    }

    fn reap(&mut self, completions: &mut Vec<Completion<M>>) {
        while let Some(reaped) = self.engine.reap() {
            self.settle(reaped, completions);
        }
        self.collect(completions);
    }

    /// What completed elsewhere.
    fn collect(&mut self, completions: &mut Vec<Completion<M>>) {
        completions.append(&mut self.ready);
        while let Ok(Arrival { token, result }) = self.arrivals.try_recv() {
            completions.push(match result {
                Ok(message) => Completion { token, result: Ok(0), payload: Payload::Message(message) },
                Err(why) => Completion { token, result: Err(why), payload: Payload::None },
            });
        }
    }

    /// Goes on with an operation that is not through, or tells its end.
    fn settle(&mut self, reaped: Reaped, completions: &mut Vec<Completion<M>>) {
        let Reaped { user: token, op, mut result, accepted, cancelled } = reaped;
        if let Some(fd) = accepted {
            match self.engine.socket(fd) {
                Ok(descriptor) => {
                    let payload = Payload::Socket(Socket(Arc::new(descriptor)));
                    completions.push(Completion { token, result: Ok(0), payload });
                }
                // The next would fare no better: accepting ends, unless the kernel goes on with it by itself.
                Err(why) => result = Err(why),
            }
        }
        let Some(op) = op else { return };
        match verdict(&op, result) {
            Verdict::Again if cancelled => {
                let result = Err(rustix::io::Errno::CANCELED.into());
                completions.push(Completion { token, result, payload: payload(op) });
            }
            Verdict::Again => self.push(token, refreshed(op)),
            Verdict::End(result) => completions.push(Completion { token, result, payload: payload(op) }),
        }
    }

    /// Gives an operation of `len` bytes to the engine, unless it asks for nothing, or for what no file has.
    fn start(&mut self, token: u64, op: Op, offset: u64, len: usize) {
        match is_in_a_file(offset, len) {
            true if len > 0 => self.push(token, op),
            true => self.complete(token, op, Ok(0)),
            false => self.complete(token, op, Err(invalid("a file has no bytes beyond 2^63"))),
        }
    }

    fn push(&mut self, token: u64, op: Op) {
        if let Err(op) = self.engine.push(token, op) {
            self.complete(token, op, Err(too_many()));
        }
    }

    fn complete(&mut self, token: u64, op: Op, result: io::Result<u32>) {
        self.ready.push(Completion { token, result, payload: payload(op) });
    }
}

impl<M> fmt::Debug for Shard<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shard { engine, pool, .. } = self;
        f.debug_struct("Shard").field("engine", engine).field("pool", pool).finish_non_exhaustive()
    }
}

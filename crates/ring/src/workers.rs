//! Threads for calls that may block: what a shard must not do itself.
//!
//! What always holds: at most `threads` jobs run and at most `queue` wait; a job that panics harms no other; whoever
//! drops the workers waits until every job that was accepted has run.

use std::{
    collections::VecDeque,
    fmt, io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

/// A call that may block. Must not panic: what can is wrapped by whoever submits it.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// A bounded pool of threads, shared by any number of shards.
pub struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    queue: usize,
}

struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Workers {
    /// Starts `threads` threads (at least one), for which up to `queue` jobs may wait.
    pub fn start(threads: usize, queue: usize) -> io::Result<Workers> {
        let state = State { jobs: VecDeque::with_capacity(queue), closed: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), work: Condvar::new(), queue });
        let mut workers = Workers { shared, threads: Vec::new() };
        for number in 0..threads.max(1) {
            let shared = workers.shared.clone();
            let name = format!("io-worker-{number}");
            workers.threads.push(thread::Builder::new().name(name).spawn(move || shared.run())?);
        }
        Ok(workers)
    }

    /// Has a thread run `job`; given back if as many wait as may.
    pub(crate) fn submit(&self, job: Job) -> Result<(), Job> {
        let mut state = self.shared.lock();
        if state.jobs.len() >= self.shared.queue {
            return Err(job);
        }
        state.jobs.push_back(job);
        drop(state);
        self.shared.work.notify_one();
        Ok(())
    }

    /// Jobs that may wait.
    pub(crate) fn queue(&self) -> usize {
        self.shared.queue
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Jobs run outside of the lock, so nothing panics inside.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        while let Some(job) = self.take() {
            job();
        }
    }

    /// The next job; none when there will be no more.
    fn take(&self) -> Option<Job> {
        let mut state = self.lock();
        while state.jobs.is_empty() && !state.closed {
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.jobs.pop_front()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            // A job may own the last reference to the workers; a thread cannot wait for itself.
            if thread.thread().id() != thread::current().id() {
                let _a_panic_is_told_by_then = thread.join();
            }
        }
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

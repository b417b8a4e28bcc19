//! What the tests share: shards of each engine, and waiting for completions.

use std::{sync::Arc, time::Duration};
use umbra_ring::{Backend, Buf, Completion, Config, Shard, Workers};

/// Far beyond what anything here takes; a test that reaches it has lost a completion.
pub const LOST: Duration = Duration::from_secs(60);

/// Runs `test` with a shard of each engine. Without io_uring in this kernel, says so and runs the other.
pub fn with_both(test: impl Fn(&mut Lab)) {
    for backend in backends() {
        eprintln!("engine: {backend}");
        test(&mut Lab::new(backend));
    }
}

/// The engines that this kernel lets us have.
pub fn backends() -> Vec<Backend> {
    match Shard::<u64>::new(&config(Backend::Uring)) {
        Ok(_) => vec![Backend::Uring, Backend::Plain],
        Err(why) => {
            eprintln!("SKIPPED: every test with io_uring, as the kernel refuses it: {why}");
            vec![Backend::Plain]
        }
    }
}

pub fn config(backend: Backend) -> Config {
    let workers = Arc::new(Workers::start(2, 64).unwrap());
    Config { backend, depth: 64, buffers: 8 << 20, workers, busy_poll: Duration::from_micros(100) }
}

/// A shard and what has completed in it.
pub struct Lab {
    pub shard: Shard<u64>,
    done: Vec<Completion<u64>>,
}

impl Lab {
    pub fn new(backend: Backend) -> Lab {
        Lab::with(&config(backend))
    }

    pub fn with(config: &Config) -> Lab {
        Lab { shard: Shard::new(config).unwrap(), done: Vec::new() }
    }

    /// The next completion, in whatever order they come.
    pub fn next(&mut self) -> Completion<u64> {
        while self.done.is_empty() {
            let begun = std::time::Instant::now();
            self.shard.wait(Some(LOST), &mut self.done).unwrap();
            assert!(!self.done.is_empty() || begun.elapsed() < LOST, "a completion is lost");
        }
        self.done.remove(0)
    }

    /// The next `count` completions, by token.
    pub fn take(&mut self, count: usize) -> Vec<Completion<u64>> {
        let mut completions: Vec<_> = (0..count).map(|_| self.next()).collect();
        completions.sort_by_key(|completion| completion.token);
        completions
    }

    /// Starts what was submitted, and keeps what completes at once for [`Lab::next`].
    pub fn start(&mut self) {
        self.shard.wait(Some(Duration::ZERO), &mut self.done).unwrap();
    }

    /// Whether nothing has completed.
    pub fn is_quiet(&mut self) -> bool {
        self.start();
        self.done.is_empty()
    }

    /// A buffer with these bytes.
    pub fn filled(&mut self, bytes: &[u8]) -> Buf {
        let mut buf = self.shard.buffer(bytes.len()).unwrap();
        buf.append(bytes);
        buf
    }
}

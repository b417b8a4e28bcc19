//! Silence in the window (S7): between the first freeze and the last thaw nothing of the service writes to a file,
//! because that file might lie on a file system that stands still, and its writer would stand with it.
//!
//! [`LogWriter`] is what the process gives to its log: it writes to standard error, and keeps lines in memory while a
//! [`Window`] is open. What always holds: lines come out in their order, and what did not fit is counted and said.

use std::{
    io::{self, Write},
    sync::{Mutex, MutexGuard},
};

/// Bytes of log kept while a window is open: a window is 60 s at most, and a line some hundred bytes.
const KEPT_BYTES: usize = 1 << 20;

/// A log that can be held back.
#[derive(Debug)]
struct Log(Mutex<State>);

#[derive(Debug)]
struct State {
    open: usize,
    kept: Vec<u8>,
    dropped: usize,
}

static LOG: Log = Log::new();

impl Log {
    const fn new() -> Log {
        Log(Mutex::new(State { open: 0, kept: Vec::new(), dropped: 0 }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Memory is reserved here, before anything is frozen.
    fn hold(&self) {
        let mut state = self.state();
        state.kept.reserve(KEPT_BYTES);
        state.open += 1;
    }

    fn release(&self, out: &mut impl Write) {
        let mut state = self.state();
        state.open -= 1;
        if state.open > 0 {
            return;
        }
        let kept = std::mem::take(&mut state.kept);
        let dropped = std::mem::take(&mut state.dropped);
        // A log that cannot be written has nowhere to say so.
        let _ = out.write_all(&kept);
        if dropped > 0 {
            let _ =
                writeln!(out, "{dropped} log writes did not fit in memory while file systems were frozen");
        }
    }

    fn write(&self, bytes: &[u8], out: &mut impl Write) -> io::Result<usize> {
        let mut state = self.state();
        if state.open == 0 {
            return out.write(bytes);
        }
        if state.kept.len() + bytes.len() <= KEPT_BYTES {
            state.kept.extend_from_slice(bytes);
        } else {
            state.dropped += 1;
        }
        Ok(bytes.len())
    }
}

/// While this lives the log stays in memory.
#[derive(Debug)]
pub struct Window(());

impl Window {
    /// Opens a window.
    pub fn open() -> Window {
        LOG.hold();
        Window(())
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        LOG.release(&mut io::stderr().lock());
    }
}

/// Standard error, held back while a [`Window`] is open. Give it to the process's log as its writer.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.write(bytes, &mut io::stderr().lock())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_wait_in_memory_while_a_window_is_open() {
        let (log, mut out) = (Log::new(), Vec::new());
        log.write(b"before\n", &mut out).unwrap();
        log.hold();
        log.hold();
        log.write(b"within\n", &mut out).unwrap();
        log.release(&mut out);
        assert_eq!(out, b"before\n");
        log.release(&mut out);
        log.write(b"after\n", &mut out).unwrap();
        assert_eq!(out, b"before\nwithin\nafter\n");
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let (log, mut out) = (Log::new(), Vec::new());
        log.hold();
        log.write(&vec![b'x'; KEPT_BYTES + 1], &mut out).unwrap();
        log.release(&mut out);
        assert!(String::from_utf8(out).unwrap().starts_with("1 log writes"));
    }
}

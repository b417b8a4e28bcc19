//! Runs an undo command: closed input, bounded output, killed with all that it started when its limit is over.

use rustix::{
    io::{Errno, read},
    pipe::{PipeFlags, pipe_with},
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open},
};
use std::{
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};
use umbra_base::{Deadline, Error, ErrorCode, Instant, Result};
use umbra_sys::{clock::boottime_nanos, process::default_signals};

use crate::{
    Undo,
    limits::{OUTPUT_BYTES, TICK, UNDO_LIMIT},
};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Undo {
    pub(crate) fn check(&self) -> Result<()> {
        self.program().map(drop)
    }

    fn program(&self) -> Result<&str> {
        let program = self.argv.first().map(String::as_str).unwrap_or_default();
        if program.starts_with('/') {
            return Ok(program);
        }
        let text = format!("undo command of writer {:?}: {program:?} is no absolute path", self.name);
        Err(Error::new(ErrorCode::InvalidArgument, text))
    }

    fn limit(&self) -> Duration {
        Duration::from_millis(self.limit_ms).min(UNDO_LIMIT)
    }
}

/// A command that runs.
#[derive(Debug)]
pub(crate) struct Runner {
    name: String,
    child: Child,
    ended: OwnedFd,
    output: OwnedFd,
    kept: Vec<u8>,
    limit: Duration,
    deadline: Deadline,
}

impl Runner {
    pub(crate) fn start(undo: &Undo) -> Result<Runner> {
        let what = |source: std::io::Error| {
            Error::new(ErrorCode::WriterFailed, format!("start {:?} for writer {:?}", undo.argv, undo.name))
                .because(source)
                .param("writer", &undo.name)
        };
        let (output, end) =
            pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(|error| what(error.into()))?;
        let mut command = Command::new(undo.program()?);
        command
            .args(&undo.argv[1..])
            .env_clear()
            .env("PATH", PATH)
            .envs(undo.env.iter().cloned())
            .current_dir("/");
        command.process_group(0).stdin(Stdio::null());
        command.stdout(end.try_clone().map_err(what)?).stderr(end);
        let child = default_signals(&mut command).spawn().map_err(what)?;
        let ended = pidfd_open(pid(&child), PidfdFlags::empty()).map_err(|error| what(error.into()))?;
        let limit = undo.limit();
        let deadline = Instant::from_nanos(boottime_nanos()) + limit;
        Ok(Runner { name: undo.name.clone(), child, ended, output, kept: Vec::new(), limit, deadline })
    }

    /// Descriptors that become readable when [`Runner::step`] has something to do.
    pub(crate) fn wakers(&self) -> [BorrowedFd<'_>; 2] {
        [self.ended.as_fd(), self.output.as_fd()]
    }

    /// Looks after it; its end if it has ended.
    pub(crate) fn step(&mut self) -> Option<Result<()>> {
        self.collect();
        match self.child.try_wait() {
            Ok(Some(status)) => {
                self.collect();
                return Some(self.judge(status));
            }
            Ok(None) => {}
            Err(source) => {
                return Some(Err(Error::io(format!("wait for the undo of writer {:?}", self.name), source)));
            }
        }
        if Instant::from_nanos(boottime_nanos()) < self.deadline {
            return None;
        }
        let _ = kill_process_group(pid(&self.child), Signal::KILL);
        let _ = self.child.wait();
        let text =
            format!("the undo command of writer {:?} ran for {} ms", self.name, self.limit.as_millis());
        Some(Err(Error::new(ErrorCode::WriterTimeout, text).param("writer", &self.name)))
    }

    fn collect(&mut self) {
        let mut buffer = [0; 1024];
        loop {
            match read(&self.output, &mut buffer) {
                Ok(0) | Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => return,
                Ok(length) => {
                    let room = OUTPUT_BYTES.saturating_sub(self.kept.len());
                    self.kept.extend_from_slice(&buffer[..length.min(room)]);
                }
            }
        }
    }

    fn judge(&self, status: ExitStatus) -> Result<()> {
        if status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&self.kept);
        let text = format!("the undo command of writer {:?} ended with {status}: {}", self.name, said.trim());
        Err(Error::new(ErrorCode::WriterFailed, text).param("writer", &self.name))
    }
}

fn pid(child: &Child) -> Pid {
    let id = i32::try_from(child.id()).unwrap_or(i32::MAX);
    Pid::from_raw(id).expect("a child's id is positive")
}

/// Runs it to its end.
pub(crate) fn run_to_end(undo: &Undo) -> Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut runner = Runner::start(undo)?;
    loop {
        if let Some(result) = runner.step() {
            return result;
        }
        let tick = Timespec::try_from(TICK).ok();
        let _ = poll(&mut [PollFd::new(&runner.ended, PollFlags::IN)], tick.as_ref());
    }
}

/// Runs it until it succeeds, a few times at most: for when nobody is left to be told.
pub(crate) fn run_unattended(undo: &Undo) -> Result<()> {
    let tries = 3;
    (1..tries).find_map(|_| run_to_end(undo).ok()).map_or_else(|| run_to_end(undo), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn undo(script: &str, limit_ms: u64) -> Undo {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        Undo { name: "w".into(), argv, env: vec![("NAME".into(), "value".into())], limit_ms }
    }

    #[test]
    fn a_program_that_succeeds_is_done() {
        run_to_end(&undo("test \"$NAME\" = value && test -z \"$HOME\"", 5000)).unwrap();
    }

    #[test]
    fn what_a_failing_program_said_is_in_the_error() {
        let error = run_to_end(&undo("echo cannot; echo really >&2; exit 3", 5000)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::WriterFailed);
        assert!(error.message().contains("cannot\nreally"), "{error}");
    }

    #[test]
    fn a_program_that_floods_is_not_kept_whole() {
        let error = run_to_end(&undo("head -c 1000000 /dev/zero | tr '\\0' x; exit 1", 20_000)).unwrap_err();
        assert!(error.message().len() < OUTPUT_BYTES + 200);
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", path.display());
        let error = run_to_end(&undo(&script, 300)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::WriterTimeout);
        let child = std::fs::read_to_string(path).unwrap();
        let stat = format!("/proc/{}/stat", child.trim());
        let gone = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
        for _ in 0..100 {
            if gone() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the child {child} lives on");
    }
}

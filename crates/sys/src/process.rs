//! Processes that are forked without exec, and programs that are started from them.

use rustix::process::Pid;
use std::{io, os::unix::process::CommandExt, process::Command};

/// Which side of a fork this is.
#[derive(Debug)]
pub enum Fork {
    /// The one that forked; the id is the child's.
    Parent(Pid),
    /// The new one.
    Child,
}

/// Forks a process that has a single thread, and refuses one that has more: in the child of such a one, locks of other
/// threads (the allocator's first of all) would stay locked for ever.
pub fn fork_single_threaded() -> io::Result<Fork> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(io::Error::other(format!("a process with {threads} threads must not fork without exec")));
    }
    // SAFETY: with one thread no lock can be held by another, so the child's memory is as consistent as the parent's.
    match unsafe { libc::fork() } {
        id if id < 0 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        id => Ok(Fork::Parent(Pid::from_raw(id).expect("fork returns a positive id to the parent"))),
    }
}

/// Ends this process at once: no destructors, no handlers, no flushing of streams shared with the parent.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit has no precondition.
    unsafe { libc::_exit(status) }
}

/// Ignores `signals` from now on, also in programs started later unless [`default_signals`] is asked for.
pub fn ignore_signals(signals: &[i32]) {
    for signal in signals {
        // SAFETY: SIG_IGN is a valid disposition and installs no code of ours.
        unsafe { libc::signal(*signal, libc::SIG_IGN) };
    }
}

/// Starts the program with every signal at its default and none blocked.
pub fn default_signals(command: &mut Command) -> &mut Command {
    // SAFETY: the closure calls async-signal-safe functions only, on memory of its own.
    unsafe {
        command.pre_exec(|| {
            for signal in 1..=libc::SIGSYS {
                libc::signal(signal, libc::SIG_DFL);
            }
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
            Ok(())
        })
    }
}

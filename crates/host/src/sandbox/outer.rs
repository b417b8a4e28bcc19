//! The outer process of a sandbox: makes the namespaces and stands for the command towards the caller.

use super::{
    init,
    spec::{Order, Stage},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, Signal, kill_process},
};
use std::{
    io,
    process::{Child, Command, ExitStatus},
};
use umbra_base::{Error, Result};

/// Runs the internal subcommand `sandbox`; `args` are those after its name. The result is the command's exit status, or
/// 128 plus the signal that ended it. Has to be called while the process has a single thread.
pub fn run(args: impl IntoIterator<Item = String>) -> Result<i32> {
    let args: Vec<String> = args.into_iter().collect();
    let order = Order::parse(&args)?;
    match order.stage {
        Stage::Outer => outer(&order),
        Stage::Init => init::run(&order),
        Stage::Command => init::become_command(&order),
    }
}

fn outer(order: &Order) -> Result<i32> {
    let what =
        |error: io::Error| Error::io("make the sandbox's namespaces", error).hint("needs CAP_SYS_ADMIN");
    let forwarded = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT];
    let program = std::env::current_exe().map_err(what)?;
    umbra_sys::isolate::new_namespaces().map_err(what)?;
    let mut child = Command::new(program)
        .args(order.args("init"))
        .spawn()
        .map_err(|error| Error::io("start the sandbox's first process", error))?;
    let status = wait_passing(&mut child, &forwarded);
    status.map(exit_code).map_err(|error| Error::io("wait for the sandbox", error))
}

/// Waits for `child` and passes signals on to it.
pub(super) fn wait_passing(child: &mut Child, signals: &[Signal]) -> io::Result<ExitStatus> {
    let raw: Vec<i32> = signals.iter().chain([&Signal::CHILD]).map(|signal| signal.as_raw()).collect();
    let pending = umbra_sys::detach::signal_fd(&raw)?;
    let pid = Pid::from_raw(child.id().cast_signed());
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let _ = poll(&mut [PollFd::new(&pending, PollFlags::IN)], None);
        let mut info = [0u8; 128];
        let Ok(128) = rustix::io::read(&pending, &mut info) else { continue };
        // ssi_signo is the first field of a signalfd_siginfo.
        let number = i32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
        let signal = signals.iter().find(|signal| signal.as_raw() == number);
        if let (Some(signal), Some(pid)) = (signal, pid) {
            let _ = kill_process(pid, *signal);
        }
    }
}

pub(super) fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

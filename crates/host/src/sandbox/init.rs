//! Process 1 of a sandbox, and the last step before the command.

use super::{
    outer::exit_code,
    spec::{Order, User},
    view,
};
use rustix::{
    process::{Gid, Pid, Signal, Uid, WaitOptions, kill_process, set_parent_process_death_signal, wait},
    thread::{
        CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set, set_capabilities,
        set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};
use std::{
    io,
    os::unix::process::CommandExt,
    process::{Command, ExitStatus},
};
use umbra_base::{Error, Result};

/// What a command may keep: handling its own files, users and children. Nothing with which a view could be undone.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::IPC_LOCK)
    .union(CapabilitySet::SYS_NICE);

pub(super) fn run(order: &Order) -> Result<i32> {
    // Should the outer process be killed, the kernel kills this one, and with it everything in the namespaces.
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| Error::io("tie the sandbox to its starter", io::Error::from(errno)))?;
    umbra_sys::isolate::loopback_up().map_err(|error| Error::io("bring up lo in the sandbox", error))?;
    let program = view::open_program()?;
    view::build(&order.sandbox)?;
    let signals = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT];
    let raw: Vec<i32> = signals.iter().chain([&Signal::CHILD]).map(|signal| signal.as_raw()).collect();
    let child = Command::new(program.path())
        .args(order.args("command"))
        .spawn()
        .map_err(|error| Error::io("start the command in the sandbox", error))?;
    let pending =
        umbra_sys::detach::signal_fd(&raw).map_err(|error| Error::io("watch for signals", error))?;
    drop(program);
    let pid = Pid::from_raw(child.id().cast_signed());
    loop {
        if let Some(code) = collect(pid)? {
            return Ok(code);
        }
        use rustix::event::{PollFd, PollFlags, poll};
        let _ = poll(&mut [PollFd::new(&pending, PollFlags::IN)], None);
        let mut info = [0u8; 128];
        if let Ok(128) = rustix::io::read(&pending, &mut info) {
            let number = i32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
            if let (Some(signal), Some(pid)) = (signals.iter().find(|signal| signal.as_raw() == number), pid)
            {
                let _ = kill_process(pid, *signal);
            }
        }
    }
}

/// Collects whoever ended; the exit code if the command is among them.
fn collect(command: Option<Pid>) -> Result<Option<i32>> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if Some(pid) == command => {
                let status = <ExitStatus as std::os::unix::process::ExitStatusExt>::from_raw(status.as_raw());
                return Ok(Some(exit_code(status)));
            }
            Ok(Some(_)) => {}
            Ok(None) => return Ok(None),
            Err(errno) => return Err(Error::io("wait in the sandbox", io::Error::from(errno))),
        }
    }
}

/// Drops what the command must not have, and becomes it.
pub(super) fn become_command(order: &Order) -> Result<i32> {
    drop_powers(order.sandbox.user.as_ref())
        .map_err(|errno| Error::io("drop the capabilities of the command", io::Error::from(errno)))?;
    let (program, args) =
        order.command.split_first().map_or((String::new(), [].as_slice()), |(p, a)| (p.clone(), a));
    let error = Command::new(&program).args(args).exec();
    Err(Error::io(format!("run {program} in the sandbox"), error))
}

fn drop_powers(user: Option<&User>) -> rustix::io::Result<()> {
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if KEPT.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            // Beyond the last one that this kernel knows.
            Err(rustix::io::Errno::INVAL) => break,
            result => result?,
        }
    }
    if let Some(user) = user {
        let groups: Vec<Gid> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        set_thread_groups(&groups)?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
    }
    set_no_new_privs(true)?;
    let now = capabilities(None)?;
    let kept = CapabilitySets {
        effective: now.effective & KEPT,
        permitted: now.permitted & KEPT,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, kept)
}

//! The library side: starting an attachment's process, finding those that live, asking them.

use super::{
    DeviceWish, Spec, State,
    control::{self, Request, parse_answer},
    state::Folder,
    sweep::{clear_dead, clear_devices_and_view},
};
use crate::limits::{CONTROL_LINE_BYTES, START_TIME};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    ffi::OsString,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    process::{ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};
use umbra_base::{Error, ErrorCode, LunId, Result};

/// How the attachment's program is called: `PROGRAM PREFIX... attach-lun --spec FILE`.
#[derive(Debug, Clone)]
pub struct Launcher {
    program: PathBuf,
    prefix: Vec<OsString>,
}

impl Launcher {
    /// The program whose `attach-lun` subcommand is [`super::run`].
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Launcher { program: program.into(), prefix: Vec::new() }
    }

    /// This very program.
    pub fn own() -> Result<Self> {
        std::env::current_exe()
            .map(Launcher::new)
            .map_err(|error| Error::io("find this program's file", error))
    }

    /// Arguments before the subcommand.
    #[must_use]
    pub fn prefix(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.prefix.extend(args.into_iter().map(Into::into));
        self
    }

    fn command(&self, spec: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.prefix).arg("attach-lun").arg("--spec").arg(spec).current_dir("/");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    }
}

/// A living attachment, as it was when it was last asked.
#[derive(Debug, Clone)]
pub struct Attachment {
    folder: Folder,
    state: State,
}

/// Attaches a LUN: starts the process and waits until it is ready. What a killed attachment of this LUN left is cleared
/// away first; a living one is `object_already_exists`.
pub fn start(launcher: &Launcher, spec: &Spec) -> Result<Attachment> {
    spec.check()?;
    let folder = Folder::of(&spec.runtime, spec.lun);
    let taken =
        || Error::new(ErrorCode::ObjectAlreadyExists, format!("LUN {} is attached already", spec.lun));
    if folder.is_alive() {
        return Err(taken());
    }
    folder.create()?;
    let Some(_reserved) = folder.reserve()? else { return Err(taken()) };
    if folder.is_alive() {
        return Err(taken());
    }
    clear_devices_and_view(&folder)?;
    let started =
        folder.create_view().and_then(|()| folder.write_spec(spec)).and_then(|()| launch(launcher, &folder));
    match started {
        Ok(state) => Ok(Attachment { folder, state }),
        Err(error) => {
            if !folder.is_alive() {
                // The first error is the one to tell.
                let _ = clear_devices_and_view(&folder).and_then(|_| folder.remove());
            }
            Err(error)
        }
    }
}

fn launch(launcher: &Launcher, folder: &Folder) -> Result<State> {
    let what = |error: io::Error| Error::io(format!("start {}", launcher.program.display()), error);
    let mut child = launcher.command(&folder.spec()).spawn().map_err(what)?;
    let output = child.stdout.take();
    // The child only starts the attachment and ends.
    child.wait().map_err(what)?;
    let line = output.map(read_answer).transpose().map_err(what)?.unwrap_or_default();
    if line.is_empty() {
        return Err(Error::new(ErrorCode::Io, "the attachment's process ended without a word")
            .param("program", launcher.program.display()));
    }
    parse_answer(&line)?.into_result()
}

/// Everything up to the first line's end, or to the end of the process.
fn read_answer(mut output: ChildStdout) -> io::Result<Vec<u8>> {
    let until = Instant::now() + START_TIME + Duration::from_secs(5);
    let mut line = Vec::new();
    while !line.ends_with(b"\n") && line.len() < CONTROL_LINE_BYTES {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        if poll(&mut [PollFd::new(&output, PollFlags::IN)], Some(&timeout))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut buffer = [0; 4096];
        match output.read(&mut buffer)? {
            0 => break,
            n => line.extend_from_slice(&buffer[..n]),
        }
    }
    Ok(line)
}

/// The living attachments.
pub fn list(runtime: &Path) -> Result<Vec<Attachment>> {
    let all = Folder::all(runtime);
    let entries = match fs::read_dir(&all) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(format!("read {}", all.display()), error)),
    };
    let luns = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<LunId>().ok());
    let mut found = Vec::new();
    for lun in luns {
        found.extend(find(runtime, lun)?);
    }
    found.sort_by_key(|attachment| attachment.state.lun);
    Ok(found)
}

/// The living attachment of a LUN, with its state as of its last change ([`Attachment::refresh_state`] asks it).
pub fn find(runtime: &Path, lun: LunId) -> Result<Option<Attachment>> {
    let folder = Folder::of(runtime, lun);
    if !folder.is_alive() {
        return Ok(None);
    }
    match folder.read_state() {
        Ok(state) => Ok(Some(Attachment { folder, state })),
        // Not ready yet, or just gone.
        Err(error) if error.code() == ErrorCode::Io => Ok(None),
        Err(error) => Err(error),
    }
}

/// Ends the attachment of a LUN, unless it is in use (`volume_in_use`). One that does not live is cleared away.
pub fn stop(runtime: &Path, lun: LunId) -> Result<()> {
    match find(runtime, lun)? {
        Some(attachment) => attachment.detach(),
        None => clear_dead(&Folder::of(runtime, lun)).map(drop),
    }
}

impl Attachment {
    /// What it said when it was last asked.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The block device, where there is one.
    pub fn device(&self) -> Option<&Path> {
        self.state.device.as_deref()
    }

    /// The whole LUN as a file.
    pub fn disk(&self) -> &Path {
        &self.state.disk
    }

    fn ask(&mut self, request: &Request) -> Result<&State> {
        self.state = control::ask(&self.folder.control(), request)?;
        Ok(&self.state)
    }

    /// Asks how it is.
    pub fn refresh_state(&mut self) -> Result<&State> {
        self.ask(&Request::Status)
    }

    /// Makes the block device (`None` of [`DeviceWish`] takes it down again).
    pub fn make_device(&mut self, wish: DeviceWish) -> Result<&State> {
        match wish {
            DeviceWish::None => self.ask(&Request::RemoveDevice),
            DeviceWish::ReadWrite => self.ask(&Request::MakeDevice { read_only: false }),
            DeviceWish::ReadOnly => self.ask(&Request::MakeDevice { read_only: true }),
        }
    }

    /// Makes the block device read-only; everything written is flushed first.
    pub fn set_read_only(&mut self) -> Result<&State> {
        self.ask(&Request::SetReadOnly { read_only: true })
    }

    /// Makes the block device writable; the array's write protection stands above it.
    pub fn set_read_write(&mut self) -> Result<&State> {
        self.ask(&Request::SetReadOnly { read_only: false })
    }

    /// Makes everything acknowledged durable.
    pub fn flush(&mut self) -> Result<&State> {
        self.ask(&Request::Flush)
    }

    /// Looks at the LUN again: identity, size, write protection, partitions.
    pub fn refresh(&mut self) -> Result<&State> {
        self.ask(&Request::Refresh)
    }

    /// Fails the device: everything that waits for it, or comes later, gets an error.
    pub fn abandon(&mut self, reason: &str) -> Result<&State> {
        self.ask(&Request::Abandon { reason: reason.to_owned() })
    }

    /// Ends the attachment, unless it is in use (`volume_in_use`).
    pub fn detach(mut self) -> Result<()> {
        self.ask(&Request::Detach).map(drop)
    }
}

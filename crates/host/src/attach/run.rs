//! The attachment's process: born detached from whoever started it, it serves one LUN until it is told to go.
//!
//! ```text
//!   starter --spawns--> `attach-lun --spec F` --setsid, spawns--> `attach-lun --spec F --detached`   (reparented to init)
//!      '<------------------ one JSON line on the pipe: ready, or why not -----------------'
//! ```
//! Threads: the driver (sessions, I/O), the file view (FUSE), this one (control socket, signals) and one for each control
//! request; only those make or remove files and devices, one after the other. What always holds: nothing is logged to a file; memory is locked; the process is no
//! child of the service and has none of its descriptors.

use super::{
    DeviceWish, Spec, State,
    control::{self, Answer, Request},
    device::{self, Scan},
    driver::{Driver, Handle},
    engine::{self, Engine},
    state::Folder,
    view::{View, Windows},
};
use crate::{limits, partitions};
use fuser::{BackgroundSession, Session, SessionACL};
use rustix::{
    event::{PollFd, PollFlags, poll},
    mount::{MountFlags, UnmountFlags},
    process::Signal,
};
use std::{
    ffi::CString,
    fs::{self, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            fs::{MetadataExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use umbra_base::{Error, ErrorCode, Result};
use umbra_iscsi::{initiator, pdu::Lun};

/// How long a logout, or the kernel's last close of a file, may take.
const GOODBYE: Duration = Duration::from_secs(5);

/// Runs the internal subcommand `attach-lun`; `args` are those after its name.
pub fn run(args: impl IntoIterator<Item = String>) -> Result<()> {
    let args: Vec<String> = args.into_iter().collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--spec", _] => detach(),
        ["--spec", spec, "--detached"] => {
            let result = serve(Path::new(spec));
            if let Err(error) = &result {
                announce(&Answer::Error(error.into()));
            }
            result
        }
        _ => Err(Error::new(ErrorCode::InvalidArgument, "usage: attach-lun --spec FILE")),
    }
}

/// Starts this program once more in a session of its own, and lets it become init's child.
fn detach() -> Result<()> {
    let what = |error: io::Error| Error::io("detach the attachment", error);
    rustix::process::setsid().map_err(|error| what(error.into()))?;
    let program = std::env::current_exe().map_err(what)?;
    Command::new(program)
        .args(std::env::args_os().skip(1))
        .arg("--detached")
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(what)?;
    Ok(())
}

/// Tells the starter how it went.
fn announce(answer: &Answer) {
    // The starter may have given up; nothing depends on it.
    let _ = io::stdout().write_all(&answer.to_line());
    let _ = io::stdout().flush();
}

fn serve(spec: &Path) -> Result<()> {
    // A thread that fails would leave a device that never answers: better none at all.
    std::panic::set_hook(Box::new(|_| std::process::exit(70)));
    let spec = Spec::load(spec)?;
    spec.check()?;
    let folder = Folder::of(&spec.runtime, spec.lun);
    let Some(_alive) = folder.lock_patiently()? else {
        return Err(Error::new(
            ErrorCode::ObjectAlreadyExists,
            format!("LUN {} is attached already", spec.lun),
        ));
    };
    let signals =
        umbra_sys::detach::signal_fd(&[Signal::TERM.as_raw(), Signal::INT.as_raw(), Signal::HUP.as_raw()])
            .map_err(|error| Error::io("watch for signals", error))?;
    settle()?;
    let attachment = Running::start(spec, folder)?;
    let listener = attachment.listen()?;
    announce(&Answer::of(&Ok(attachment.state.clone())));
    umbra_sys::detach::silence_stdio().map_err(|error| Error::io("close the standard streams", error))?;
    Control::new(attachment).obey(&listener, &signals)
}

/// Makes the process fit for the writeback path, as far as the kernel lets it.
fn settle() -> Result<()> {
    umbra_sys::writeback::lock_memory().map_err(|error| {
        Error::io("lock the attachment's memory", error)
            .hint("needs CAP_IPC_LOCK, or a higher RLIMIT_MEMLOCK")
    })?;
    // Both need CAP_SYS_RESOURCE, which containers often lack; without them only extreme memory pressure is worse.
    let _ = umbra_sys::writeback::mark_io_flusher();
    let _ = fs::write("/proc/self/oom_score_adj", "-1000");
    Ok(())
}

/// The control socket. Each request has a thread; those that change something follow each other, those that must be
/// answered while another one waits for an array that is away (how are you, give up) do not wait for it.
#[derive(Clone)]
struct Control {
    running: Arc<Mutex<Running>>,
    /// As after the last change.
    state: Arc<Mutex<State>>,
    handle: Handle,
    busy: Arc<AtomicUsize>,
}

impl Control {
    fn new(running: Running) -> Control {
        let (state, handle) = (Arc::new(Mutex::new(running.state.clone())), running.handle.clone());
        Control { running: Arc::new(Mutex::new(running)), state, handle, busy: Arc::default() }
    }

    /// Serves until the attachment is told to go.
    fn obey(self, listener: &UnixListener, signals: &OwnedFd) -> Result<()> {
        loop {
            let mut fds = [PollFd::new(listener, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
            let _ = poll(&mut fds, None);
            if fds[1].revents().contains(PollFlags::IN) {
                let _ = rustix::io::read(signals, &mut [0u8; 128]);
                let control = self.clone();
                std::thread::spawn(move || control.answer(Ok(Request::Detach), None));
            }
            if !fds[0].revents().contains(PollFlags::IN) {
                continue;
            }
            let Ok((stream, _)) = listener.accept() else { continue };
            if self.busy.fetch_add(1, Ordering::SeqCst) >= limits::CONTROL_REQUESTS {
                self.busy.fetch_sub(1, Ordering::SeqCst);
                continue;
            }
            let control = self.clone();
            std::thread::spawn(move || {
                control.answer(control::receive(&stream), Some(stream));
                control.busy.fetch_sub(1, Ordering::SeqCst);
            });
        }
    }

    /// Carries a request out. A detach that succeeds ends the process.
    fn answer(&self, request: Result<Request>, stream: Option<UnixStream>) {
        let going = matches!(request, Ok(Request::Detach));
        let result = request.and_then(|request| self.handle_request(request));
        if let Some(mut stream) = stream {
            let _ = stream.write_all(&Answer::of(&result).to_line());
        }
        if going && result.is_ok() {
            std::process::exit(0);
        }
    }

    fn handle_request(&self, request: Request) -> Result<State> {
        if let Request::Abandon { reason } = &request {
            self.handle.fail(reason);
        }
        if matches!(request, Request::Status | Request::Abandon { .. }) {
            let state = lock(&self.state).clone();
            return Ok(State { link: self.handle.status(), ..state });
        }
        let mut running = lock(&self.running);
        let result = running.handle_request(request);
        *lock(&self.state) = running.state.clone();
        result
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Running {
    folder: Folder,
    state: State,
    handle: Handle,
    windows: Arc<Windows>,
    fuse: Option<BackgroundSession>,
}

impl Running {
    fn start(spec: Spec, folder: Folder) -> Result<Running> {
        let handle = start_driver(&spec)?;
        handle.wait_up(limits::START_TIME)?;
        let link = handle.status();
        let state = State {
            version: 1,
            lun: spec.lun,
            pid: std::process::id(),
            endpoint: spec.endpoint,
            target: spec.target,
            number: spec.number,
            view: folder.view(),
            disk: folder.disk(),
            device: None,
            access: DeviceWish::None,
            size_bytes: link.size_bytes,
            table: None,
            partitions: Vec::new(),
            link,
        };
        let mut running = Running { folder, state, handle, windows: Arc::default(), fuse: None };
        running.read_table()?;
        running.mount_view()?;
        let made = match spec.device {
            DeviceWish::None => Ok(()),
            DeviceWish::ReadWrite => running.make_device(false),
            DeviceWish::ReadOnly => running.make_device(true),
        };
        match made.and_then(|()| running.folder.write_state(&running.state)) {
            Ok(()) => Ok(running),
            Err(error) => {
                let _ = running.tear_down();
                Err(error)
            }
        }
    }

    fn mount_view(&mut self) -> Result<()> {
        let what = |error: io::Error| {
            Error::io(format!("mount the file view at {}", self.folder.view().display()), error)
                .hint("the attachment needs /dev/fuse: modprobe fuse, or give the container the device")
        };
        let view = View {
            handle: self.handle.clone(),
            windows: Arc::clone(&self.windows),
            transfer_bytes: self.state.link.transfer_bytes,
        };
        let fuse = OpenOptions::new().read(true).write(true).open("/dev/fuse").map_err(what)?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", fuse.as_raw_fd());
        let options = CString::new(options).unwrap_or_default();
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        rustix::mount::mount("umbra", self.folder.view(), "fuse.umbra", flags, Some(options.as_c_str()))
            .map_err(|error| what(error.into()))?;
        let session = Session::from_fd(view, fuse.into(), SessionACL::Owner, fuser::Config::default());
        self.fuse = Some(session.and_then(Session::spawn).map_err(what)?);
        Ok(())
    }

    fn read_table(&mut self) -> Result<()> {
        let mut reader = LunReader { handle: &self.handle, at: 0, size: self.state.size_bytes };
        let table = partitions::read(&mut reader, self.state.size_bytes).map_err(|error| {
            Error::io(format!("read the partition table of LUN {}", self.state.lun), error)
        })?;
        self.state.table = table.as_ref().map(|table| table.kind);
        self.state.partitions = table.map(|table| table.partitions).unwrap_or_default();
        self.windows.set(self.state.size_bytes, &self.state.partitions);
        Ok(())
    }

    fn listen(&self) -> Result<UnixListener> {
        let path = self.folder.control();
        let what = |error: io::Error| Error::io(format!("listen at {}", path.display()), error);
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).map_err(what)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(what)?;
        Ok(listener)
    }

    fn handle_request(&mut self, request: Request) -> Result<State> {
        let before = self.state.clone();
        let done = match request {
            Request::Status | Request::Abandon { .. } => Ok(()),
            Request::MakeDevice { read_only } => self.make_device(read_only),
            Request::RemoveDevice => self.remove_device(),
            Request::SetReadOnly { read_only } => self.set_read_only(read_only),
            Request::Flush => self.flush(),
            Request::Refresh => self.refresh(),
            Request::Detach => return self.detach().map(|()| before),
        };
        // What was half done is noted too.
        if self.state != before {
            self.folder.write_state(&self.state)?;
        }
        done.map(|()| State { link: self.handle.status(), ..self.state.clone() })
    }

    fn make_device(&mut self, read_only: bool) -> Result<()> {
        if self.state.device.is_none() {
            let path = device::create(&self.folder.disk(), Scan::Partitions)?.path;
            self.state.device = Some(path.clone());
            self.state.access = DeviceWish::ReadWrite;
            device::add_partitions(&path, &self.state.partitions)?;
        }
        self.set_read_only(read_only)
    }

    fn remove_device(&mut self) -> Result<()> {
        if let Some(path) = self.state.device.clone() {
            device::remove(&path, &self.folder.disk())?;
            self.state.device = None;
            self.state.access = DeviceWish::None;
            self.flush_if_alive()?;
        }
        Ok(())
    }

    fn set_read_only(&mut self, read_only: bool) -> Result<()> {
        let Some(path) = &self.state.device else {
            return Err(Error::new(
                ErrorCode::BadState,
                format!("LUN {} has no block device here", self.state.lun),
            ));
        };
        device::set_read_only(path, read_only)?;
        self.state.access = if read_only { DeviceWish::ReadOnly } else { DeviceWish::ReadWrite };
        if read_only { self.flush() } else { Ok(()) }
    }

    fn flush(&self) -> Result<()> {
        let flushed = self.handle.call(engine::Request::Flush);
        flushed.map(drop).map_err(|error| Error::io(format!("flush LUN {}", self.state.lun), error))
    }

    /// A LUN that is gone has nothing left to flush; its device can still be taken down.
    fn flush_if_alive(&self) -> Result<()> {
        if self.handle.status().link == "failed" { Ok(()) } else { self.flush() }
    }

    fn refresh(&mut self) -> Result<()> {
        self.handle.refresh();
        // Requests wait for the new look at the LUN; so does this one.
        let mut first = LunReader { handle: &self.handle, at: 0, size: self.state.size_bytes };
        first
            .read_exact(&mut [0; 512])
            .map_err(|error| Error::io(format!("look at LUN {} again", self.state.lun), error))?;
        self.state.size_bytes = self.handle.status().size_bytes;
        self.read_table()?;
        match &self.state.device {
            Some(path) => {
                device::resize(path, &self.folder.disk())?;
                device::add_partitions(path, &self.state.partitions)
            }
            None => Ok(()),
        }
    }

    /// Leaves nothing behind; refused, with everything as it was, while the LUN is in use.
    fn detach(&mut self) -> Result<()> {
        if let Some(path) = &self.state.device {
            device::check_unused(path)?;
        }
        self.check_view_unused()?;
        self.remove_device()?;
        self.flush_if_alive()?;
        self.tear_down()
    }

    /// The kernel holds the view's files for the loop device; anyone else's are in the way.
    fn check_view_unused(&self) -> Result<()> {
        let view = self.folder.view();
        let device = fs::metadata(&view).map(|meta| meta.dev());
        let device = device.map_err(|error| Error::io(format!("look at {}", view.display()), error))?;
        match crate::procs::open_files(|file| file.dev() == device).first() {
            Some(holder) => Err(Error::new(
                ErrorCode::VolumeInUse,
                format!("process {} ({}) has {} open", holder.pid, holder.command, holder.file.display()),
            )),
            None => Ok(()),
        }
    }

    fn tear_down(&mut self) -> Result<()> {
        if let Some(path) = self.state.device.take() {
            device::remove(&path, &self.folder.disk())?;
        }
        unmount_view(&self.folder.view())?;
        if let Some(session) = self.fuse.take() {
            let _ = session.join();
        }
        self.handle.close(GOODBYE);
        self.folder.remove()
    }
}

/// Unmounts a served view. The kernel may still be closing the file under a loop device that has just gone.
fn unmount_view(view: &Path) -> Result<()> {
    let mut left = GOODBYE;
    loop {
        match rustix::mount::unmount(view, UnmountFlags::NOFOLLOW) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::BUSY) if !left.is_zero() => {
                let pause = Duration::from_millis(10);
                std::thread::sleep(pause);
                left = left.saturating_sub(pause);
            }
            Err(error) => {
                return Err(Error::io(format!("unmount {}", view.display()), io::Error::from(error)));
            }
        }
    }
}

fn start_driver(spec: &Spec) -> Result<Handle> {
    let auth = spec.credentials.load()?;
    let config = initiator::Config::new(spec.initiator.clone(), spec.target.clone(), auth, random_isid()?);
    let lun = Lun::from_number(spec.number).map_or(0, |lun| lun.0);
    let engine = Engine::new(config, lun, spec.expect.clone());
    let (driver, handle) = Driver::new(engine, spec.endpoint.clone())?;
    let thread = std::thread::Builder::new().name("driver".to_owned()).spawn(move || driver.run());
    thread.map_err(|error| Error::io("start the driver", error))?;
    Ok(handle)
}

/// An initiator session id of the random kind (RFC 7143 section 11.12.5), the same for all sessions of this process.
fn random_isid() -> Result<[u8; 6]> {
    let mut isid = [0; 6];
    getrandom::fill(&mut isid[1..]).map_err(|error| {
        Error::new(ErrorCode::Io, "draw a random number").because(io::Error::other(error))
    })?;
    isid[0] = 0x80;
    Ok(isid)
}

/// The LUN as something to read and seek in, past the file view.
struct LunReader<'a> {
    handle: &'a Handle,
    at: u64,
    size: u64,
}

impl Read for LunReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let len = buffer.len().min(left).min(limits::TRANSFER_BYTES as usize);
        if len == 0 {
            return Ok(0);
        }
        let data = self.handle.call(engine::Request::Read { offset: self.at, len: len as u32 })?;
        buffer[..len].copy_from_slice(data.get(..len).ok_or(io::ErrorKind::UnexpectedEof)?);
        self.at += len as u64;
        Ok(len)
    }
}

impl Seek for LunReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

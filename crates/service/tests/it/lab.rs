//! A lab: an array in this process, a service as a process of its own, LUNs attached to this machine; all in temporary
//! folders, gone with the value, whatever a test did or failed to do.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::{Response, Status};
use umbra_api::{Address, ArrayClient, ServiceClient, convert, v1};
use umbra_base::{Error, Result};

const PROGRAM: &str = env!("CARGO_BIN_EXE_umbra-service-helper");
pub const HOST: &str = "lab";

pub struct Lab {
    pub dir: TempDir,
    pub runtime: TempDir,
    pub array: Option<umbra_array::Server>,
    pub service: Option<Child>,
    threads: Runtime,
}

/// What a call of the service or the array came to.
pub fn reply<T>(reply: Result<Response<T>, Status>) -> Result<T> {
    reply.map(Response::into_inner).map_err(|status| convert::from_status(&status))
}

/// Polls until `done`, at most `limit`.
#[track_caller]
pub fn eventually(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < end, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a program to its end; its standard output. It must succeed.
#[track_caller]
pub fn run(program: &str, args: &[&str]) -> String {
    let output =
        Command::new("timeout").arg("60").arg(program).args(args).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    text
}

impl Lab {
    /// An array with a 2 GiB pool and a service beside it. None where the machine lacks a part.
    pub fn new() -> Option<Lab> {
        if !rustix::process::geteuid().is_root() || !Path::new("/dev/fuse").exists() {
            let _ = writeln!(std::io::stderr(), "SKIPPED: needs root and /dev/fuse");
            return None;
        }
        let dir = tempfile::Builder::new().prefix("umbra-it").tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let memory =
            if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
        let runtime = tempfile::Builder::new().prefix("umbra-it").tempdir_in(memory).unwrap();
        let threads =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut lab = Lab { dir, runtime, array: None, service: None, threads };
        lab.configure();
        lab.start_array();
        lab.start_service(&[]);
        Some(lab)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn configure(&self) {
        fs::create_dir_all(self.path("writers.d")).unwrap();
        let text = format!(
            "[service]\nruntime = {:?}\nstate = {:?}\nhost_name = {HOST:?}\nwriters_dir = {:?}\n\
             initiator = \"iqn.2026-11.io.umbra:host:lab\"\n[array]\naddress = \"unix:{}\"\n",
            self.runtime.path(),
            self.path("state"),
            self.path("writers.d"),
            self.path("array/array.sock").display()
        );
        fs::write(self.path("umbra.toml"), text).unwrap();
    }

    pub fn start_array(&mut self) {
        let mut options = umbra_array::Options::new(self.path("array"));
        options.size = Some(2 << 30);
        self.array = Some(umbra_array::Server::start(options).unwrap());
    }

    pub fn stop_array(&mut self) {
        if let Some(array) = self.array.take() {
            array.stop().unwrap();
        }
    }

    pub fn start_service(&mut self, env: &[(&str, &str)]) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("service.log")).unwrap();
        let mut command = Command::new(PROGRAM);
        command.arg("serve").arg(self.path("umbra.toml")).envs(env.iter().copied());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.service = Some(command.spawn().unwrap());
        eventually("the service answers", Duration::from_secs(20), || self.try_service().is_ok());
    }

    /// SIGKILL, and reaped.
    pub fn kill_service(&mut self) {
        if let Some(mut service) = self.service.take() {
            service.kill().unwrap();
            service.wait().unwrap();
        }
    }

    /// SIGTERM: a clean stop.
    pub fn stop_service(&mut self) {
        let Some(mut service) = self.service.take() else { return };
        let pid = rustix::process::Pid::from_raw(i32::try_from(service.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let end = Instant::now() + Duration::from_secs(40);
        while service.try_wait().unwrap().is_none() {
            if Instant::now() > end {
                service.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn try_service(&self) -> Result<ServiceClient> {
        self.wait(umbra_api::service(&Address::Unix(self.runtime.path().join("umbra.sock"))))
    }

    pub fn service(&self) -> ServiceClient {
        self.try_service().unwrap()
    }

    pub fn array(&self) -> ArrayClient {
        self.wait(umbra_api::array(&Address::Unix(self.path("array/array.sock")))).unwrap()
    }

    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.threads.block_on(work)
    }

    /// A LUN of `mib` MiB, unmasked to this host and attached; its device.
    pub fn lun(&self, name: &str, mib: u64) -> String {
        let id = uuid::Uuid::new_v4().to_string();
        let create =
            v1::CreateLunRequest { id, name: name.into(), size_bytes: mib << 20, ..Default::default() };
        reply(self.wait(self.array().create_lun(create))).unwrap();
        let unmask = v1::UnmaskLunRequest { key: name.into(), host_key: HOST.into(), if_revision: 0 };
        reply(self.wait(self.array().unmask_lun(unmask))).unwrap();
        self.attach(name)
    }

    pub fn attach(&self, lun: &str) -> String {
        let attach = v1::AttachLunRequest { key: lun.into() };
        reply(self.wait(self.service().attach_lun(attach))).unwrap().attachment.unwrap().device
    }

    /// A LUN with a file system, mounted; the mount point.
    pub fn mounted(&self, name: &str, mib: u64, fs: &str) -> PathBuf {
        let device = self.lun(name, mib);
        run(&format!("mkfs.{fs}"), &[if fs == "ext4" { "-qF" } else { "-qf" }, &device]);
        let at = self.path(&format!("mnt-{name}"));
        let mount =
            v1::MountLunRequest { key: name.into(), path: at.to_str().unwrap().into(), ..Default::default() };
        reply(self.wait(self.service().mount_lun(mount))).unwrap();
        at
    }

    pub fn order(&self, volumes: &[&Path]) -> v1::CreateRequest {
        let volumes = volumes.iter().map(|volume| volume.to_str().unwrap().to_owned()).collect();
        v1::CreateRequest { volumes, ..Default::default() }
    }

    /// Creates a set and waits for its end.
    pub fn create(&self, order: v1::CreateRequest) -> Result<v1::ServiceSet> {
        self.wait(async {
            let mut client = self.service_async().await;
            let mut events = reply(client.create(order).await)?;
            loop {
                match events
                    .message()
                    .await
                    .map_err(|status| convert::from_status(&status))?
                    .unwrap()
                    .event
                    .unwrap()
                {
                    v1::create_event::Event::Phase(_) => {}
                    v1::create_event::Event::Created(set) => return Ok(set),
                    v1::create_event::Event::Failed(detail) => return Err(convert::error(detail)),
                }
            }
        })
    }

    pub async fn service_async(&self) -> ServiceClient {
        umbra_api::service(&Address::Unix(self.runtime.path().join("umbra.sock"))).await.unwrap()
    }

    pub fn expose(&self, copy: &str, name: &str) -> Result<v1::ExposeReply> {
        let request = v1::ExposeRequest { copy_key: copy.into(), path: self.text(name) };
        reply(self.wait(self.service().expose(request)))
    }

    pub fn unexpose(&self, copy: &str) -> Result<v1::ExposeReply> {
        reply(self.wait(self.service().unexpose(v1::UnexposeRequest { copy_key: copy.into() })))
    }

    pub fn break_set(&self, request: v1::BreakRequest) -> Result<v1::BreakReply> {
        reply(self.wait(self.service().r#break(request)))
    }

    pub fn delete(&self, key: &str) -> Result<v1::DeleteReply> {
        reply(self.wait(self.service().delete(v1::DeleteRequest { key: key.into() })))
    }

    /// The sets that the array knows and that are not broken.
    pub fn sets(&self) -> Vec<v1::SetRecord> {
        reply(self.wait(self.array().list_sets(v1::ListSetsRequest::default()))).unwrap().sets
    }

    pub fn attachments(&self) -> Vec<v1::Attachment> {
        let request = v1::ListAttachmentsRequest {};
        reply(self.wait(self.service().list_attachments(request))).unwrap().attachments
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("service.log")).unwrap_or_default()
    }

    /// Mount points below the lab, the latest first, without the attachments' own.
    fn mounts(&self) -> Vec<String> {
        let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let ours = |at: &&str| Path::new(at).starts_with(self.dir.path());
        let mut found: Vec<_> =
            text.lines().filter_map(|l| l.split(' ').nth(4)).filter(ours).map(str::to_owned).collect();
        found.reverse();
        found
    }

    fn end_attachments(&self) {
        let Ok(entries) = fs::read_dir(self.runtime.path().join("attach")) else { return };
        for entry in entries.flatten() {
            let view = entry.path().join("view");
            let listed =
                Command::new("losetup").args(["-n", "-O", "NAME,BACK-FILE", "-l", "--raw"]).output().unwrap();
            for line in
                String::from_utf8_lossy(&listed.stdout).lines().filter(|l| l.contains(view.to_str().unwrap()))
            {
                let _ = Command::new("losetup").args(["-d", line.split(' ').next().unwrap()]).status();
            }
            if let Some(pid) =
                fs::read_to_string(entry.path().join("pid")).ok().and_then(|t| t.trim().parse().ok())
                && let Some(pid) = rustix::process::Pid::from_raw(pid)
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            let _ = Command::new("umount").arg("-l").arg(&view).stderr(Stdio::null()).status();
        }
    }
}

/// Whether a file system takes writes within `limit`.
pub fn writable_within(at: &Path, limit: Duration) -> bool {
    let mut child = Command::new("dd")
        .args(["if=/dev/zero", "bs=1", "count=1", "conv=fsync", "status=none"])
        .arg(format!("of={}", at.join(".probe").display()))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.success();
        }
        if Instant::now() > end {
            // It hangs in the kernel until somebody thaws, and ends then.
            let _ = child.kill();
            std::thread::spawn(move || child.wait());
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn code<T: std::fmt::Debug>(result: &Result<T, Error>) -> &'static str {
    result.as_ref().unwrap_err().code().as_str()
}

pub fn copies(set: &v1::ServiceSet) -> Vec<String> {
    set.record.as_ref().unwrap().copies.iter().map(|copy| copy.copy_id.clone()).collect()
}

pub fn id(set: &v1::ServiceSet) -> String {
    set.record.as_ref().unwrap().id.clone()
}

/// What a test has just ended may have the file system open, or frozen, for a moment yet.
fn unmount(mount: &str) {
    let start = Instant::now();
    loop {
        let _not_frozen = Command::new("fsfreeze").args(["-u", mount]).stderr(Stdio::null()).status();
        let done = Command::new("umount").arg(mount).status().is_ok_and(|status| status.success());
        if done || start.elapsed() > Duration::from_secs(10) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "--- service.log\n{}", self.log());
        }
        self.stop_service();
        for mount in self.mounts() {
            unmount(&mount);
        }
        self.end_attachments();
        if let Some(array) = self.array.take() {
            let _ = array.stop();
        }
    }
}

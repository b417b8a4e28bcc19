//! Attachments against Umbra's own target: restarts under a mounted file system, CHAP over TCP, fences.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use common::{can_attach, eventually, helper, kill, lun_id, run, unmount};
use std::{
    fs,
    io::Write,
    net::SocketAddr,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use umbra_base::{ErrorCode, LunId};
use umbra_host::attach::{self, Attachment, Credentials, Designators, DeviceWish, Endpoint, Spec};
use umbra_target::{
    Access, Directory, HostLogin, KeepNothing, LogicalUnit, LunEntry, LunIdentity, MappedRun, MediumError,
    PortalAuth, Secret, Target, TargetConfig,
};

const HOST: &str = "iqn.2026-01.io.umbra:host";
const NAA: u64 = 0x3000_0000_0000_0001;
const MIB: usize = 1 << 20;

struct Memory(RwLock<Vec<u8>>);

impl LogicalUnit for Memory {
    type Ticket = ();

    fn size_bytes(&self) -> u64 {
        self.0.read().unwrap().len() as u64
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), MediumError> {
        buf.copy_from_slice(&self.0.read().unwrap()[offset as usize..][..buf.len()]);
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8]) -> Result<(), MediumError> {
        self.0.write().unwrap()[offset as usize..][..buf.len()].copy_from_slice(buf);
        Ok(())
    }

    fn write_atomic(&self, offset: u64, buf: &[u8]) -> Result<(), MediumError> {
        self.write(offset, buf)
    }

    fn finish(&self, (): (), _done: bool) -> Result<(), MediumError> {
        Ok(())
    }

    fn flush(&self) -> Result<(), MediumError> {
        Ok(())
    }

    fn unmap(&self, offset: u64, len: u64) -> Result<(), MediumError> {
        self.write_zeroes(offset, len)
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Result<(), MediumError> {
        self.0.write().unwrap()[offset as usize..][..len as usize].fill(0);
        Ok(())
    }

    fn mapped(&self, offset: u64, len: u64) -> Result<Vec<MappedRun>, MediumError> {
        Ok(vec![MappedRun { offset, len, mapped: true }])
    }
}

struct Known;

impl Directory for Known {
    fn host(&self, initiator: &str) -> Option<HostLogin> {
        (initiator == HOST)
            .then(|| HostLogin { secret: Some(Secret::new("a secret of sixteen")), mutual: None })
    }
}

struct Bench {
    target: Option<Arc<Target<Memory>>>,
    unit: Arc<Memory>,
    lun: LunId,
    mounts: Vec<PathBuf>,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(size: usize) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let unit = Arc::new(Memory(RwLock::new(vec![0; size])));
        let mut bench = Bench { target: None, unit, lun: lun_id(), mounts: Vec::new(), folder };
        bench.start();
        bench
    }

    fn entry(&self, number: u16, access: Access) -> LunEntry<Memory> {
        let identity = LunIdentity {
            naa: NAA,
            uuid: *self.lun.0.as_bytes(),
            serial: "S1".into(),
            product: "UMBRA LUN".into(),
        };
        LunEntry { number, unit: self.unit.clone(), identity, access }
    }

    fn start(&mut self) {
        let target = Target::new(
            TargetConfig::new("iqn.2026-01.io.umbra:array"),
            Arc::new(Known),
            Arc::new(KeepNothing),
        )
        .unwrap();
        target.set_luns(HOST, vec![self.entry(7, Access::ReadWrite)]);
        let _ = fs::remove_file(self.socket());
        target.listen_unix(&self.socket()).unwrap();
        self.target = Some(target);
    }

    fn restart(&mut self) {
        self.target.take().unwrap().shutdown();
        self.start();
    }

    fn target(&self) -> &Arc<Target<Memory>> {
        self.target.as_ref().unwrap()
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("iscsi.sock")
    }

    fn runtime(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    fn spec(&self, endpoint: Endpoint, credentials: Credentials, device: DeviceWish) -> Spec {
        Spec {
            runtime: self.runtime(),
            lun: self.lun,
            endpoint,
            target: "iqn.2026-01.io.umbra:array".into(),
            initiator: HOST.into(),
            credentials,
            number: 7,
            expect: Designators { naa: Some(NAA), uuid: Some(self.lun.0.simple().to_string()) },
            device,
        }
    }

    fn attach(&self, device: DeviceWish) -> Attachment {
        let spec = self.spec(Endpoint::Unix(self.socket()), Credentials::None, device);
        attach::start(&helper(), &spec).unwrap()
    }

    fn mount(&mut self, device: &Path) -> PathBuf {
        let path = self.folder.path().join("mnt");
        fs::create_dir_all(&path).unwrap();
        umbra_host::mounts::mount(device, &path, umbra_host::mounts::Access::ReadWrite).unwrap();
        self.mounts.push(path.clone());
        path
    }

    fn unmount(&mut self) {
        for path in self.mounts.drain(..) {
            assert!(unmount(&path), "{} stays in use", path.display());
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for mount in self.mounts.drain(..) {
            unmount(&mount);
        }
        for mut attachment in attach::list(&self.runtime()).unwrap_or_default() {
            let pid = attachment.state().pid;
            let _ = attachment.abandon("the test is over");
            if attachment.detach().is_err() {
                kill(pid);
            }
        }
        let _ = attach::sweep(&self.runtime());
        if let Some(target) = self.target.take() {
            target.shutdown();
        }
    }
}

/// Appends numbered lines, each synced, and counts those that were acknowledged.
fn append_lines(path: PathBuf, stop: Arc<AtomicBool>, count: Arc<AtomicU64>) {
    let mut file = fs::File::create_new(path).unwrap();
    while !stop.load(Ordering::SeqCst) {
        writeln!(file, "line {}", count.load(Ordering::SeqCst)).unwrap();
        file.sync_data().unwrap();
        count.fetch_add(1, Ordering::SeqCst);
    }
}

fn a_mounted_file_system_lives_through_restarts(mkfs: &str, check: &[&str]) {
    if !can_attach() {
        return;
    }
    let mut bench = Bench::new(320 * MIB);
    let mut attachment = bench.attach(DeviceWish::ReadWrite);
    assert!(attachment.state().link.resend_agreed, "our target counts on us");
    let device = attachment.device().unwrap().to_owned();
    run(mkfs, &["-q", device.to_str().unwrap()]);
    let mount = bench.mount(&device);
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writer = {
        let (path, stop, count) = (mount.join("lines"), Arc::clone(&stop), Arc::clone(&count));
        std::thread::spawn(move || append_lines(path, stop, count))
    };
    for _ in 0..20 {
        let goal = count.load(Ordering::SeqCst) + 10;
        eventually("more lines are acknowledged", || {
            count.load(Ordering::SeqCst) >= goal || writer.is_finished()
        });
        bench.restart();
    }
    let goal = count.load(Ordering::SeqCst) + 10;
    eventually("it goes on by itself", || count.load(Ordering::SeqCst) >= goal);
    stop.store(true, Ordering::SeqCst);
    writer.join().unwrap();
    let lines = fs::read_to_string(mount.join("lines")).unwrap();
    assert_eq!(lines.lines().count() as u64, count.load(Ordering::SeqCst));
    assert!(lines.lines().enumerate().all(|(index, line)| line == format!("line {index}")));
    assert!(attachment.refresh_state().unwrap().link.reconnects >= 20);
    bench.unmount();
    let args: Vec<&str> = check[1..].iter().copied().chain([device.to_str().unwrap()]).collect();
    run(check[0], &args);
    attachment.detach().unwrap();
    assert!(!bench.runtime().join("attach").join(bench.lun.to_string()).exists());
}

#[test]
fn a_mounted_ext4_lives_through_restarts_of_the_array() {
    a_mounted_file_system_lives_through_restarts("mkfs.ext4", &["e2fsck", "-fn"]);
}

#[test]
fn a_mounted_xfs_lives_through_restarts_of_the_array() {
    a_mounted_file_system_lives_through_restarts("mkfs.xfs", &["xfs_repair", "-n"]);
}

#[test]
fn chap_over_tcp_needs_the_secret_and_a_file_of_ones_own() {
    if !can_attach() {
        return;
    }
    let bench = Bench::new(16 * MIB);
    let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let address = bench.target().listen_tcp(loopback, PortalAuth::Chap).unwrap().to_string();
    let secret_file = bench.folder.path().join("secret");
    let write = |secret: &str| {
        let _ = fs::remove_file(&secret_file);
        let mut options = fs::OpenOptions::new();
        let mut file = options.create_new(true).write(true).mode(0o600).open(&secret_file).unwrap();
        writeln!(file, "{secret}").unwrap();
    };
    let chap = Credentials::Chap { user: HOST.into(), secret_file: secret_file.clone() };
    let start = |credentials: &Credentials| {
        let spec = bench.spec(Endpoint::Tcp(address.clone()), credentials.clone(), DeviceWish::None);
        attach::start(&helper(), &spec)
    };
    assert_eq!(start(&Credentials::None).unwrap_err().code(), ErrorCode::AccessDenied);
    write("not the secret, I fear");
    assert_eq!(start(&chap).unwrap_err().code(), ErrorCode::AccessDenied);
    write("a secret of sixteen");
    fs::set_permissions(&secret_file, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(start(&chap).unwrap_err().hint_text().unwrap().contains("chmod 600"));
    fs::set_permissions(&secret_file, fs::Permissions::from_mode(0o600)).unwrap();
    let attachment = start(&chap).unwrap();
    fs::write(attachment.disk(), [5u8; 4096]).unwrap_err();
    assert_eq!(fs::read(attachment.disk()).unwrap().len(), 16 * MIB);
    attachment.detach().unwrap();
}

#[test]
fn fences_of_the_array_reach_the_device() {
    if !can_attach() {
        return;
    }
    let bench = Bench::new(16 * MIB);
    let mut attachment = bench.attach(DeviceWish::None);
    let file = fs::OpenOptions::new().read(true).write(true).open(attachment.disk()).unwrap();
    use std::os::unix::fs::FileExt;
    file.write_all_at(&[1; 512], 0).unwrap();
    bench.target().set_luns(HOST, vec![bench.entry(7, Access::ReadOnly)]);
    let error = file.write_all_at(&[2; 512], 0).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::ROFS.raw_os_error()));
    assert!(attachment.refresh_state().unwrap().link.write_protected);
    bench.target().set_luns(HOST, vec![bench.entry(7, Access::ReadWrite)]);
    file.write_all_at(&[3; 512], 0).unwrap();
    bench.unit.0.write().unwrap().resize(24 * MIB, 0);
    bench.target().set_luns(HOST, vec![bench.entry(7, Access::ReadWrite)]);
    assert_eq!(attachment.refresh().unwrap().size_bytes, 24 * MIB as u64);
    assert_eq!(fs::metadata(attachment.disk()).unwrap().len(), 24 * MIB as u64);
    bench.target().set_luns(HOST, vec![]);
    let error = file.read_exact_at(&mut [0; 512], 0).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
    eventually("the number is free again", || bench.target().number_is_forgotten(HOST, 7));
}

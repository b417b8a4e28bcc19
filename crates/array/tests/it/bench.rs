//! What the tests stand on: an array in a temporary folder (in this process, or in one that can be killed), a client of
//! its management socket, and libiscsi's tools as a host that shares no code with us.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use umbra_api::{Address, ArrayClient, convert, v1};
use umbra_array::{Options, PortalAuth, Server};
use umbra_base::{Error, ErrorCode};
use uuid::Uuid;

pub const MIB: u64 = 1 << 20;
pub const HOST_A: &str = "iqn.2026-01.test:host-a";
pub const HOST_B: &str = "iqn.2026-01.test:host-b";

/// An array in this process.
pub struct Bench {
    pub dir: TempDir,
    pub client: Client,
    server: Option<Server>,
}

pub fn options(dir: &Path) -> Options {
    Options { size: Some(256 * MIB), listen: vec!["127.0.0.1:0".parse().unwrap()], ..Options::new(dir) }
}

impl Bench {
    pub fn start() -> Bench {
        Bench::with(PortalAuth::Chap)
    }

    pub fn with(auth: PortalAuth) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(Options { auth, ..options(dir.path()) }).unwrap();
        let client = Client::connect(dir.path());
        Bench { dir, client, server: Some(server) }
    }

    pub fn portal(&self) -> String {
        self.server.as_ref().unwrap().addresses().portals[0].clone()
    }

    pub fn iqn(&self) -> String {
        self.server.as_ref().unwrap().addresses().iqn.clone()
    }

    /// Everything that was deleted has left the pool.
    pub fn reaped(&self) {
        assert!(
            self.server.as_ref().unwrap().wait_reaped(Duration::from_secs(20)),
            "devices stay in the pool"
        );
    }

    /// Ends the array cleanly and starts it again.
    pub fn restart(&mut self) {
        self.stop();
        self.start_again();
    }

    pub fn stop(&mut self) {
        self.server.take().unwrap().stop().unwrap();
    }

    /// After [`stop`](Bench::stop).
    pub fn start_again(&mut self) {
        self.server = Some(Server::start(options(self.dir.path())).unwrap());
        self.client = Client::connect(self.dir.path());
    }

    /// Ends the array cleanly and lets Debian's checker judge its pool, which comes back.
    pub fn stop_and_check(mut self) -> TempDir {
        self.stop();
        thin_check(self.dir.path());
        self.dir
    }

    pub fn url(&self, number: u32) -> String {
        format!("iscsi://{}/{}/{number}", self.portal(), self.iqn())
    }

    /// LUN `name` of `size`, and hosts a and b.
    pub fn with_lun(name: &str, size: u64) -> Bench {
        let bench = Bench::start();
        bench.client.create_lun(name, size);
        bench.client.add_host("a", HOST_A);
        bench.client.add_host("b", HOST_B);
        bench
    }
}

pub fn thin_check(dir: &Path) {
    let meta = dir.join("pool.meta");
    let output = Command::new("thin_check").arg(&meta).output().expect("thin_check is installed");
    assert!(output.status.success(), "thin_check: {}", String::from_utf8_lossy(&output.stderr));
}

/// A blocking client.
pub struct Client {
    runtime: Runtime,
    pub grpc: ArrayClient,
}

macro_rules! calls {
    ($($name:ident: $request:ident -> $reply:ident;)*) => {
        impl Client {$(
            pub fn $name(&self, request: v1::$request) -> Result<v1::$reply, Error> {
                let mut grpc = self.grpc.clone();
                let reply = self.runtime.block_on(async move { grpc.$name(request).await });
                reply.map(|reply| reply.into_inner()).map_err(|status| convert::from_status(&status))
            }
        )*}
    };
}

calls! {
    get_status: GetArrayStatusRequest -> ArrayStatus;
    get_lun: GetLunRequest -> Lun;
    list_luns: ListLunsRequest -> ListLunsReply;
    delete_lun: DeleteLunRequest -> LunReply;
    extend_lun: ExtendLunRequest -> LunReply;
    rename_lun: RenameLunRequest -> LunReply;
    set_lun_access: SetLunAccessRequest -> LunReply;
    unmask_lun: UnmaskLunRequest -> LunReply;
    mask_lun: MaskLunRequest -> LunReply;
    delete_host: DeleteHostRequest -> HostReply;
    get_host_secret: GetHostRequest -> HostSecret;
    begin_set: BeginSetRequest -> SetReply;
    renew_lease: RenewLeaseRequest -> SetReply;
    cut_set: CutSetRequest -> CutSetReply;
    commit_set: CommitSetRequest -> SetReply;
    abort_set: SetKey -> SetReply;
    import_set: ImportSetRequest -> SetReply;
    unimport_set: SetKey -> SetReply;
    begin_break: BeginBreakRequest -> SetReply;
    cancel_break: SetKey -> SetReply;
    commit_break: CommitBreakRequest -> SetReply;
    delete_set: SetKey -> SetReply;
    delete_copy: DeleteCopyRequest -> SetReply;
    update_set: UpdateSetRequest -> SetReply;
    get_set: SetKey -> SetRecord;
    list_sets: ListSetsRequest -> ListSetsReply;
}

impl Client {
    pub fn connect(dir: &Path) -> Client {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let address = Address::Unix(dir.join("array.sock"));
        let grpc = runtime.block_on(umbra_api::array(&address)).unwrap();
        Client { runtime, grpc }
    }

    pub fn create_lun_as(&self, id: Uuid, name: &str, size_bytes: u64) -> Result<v1::LunReply, Error> {
        let request =
            v1::CreateLunRequest { id: id.to_string(), name: name.into(), size_bytes, ..Default::default() };
        let mut grpc = self.grpc.clone();
        let reply = self.runtime.block_on(async move { grpc.create_lun(request).await });
        reply.map(|reply| reply.into_inner()).map_err(|status| convert::from_status(&status))
    }

    pub fn create_lun(&self, name: &str, size_bytes: u64) -> v1::Lun {
        self.create_lun_as(Uuid::new_v4(), name, size_bytes).unwrap().lun.unwrap()
    }

    pub fn add_host(&self, name: &str, initiator: &str) -> v1::HostReply {
        let request =
            v1::AddHostRequest { id: String::new(), name: name.into(), initiator: initiator.into() };
        let mut grpc = self.grpc.clone();
        self.runtime.block_on(async move { grpc.add_host(request).await }).unwrap().into_inner()
    }

    pub fn lun(&self, key: &str) -> Result<v1::Lun, Error> {
        self.get_lun(v1::GetLunRequest { key: key.into() })
    }

    pub fn unmask(&self, lun: &str, host: &str) -> v1::LunReply {
        let request = v1::UnmaskLunRequest { key: lun.into(), host_key: host.into(), if_revision: 0 };
        self.unmask_lun(request).unwrap()
    }

    pub fn mask(&self, lun: &str, host: &str) -> v1::LunReply {
        let request = v1::MaskLunRequest { key: lun.into(), host_key: host.into(), if_revision: 0 };
        self.mask_lun(request).unwrap()
    }

    pub fn secret(&self, host: &str) -> v1::HostSecret {
        self.get_host_secret(v1::GetHostRequest { key: host.into() }).unwrap()
    }

    pub fn delete(&self, lun: &str) -> Result<v1::LunReply, Error> {
        self.delete_lun(v1::DeleteLunRequest { key: lun.into(), if_revision: 0 })
    }

    /// A pending set of host `a`.
    pub fn begin(&self, luns: &[&str], transportable: bool, lease_ms: u64) -> String {
        let set_id = Uuid::new_v4().to_string();
        let request = v1::BeginSetRequest {
            set_id: set_id.clone(),
            host: "a".into(),
            origin_lun_keys: luns.iter().map(|key| (*key).into()).collect(),
            transportable,
            lease_ms,
            ..Default::default()
        };
        assert_eq!(self.begin_set(request).unwrap().outcome(), v1::Outcome::Created);
        set_id
    }

    /// A created set of host `a`.
    pub fn create_set(&self, luns: &[&str], transportable: bool) -> v1::SetRecord {
        let set_key = self.begin(luns, transportable, 0);
        self.cut_set(v1::CutSetRequest { set_key: set_key.clone(), hold_limit_ms: 0 }).unwrap();
        self.commit_set(v1::CommitSetRequest { set_key }).unwrap().set.unwrap()
    }

    pub fn import(&self, set: &str, host: &str, steal: bool) -> Result<v1::SetReply, Error> {
        self.import_set(v1::ImportSetRequest { set_key: set.into(), host: host.into(), steal })
    }

    pub fn begin_break_of(&self, set: &str, read_write: bool) -> Result<v1::SetReply, Error> {
        self.begin_break(v1::BeginBreakRequest { set_key: set.into(), host: "a".into(), read_write })
    }

    pub fn commit_break_of(&self, set: &str, read_write: bool) -> Result<v1::SetReply, Error> {
        self.commit_break(v1::CommitBreakRequest { set_key: set.into(), read_write, luns: vec![] })
    }

    pub fn status(&self) -> v1::ArrayStatus {
        self.get_status(v1::GetArrayStatusRequest {}).unwrap()
    }
}

pub fn key(key: &str) -> v1::SetKey {
    v1::SetKey { key: key.into(), if_revision: 0 }
}

pub fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorCode {
    result.expect_err("this must be refused").code()
}

/// Runs a tool with a limit; its output, whether it succeeded or not.
pub fn run(command: &mut Command) -> (bool, String) {
    let name = format!("{command:?}");
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = Kill(child.unwrap_or_else(|error| panic!("{name}: {error}")));
    let end = Instant::now() + Duration::from_secs(60);
    while child.0.try_wait().unwrap().is_none() {
        assert!(Instant::now() < end, "{name} does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
    let status = child.0.wait().unwrap();
    let mut text = String::new();
    use std::io::Read;
    child.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    child.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    (status.success(), text)
}

/// Kills its process when dropped.
pub struct Kill(pub Child);

impl Drop for Kill {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _ = self.0.wait();
    }
}

/// libiscsi's `iscsi-ls -s` against a portal, as `initiator`.
pub fn iscsi_ls(bench: &Bench, initiator: &str, secret: Option<&v1::HostSecret>) -> (bool, String) {
    let mut command = Command::new("iscsi-ls");
    command.args(["-s", "-i", initiator]).arg(format!("iscsi://{}", bench.portal()));
    with_secret(&mut command, secret);
    run(&mut command)
}

/// libiscsi's `iscsi-inq`.
pub fn iscsi_inq(
    url: &str,
    initiator: &str,
    secret: Option<&v1::HostSecret>,
    page: Option<&str>,
) -> (bool, String) {
    let mut command = Command::new("iscsi-inq");
    command.args(["-i", initiator]);
    if let Some(page) = page {
        command.args(["-e", "1", "-c", page]);
    }
    command.arg(url);
    with_secret(&mut command, secret);
    run(&mut command)
}

pub fn with_secret(command: &mut Command, secret: Option<&v1::HostSecret>) {
    if let Some(secret) = secret {
        command.env("LIBISCSI_CHAP_USERNAME", &secret.user).env("LIBISCSI_CHAP_PASSWORD", &secret.secret);
    }
}

/// `lun.py`: writes or checks the first MiB of a LUN as a host, given by its name here and as an initiator.
pub fn lun_tool(bench: &Bench, host: (&str, &str), number: u32, what: &str, byte: u8) -> Command {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/lun.py");
    let mut command = Command::new("python3");
    command.args([script, &bench.url(number), host.1, what, &byte.to_string()]);
    with_secret(&mut command, Some(&bench.client.secret(host.0)));
    command
}

/// Waits, with a bound, until something holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within 20 s");
        std::thread::sleep(Duration::from_millis(10));
    }
}

//! Against a real server, in a temporary folder, as a user without rights, over its unix socket.

use super::*;
use crate::config::{WriterConfig, parse};
use std::{
    collections::BTreeMap,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};
use umbra_base::SetId;

const BIN: &str = "/usr/lib/postgresql/15/bin";

/// A server; stopped when dropped.
struct Server {
    folder: tempfile::TempDir,
    mounts: Vec<&'static str>,
}

impl Server {
    /// `None`, and a word on stderr, where the machine lacks something.
    fn start(extra: &str) -> Option<Server> {
        Server::start_on(Vec::new(), extra)
    }

    /// With an ext4 of its own under each of `mounts`.
    fn start_on(mounts: Vec<&'static str>, extra: &str) -> Option<Server> {
        if !Path::new(BIN).join("postgres").exists() || !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: needs root and PostgreSQL 15 in {BIN}");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut server = Server { folder, mounts: Vec::new() };
        std::fs::set_permissions(server.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
        for folder in ["home", "wal", "space"] {
            std::fs::create_dir(server.path(folder)).unwrap();
            if mounts.contains(&folder) {
                server.mount(folder);
            }
            chown(server.path(folder), Some(65534), Some(65534)).unwrap();
        }
        let data = server.path("home/data");
        let wal = server.path("wal/pg_wal");
        server.run(
            "initdb",
            &["-D", text(&data), "-X", text(&wal), "-A", "trust", "-U", "postgres", "--no-sync"],
        );
        let settings = format!(
            "listen_addresses = ''\nunix_socket_directories = '{}'\nshared_buffers = 16MB\n{extra}\n",
            server.path("home").display()
        );
        let conf = data.join("postgresql.auto.conf");
        std::fs::write(&conf, settings).unwrap();
        chown(&conf, Some(65534), Some(65534)).unwrap();
        server.up();
        Some(server)
    }

    fn mount(&mut self, folder: &'static str) {
        let image = self.path(&format!("{folder}.image"));
        std::fs::File::create(&image).unwrap().set_len(256 << 20).unwrap();
        tool("mkfs.ext4", &["-q", text(&image)]);
        tool("mount", &["-o", "loop", text(&image), text(&self.path(folder))]);
        self.mounts.push(folder);
    }

    fn path(&self, below: &str) -> PathBuf {
        let root = std::fs::canonicalize(self.folder.path()).unwrap();
        if below.is_empty() { root } else { root.join(below) }
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(format!("{BIN}/{program}"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.path("home"))
            .env("LC_ALL", "C.UTF-8")
            .env("PATH", "/bin");
        let log = std::fs::File::create(self.path("tool.log")).unwrap();
        command.current_dir("/").stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let status = command.status().unwrap();
        let said = std::fs::read_to_string(self.path("tool.log")).unwrap();
        assert!(status.success(), "{program}: {said}");
    }

    fn up(&self) {
        let (data, log) = (self.path("home/data"), self.path("home/log"));
        self.run("pg_ctl", &["-D", text(&data), "-l", text(&log), "-w", "start"]);
    }

    fn down(&self) {
        self.run("pg_ctl", &["-D", text(&self.path("home/data")), "-w", "-m", "immediate", "stop"]);
    }

    fn sql(&self, statement: &str) {
        self.run("psql", &["-h", text(&self.path("home")), "-U", "postgres", "-qc", statement]);
    }

    fn config(&self, more: &str) -> WriterConfig {
        let text = format!("name = 'db'\n[postgres]\nsocket = '{}'\n{more}", self.path("home").display());
        parse(&text, "test").unwrap()
    }

    /// A set with volumes of these folders of the server.
    fn set(&self, folders: &[&str]) -> SetContext {
        let volumes: BTreeMap<_, _> =
            folders.iter().map(|name| (self.path(name), name.to_string())).collect();
        let volume_of = move |path: &Path| {
            volumes.iter().find(|(root, _)| path.starts_with(root)).map(|(_, name)| name.clone())
        };
        SetContext { set: SetId(uuid::Uuid::nil()), volume_of: Arc::new(volume_of) }
    }

    async fn writer(&self, folders: &[&str]) -> Arc<dyn Writer> {
        let config = self.config("");
        let identity = config.identify().await.unwrap();
        config.join(&identity, &self.set(folders)).expect("it is affected")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for folder in &self.mounts {
            let _ = Command::new("fsfreeze").arg("-u").arg(self.path(folder)).stderr(Stdio::null()).status();
        }
        if self.path("home/data/postmaster.pid").exists() {
            self.down();
        }
        for folder in &self.mounts {
            tool("umount", &[text(&self.path(folder))]);
        }
    }
}

fn tool(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).stdin(Stdio::null()).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn identify_follows_every_link_to_the_data() {
    let Some(server) = Server::start("") else { return };
    let moved = server.path("space/moved");
    std::fs::create_dir(&moved).unwrap();
    chown(&moved, Some(65534), Some(65534)).unwrap();
    let link = server.path("home/link");
    symlink(&moved, &link).unwrap();
    server.sql(&format!("CREATE TABLESPACE fast LOCATION '{}'", link.display()));
    let identity = server.config("").identify().await.unwrap();
    assert!(identity.product.starts_with("PostgreSQL 15"), "{identity:?}");
    let places: Vec<_> =
        identity.places.iter().map(|place| (place.what.as_str(), place.path.clone())).collect();
    let expected =
        [("data", server.path("home/data")), ("WAL", server.path("wal/pg_wal")), ("tablespace fast", moved)];
    assert_eq!(places, expected);
    assert!(identity.remarks.is_empty());
}

#[tokio::test]
async fn a_whole_set_is_consistent_for_the_application() {
    let Some(server) = Server::start("log_statement = 'all'") else { return };
    let writer = server.writer(&["home", "wal"]).await;
    let report = writer.prepare().await.unwrap();
    let claimed: Vec<_> = report.claims.iter().map(|claim| (claim.volume.as_str(), claim.level)).collect();
    assert_eq!(claimed, [("home", Consistency::Application), ("wal", Consistency::Application)]);
    writer.freeze().await.unwrap();
    let logged = std::fs::metadata(server.path("home/log")).unwrap().len();
    writer.attest().await.unwrap();
    writer.attest().await.unwrap();
    assert_eq!(
        std::fs::metadata(server.path("home/log")).unwrap().len(),
        logged,
        "attest must not make it log"
    );
    writer.thaw().await.unwrap();
    writer.post_snapshot().await.unwrap();
    writer.abort().await.unwrap();
    assert_eq!(writer.attest().await.unwrap_err().code(), ErrorCode::BadState);
}

#[tokio::test]
async fn prepare_writes_a_checkpoint() {
    let Some(server) = Server::start("") else { return };
    let written = || std::fs::read(server.path("home/data/global/pg_control")).unwrap();
    server.sql("CREATE TABLE t AS SELECT generate_series(1, 1000)");
    let before = written();
    server.writer(&["home", "wal"]).await.prepare().await.unwrap();
    assert_ne!(written(), before, "the control file names the last checkpoint");
}

#[tokio::test]
async fn a_missing_volume_is_an_inconsistent_snapshot() {
    let Some(server) = Server::start("") else { return };
    for (folders, missing) in [(["home"], "WAL"), (["wal"], "data")] {
        let writer = server.writer(&folders).await;
        let error = writer.prepare().await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::InconsistentSnapshot);
        assert!(error.message().contains(missing), "{error}");
    }
    let config = server.config("");
    let identity = config.identify().await.unwrap();
    assert!(config.join(&identity, &server.set(&["space"])).is_none(), "it is not affected");
}

#[tokio::test]
async fn a_tablespace_made_after_identify_is_noticed_in_prepare() {
    let Some(server) = Server::start("") else { return };
    let writer = server.writer(&["home", "wal"]).await;
    server.sql(&format!("CREATE TABLESPACE late LOCATION '{}'", server.path("space").display()));
    assert_eq!(writer.prepare().await.unwrap_err().code(), ErrorCode::InconsistentSnapshot);
}

#[tokio::test]
async fn a_server_that_does_not_order_its_writes_claims_a_crash_at_best() {
    for setting in ["fsync", "full_page_writes"] {
        let Some(server) = Server::start(&format!("{setting} = off")) else { return };
        let report = server.writer(&["home", "wal"]).await.prepare().await.unwrap();
        for claim in &report.claims {
            assert_eq!(claim.level, Consistency::Crash);
            assert!(claim.reason.contains(&format!("{setting} = off")), "{claim:?}");
        }
        assert_eq!(server.config("").identify().await.unwrap().remarks.len(), 1);
    }
}

#[tokio::test]
async fn a_server_that_was_started_anew_is_not_the_one_that_was_frozen() {
    let Some(server) = Server::start("") else { return };
    let writer = server.writer(&["home", "wal"]).await;
    writer.prepare().await.unwrap();
    writer.freeze().await.unwrap();
    server.down();
    assert_eq!(writer.attest().await.unwrap_err().code(), ErrorCode::WriterFailed);
    server.up();
    assert_eq!(writer.attest().await.unwrap_err().code(), ErrorCode::WriterFailed);
    writer.abort().await.unwrap();
    writer.abort().await.unwrap();
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("name = 'db'\n[postgres]\nsocket = '{}'", folder.path().display());
    let error = parse(&text, "test").unwrap().identify().await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::WriterFailed);
    assert!(error.message().contains(".s.PGSQL.5432"), "{error}");
}

/// The log lies on the frozen file system, and the server logs every statement: were ours logged, the answer would wait
/// for the thaw.
#[tokio::test]
async fn attest_answers_while_the_servers_own_file_systems_are_frozen() {
    let extra = "log_statement = 'all'\nlog_duration = on";
    let Some(server) = Server::start_on(vec!["home", "wal"], extra) else { return };
    let writer = server.writer(&["home", "wal"]).await;
    writer.prepare().await.unwrap();
    writer.freeze().await.unwrap();
    tool("fsfreeze", &["-f", text(&server.path("home"))]);
    tool("fsfreeze", &["-f", text(&server.path("wal"))]);
    let attested = timeout(std::time::Duration::from_secs(5), writer.attest()).await;
    tool("fsfreeze", &["-u", text(&server.path("wal"))]);
    tool("fsfreeze", &["-u", text(&server.path("home"))]);
    attested.expect("it answers while frozen").unwrap();
    writer.thaw().await.unwrap();
}

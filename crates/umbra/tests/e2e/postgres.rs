//! A PostgreSQL of a test: data on one folder, WAL on another, unix socket only, pgbench loaded.

use crate::lab::{Lab, Ran, eventually, run};
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

pub const BIN: &str = "/usr/lib/postgresql/15/bin";
const NOBODY: u32 = 65534;

/// The server, stopped at once when it goes.
pub struct Postgres {
    pub data: PathBuf,
    pub socket: PathBuf,
    server: Option<Child>,
}

pub fn installed() -> bool {
    let found = Path::new(BIN).join("postgres").exists();
    if !found {
        eprintln!("SKIPPED: PostgreSQL 15 is not installed");
    }
    found
}

/// `program` of PostgreSQL as the user nobody.
pub fn as_nobody(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(format!("{BIN}/{program}"))
        .env("HOME", "/")
        .env("LC_ALL", "C")
        .stdin(Stdio::null());
    command
}

impl Postgres {
    /// Makes a cluster with its data below `data` and its WAL below `wal`, starts it and loads pgbench.
    pub fn new(lab: &Lab, data: &Path, wal: &Path) -> Postgres {
        let (data, wal) = (data.join("data"), wal.join("wal"));
        for folder in [&data, &wal] {
            fs::create_dir(folder).unwrap();
            chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
        }
        let socket = lab.path("pg");
        fs::create_dir_all(&socket).unwrap();
        chown(&socket, Some(NOBODY), Some(NOBODY)).unwrap();
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o700)).unwrap();
        let made = as_nobody("initdb")
            .args(["--no-sync", "-k", "-A", "trust", "-U", "postgres", "-D"])
            .arg(&data)
            .arg("-X")
            .arg(&wal)
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let mut postgres = Postgres { data, socket, server: None };
        postgres.start(&[]);
        let loaded = postgres.pgbench(&["-i", "-q", "-s", "2"]).output().unwrap();
        assert!(loaded.status.success(), "pgbench -i: {}", String::from_utf8_lossy(&loaded.stderr));
        postgres
    }

    /// Starts the server on its folders as they are.
    pub fn start(&mut self, settings: &[&str]) {
        let mut command = as_nobody("postgres");
        command.arg("-D").arg(&self.data).args(["-c", "listen_addresses="]).arg("-c");
        command.arg(format!("unix_socket_directories={}", self.socket.display()));
        for setting in settings {
            command.args(["-c", setting]);
        }
        let log = fs::File::create(self.socket.join("log")).unwrap();
        self.server = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        eventually("PostgreSQL answers", Duration::from_secs(60), || self.query("select 1").code == 0);
    }

    pub fn pgbench(&self, args: &[&str]) -> Command {
        let mut command = as_nobody("pgbench");
        command.arg("-h").arg(&self.socket).args(["-U", "postgres"]).args(args).arg("postgres");
        command
    }

    pub fn query(&self, sql: &str) -> Ran {
        run(
            &format!("{BIN}/psql"),
            &["-h", self.socket.to_str().unwrap(), "-U", "postgres", "-Atqc", sql, "postgres"],
        )
    }

    /// The four sums of pgbench's books, which are equal in every consistent state.
    pub fn books(&self) -> [i64; 4] {
        let sql = "select (select sum(abalance) from pgbench_accounts), (select sum(tbalance) from pgbench_tellers), \
                   (select sum(bbalance) from pgbench_branches), (select coalesce(sum(delta), 0) from pgbench_history)";
        let ran = self.query(sql).ok();
        let sums: Vec<i64> = ran.stdout.trim().split('|').map(|n| n.parse().unwrap()).collect();
        sums.try_into().expect("four sums")
    }

    pub fn stop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        if let Some(pid) = rustix::process::Pid::from_raw(i32::try_from(server.id()).unwrap_or(0)) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        }
        let _ = server.wait();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

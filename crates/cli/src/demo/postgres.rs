//! PostgreSQL as the application: data on one volume, WAL on the other, pgbench's books.
//!
//! The original runs on its mounts; the clone runs in a sandbox in which the clones stand at the original paths (W1),
//! because `pg_wal` is an absolute link. What always holds: neither listens anywhere but on a unix socket of the demo.

use super::{
    people::User,
    preflight,
    process::{Ran, run, tail, until},
    record::Step,
    scene::{Scene, text},
    trouble::{Told, Trouble, demand, doing},
};
use std::{
    env, fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::process::{Child, Command};

/// pgbench's scale: 100 000 accounts each.
const SCALE: &str = "2";
/// Transactions a second that the load tries, so that it leaves the processors to the story.
const RATE: &str = "300";
/// Longest time for a server to come up; a clone replays its WAL in it.
const START: Duration = Duration::from_secs(60);
/// The user of the database.
const OWNER: &str = "postgres";
/// Sums that are equal in every consistent state (TPC-B), and the number of transactions.
const BOOKS: &str = "select (select sum(abalance) from pgbench_accounts), (select sum(tbalance) from pgbench_tellers), \
    (select sum(bbalance) from pgbench_branches), (select coalesce(sum(delta), 0) from pgbench_history), \
    (select count(*) from pgbench_history)";

/// Where PostgreSQL's programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    folder: PathBuf,
    pub version: String,
    user: User,
}

impl Programs {
    /// The newest PostgreSQL of this machine that has all that is needed; `UMBRA_DEMO_PG_BIN` names another folder.
    pub fn find() -> Option<Programs> {
        let user = preflight::database_user()?;
        let folder = match env::var_os("UMBRA_DEMO_PG_BIN") {
            Some(folder) => Some(PathBuf::from(folder)).filter(|folder| complete(folder)),
            None => debian_folders().into_iter().find(|folder| complete(folder)).or_else(in_path),
        }?;
        let asked = std::process::Command::new(folder.join("postgres")).arg("--version").output().ok()?;
        let version =
            String::from_utf8_lossy(&asked.stdout).trim().replace("postgres (PostgreSQL)", "PostgreSQL");
        Some(Programs { folder, version, user })
    }
}

fn complete(folder: &Path) -> bool {
    ["postgres", "initdb", "psql", "pgbench", "pg_amcheck"]
        .iter()
        .all(|program| folder.join(program).exists())
}

fn in_path() -> Option<PathBuf> {
    preflight::find("postgres")?.parent().map(Path::to_owned).filter(|folder| complete(folder))
}

/// `/usr/lib/postgresql/VERSION/bin`, newest first.
fn debian_folders() -> Vec<PathBuf> {
    let entries = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<u32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    versions.iter().map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"))).collect()
}

/// The original server, its load, and later the clone's server.
#[derive(Debug)]
pub struct Postgres {
    programs: Programs,
    /// On the original's data volume; in the sandbox the same path is the clone's.
    data: PathBuf,
    socket: PathBuf,
    /// On the clone's data volume, as seen from outside the sandbox.
    clone_socket: PathBuf,
    server: Child,
    load: Option<Child>,
    clone: Option<Child>,
}

impl Postgres {
    pub async fn start(scene: &Scene, step: &mut Step, programs: &Programs) -> Told<Postgres> {
        let (data, wal) = (scene.original("data").join("pgdata"), scene.original("wal").join("pgwal"));
        let socket = scene.path("pg");
        for folder in [&data, &wal, &socket] {
            own_folder(scene, folder, &programs.user)?;
        }
        walkable(scene, programs, &data).await?;
        initdb(scene, programs, &data, &wal).await?;
        let settings =
            [format!("unix_socket_directories={}", socket.display()), "max_wal_size=128MB".to_owned()];
        let server = server(scene, programs, &data, &settings, "postgres")?;
        let clone_socket = scene.clone_of("data").join("sock");
        let programs = programs.clone();
        let mut postgres = Postgres { programs, data, socket, clone_socket, server, load: None, clone: None };
        postgres.up(scene).await?;
        postgres.pgbench(scene, &["-i", "-q", "-s", SCALE]).await?;
        postgres.query(scene, &postgres.socket, "create table canary (row text not null)").await?;
        step.fact("server", postgres.programs.version.clone());
        step.fact("data_on", "data (ext4)");
        step.fact("wal_on", "wal (XFS)");
        Ok(postgres)
    }

    async fn up(&mut self, scene: &Scene) -> Told<()> {
        let (programs, socket) = (self.programs.clone(), self.socket.clone());
        answers(scene, &programs, &socket, &mut self.server, "postgres").await
    }

    async fn pgbench(&self, scene: &Scene, args: &[&str]) -> Told<String> {
        run(self.pgbench_command(scene).args(args).arg("postgres")).await?.ok()
    }

    fn pgbench_command(&self, scene: &Scene) -> Command {
        let mut command = program(scene, &self.programs, "pgbench");
        command.arg("-h").arg(&self.socket).args(["-U", OWNER]);
        command
    }

    async fn query(&self, scene: &Scene, socket: &Path, sql: &str) -> Told<String> {
        psql(scene, &self.programs, socket, sql).await?.ok().map(|said| said.trim().to_owned())
    }

    pub async fn start_load(&mut self, scene: &Scene, step: &mut Step) -> Told<()> {
        let mut command = self.pgbench_command(scene);
        command.args(["-n", "-c", "4", "-T", "3600", "-P", "1", "--rate", RATE, "postgres"]);
        let mut load = scene.background(command, "pgbench")?;
        let log = scene.log("pgbench");
        until("pgbench makes progress", START, Some(&mut load), async || tail(&log).contains("progress:"))
            .await?;
        self.load = Some(load);
        step.fact(
            "pgbench",
            format!("4 clients, {RATE} transactions a second, until the originals are stopped"),
        );
        Ok(())
    }

    pub fn load_runs(&mut self, scene: &Scene, step: &mut Step) -> Told<()> {
        let ended = self.load.as_mut().and_then(|load| load.try_wait().ok().flatten());
        let log = fs::read_to_string(scene.log("pgbench")).unwrap_or_default();
        demand(ended.is_none(), || format!("pgbench ended early: {}", tail(&scene.log("pgbench"))))?;
        let errors = errors_in(&log);
        step.fact("pgbench_seconds", log.matches("progress:").count());
        step.fact("pgbench_errors", errors.len());
        demand(errors.is_empty(), || format!("pgbench met errors: {}", errors.join("; ")))
    }

    pub fn writer(&self, _: &Scene) -> String {
        format!("name = \"postgres\"\n\n[postgres]\nsocket = {:?}\nuser = \"{OWNER}\"\n", text(&self.socket))
    }

    pub async fn mark(&self, scene: &Scene, row: &str) -> Told<()> {
        insert(scene, self, &self.socket, row).await
    }

    pub async fn marks(&self, scene: &Scene) -> Told<Vec<String>> {
        rows(scene, self, &self.socket).await
    }

    pub async fn open_clone(&mut self, scene: &Scene, step: &mut Step) -> Told<()> {
        own_folder(scene, &self.clone_socket, &self.programs.user)?;
        let inside = scene.original("data").join("sock");
        let mut command = scene.sandbox(&self.programs.user);
        command.arg(self.programs.folder.join("postgres")).arg("-D").arg(&self.data);
        for setting in clone_settings(&inside) {
            command.args(["-c", &setting]);
        }
        let mut clone = scene.background(command, "postgres-clone")?;
        answers(scene, &self.programs, &self.clone_socket, &mut clone, "postgres-clone").await?;
        self.clone = Some(clone);
        let log = fs::read_to_string(scene.log("postgres-clone")).unwrap_or_default();
        step.fact("recovery", recovery(&log));
        demand(log.contains("redo done") || log.contains("redo is not required"), || {
            format!("the log of the second PostgreSQL tells of no recovery: {log}")
        })
    }

    pub async fn judge_clone(&self, scene: &Scene, step: &mut Step) -> Told<()> {
        let sums = books(&self.query(scene, &self.clone_socket, BOOKS).await?)?;
        step.fact(
            "books",
            format!("accounts {}, tellers {}, branches {}, history {}", sums[0], sums[1], sums[2], sums[3]),
        );
        step.fact("transactions_in_the_copy", sums[4]);
        demand(sums[..4].iter().all(|sum| *sum == sums[0]), || {
            format!("the books do not balance: {sums:?}")
        })?;
        demand(sums[4] > 0, || "the copy holds no transaction: it proves nothing".to_owned())?;
        let mut command = program(scene, &self.programs, "pg_amcheck");
        command.arg("-h").arg(&self.clone_socket).args(["-U", OWNER, "--install-missing"]);
        let checked = run(command.args(["--heapallindexed", "--parent-check", "postgres"])).await?;
        step.fact("pg_amcheck", if checked.code == Some(0) { "clean" } else { "NOT clean" });
        checked.ok().map(drop)
    }

    pub async fn clone_marks(&self, scene: &Scene) -> Told<Vec<String>> {
        rows(scene, self, &self.clone_socket).await
    }

    pub async fn mark_clone(&self, scene: &Scene, row: &str) -> Told<()> {
        insert(scene, self, &self.clone_socket, row).await?;
        self.query(scene, &self.clone_socket, "checkpoint").await.map(drop)
    }

    pub async fn close_clone(&mut self, scene: &Scene) -> Told<()> {
        let Some(mut clone) = self.clone.take() else { return Ok(()) };
        scene.end_sandbox(&mut clone).await
    }

    pub async fn stop(&mut self, scene: &Scene, step: &mut Step) -> Told<()> {
        self.load_runs(scene, step)?;
        if let Some(mut load) = self.load.take() {
            doing("stop pgbench", load.kill().await)?;
        }
        let sums = books(&self.query(scene, &self.socket, BOOKS).await?)?;
        step.fact("transactions_in_the_original", sums[4]);
        demand(sums[..4].iter().all(|sum| *sum == sums[0]), || {
            format!("the original's books do not balance: {sums:?}")
        })?;
        super::scene::end(&mut self.server, rustix::process::Signal::INT, "PostgreSQL").await
    }
}

/// A folder that belongs to the database.
fn own_folder(scene: &Scene, folder: &Path, user: &User) -> Told<()> {
    use std::os::unix::fs::PermissionsExt;
    scene.make_folder(folder)?;
    doing(
        format!("give {} to {}", folder.display(), user.name),
        chown(folder, Some(user.uid), Some(user.gid)),
    )?;
    doing("set its mode", fs::set_permissions(folder, fs::Permissions::from_mode(0o700)))
}

async fn walkable(scene: &Scene, programs: &Programs, folder: &Path) -> Told<()> {
    let ran = run(scene.command_as(&programs.user, "test").arg("-x").arg(folder)).await?;
    demand(ran.code == Some(0), || {
        format!(
            "user {} cannot reach {}: set TMPDIR to a folder that every user can walk through",
            programs.user.name,
            folder.display()
        )
    })
}

async fn initdb(scene: &Scene, programs: &Programs, data: &Path, wal: &Path) -> Told<()> {
    let mut command = program(scene, programs, "initdb");
    command.args(["--no-sync", "-k", "-A", "trust", "-U", OWNER, "-D"]).arg(data).arg("-X").arg(wal);
    run(&mut command).await?.ok().map(drop)
}

fn program(scene: &Scene, programs: &Programs, name: &str) -> Command {
    scene.command_as(&programs.user, programs.folder.join(name))
}

fn server(scene: &Scene, programs: &Programs, data: &Path, settings: &[String], log: &str) -> Told<Child> {
    let mut command = program(scene, programs, "postgres");
    command.arg("-D").arg(data).args(["-c", "listen_addresses="]);
    for setting in settings {
        command.args(["-c", setting]);
    }
    scene.background(command, log)
}

/// Settings of a server on a copy: no archiving, no replication, no schedulers, no listeners (W1).
fn clone_settings(socket: &Path) -> Vec<String> {
    let mut settings: Vec<String> = [
        "listen_addresses=",
        "archive_mode=off",
        "max_wal_senders=0",
        "max_logical_replication_workers=0",
        "shared_preload_libraries=",
        "dynamic_shared_memory_type=mmap", // /dev/shm is the host's, and read-only
    ]
    .map(str::to_owned)
    .into();
    settings.push(format!("unix_socket_directories={}", socket.display()));
    settings
}

async fn answers(
    scene: &Scene,
    programs: &Programs,
    socket: &Path,
    child: &mut Child,
    log: &str,
) -> Told<()> {
    let asked = async || psql(scene, programs, socket, "select 1").await.is_ok_and(|ran| ran.code == Some(0));
    until("PostgreSQL answers", START, Some(child), asked)
        .await
        .map_err(|trouble| Trouble::new(format!("{trouble}; its log: {}", tail(&scene.log(log)))))
}

async fn psql(scene: &Scene, programs: &Programs, socket: &Path, sql: &str) -> Told<Ran> {
    let mut command = program(scene, programs, "psql");
    run(command.args(["-X", "-h", text(socket), "-U", OWNER, "-Atqc", sql, "postgres"])).await
}

async fn insert(scene: &Scene, postgres: &Postgres, socket: &Path, row: &str) -> Told<()> {
    // The rows are texts of the demo's own: no quotes in them.
    postgres.query(scene, socket, &format!("insert into canary values ('{row}')")).await.map(drop)
}

async fn rows(scene: &Scene, postgres: &Postgres, socket: &Path) -> Told<Vec<String>> {
    let said = postgres.query(scene, socket, "select row from canary order by row").await?;
    Ok(said.lines().map(str::to_owned).collect())
}

/// The sums of [`BOOKS`].
fn books(said: &str) -> Told<[i64; 5]> {
    let sums: Option<Vec<i64>> = said.split('|').map(|sum| sum.parse().ok()).collect();
    sums.and_then(|sums| sums.try_into().ok()).ok_or_else(|| Trouble::new(format!("no books: {said:?}")))
}

/// Lines of pgbench's log that tell of anything but progress.
fn errors_in(log: &str) -> Vec<String> {
    let bad = |line: &&str| {
        let failed = line.starts_with("progress:") && !line.contains(" 0 failed") && line.contains(" failed");
        failed || ["error", "fatal", "aborted", "panic"].iter().any(|word| line.to_lowercase().contains(word))
    };
    log.lines().filter(bad).map(str::to_owned).collect()
}

/// What a server's log says of its recovery.
fn recovery(log: &str) -> Vec<String> {
    let told = |line: &&str| {
        ["was interrupted", "not properly shut down", "redo starts", "redo done", "redo is not required"]
            .iter()
            .any(|words| line.contains(words))
    };
    let text = |line: &str| line.split_once("LOG:").map_or(line, |(_, text)| text).trim().to_owned();
    log.lines().filter(told).map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_transactions_and_lost_connections_are_errors_and_progress_is_not() {
        let good = "pgbench (15.1)\nprogress: 1.0 s, 300.0 tps, lat 1.0 ms stddev 0.1, 0 failed\n";
        assert_eq!(errors_in(good), Vec::<String>::new());
        assert_eq!(errors_in("progress: 2.0 s, 9.0 tps, lat 1.0 ms stddev 0.1, 3 failed").len(), 1);
        assert_eq!(errors_in("pgbench: error: client 0 aborted in command 4").len(), 1);
    }

    #[test]
    fn books_are_four_sums_and_a_count() {
        assert_eq!(books("-5|-5|-5|-5|12").unwrap(), [-5, -5, -5, -5, 12]);
        assert!(books("1|2").is_err() && books("|||||").is_err());
    }
}

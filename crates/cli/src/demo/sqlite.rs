//! SQLite in WAL mode as the application, where PostgreSQL is not installed.
//!
//! A clerk makes transfers: first a receipt, a file on the second volume, made durable; then a transaction in the
//! database on the first, which names the receipt. So in every copy of one instant each transfer has its receipt and at
//! most one receipt lacks its transfer, and the accounts sum to zero.

use super::{
    process::{Ran, run, tail, until},
    record::Step,
    scene::{Scene, text},
    trouble::{Told, Trouble, demand, doing},
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::process::Child;

/// Longest time for the load to make its first transfers.
const START: Duration = Duration::from_secs(30);

const SCHEMA: &str = "pragma journal_mode=wal; pragma synchronous=full;
create table account (id integer primary key, balance integer not null);
insert into account values (1, 0), (2, 0);
create table transfer (receipt integer primary key, amount integer not null);
create table canary (row text not null);";

/// The clerk: a shell loop of receipt, flush, transaction. Says each transfer; ends at the first error, or when told.
const CLERK: &str = r#"set -eu
n=0
while [ ! -e "$4" ]; do
  n=$((n + 1)); amount=$((n % 97 + 1))
  printf '%s\n' "$amount" > "$2/$n"; sync "$2/$n" "$2"
  "$3" -cmd '.timeout 60000' "$1" "pragma synchronous=full; begin immediate;
    update account set balance = balance - $amount where id = 1;
    update account set balance = balance + $amount where id = 2;
    insert into transfer values ($n, $amount); commit;"
  echo "transfer $n"
done"#;

/// The database, its clerk.
#[derive(Debug)]
pub struct Sqlite {
    program: PathBuf,
    database: PathBuf,
    receipts: PathBuf,
    /// The clerk stops when this file is there.
    closing: PathBuf,
    load: Option<Child>,
}

/// What a database and its receipts say.
#[derive(Debug)]
struct Books {
    sum: i64,
    transfers: u64,
    last: u64,
    integrity: String,
}

impl Sqlite {
    pub async fn start(scene: &Scene, step: &mut Step, program: &Path) -> Told<Sqlite> {
        let database = scene.original("data").join("books.sqlite");
        let receipts = scene.original("wal").join("receipts");
        scene.make_folder(&receipts)?;
        let sqlite = Sqlite {
            program: program.to_owned(),
            database,
            receipts,
            closing: scene.path("closing-time"),
            load: None,
        };
        sqlite.query(scene, &sqlite.database, SCHEMA).await?;
        step.fact("database", "SQLite in WAL mode on data (ext4)");
        step.fact("receipts", "one file for each transfer on wal (XFS)");
        Ok(sqlite)
    }

    async fn query(&self, scene: &Scene, database: &Path, sql: &str) -> Told<String> {
        let ran =
            run(scene.command(&self.program).args(["-cmd", ".timeout 60000"]).arg(database).arg(sql)).await?;
        ran.ok().map(|said| said.trim().to_owned())
    }

    pub async fn start_load(&mut self, scene: &Scene, step: &mut Step) -> Told<()> {
        let mut command = scene.command("/bin/sh");
        command
            .args(["-c", CLERK, "clerk"])
            .arg(&self.database)
            .arg(&self.receipts)
            .arg(&self.program)
            .arg(&self.closing);
        let mut load = scene.background(command, "clerk")?;
        let log = scene.log("clerk");
        until("the clerk makes transfers", START, Some(&mut load), async || {
            tail(&log).contains("transfer 3")
        })
        .await?;
        self.load = Some(load);
        step.fact("clerk", "receipt, flush, transaction, again, until the originals are stopped");
        Ok(())
    }

    pub fn load_runs(&mut self, scene: &Scene, step: &mut Step) -> Told<()> {
        let ended = self.load.as_mut().and_then(|load| load.try_wait().ok().flatten());
        let log = fs::read_to_string(scene.log("clerk")).unwrap_or_default();
        step.fact("transfers_so_far", log.matches("transfer ").count());
        demand(ended.is_none(), || format!("the clerk ended early: {}", tail(&scene.log("clerk"))))
    }

    /// A writer of programs: the WAL is checkpointed before the freeze, to keep recovery short.
    pub fn writer(&self, _: &Scene) -> String {
        let words =
            [text(&self.program), "-cmd", ".timeout 10000", text(&self.database), "pragma wal_checkpoint"];
        let paths = [text(&self.database), text(&self.receipts)];
        format!("name = \"sqlite\"\n\n[command]\npaths = {paths:?}\nprepare = {{ run = {words:?} }}\n")
    }

    pub async fn mark(&self, scene: &Scene, row: &str) -> Told<()> {
        self.query(scene, &self.database, &insert(row)).await.map(drop)
    }

    pub async fn marks(&self, scene: &Scene) -> Told<Vec<String>> {
        rows(&self.query(scene, &self.database, ROWS).await?)
    }

    /// The clone's database, opened inside the sandbox: there it stands at the original's path.
    async fn in_sandbox(&self, scene: &Scene, sql: &str) -> Told<String> {
        let root = super::people::User { name: "root".into(), uid: 0, gid: 0 };
        let mut command = scene.sandbox(&root);
        command.arg(&self.program).arg(&self.database).arg(sql);
        let ran: Ran = run(&mut command).await?;
        ran.ok().map(|said| said.trim().to_owned())
    }

    pub async fn open_clone(&mut self, scene: &Scene, step: &mut Step) -> Told<()> {
        let said = self.in_sandbox(scene, "select count(*) from transfer").await?;
        step.fact("recovery", format!("SQLite replayed its WAL; {said} transfers"));
        Ok(())
    }

    pub async fn judge_clone(&self, scene: &Scene, step: &mut Step) -> Told<()> {
        let books = books(&self.in_sandbox(scene, BOOKS).await?)?;
        step.fact("sum_of_accounts", books.sum);
        step.fact("transfers_in_the_copy", books.transfers);
        step.fact("integrity_check", books.integrity.clone());
        let receipts = receipts(&scene.clone_of("wal").join("receipts"))?;
        step.fact("receipts_in_the_copy", receipts.len());
        demand(books.integrity == "ok", || format!("SQLite finds damage: {}", books.integrity))?;
        demand(books.sum == 0 && books.transfers == books.last, || {
            format!("the books do not balance: {books:?}")
        })?;
        demand(books.transfers > 0, || "the copy holds no transfer: it proves nothing".to_owned())?;
        one_instant(&books, &receipts)
    }

    pub async fn clone_marks(&self, scene: &Scene) -> Told<Vec<String>> {
        rows(&self.in_sandbox(scene, ROWS).await?)
    }

    pub async fn mark_clone(&self, scene: &Scene, row: &str) -> Told<()> {
        self.in_sandbox(scene, &insert(row)).await.map(drop)
    }

    pub async fn close_clone(&mut self, _: &Scene) -> Told<()> {
        Ok(()) // each use opened and closed it
    }

    pub async fn stop(&mut self, scene: &Scene, step: &mut Step) -> Told<()> {
        self.load_runs(scene, step)?;
        if let Some(mut load) = self.load.take() {
            scene.write(&self.closing, "")?;
            doing("wait for the clerk", load.wait().await)?;
        }
        let books = books(&self.query(scene, &self.database, BOOKS).await?)?;
        step.fact("transfers_in_the_original", books.transfers);
        demand(books.sum == 0, || format!("the original's books do not balance: {books:?}"))
    }
}

const BOOKS: &str = "select (select sum(balance) from account), (select count(*) from transfer), \
    (select coalesce(max(receipt), 0) from transfer), (select * from pragma_integrity_check limit 1)";
const ROWS: &str = "select row from canary order by row";

fn insert(row: &str) -> String {
    // The rows are texts of the demo's own: no quotes in them.
    format!("insert into canary values ('{row}')")
}

fn rows(said: &str) -> Told<Vec<String>> {
    Ok(said.lines().map(str::to_owned).collect())
}

fn books(said: &str) -> Told<Books> {
    let fields: Vec<_> = said.split('|').collect();
    let read = |fields: &[&str]| {
        let [sum, transfers, last, integrity] = fields else { return None };
        let (sum, transfers, last) = (sum.parse().ok()?, transfers.parse().ok()?, last.parse().ok()?);
        Some(Books { sum, transfers, last, integrity: (*integrity).to_owned() })
    };
    read(&fields).ok_or_else(|| Trouble::new(format!("no books: {said:?}")))
}

/// The numbers of the receipts in a folder.
fn receipts(folder: &Path) -> Told<Vec<u64>> {
    let entries = doing(format!("read {}", folder.display()), fs::read_dir(folder))?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// Each transfer has its receipt; at most one receipt is ahead of its transfer.
fn one_instant(books: &Books, receipts: &[u64]) -> Told<()> {
    let last = receipts.iter().copied().max().unwrap_or(0);
    let whole = receipts.len() as u64 == last;
    demand(whole && (last == books.last || last == books.last + 1), || {
        format!(
            "two instants: the last transfer is {}, the last receipt {last} of {}",
            books.last,
            receipts.len()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_two_instants_are_seen() {
        let books = Books { sum: 0, transfers: 2, last: 2, integrity: "ok".into() };
        for (receipts, held) in
            [(&[1, 2][..], true), (&[1, 2, 3], true), (&[1], false), (&[1, 2, 3, 4], false)]
        {
            assert_eq!(one_instant(&books, receipts).is_ok(), held, "{receipts:?}");
        }
    }
}

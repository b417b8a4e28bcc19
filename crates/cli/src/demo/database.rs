//! The application of the story: PostgreSQL where it is installed, else SQLite with files beside it.
//!
//! What always holds: both spread one truth over both volumes, so that copies of two instants would show; both keep books
//! that balance in every consistent state; both are judged by their own programs.

use super::{postgres::Postgres, record::Step, scene::Scene, sqlite::Sqlite, trouble::Told};
use std::path::PathBuf;

/// The volumes of the story: the main data, and what is written ahead of it.
pub const VOLUMES: [Volume; 2] =
    [Volume { name: "data", size: "256M", fs: "ext4" }, Volume { name: "wal", size: "384M", fs: "xfs" }];

/// One of the volumes.
#[derive(Debug, Clone, Copy)]
pub struct Volume {
    pub name: &'static str,
    pub size: &'static str,
    pub fs: &'static str,
}

/// Which database is here.
#[derive(Debug, Clone)]
pub enum Engine {
    Postgres(super::postgres::Programs),
    Sqlite(PathBuf),
}

impl Engine {
    pub fn find() -> Option<Engine> {
        let postgres = super::postgres::Programs::find().map(Engine::Postgres);
        postgres.or_else(|| super::preflight::find("sqlite3").map(Engine::Sqlite))
    }

    /// What the story runs with, and why.
    pub fn describe(&self) -> String {
        match self {
            Engine::Postgres(programs) => programs.version.clone(),
            Engine::Sqlite(_) => {
                "SQLite and files: PostgreSQL is not installed, so the same story runs with these".into()
            }
        }
    }
}

/// The database while it runs.
#[derive(Debug)]
pub enum Database {
    Postgres(Box<Postgres>),
    Sqlite(Box<Sqlite>),
}

/// Hands a call to the database that is there.
macro_rules! either {
    ($self:ident, $database:ident => $call:expr) => {
        match $self {
            Database::Postgres($database) => $call,
            Database::Sqlite($database) => $call,
        }
    };
}

impl Database {
    /// Makes the database on both mounted originals, starts it and loads its books.
    pub async fn start(scene: &Scene, step: &mut Step) -> Told<Database> {
        match &scene.tools.database {
            Engine::Postgres(programs) => {
                Postgres::start(scene, step, programs).await.map(|it| Database::Postgres(Box::new(it)))
            }
            Engine::Sqlite(program) => {
                Sqlite::start(scene, step, program).await.map(|it| Database::Sqlite(Box::new(it)))
            }
        }
    }

    /// Starts the load that goes on until [`Database::end_load`].
    pub async fn start_load(&mut self, scene: &Scene, step: &mut Step) -> Told<()> {
        either!(self, database => database.start_load(scene, step).await)
    }

    /// Whether the load still runs, and without an error so far.
    pub fn load_runs(&mut self, scene: &Scene, step: &mut Step) -> Told<()> {
        either!(self, database => database.load_runs(scene, step))
    }

    /// The file for the service's `writers.d`.
    pub fn writer(&self, scene: &Scene) -> String {
        either!(self, database => database.writer(scene))
    }

    /// Adds a row that stands for a moment: it is in every copy made later, and in none made earlier.
    pub async fn mark(&self, scene: &Scene, row: &str) -> Told<()> {
        either!(self, database => database.mark(scene, row).await)
    }

    /// The rows added by [`Database::mark`] in the original.
    pub async fn marks(&self, scene: &Scene) -> Told<Vec<String>> {
        either!(self, database => database.marks(scene).await)
    }

    /// Opens the clones in a sandbox, lets the database recover, and has its books and structure checked.
    pub async fn open_clone(&mut self, scene: &Scene, step: &mut Step) -> Told<()> {
        either!(self, database => database.open_clone(scene, step).await)
    }

    /// Checks books and structure of the opened clone by the database's own means.
    pub async fn judge_clone(&self, scene: &Scene, step: &mut Step) -> Told<()> {
        either!(self, database => database.judge_clone(scene, step).await)
    }

    /// The rows of [`Database::marks`] in the clone.
    pub async fn clone_marks(&self, scene: &Scene) -> Told<Vec<String>> {
        either!(self, database => database.clone_marks(scene).await)
    }

    /// Adds a row to the clone.
    pub async fn mark_clone(&self, scene: &Scene, row: &str) -> Told<()> {
        either!(self, database => database.mark_clone(scene, row).await)
    }

    /// Closes the clone.
    pub async fn close_clone(&mut self, scene: &Scene) -> Told<()> {
        either!(self, database => database.close_clone(scene).await)
    }

    /// Ends the load and the original, and checks its books a last time.
    pub async fn stop(&mut self, scene: &Scene, step: &mut Step) -> Told<()> {
        either!(self, database => database.stop(scene, step).await)
    }
}

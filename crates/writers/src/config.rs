//! `writers.d/*.toml`: one file for each writer.
//!
//! ```toml
//! name  = "shop-db"                     # unique on the host
//! level = "application"                 # front-end | application (default) | system
//!
//! [postgres]
//! socket   = "/var/run/postgresql"      # folder of the unix socket
//! port     = 5432
//! user     = "postgres"                 # a superuser, or pg_checkpoint and pg_read_all_settings
//! database = "postgres"
//! password_file = "/etc/umbra/shop-db.password"   # only if the server asks for one
//! checkpoint_limit_s = 300
//! ```
//!
//! or, instead of `[postgres]`:
//!
//! ```toml
//! [command]
//! paths = ["/srv/shop"]                 # all that it writes to
//! freeze_at_most_s = 20                 # less than the coordinator's 60 s, if need be
//! claims = "application"                # what its freeze is good for: application (default) | file_system | crash
//! prepare = { run = ["/usr/lib/shop/quiesce", "prepare"], limit_s = 60 }
//! freeze  = { run = ["/usr/lib/shop/quiesce", "on"] }
//! attest  = { run = ["/usr/lib/shop/quiesce", "check"] }
//! thaw    = { run = ["/usr/lib/shop/quiesce", "off"] }
//! post    = { run = ["/usr/lib/shop/quiesce", "done"] }
//! abort   = { run = ["/usr/lib/shop/quiesce", "abort"] }
//! ```
//!
//! Every program is optional; `freeze` demands `thaw`, which the guard runs, also when the service is gone, and which
//! may be run more than once. Without `attest` nothing proves the freeze, and no more than `file_system` is claimed.
//! Programs run as root with closed input, `UMBRA_EVENT`, `UMBRA_SET` and `UMBRA_WRITER` in a bare environment.

use serde::Deserialize;
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};
use umbra_base::{Error, ErrorCode, Result, limits::NAME_BYTES};
use umbra_vss::{Consistency, Level};

use crate::limits::{
    ARGUMENTS, CHECKPOINT_DEFAULT, CONFIG_BYTES, PATHS, PROGRAM_DEFAULT, PROGRAM_LIMIT, WRITERS,
};

/// A writer as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterConfig {
    /// Its name.
    pub name: String,
    /// When it is frozen.
    pub level: Level,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Postgres(PostgresConfig),
    Command(CommandConfig),
}

/// A PostgreSQL server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresConfig {
    /// Folder of the unix socket.
    pub socket: PathBuf,
    /// Which socket in the folder.
    pub port: u16,
    /// Role.
    pub user: String,
    /// Database.
    pub database: String,
    /// File with the password.
    pub password_file: Option<PathBuf>,
    /// How long the checkpoint may take.
    pub checkpoint_limit: Duration,
}

/// Programs for each event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandConfig {
    /// All that it writes to.
    pub paths: Vec<PathBuf>,
    /// How long it can be frozen.
    pub freeze_at_most: Option<Duration>,
    /// What its freeze is good for.
    pub claims: Consistency,
    /// Heavy preparation.
    pub prepare: Option<Program>,
    /// Stop writing.
    pub freeze: Option<Program>,
    /// Exit 0 if it was frozen all the time.
    pub attest: Option<Program>,
    /// Go on; the guard runs it.
    pub thaw: Option<Program>,
    /// The set is there.
    pub post: Option<Program>,
    /// The set failed.
    pub abort: Option<Program>,
}

/// A program with its arguments and its limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// An absolute path, then arguments.
    pub argv: Vec<String>,
    /// Then it is killed, with all that it started.
    pub limit: Duration,
}

/// The writers of every `*.toml` in `folder`, in the order of their file names. A folder that is not there has none.
pub fn load(folder: &Path) -> Result<Vec<WriterConfig>> {
    let what = |source| Error::io(format!("list the writers in {}", folder.display()), source);
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(what)?,
    };
    let mut paths: Vec<_> =
        entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>().map_err(what)?;
    paths.retain(|path: &PathBuf| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    let writers = paths.iter().map(|path| load_one(path)).collect::<Result<Vec<_>>>()?;
    check_all(&writers)?;
    Ok(writers)
}

fn load_one(path: &Path) -> Result<WriterConfig> {
    let what = |source| Error::io(format!("read {}", path.display()), source);
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(CONFIG_BYTES + 1).read_to_string(&mut text)).map_err(what)?;
    if text.len() as u64 > CONFIG_BYTES {
        let text = format!("{} has more than {CONFIG_BYTES} bytes", path.display());
        return Err(Error::new(ErrorCode::LimitReached, text));
    }
    parse(&text, &path.display().to_string())
}

fn check_all(writers: &[WriterConfig]) -> Result<()> {
    if writers.len() > WRITERS {
        return Err(Error::new(
            ErrorCode::LimitReached,
            format!("{} writers, at most {WRITERS}", writers.len()),
        ));
    }
    for (index, writer) in writers.iter().enumerate() {
        if writers[..index].iter().any(|other| other.name == writer.name) {
            return Err(Error::new(
                ErrorCode::InvalidArgument,
                format!("two writers are named {:?}", writer.name),
            ));
        }
    }
    Ok(())
}

/// The writer that `text` describes; `origin` names it in errors.
pub fn parse(text: &str, origin: &str) -> Result<WriterConfig> {
    let raw: RawWriter =
        toml::from_str(text).map_err(|source| invalid(origin, "it is not a writer").because(source))?;
    let name_is_plain = !raw.name.is_empty()
        && raw.name.len() <= NAME_BYTES
        && raw.name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if !name_is_plain {
        return Err(invalid(origin, &format!("{:?} is no name for a writer", raw.name)));
    }
    let kind = match (raw.postgres, raw.command) {
        (Some(postgres), None) => Kind::Postgres(postgres.check(origin)?),
        (None, Some(command)) => Kind::Command(command.check(origin)?),
        _ => return Err(invalid(origin, "it needs exactly one of [postgres] and [command]")),
    };
    Ok(WriterConfig { name: raw.name, level: raw.level.into(), kind })
}

fn invalid(origin: &str, what: &str) -> Error {
    Error::new(ErrorCode::InvalidArgument, format!("writer in {origin}: {what}"))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWriter {
    name: String,
    #[serde(default)]
    level: RawLevel,
    postgres: Option<RawPostgres>,
    command: Option<RawCommand>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawLevel {
    FrontEnd,
    #[default]
    Application,
    System,
}

impl From<RawLevel> for Level {
    fn from(raw: RawLevel) -> Level {
        match raw {
            RawLevel::FrontEnd => Level::FrontEnd,
            RawLevel::Application => Level::Application,
            RawLevel::System => Level::System,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPostgres {
    socket: PathBuf,
    port: Option<u16>,
    user: Option<String>,
    database: Option<String>,
    password_file: Option<PathBuf>,
    checkpoint_limit_s: Option<u64>,
}

impl RawPostgres {
    fn check(self, origin: &str) -> Result<PostgresConfig> {
        if !self.socket.is_absolute() {
            return Err(invalid(origin, "the socket's folder must be an absolute path"));
        }
        Ok(PostgresConfig {
            socket: self.socket,
            port: self.port.unwrap_or(5432),
            user: self.user.unwrap_or_else(|| "postgres".to_owned()),
            database: self.database.unwrap_or_else(|| "postgres".to_owned()),
            password_file: self.password_file,
            checkpoint_limit: seconds(self.checkpoint_limit_s, CHECKPOINT_DEFAULT, origin)?,
        })
    }
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawClaim {
    #[default]
    Application,
    FileSystem,
    Crash,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCommand {
    paths: Vec<PathBuf>,
    freeze_at_most_s: Option<u64>,
    #[serde(default)]
    claims: RawClaim,
    prepare: Option<RawProgram>,
    freeze: Option<RawProgram>,
    attest: Option<RawProgram>,
    thaw: Option<RawProgram>,
    post: Option<RawProgram>,
    abort: Option<RawProgram>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProgram {
    run: Vec<String>,
    limit_s: Option<u64>,
}

impl RawCommand {
    fn check(self, origin: &str) -> Result<CommandConfig> {
        if self.paths.is_empty()
            || self.paths.len() > PATHS
            || !self.paths.iter().all(|path| path.is_absolute())
        {
            return Err(invalid(origin, &format!("it needs 1 to {PATHS} absolute paths")));
        }
        if self.freeze.is_some() != self.thaw.is_some() {
            return Err(invalid(
                origin,
                "freeze and thaw come together: a freeze that nobody ends holds for ever",
            ));
        }
        let program = |raw: Option<RawProgram>| raw.map(|raw| raw.check(origin)).transpose();
        let freeze_at_most =
            self.freeze_at_most_s.map(|s| seconds(Some(s), PROGRAM_DEFAULT, origin)).transpose()?;
        Ok(CommandConfig {
            paths: self.paths,
            freeze_at_most,
            claims: match self.claims {
                RawClaim::Application => Consistency::Application,
                RawClaim::FileSystem => Consistency::FileSystem,
                RawClaim::Crash => Consistency::Crash,
            },
            prepare: program(self.prepare)?,
            freeze: program(self.freeze)?,
            attest: program(self.attest)?,
            thaw: program(self.thaw)?,
            post: program(self.post)?,
            abort: program(self.abort)?,
        })
    }
}

impl RawProgram {
    fn check(self, origin: &str) -> Result<Program> {
        let absolute = self.run.first().is_some_and(|program| program.starts_with('/'));
        if !absolute || self.run.len() > ARGUMENTS {
            let what =
                format!("{:?} is not an absolute path with at most {ARGUMENTS} words", self.run.first());
            return Err(invalid(origin, &what));
        }
        Ok(Program { argv: self.run, limit: seconds(self.limit_s, PROGRAM_DEFAULT, origin)? })
    }
}

fn seconds(value: Option<u64>, default: Duration, origin: &str) -> Result<Duration> {
    match value {
        None => Ok(default),
        Some(value) if (1..=PROGRAM_LIMIT.as_secs()).contains(&value) => Ok(Duration::from_secs(value)),
        Some(value) => {
            let what = format!("a limit of {value} s is not between 1 and {} s", PROGRAM_LIMIT.as_secs());
            Err(invalid(origin, &what))
        }
    }
}

#[cfg(test)]
mod tests;

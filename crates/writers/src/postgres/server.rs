//! A connection to a PostgreSQL server, over its unix socket only, and the questions that the writer asks.

use std::path::{Path, PathBuf};
use tokio::{task::JoinHandle, time::timeout};
use tokio_postgres::{Client, Config, NoTls, Statement};
use umbra_base::{Error, ErrorCode, Result};

use crate::{config::PostgresConfig, limits::CONNECT, set::Place};

/// See the module.
#[derive(Debug)]
pub(super) struct Session {
    writer: String,
    client: Client,
    /// Prepared beforehand, so that in the window the server parses nothing.
    started: Statement,
    connection: JoinHandle<()>,
}

/// What a server says about itself.
#[derive(Debug)]
pub(super) struct Facts {
    pub version: String,
    pub places: Vec<Place>,
    fsync: bool,
    full_page_writes: bool,
}

impl Facts {
    /// Why a copy of it is no better than what a crash leaves.
    pub(super) fn weakness(&self) -> Option<String> {
        let off = match (self.fsync, self.full_page_writes) {
            (true, true) => return None,
            (false, _) => "fsync",
            (true, false) => "full_page_writes",
        };
        Some(format!("the server runs with {off} = off and does not promise to survive a crash"))
    }
}

const STARTED: &str = "SELECT pg_postmaster_start_time()::text";

impl Session {
    pub(super) async fn open(writer: &str, config: &PostgresConfig) -> Result<Session> {
        match timeout(CONNECT, connect(writer, config)).await {
            Ok(session) => session,
            Err(_) => {
                let text = format!("writer {writer:?}: {} did not answer", socket_of(config).display());
                Err(Error::new(ErrorCode::WriterTimeout, text).param("writer", writer))
            }
        }
    }

    /// Asks that our own statements be not logged: the log may lie on a frozen file system, and the answer would wait for
    /// it. Only a superuser may; without, an `attest` against a server that logs every statement may expire.
    pub(super) async fn keep_quiet(&self) {
        for setting in ["log_statement = 'none'", "log_duration = off", "log_min_duration_statement = -1"] {
            let _ = self.client.batch_execute(&format!("SET {setting}")).await;
        }
    }

    pub(super) async fn facts(&self) -> Result<Facts> {
        let version = self.setting("server_version").await?;
        let data = PathBuf::from(self.setting("data_directory").await?);
        let on = |value: String| value == "on";
        Ok(Facts {
            version,
            places: self.places(&data).await?,
            fsync: on(self.setting("fsync").await?),
            full_page_writes: on(self.setting("full_page_writes").await?),
        })
    }

    async fn places(&self, data: &Path) -> Result<Vec<Place>> {
        let mut places =
            vec![self.place(data, "data".to_owned())?, self.place(&data.join("pg_wal"), "WAL".to_owned())?];
        let question = "SELECT spcname::text, pg_tablespace_location(oid) FROM pg_tablespace \
                        WHERE pg_tablespace_location(oid) <> '' ORDER BY 1";
        for row in self
            .client
            .query(question, &[])
            .await
            .map_err(|source| self.failed("list tablespaces", source))?
        {
            let (name, path): (String, String) = (row.get(0), row.get(1));
            places.push(self.place(Path::new(&path), format!("tablespace {name}"))?);
        }
        Ok(places)
    }

    /// The place that `path` really is.
    fn place(&self, path: &Path, what: String) -> Result<Place> {
        let path = std::fs::canonicalize(path).map_err(|source| {
            let text = format!("writer {:?}: follow the path of its {what}, {}", self.writer, path.display());
            Error::new(ErrorCode::WriterFailed, text).because(source).param("writer", &self.writer)
        })?;
        Ok(Place { path, what })
    }

    async fn setting(&self, name: &str) -> Result<String> {
        let row = self.client.query_one("SELECT current_setting($1)", &[&name]).await;
        Ok(row.map_err(|source| self.failed(&format!("show {name}"), source))?.get(0))
    }

    pub(super) async fn checkpoint(&self) -> Result<()> {
        self.client
            .batch_execute("CHECKPOINT")
            .await
            .map_err(|source| self.failed("write a checkpoint", source))
    }

    /// Stops what the server does for us; what it does not hear ends with the connection.
    pub(super) async fn cancel(&self) {
        let _ = timeout(CONNECT, self.client.cancel_token().cancel_query(NoTls)).await;
    }

    /// When the server was started.
    pub(super) async fn started(&self) -> Result<String> {
        let row = self.client.query_one(&self.started, &[]).await;
        Ok(row.map_err(|source| self.failed("ask when the server was started", source))?.get(0))
    }

    fn failed(&self, what: &str, source: tokio_postgres::Error) -> Error {
        failed(&self.writer, what, source)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

async fn connect(writer: &str, config: &PostgresConfig) -> Result<Session> {
    let mut options = Config::new();
    options.host_path(&config.socket).port(config.port).user(&config.user).dbname(&config.database);
    options.application_name("umbra");
    if let Some(file) = &config.password_file {
        let password = tokio::fs::read_to_string(file)
            .await
            .map_err(|source| Error::io(format!("writer {writer:?}: read {}", file.display()), source))?;
        options.password(password.trim_end_matches('\n'));
    }
    let what = format!("connect to {}", socket_of(config).display());
    let (client, connection) =
        options.connect(NoTls).await.map_err(|source| failed(writer, &what, source))?;
    let connection = tokio::spawn(async move {
        // Its error comes out of the next question too, and there it has somebody to be told to.
        let _ = connection.await;
    });
    let started = client.prepare(STARTED).await.map_err(|source| failed(writer, &what, source))?;
    Ok(Session { writer: writer.to_owned(), client, started, connection })
}

fn socket_of(config: &PostgresConfig) -> PathBuf {
    config.socket.join(format!(".s.PGSQL.{}", config.port))
}

fn failed(writer: &str, what: &str, source: tokio_postgres::Error) -> Error {
    let told = source.as_db_error().map(|error| format!(" ({})", error.message())).unwrap_or_default();
    Error::new(ErrorCode::WriterFailed, format!("writer {writer:?}: {what}{told}"))
        .because(source)
        .param("writer", writer)
}

//! The PostgreSQL writer (W2).
//!
//! PostgreSQL recovers from a crash by design: if all of its volumes are copied at one instant, the copy starts like a
//! server that lost power. So nothing is stopped: `prepare` writes a checkpoint, which keeps the copy's recovery short,
//! and `freeze` and `attest` show that the server is the same one still. No backup mode, no label.
//!
//! That holds only with all volumes in the set (`pg_wal` and tablespaces are links, often to others) and with a server that
//! orders its writes: with `fsync` or `full_page_writes` off no more than `crash` is claimed.

mod server;

use async_trait::async_trait;
use tokio::{sync::Mutex, time::timeout};
use umbra_base::{Error, ErrorCode, Result};
use umbra_vss::{Consistency, Level, WriterReport};

use crate::{
    config::PostgresConfig,
    set::{Identity, SetContext, claims},
    writer::Writer,
};
use server::{Facts, Session};

/// What the server says about itself.
pub(crate) async fn identify(writer: &str, config: &PostgresConfig) -> Result<Identity> {
    let facts = Session::open(writer, config).await?.facts().await?;
    let remarks = facts.weakness().into_iter().collect();
    Ok(Identity { product: format!("PostgreSQL {}", facts.version), places: facts.places, remarks })
}

/// A PostgreSQL server in one set.
#[derive(Debug)]
pub(crate) struct PostgresWriter {
    name: String,
    level: Level,
    config: PostgresConfig,
    context: SetContext,
    /// From prepare to thaw. The start of the server is part of it: it is what must not change.
    session: Mutex<Option<(Session, String)>>,
}

impl PostgresWriter {
    pub(crate) fn new(
        name: String,
        level: Level,
        config: PostgresConfig,
        context: SetContext,
    ) -> PostgresWriter {
        PostgresWriter { name, level, config, context, session: Mutex::default() }
    }

    /// The same connection to the same server as in prepare; no new one is made, nothing is written, and the answer needs
    /// nothing that a frozen file system could hold up.
    async fn same_server(&self) -> Result<()> {
        let session = self.session.lock().await;
        let Some((session, started)) = session.as_ref() else {
            return Err(Error::new(ErrorCode::BadState, format!("writer {:?} is not prepared", self.name)));
        };
        let now = session.started().await?;
        if now != *started {
            let text = format!(
                "writer {:?}: the server that was started at {started} is now one of {now}",
                self.name
            );
            return Err(Error::new(ErrorCode::WriterFailed, text).param("writer", &self.name));
        }
        Ok(())
    }

    async fn checkpoint(&self, session: &Session) -> Result<()> {
        let limit = self.config.checkpoint_limit;
        match timeout(limit, session.checkpoint()).await {
            Ok(result) => result,
            Err(_) => {
                session.cancel().await;
                let text =
                    format!("writer {:?}: a checkpoint took longer than {} s", self.name, limit.as_secs());
                Err(Error::new(ErrorCode::WriterTimeout, text)
                    .hint("raise checkpoint_limit_s of the writer, or checkpoint more often in the server")
                    .param("writer", &self.name)
                    .param("limit_ms", limit.as_millis()))
            }
        }
    }

    fn report(&self, facts: &Facts) -> Result<WriterReport> {
        let covered = self.context.cover(&self.name, &facts.places)?;
        let claims = match facts.weakness() {
            None => claims(
                &covered,
                Consistency::Application,
                "a checkpoint was written; the copy recovers by its WAL",
            ),
            Some(weakness) => claims(&covered, Consistency::Crash, &weakness),
        };
        Ok(WriterReport { claims, freeze_at_most: None })
    }
}

#[async_trait]
impl Writer for PostgresWriter {
    fn name(&self) -> &str {
        &self.name
    }

    fn level(&self) -> Level {
        self.level
    }

    async fn prepare(&self) -> Result<WriterReport> {
        let session = Session::open(&self.name, &self.config).await?;
        session.keep_quiet().await;
        let report = self.report(&session.facts().await?)?;
        self.checkpoint(&session).await?;
        let started = session.started().await?;
        *self.session.lock().await = Some((session, started));
        Ok(report)
    }

    async fn freeze(&self) -> Result<()> {
        self.same_server().await
    }

    async fn attest(&self) -> Result<()> {
        self.same_server().await
    }

    async fn thaw(&self) -> Result<()> {
        *self.session.lock().await = None;
        Ok(())
    }

    /// Nothing: whoever opens the copy lets it recover, in namespaces of its own (W1).
    async fn post_snapshot(&self) -> Result<()> {
        Ok(())
    }

    async fn abort(&self) -> Result<()> {
        self.thaw().await
    }
}

#[cfg(test)]
mod tests;

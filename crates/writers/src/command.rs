//! The command writer: programs of the administrator at each event.
//!
//! Its thaw is an undo that the guard holds, so that how long it is frozen does not depend on the life of the service;
//! the writer itself never runs it.

use async_trait::async_trait;
use std::{path::Path, time::Duration};
use umbra_base::Result;
use umbra_vss::{Consistency, Level, WriterReport};

use crate::{
    config::{CommandConfig, Program},
    program::{self, Cause},
    set::{Identity, Place, SetContext, claims},
    writer::{Undo, Writer},
};

impl CommandConfig {
    /// Where its data lies. A path that cannot be resolved is kept as it is: it lies in no volume then.
    pub(crate) fn identify(&self) -> Identity {
        let place = |path: &Path| Place {
            path: std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()),
            what: format!("data in {}", path.display()),
        };
        let remarks = self.unproven().then(|| UNPROVEN.to_owned()).into_iter().collect();
        Identity {
            product: String::new(),
            places: self.paths.iter().map(|path| place(path)).collect(),
            remarks,
        }
    }

    /// Whether it freezes without ever proving it.
    fn unproven(&self) -> bool {
        self.attest.is_none()
    }

    fn claim(&self) -> (Consistency, &'static str) {
        match (self.claims, self.unproven()) {
            (Consistency::Application, true) => (Consistency::FileSystem, UNPROVEN),
            (level, true) => (level, "configured"),
            (level, false) => (level, "frozen by its command, proved by another"),
        }
    }
}

const UNPROVEN: &str = "it has no attest command, so nothing proves that it was frozen";

/// A command writer in one set.
#[derive(Debug)]
pub(crate) struct CommandWriter {
    pub name: String,
    pub level: Level,
    pub config: CommandConfig,
    pub context: SetContext,
}

impl CommandWriter {
    fn cause(&self, event: &'static str) -> Cause {
        let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let env = vec![
            variable("UMBRA_EVENT", event),
            variable("UMBRA_WRITER", &self.name),
            variable("UMBRA_SET", &self.context.set.to_string()),
        ];
        Cause { writer: self.name.clone(), event, env }
    }

    async fn run(&self, event: &'static str, program: &Option<Program>) -> Result<()> {
        match program {
            Some(program) => program::run(program, &self.cause(event)).await,
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Writer for CommandWriter {
    fn name(&self) -> &str {
        &self.name
    }

    fn level(&self) -> Level {
        self.level
    }

    fn freeze_at_most(&self) -> Option<Duration> {
        self.config.freeze_at_most
    }

    fn undo(&self) -> Option<Undo> {
        let thaw = self.config.thaw.as_ref()?;
        Some(Undo {
            name: self.name.clone(),
            argv: thaw.argv.clone(),
            env: self.cause("thaw").env,
            limit: thaw.limit,
        })
    }

    async fn prepare(&self) -> Result<WriterReport> {
        let covered = self.context.cover(&self.name, &self.config.identify().places)?;
        self.run("prepare", &self.config.prepare).await?;
        let (level, reason) = self.config.claim();
        Ok(WriterReport {
            claims: claims(&covered, level, reason),
            freeze_at_most: self.config.freeze_at_most,
        })
    }

    async fn freeze(&self) -> Result<()> {
        self.run("freeze", &self.config.freeze).await
    }

    async fn attest(&self) -> Result<()> {
        self.run("attest", &self.config.attest).await
    }

    /// Nothing: whoever holds the undo has run it.
    async fn thaw(&self) -> Result<()> {
        Ok(())
    }

    async fn post_snapshot(&self) -> Result<()> {
        self.run("post", &self.config.post).await
    }

    async fn abort(&self) -> Result<()> {
        self.run("abort", &self.config.abort).await
    }
}

#[cfg(test)]
mod tests;

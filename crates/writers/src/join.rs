//! From a configured writer to one that takes part in a set.

use std::sync::Arc;
use umbra_base::Result;

use crate::{
    command::CommandWriter,
    config::{Kind, WriterConfig},
    postgres,
    set::{Identity, SetContext},
    writer::Writer,
};

impl WriterConfig {
    /// `postgres` or `command`.
    pub fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Postgres(_) => "postgres",
            Kind::Command(_) => "command",
        }
    }

    /// What it is and where its data lies, now. May be asked at any time; stops nothing. An error says that the application
    /// cannot be asked: whether it is affected by a set is not known then.
    pub async fn identify(&self) -> Result<Identity> {
        match &self.kind {
            Kind::Postgres(config) => postgres::identify(&self.name, config).await,
            Kind::Command(config) => Ok(config.identify()),
        }
    }

    /// The writer of one set; `None` if no data of it lies in the set.
    pub fn join(&self, identity: &Identity, context: &SetContext) -> Option<Arc<dyn Writer>> {
        if !context.touches(&identity.places) {
            return None;
        }
        let (name, level, context) = (self.name.clone(), self.level, context.clone());
        Some(match &self.kind {
            Kind::Postgres(config) => {
                Arc::new(postgres::PostgresWriter::new(name, level, config.clone(), context))
            }
            Kind::Command(config) => Arc::new(CommandWriter { name, level, config: config.clone(), context }),
        })
    }
}

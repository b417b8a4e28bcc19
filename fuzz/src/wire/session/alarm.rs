//! What the target itself logs as an error is one here too. With `UMBRA_FUZZ_LOG` set, as in a replay, the rest of its log
//! is told.

use std::fmt::{Debug, Write};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Panics at every error that is logged.
#[derive(Debug)]
pub(super) struct Alarm {
    most: Level,
}

impl Alarm {
    /// From now on, for the whole process.
    pub(super) fn set() {
        let tells = std::env::var_os("UMBRA_FUZZ_LOG").is_some();
        let most = if tells { Level::INFO } else { Level::ERROR };
        let _set_already = tracing::subscriber::set_global_default(Alarm { most });
    }
}

impl Subscriber for Alarm {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.most
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::from_level(self.most))
    }

    fn event(&self, event: &Event<'_>) {
        let mut said = Said(String::new());
        event.record(&mut said);
        let level = event.metadata().level();
        assert!(*level != Level::ERROR, "the target logs an error:{}", said.0);
        eprintln!("{level}{}", said.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Said(String);

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _a_string_takes_all = write!(self.0, " {field}={value:?}");
    }
}

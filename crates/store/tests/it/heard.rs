//! What is told to the log on this thread: errors, each with its fields.

use std::{
    fmt::{Debug, Write},
    sync::{Arc, Mutex},
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

/// Errors, a line each.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<String>>);

/// What `work` comes to, and the errors that it told.
pub fn errors_of<T>(work: impl FnOnce() -> T) -> (T, String) {
    let heard = Heard::default();
    let result = tracing::subscriber::with_default(heard.clone(), work);
    let text = heard.0.lock().unwrap().clone();
    (result, text)
}

impl Subscriber for Heard {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        writeln!(self.0.lock().unwrap(), "{}", line.0).unwrap();
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}: {value:?} ").unwrap();
    }
}

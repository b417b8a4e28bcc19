//! Progress of long work, on a terminal only: phases, told by the service as they begin and end, or a bar.

use crate::output::{Format, Output};
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;
use umbra_api::v1;

/// A spinner that names the phase under way; with `-v` also a line for each that ended.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    output: Output,
}

impl Progress {
    pub fn start(output: Output, what: &str) -> Self {
        let bar = if output.watched() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        bar.set_style(
            ProgressStyle::with_template("{spinner} {msg} {elapsed}")
                .unwrap_or(ProgressStyle::default_spinner()),
        );
        bar.set_message(what.to_owned());
        if output.watched() {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Progress { bar, output }
    }

    pub fn phase(&self, phase: &v1::Phase) {
        let name = phase.name.replace('_', " ");
        if phase.outcome.is_empty() {
            self.bar.set_message(name);
        } else {
            let line = format!("{name}: {} after {} us", phase.outcome, phase.duration_us);
            self.bar.suspend(|| self.output.detail(&line));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A bar for work whose length is known, for people who watch and did not ask for JSON.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    pub fn start(output: Output, what: &str) -> Self {
        let shown = output.watched() && output.format == Format::Text;
        let bar = if shown { ProgressBar::new(1) } else { ProgressBar::hidden() };
        bar.set_style(
            ProgressStyle::with_template("{msg} {wide_bar} {percent}% {elapsed}")
                .unwrap_or(ProgressStyle::default_bar()),
        );
        bar.set_message(what.to_owned());
        Bar(bar)
    }

    /// None at all.
    pub fn hidden() -> Self {
        Bar(ProgressBar::hidden())
    }

    /// So much of it is done.
    pub fn at(&self, done: u64, of: u64) {
        self.0.set_length(of.max(done));
        self.0.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

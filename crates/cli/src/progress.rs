//! Progress of long work, on a terminal only. Phases are told by the service as they begin and end.

use crate::output::Output;
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

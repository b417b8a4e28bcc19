//! The store, judged from outside: random histories that end in a clean stop, in the death of the process or in the
//! loss of the machine at any write; then every volume is read back, and the pool's metadata goes to our checker and
//! to Debian's `thin_check`.
//!
//! A failing history prints its seed; `UMBRA_SEED=N` runs that one alone, `UMBRA_HISTORIES=N` runs that many
//! of each ending, as `ci/full histories` does.

#![allow(clippy::unwrap_used, clippy::print_stderr)] // in helpers of tests, which clippy does not take for tests

mod disk;
mod history;
mod judge;
mod model;

use disk::Flaw;
use history::{Ending, History};

/// Whether the history of that seed ends well; what is wrong with it was printed.
fn ends_well(seed: u64, ending: Ending, flaw: Flaw) -> bool {
    std::panic::catch_unwind(|| History::new(seed, ending, flaw).run()).is_ok()
}

fn run(ending: Ending, histories: u64) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("UMBRA_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..1 + number("UMBRA_HISTORIES").unwrap_or(histories),
    };
    for seed in seeds {
        let well = ends_well(seed, ending, Flaw::None);
        assert!(well, "history {seed} of {ending:?} failed: repeat it with UMBRA_SEED={seed}");
    }
}

#[test]
fn a_clean_stop_leaves_a_pool_for_anyone() {
    run(Ending::Close, 3);
}

#[test]
fn the_death_of_the_process_at_any_write_loses_nothing_acknowledged() {
    run(Ending::Death, 12);
}

#[test]
fn the_loss_of_the_machine_at_any_write_loses_nothing_flushed() {
    run(Ending::PowerLoss, 12);
}

#[test]
fn a_disk_that_syncs_nothing_is_noticed() {
    assert!((1..20).any(|seed| !ends_well(seed, Ending::PowerLoss, Flaw::SyncsNothing)));
}

#[test]
fn a_log_that_forgets_is_noticed() {
    assert!((1..20).any(|seed| !ends_well(seed, Ending::Death, Flaw::ForgetsLog)));
}

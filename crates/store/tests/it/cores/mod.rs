//! The store under several cores at once, against a model: workers write, discard and read sectors of their own through
//! both doors, in blocks that they share, while cuts, deletions, flushes and extensions go on; between the rounds the
//! process dies, or stops and starts. Contents, mapped counts and changed blocks agree with the model, every cut is one
//! instant of all its devices (S1), and the metadata is clean at each commit.
//!
//! A failing model prints its seed; `UMBRA_SEED=N` runs that one alone, `UMBRA_MODELS=N` that many. What threads do comes
//! from the seed alone; how they meet does not, so a failure may take more than one run to come again.

mod book;
mod check;
mod judged;
mod worker;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Cuts, World};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn a_store_under_several_cores_is_what_its_model_says() {
    let seeds = match number("UMBRA_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..1 + number("UMBRA_MODELS").unwrap_or(4),
    };
    for seed in seeds {
        let run = catch_unwind(AssertUnwindSafe(|| World::new(seed, Cuts::AtOnce).run(5)));
        assert!(run.is_ok(), "model {seed} failed: repeat it with UMBRA_SEED={seed}");
    }
}

/// The negative control.
#[test]
fn cuts_of_one_device_after_the_other_are_found_out() {
    let run = catch_unwind(|| World::new(1, Cuts::OneByOne).run(100));
    let panic = run.expect_err("two instants looked like one a hundred times");
    let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
    assert!(text.contains("no one instant"), "found out by something else: {text}");
}

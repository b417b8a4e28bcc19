//! What benchmarks share: contenders in turns, the report, places, how busy processors are.
//!
//! The modules lie in bench/pool, which had them first, and are compiled from there: each stands once. What always holds:
//! a figure means the same in every benchmark's table.

#![forbid(unsafe_code)]

#[path = "../../pool/src/places.rs"]
#[expect(clippy::should_implement_trait, reason = "places have no end")]
pub mod places;
#[path = "../../pool/src/processor.rs"]
pub mod processor;
#[path = "../../pool/src/report.rs"]
pub mod report;
#[path = "../../pool/src/rounds.rs"]
#[expect(missing_debug_implementations, reason = "a contender is a closure")]
pub mod rounds;

/// One measurement.
pub mod run {
    /// What came of it.
    #[derive(Debug, Clone, Copy, Default)]
    pub struct Outcome {
        /// Requests in a second.
        pub rate: f64,
        /// Processor time of one, in microseconds.
        pub cost: f64,
        /// Share of them that took another way than was measured.
        pub refused: f64,
        /// Share of all processors that the contender used, its load included.
        pub own: f64,
        /// Share that anybody used.
        pub machine: f64,
    }
}

//! One measurement: submitters on one or more threads, started together, and how busy the processors were meanwhile.

use crate::{
    door::Door,
    places::{Order, Places},
    processor::Sample,
    submit::{Done, Load, Submitter, Unwatched, Watch},
};
use anyhow::{Context, Result, anyhow};
use std::{
    sync::{Arc, Barrier},
    time::Duration,
};
use umbra_ring::Workers;

/// What is measured, and what it is put to.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    /// The requests.
    pub load: Load,
    /// How they follow each other.
    pub order: Order,
    /// Bytes at the start of each door that they go to.
    pub span: u64,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome {
    /// Requests in a second.
    pub rate: f64,
    /// Processor time of one, in microseconds: what others on the machine change least.
    pub cost: f64,
    /// Share of them that the direct door refused.
    pub refused: f64,
    /// Share of all processors that this process used.
    pub own: f64,
    /// Share that anybody used.
    pub machine: f64,
}

/// Runs one submitter for each of `threads`, each with doors of its own, to the limit.
pub fn on_threads<D: Door>(threads: &[Vec<D>], work: Work, workers: &Arc<Workers>) -> Result<Outcome> {
    let gate = Barrier::new(threads.len() + 1);
    let (dones, used) = std::thread::scope(|scope| {
        let gate = &gate;
        let handles: Vec<_> = threads
            .iter()
            .zip(1..)
            .map(|(doors, seed)| scope.spawn(move || one(doors, work, seed, workers, gate)))
            .collect();
        gate.wait();
        let before = Sample::take()?;
        let dones: Vec<_> = handles.into_iter().map(join).collect::<Result<_>>()?;
        anyhow::Ok((dones, before.since()?))
    })?;
    let count: u64 = dones.iter().map(|done| done.count).sum();
    let refused: u64 = dones.iter().map(|done| done.refused).sum();
    let time = dones.iter().map(|done| done.time).max().unwrap_or(Duration::ZERO);
    let each = count.max(1) as f64;
    let rate = count as f64 / time.as_secs_f64().max(1e-9);
    let (cost, refused) = (used.own_seconds * 1e6 / each, refused as f64 / each);
    Ok(Outcome { rate, cost, refused, own: used.own, machine: used.machine })
}

/// The same on one thread with one door.
pub fn alone<D: Door>(door: &D, work: Work, workers: &Arc<Workers>) -> Result<Outcome> {
    on_threads(&[vec![door.clone()]], work, workers)
}

fn one<D: Door>(doors: &[D], work: Work, seed: u64, workers: &Arc<Workers>, gate: &Barrier) -> Result<Done> {
    let submitter = Submitter::new(work.load, doors.to_vec(), workers);
    // Also where setting up failed: the others wait for everybody.
    gate.wait();
    let mut places = Places::new(work.order, work.span, work.load.len, seed);
    submitter?.run(&mut places, &mut Unwatched)
}

/// A submitter on the calling thread that somebody watches.
pub fn watched<D: Door>(
    doors: &[D],
    work: Work,
    workers: &Arc<Workers>,
    watch: &mut impl Watch,
) -> Result<Done> {
    let mut places = Places::new(work.order, work.span, work.load.len, 1);
    Submitter::new(work.load, doors.to_vec(), workers)?.run(&mut places, watch)
}

fn join<T>(handle: std::thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    handle.join().map_err(|_| anyhow!("a submitter panicked")).context("run a submitter")?
}

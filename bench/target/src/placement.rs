//! On which processors a measurement runs.
//!
//! Left alone, a scheduler puts a server beside its load one time and on its core the next, and a wake-up costs five times
//! as much here as there: contenders that take turns then meet different machines. So the placement is part of the case.

use anyhow::{Context, Result};
use rustix::{
    process::Pid,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use std::fs;

/// Where the generator and the server run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Wherever the scheduler puts them.
    Free,
    /// Both on one processor.
    Together,
    /// The generator on one, the server on all others.
    Apart,
}

/// The processors that this program may use.
#[derive(Debug)]
pub struct Processors(CpuSet);

impl Processors {
    /// Those of now.
    pub fn take() -> Result<Processors> {
        Ok(Processors(sched_getaffinity(None).context("ask for the processors")?))
    }

    /// How many there are.
    pub fn count(&self) -> f64 {
        f64::from(self.0.count())
    }

    /// Puts the calling thread and all threads of the servers where they are to run; threads that these start follow them.
    pub fn place(&self, placement: Placement, servers: impl IntoIterator<Item = u32>) -> Result<()> {
        let (generator, server) = self.split(placement);
        sched_setaffinity(None, &generator).context("place the generator")?;
        for pid in servers {
            let threads = fs::read_dir(format!("/proc/{pid}/task")).context("the server is gone")?;
            let numbers = threads.filter_map(|thread| thread.ok()?.file_name().to_str()?.parse().ok());
            for thread in numbers.filter_map(Pid::from_raw) {
                // A thread that has ended meanwhile needs no place.
                let _ended = sched_setaffinity(Some(thread), &server);
            }
        }
        Ok(())
    }

    fn split(&self, placement: Placement) -> (CpuSet, CpuSet) {
        let numbers: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|number| self.0.is_set(*number)).collect();
        let (first, others) = match numbers.split_first() {
            Some((first, others)) if !others.is_empty() => (set(&[*first]), set(others)),
            _ => (self.0, self.0),
        };
        match placement {
            Placement::Free => (self.0, self.0),
            Placement::Together => (first, first),
            Placement::Apart => (first, others),
        }
    }
}

fn set(numbers: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    numbers.iter().for_each(|number| set.set(*number));
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apart_shares_no_processor_and_leaves_none_out() {
        let all = Processors(set(&[1, 4, 5]));
        assert_eq!(all.split(Placement::Apart), (set(&[1]), set(&[4, 5])));
        assert_eq!(all.split(Placement::Together), (set(&[1]), set(&[1])));
        assert_eq!(all.split(Placement::Free), (all.0, all.0));
        assert_eq!(Processors(set(&[3])).split(Placement::Apart), (set(&[3]), set(&[3])));
    }
}

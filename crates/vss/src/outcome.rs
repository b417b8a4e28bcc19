//! What a creation ends with.

use std::time::Duration;
use umbra_base::{Error, SetId};

use crate::{CutTime, Part, Phase, Task, Timeline, VolumeReached};

/// The end of a creation.
#[derive(Debug)]
pub enum Outcome {
    /// The set is there.
    Created(Created),
    /// It is not, and nothing of it that the unwinding could reach.
    Failed(Failure, Timeline),
}

/// A set that is there.
#[derive(Debug)]
pub struct Created {
    /// Its id.
    pub set: SetId,
    /// The cut of each provider, in the order in which they cut.
    pub cuts: Vec<(String, CutTime)>,
    /// What each volume's copy is good for.
    pub volumes: Vec<VolumeReached>,
    /// How long writers stood, from the first freeze to the last thaw.
    pub frozen_for: Option<Duration>,
    /// How long file systems stood.
    pub held_for: Option<Duration>,
    /// Phase by phase.
    pub timeline: Timeline,
}

/// Why there is no set.
#[derive(Debug)]
pub struct Failure {
    /// In which phase it failed.
    pub phase: Phase,
    /// Who failed.
    pub part: Part,
    /// The first error; it is what the requester gets.
    pub error: Error,
    /// What failed while the rest was undone.
    pub also: Vec<AlsoFailed>,
}

/// A step of the unwinding that failed.
#[derive(Debug)]
pub struct AlsoFailed {
    /// Which step.
    pub task: Task,
    /// How.
    pub error: Error,
}

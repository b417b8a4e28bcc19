//! Changed blocks between two devices, and the allocated blocks of one: in order, in steps, at a cost in proportion to
//! what is told (dm-thin format section 9.9).

use super::Pool;
use crate::{ThinError, ThinId, meta::MetaRead, page::get_u64, values::Tree};

/// Whose mappings are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// A device as it is now, the open transaction included.
    Live(ThinId),
    /// A device as the metadata snapshot has it.
    Held(ThinId),
}

impl From<ThinId> for Source {
    fn from(id: ThinId) -> Self {
        Source::Live(id)
    }
}

impl Source {
    fn id(self) -> ThinId {
        match self {
            Source::Live(id) | Source::Held(id) => id,
        }
    }
}

/// A part of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step<T> {
    /// In ascending order. Two parts may meet: a run that goes on in the next part is not joined with it.
    pub runs: Vec<T>,
    /// The virtual block to go on from; `None`: that was all.
    pub next: Option<u64>,
}

/// A run of virtual blocks that differ in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// First virtual block.
    pub vblock: u64,
    /// Blocks.
    pub len: u64,
    /// How they differ.
    pub kind: Difference,
}

/// How a block differs between the left and the right device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Difference {
    /// Only the left one maps it.
    LeftOnly,
    /// Only the right one maps it.
    RightOnly,
    /// Both map it, to different data blocks.
    Different,
}

/// A run of mapped virtual blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocated {
    /// First virtual block.
    pub vblock: u64,
    /// Blocks.
    pub len: u64,
}

impl<R: MetaRead> Pool<R> {
    /// Where two devices differ, from virtual block `from` on. Reads about `budget` metadata nodes; what both share is
    /// passed over whole. Blocks that were written in place are no difference: a device does that only to blocks that
    /// no other has.
    pub fn changed(
        &mut self,
        left: impl Into<Source>,
        right: impl Into<Source>,
        from: u64,
        budget: u64,
    ) -> Result<Step<Changed>, ThinError> {
        let (left, right) = (left.into(), right.into());
        let roots = (self.root_of(left)?, self.root_of(right)?);
        let mut runs: Vec<Changed> = Vec::new();
        let next = self.meta.compare(roots, (from, budget), &mut |vblock, left, right| {
            let kind = match (left, right) {
                (Some(_), Some(_)) => Difference::Different,
                (Some(_), None) => Difference::LeftOnly,
                (None, _) => Difference::RightOnly,
            };
            match runs.last_mut() {
                Some(last) if last.kind == kind && last.vblock + last.len == vblock => last.len += 1,
                _ => runs.push(Changed { vblock, len: 1, kind }),
            }
        })?;
        Ok(Step { runs, next })
    }

    /// Which blocks a device maps, from virtual block `from` on. Reads about `budget` metadata nodes.
    pub fn allocated(
        &mut self,
        source: impl Into<Source>,
        from: u64,
        budget: u64,
    ) -> Result<Step<Allocated>, ThinError> {
        let source = source.into();
        let root = self.root_of(source)?;
        let mut runs: Vec<Allocated> = Vec::new();
        let next = self.meta.walk_some(root, (from, budget), &mut |vblock, _| match runs.last_mut() {
            Some(last) if last.vblock + last.len == vblock => last.len += 1,
            _ => runs.push(Allocated { vblock, len: 1 }),
        });
        Ok(Step { runs, next: next.map_err(|error| error.of_device(source.id()))? })
    }

    /// The root of a device's mappings.
    pub(super) fn root_of(&mut self, source: Source) -> Result<u64, ThinError> {
        match source {
            Source::Live(id) => self.device(id).map(|device| device.root),
            Source::Held(id) => {
                let top = self.held()?.mapping_root;
                let root = self.meta.find(top, Tree::Top, id.0.into(), |value| get_u64(value, 0))?;
                root.ok_or(ThinError::Unknown(id))
            }
        }
    }
}

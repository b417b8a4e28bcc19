//! What the store says when nobody works, against the model.

use super::{
    book::{BLOCK, BLOCKS, PER_BLOCK, Tokens},
    world::World,
};
use umbra_store::{Difference, DifferenceKind, LunStore, ThinId};

impl World {
    pub(super) fn check(&self) {
        self.check_verdicts();
        let ids: Vec<_> = self.store().device_ids().unwrap().iter().map(|id| id.0).collect();
        assert_eq!(ids, self.holds.keys().copied().collect::<Vec<_>>());
        for (id, tokens) in &self.holds {
            let found = self.read(*id);
            let differs = tokens.iter().zip(&found).position(|(a, b)| a != b);
            assert_eq!(differs, None, "device {id} differs from this sector on");
            self.check_mapped(*id, tokens);
        }
        self.check_changes();
    }

    /// What is mapped is what was written, is counted right, and all else is zeroes.
    fn check_mapped(&self, id: u32, tokens: &Tokens) {
        let found = self.by_block(|from| self.store().allocated(ThinId(id), from).unwrap());
        let count = found.iter().flatten().count() as u64;
        assert_eq!(self.store().mapped_blocks(ThinId(id)).unwrap(), count, "device {id}");
        for (block, found) in found.iter().enumerate() {
            let is_zero = tokens[block * PER_BLOCK..(block + 1) * PER_BLOCK].iter().all(|token| *token == 0);
            assert!(found.is_some() || is_zero, "block {block} of device {id} holds data and is not mapped");
            if let Some(mapped) = self.mapped.get(&id) {
                assert_eq!(found.is_some(), mapped[block], "block {block} of device {id}");
            }
        }
    }

    /// From each copy to its origin, and to the next copy of the same: a block that holds something else is named, and
    /// one that nobody touched in between is not.
    fn check_changes(&self) {
        for (at, cut) in self.cuts.iter().enumerate() {
            for (origin, copy) in &cut.pairs {
                self.check_change(*origin, (*copy, cut.span.0), (*origin, u64::MAX));
                let later = self.cuts[at + 1..].iter().find_map(|later| {
                    let pair = later.pairs.iter().find(|pair| pair.0 == *origin)?;
                    Some((pair.1, later.span.1))
                });
                if let Some(later) = later {
                    self.check_change(*origin, (*copy, cut.span.0), later);
                }
            }
        }
    }

    /// Devices, and between which ticks they were the origin.
    fn check_change(&self, origin: u32, (old, from): (u32, u64), (new, to): (u32, u64)) {
        let found = self.by_block(|at| self.store().changed(ThinId(old), ThinId(new), at).unwrap());
        for (block, found) in found.iter().enumerate() {
            let sectors = block * PER_BLOCK..(block + 1) * PER_BLOCK;
            let differs = self.holds[&old][sectors.clone()] != self.holds[&new][sectors];
            let touched = self.touched.iter().any(|change| {
                let between = change.span.1 > from && change.span.0 < to;
                change.device == origin && between && change.blocks().contains(&block)
            });
            assert!(found.is_some() || !differs, "block {block} from device {old} to {new} is not named");
            assert!(found.is_none() || touched, "block {block} from device {old} to {new} is named");
        }
    }

    /// An answer in parts, block by block.
    fn by_block(&self, step: impl Fn(u64) -> Difference) -> Vec<Option<DifferenceKind>> {
        let (mut kinds, mut from) = (vec![None; BLOCKS], Some(0));
        while let Some(at) = from {
            let part = step(at);
            for run in &part.runs {
                let first = run.offset as usize / BLOCK;
                kinds[first..first + run.len as usize / BLOCK].fill(Some(run.kind));
            }
            from = part.next;
        }
        kinds
    }
}

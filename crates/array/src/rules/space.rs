//! What goes when space runs out, and in which order (A7).
//!
//! Picture: volatile sets, the oldest first; then sets that may expire, the soonest first. What always holds: nothing
//! else is ever in the list: no original, no broken LUN, no set that somebody means to keep, none that is being made or
//! being broken.

use super::moves::{self, Next, SetStep};
use crate::model::{Catalogue, SnapshotSet};
use umbra_base::SetId;

/// The sets that can be done without, in the order in which they go.
pub fn expendable(cat: &Catalogue) -> Vec<SetId> {
    let mut sets: Vec<_> = cat.sets.values().filter_map(|set| Some((turn(set)?, set.id))).collect();
    sets.sort_unstable();
    sets.into_iter().map(|(_, id)| id).collect()
}

/// When a set's turn comes, if ever: volatile ones before others, then by time.
fn turn(set: &SnapshotSet) -> Option<(bool, u64)> {
    let can_go = moves::next(moves::stage(&set.state), SetStep::Delete) == Some(Next::Gone);
    match (can_go, set.volatile, set.expires_at) {
        (true, true, _) => Some((false, set.state.cut())),
        (true, false, expires_at) if expires_at > 0 => Some((true, expires_at)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Access, Edit, SetState},
        rules::{Decision, Outcome, fixture::World},
    };
    use std::sync::Arc;
    use uuid::Uuid;

    /// Adds a set like the world's own, changed by `change`.
    fn add(world: &mut World, n: u128, change: impl FnOnce(&mut SnapshotSet)) -> SetId {
        let mut set = SnapshotSet::clone(&Arc::clone(&world.cat.sets[&world.set]));
        set.id = SetId(Uuid::from_u128(n));
        change(&mut set);
        let id = set.id;
        let mut edits = crate::model::Change::new();
        edits.push(Edit::PutSet(set));
        world.apply(Decision { outcome: Outcome::Created, change: edits });
        id
    }

    #[test]
    fn volatile_sets_go_first_and_the_oldest_of_them_then_what_expires_soonest() {
        let mut world = World::with_set();
        let importer = world.host;
        let late = add(&mut world, 1, |set| set.expires_at = 900);
        let soon = add(&mut world, 2, |set| set.expires_at = 100);
        let young = add(&mut world, 3, |set| {
            set.volatile = true;
            set.state = SetState::Created { cut: 70 };
        });
        let old = add(&mut world, 4, |set| {
            set.volatile = true;
            set.expires_at = 1;
            set.state = SetState::Imported { cut: 60, importer };
        });
        assert_eq!(expendable(&world.cat), [old, young, soon, late]);
    }

    #[test]
    fn what_is_being_made_or_broken_or_is_to_be_kept_never_goes() {
        let mut world = World::with_set();
        let (cut, importer, access) = (60, world.host, Access::ReadOnly);
        for (n, state) in [
            SetState::Pending,
            SetState::Breaking { cut, importer, access },
            SetState::Broken { cut, at: 61, access },
        ]
        .into_iter()
        .enumerate()
        {
            add(&mut world, n as u128 + 1, |set| {
                set.volatile = true;
                set.expires_at = 5;
                set.state = state;
            });
        }
        assert!(expendable(&world.cat).is_empty(), "and the world's own set is neither volatile nor expires");
    }
}

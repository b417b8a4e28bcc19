//! What was found damaged since the opening, by metadata block (A6, decision 008).
//!
//! Picture: whoever meets damage notes it, in memory; the background thread tells the log, and `pool status` asks.
//! What always holds: a block is noted and told once, however many devices share it and however often it is met, so that
//! one does not hide the next; noting writes nowhere, so that it may be done under the engine's lock and while writes are
//! held (S7); what is kept is bounded.

use crate::{
    hold::lock,
    limits::{DAMAGE_KEPT, DAMAGE_NAMED},
};
use std::{collections::BTreeMap, sync::Mutex};
use umbra_base::chain;
use umbra_thin::ThinError;

/// Damage that was met.
#[derive(Debug, Default)]
pub(super) struct Noted(Mutex<Found>);

#[derive(Debug, Default)]
struct Found {
    places: BTreeMap<Place, What>,
    /// What the log was not told yet.
    untold: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Block(u64),
    /// Sound blocks that contradict each other.
    Between(String),
}

#[derive(Debug)]
struct What {
    text: String,
    /// Whether other devices or keys were found to have the same block.
    is_shared: bool,
}

impl Noted {
    /// Keeps in mind what an error says of damage; `false` if there is no room for more.
    pub(super) fn note(&self, error: &ThinError) -> bool {
        let text = chain(error);
        let (place, has_owner) = match error {
            ThinError::Damaged { lost, .. } => (Place::Block(lost.block), lost.device.is_some()),
            _ => (Place::Between(text.clone()), false),
        };
        let mut found = lock(&self.0);
        if let Some(what) = found.places.get_mut(&place) {
            what.is_shared |= has_owner && what.text != text;
            return true;
        }
        let has_room = found.places.len() < DAMAGE_KEPT;
        if has_room {
            found.untold.push(text.clone());
            found.places.insert(place, What { text, is_shared: false });
        }
        has_room
    }

    /// What the log was not told yet; it counts as told.
    pub(super) fn untold(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.0).untold)
    }

    /// A text for each damaged block, [`DAMAGE_NAMED`] at most, and one that says how many more there are.
    pub(super) fn texts(&self) -> Vec<String> {
        let found = lock(&self.0);
        let named = found.places.values().take(DAMAGE_NAMED).map(|what| match what.is_shared {
            true => format!("{}; others have that block too", what.text),
            false => what.text.clone(),
        });
        let more = found.places.len().saturating_sub(DAMAGE_NAMED);
        let and_more = (more > 0).then(|| format!("{more} more metadata blocks; the array's log names them"));
        named.chain(and_more).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use umbra_thin::{Lost, ThinId, TreeName};

    fn damaged(device: Option<u32>, block: u64) -> ThinError {
        let lost = Lost {
            tree: TreeName::Mappings,
            device: device.map(ThinId),
            keys: block * 100..block * 100 + 100,
            block,
        };
        let source = ThinError::Read { block, source: std::io::Error::other("the disk is broken") };
        ThinError::Damaged { lost, source: Box::new(source) }
    }

    #[test]
    fn a_block_that_many_devices_share_is_told_once_and_hides_no_other() {
        let noted = Noted::default();
        (1..=200).for_each(|id| assert!(noted.note(&damaged(Some(id), 17))));
        noted.note(&damaged(Some(2), 25));
        noted.note(&damaged(None, 25)); // Met again, when the device was deleted.
        let told = noted.untold();
        assert_eq!(told, [chain(&damaged(Some(1), 17)), chain(&damaged(Some(2), 25))]);
        assert!(told[0].ends_with("the disk is broken"), "{told:?}");
        assert_eq!(noted.texts(), [format!("{}; others have that block too", told[0]), told[1].clone()]);
        assert_eq!(noted.untold(), Vec::<String>::new());
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_is_left_out_is_counted() {
        let noted = Noted::default();
        let blocks = DAMAGE_KEPT as u64;
        assert!((0..blocks).all(|block| noted.note(&damaged(None, block))));
        assert!(!noted.note(&damaged(None, blocks)));
        assert_eq!(noted.untold().len(), DAMAGE_KEPT);
        let texts = noted.texts();
        assert_eq!(texts.len(), DAMAGE_NAMED + 1);
        let more = format!("{} more metadata blocks; the array's log names them", DAMAGE_KEPT - DAMAGE_NAMED);
        assert_eq!(texts.last(), Some(&more));
    }
}

//! Space that goes back to the file system (A5): as holes in the data file, a bounded number after each commit, because the
//! next commit waits for them; what gets no hole is the pool's again all the same.

use crate::{
    recorded::{BLOCK, open},
    sim::{DATA, Sim},
};
use umbra_base::ErrorCode;
use umbra_store::{LunStore, ThinId, limits::PUNCHES_PER_COMMIT};

/// Blocks that are freed, each between two that are not.
const FREED: u64 = 3 * PUNCHES_PER_COMMIT as u64 + 8;

#[test]
fn blocks_that_are_freed_all_over_the_pool_make_few_holes_in_a_commit_and_can_all_be_used_again() {
    let sim = Sim::with_pool(200, 2 * FREED, BLOCK);
    let store = open(&sim, 1);
    let [first, second] = [1, 2].map(|id| {
        store.create(ThinId(id)).unwrap();
        store.open(ThinId(id), 3 * FREED * BLOCK).unwrap()
    });
    let whole = vec![1; BLOCK as usize];
    (0..2 * FREED).for_each(|block| first.write(block * BLOCK, &whole).unwrap());
    (0..FREED).for_each(|block| first.discard(2 * block * BLOCK, BLOCK).unwrap());
    let before = sim.holes_after_commits().len();
    store.flush().unwrap();
    assert_eq!(sim.holes_after_commits()[before..], [PUNCHES_PER_COMMIT]);
    assert_eq!(store.usage().data_used, FREED);
    // Where there is no hole the old bytes still lie; nobody sees them.
    for block in 0..FREED {
        second.write(block * BLOCK, &[2; 512]).unwrap();
        let mut found = whole.clone();
        second.read(block * BLOCK, &mut found).unwrap();
        assert!(found[..512] == [2; 512] && found[512..].iter().all(|byte| *byte == 0), "block {block}");
    }
    let full = second.write(FREED * BLOCK, &[2; 512]).unwrap_err();
    assert_eq!(full.code(), ErrorCode::InsufficientStorage);
    store.delete(ThinId(2)).unwrap();
    assert!(sim.holes_after_commits().iter().all(|holes| *holes <= PUNCHES_PER_COMMIT));
    assert!(!sim.content(DATA).is_hole());
    // Freed together, the blocks are one hole.
    (0..FREED).for_each(|block| first.write(2 * block * BLOCK, &whole).unwrap());
    store.delete(ThinId(1)).unwrap();
    assert_eq!(store.usage().data_used, 0);
    assert!(sim.content(DATA).is_hole(), "the file keeps space");
}

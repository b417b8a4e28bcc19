//! Blocks shared between devices without a copy, and what differs between two.

use crate::{
    judge::check_closed,
    support::{BLOCK, cut, open, params, read, share, volume},
};
use umbra_base::ErrorCode;
use umbra_store::{
    Allowance, DifferenceKind, DifferenceKind::*, LunStore, PoolParams, Share, ThinId, ThinPoolStore,
};

/// Every difference as (first block, blocks, kind).
fn changed(store: &ThinPoolStore, old: u32, new: u32) -> Vec<(u64, u64, DifferenceKind)> {
    let (mut found, mut from) = (Vec::new(), Some(0));
    while let Some(offset) = from {
        let step = store.changed(ThinId(old), ThinId(new), offset).unwrap();
        found.extend(step.runs.iter().map(|run| (run.offset / BLOCK, run.len / BLOCK, run.kind)));
        from = step.next;
    }
    found
}

#[test]
fn shared_blocks_cost_nothing_and_each_side_goes_its_own_way() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.create(ThinId(1)).unwrap();
    store.create(ThinId(2)).unwrap();
    let (one, two) = (volume(&store, 1), volume(&store, 2));
    one.write(0, &vec![1; 4 * BLOCK as usize]).unwrap();
    two.write(0, &vec![2; 8 * BLOCK as usize]).unwrap();
    let used = store.usage().data_used;
    store.share(share((1, 0), (2, 2), 5)).unwrap();
    assert_eq!(store.usage().data_used, used - 5, "four shared, one unmapped, five given up");
    let firsts: Vec<u8> = (0..8).map(|block| read(&two, block * BLOCK, 512)[0]).collect();
    assert_eq!(firsts, [2, 2, 1, 1, 1, 1, 0, 2]);
    one.write(0, &[7; 512]).unwrap();
    two.write(3 * BLOCK, &[8; 512]).unwrap();
    assert_eq!((read(&two, 2 * BLOCK, 512), read(&one, BLOCK, 512)), (vec![1; 512], vec![1; 512]));
    assert_eq!((read(&one, 0, 1024)[512], read(&two, 3 * BLOCK, 1024)[512]), (1, 1));
    drop((one, two, store));
    let store = open(dir.path());
    assert_eq!(read(&volume(&store, 1), 0, 512), [7; 512]);
    assert_eq!(read(&volume(&store, 2), 3 * BLOCK, 512), [8; 512]);
    assert_eq!(store.share(share((1, 0), (9, 0), 1)).unwrap_err().code(), ErrorCode::ObjectNotFound);
    let odd = Share { len: 512, ..share((1, 0), (2, 0), 1) };
    assert_eq!(store.share(odd).unwrap_err().code(), ErrorCode::InvalidArgument);
    store.close().unwrap();
    check_closed(dir.path());
}

#[test]
fn what_differs_is_what_was_written_or_discarded_since_the_cut() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.create(ThinId(1)).unwrap();
    let origin = volume(&store, 1);
    origin.write(0, &vec![1; 16 * BLOCK as usize]).unwrap();
    cut(&store, &[(1, 2)]);
    assert_eq!(changed(&store, 2, 1), []);
    origin.write(2 * BLOCK, &[2; 512]).unwrap();
    origin.write(3 * BLOCK, &[2; 512]).unwrap();
    origin.discard(5 * BLOCK, 2 * BLOCK).unwrap();
    origin.write(20 * BLOCK, &[3; 512]).unwrap();
    assert_eq!(changed(&store, 2, 1), [(2, 2, Both), (5, 2, OnlyOld), (20, 1, OnlyNew)]);
    let all = store.allocated(ThinId(2), 0).unwrap();
    assert_eq!((all.runs.len(), all.runs[0].len, all.next), (1, 16 * BLOCK, None));
    store.close().unwrap();
    check_closed(dir.path());
}

#[test]
fn sharing_heeds_quotas() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    (1..=2).for_each(|id| store.create(ThinId(id)).unwrap());
    volume(&store, 1).write(0, &vec![1; 8 * BLOCK as usize]).unwrap();
    let two = Allowance { reserved_bytes: 0, quota_bytes: Some(2 * BLOCK) };
    store.allow(ThinId(2), two).unwrap();
    let refused = store.share(share((1, 0), (2, 0), 3)).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::LimitReached);
    store.share(share((1, 0), (2, 0), 2)).unwrap();
    store.share(share((1, 2), (2, 0), 2)).unwrap();
    assert_eq!(store.mapped_blocks(ThinId(2)).unwrap(), 2);
}

/// Like a cut, it makes every block shared that was the owner's alone.
#[test]
fn sharing_is_refused_where_what_is_reserved_could_not_be_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store =
        ThinPoolStore::create_or_open(dir.path(), PoolParams { data_bytes: 16 * BLOCK, ..params() }).unwrap();
    (1..=3).for_each(|id| store.create(ThinId(id)).unwrap());
    let (owner, other) = (volume(&store, 1), volume(&store, 3));
    owner.write(0, &vec![1; 8 * BLOCK as usize]).unwrap();
    let all = Allowance { reserved_bytes: 8 * BLOCK, quota_bytes: None };
    store.allow(ThinId(1), all).unwrap();
    other.write(0, &vec![3; 6 * BLOCK as usize]).unwrap();
    let refused = store.share(share((1, 0), (2, 0), 8)).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::InsufficientStorage);
    store.share(share((1, 0), (2, 0), 2)).unwrap();
    other.write(6 * BLOCK, &[3; 512]).unwrap_err();
    owner.write(0, &vec![2; 8 * BLOCK as usize]).unwrap();
}

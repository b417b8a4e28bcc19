//! What changed between two copies, on the real pool, in pages of every size.

use super::bench::Bench;
use crate::{
    driver::{Kind, Run},
    rules::{
        begin::NewSet,
        fixture::{copy, id},
    },
};
use umbra_base::LunId;
use umbra_store::DifferenceKind::{Both, OnlyNew, OnlyOld};

const BLOCK: u64 = 64 << 10;

/// A set of `data` with one copy of the volume that lies there from block 1 on, but for half of that.
fn set(bench: &Bench, n: u128, copy_id: u128) -> String {
    let volume = copy(copy_id, &[(1, BLOCK + BLOCK / 2, 10 * BLOCK)]);
    bench.set_that(NewSet { copies: vec![volume], ..bench.new_set(n, &["data"]) });
    id(copy_id).to_string()
}

/// All pages, each of at most `most` runs.
fn all(bench: &Bench, key: &str, old: Option<&str>, most: usize) -> Vec<Run> {
    let (mut runs, mut from) = (Vec::new(), 0);
    loop {
        let page = bench.array.differences(key, old, from, most).unwrap();
        assert!(page.runs.len() <= most && page.volume_bytes == 10 * BLOCK);
        runs.extend(page.runs);
        match page.next {
            Some(next) => from = next,
            None => return runs,
        }
    }
}

#[test]
fn what_was_written_and_discarded_between_two_copies_is_told_and_nothing_else() {
    let bench = Bench::new();
    bench.array.create_lun(bench.new_lun(1, "data", 16 * BLOCK)).unwrap();
    assert_eq!(bench.array.lun("data").unwrap().id, LunId(id(1)));
    let data = bench.volume("data");
    let write = |blocks: &[u64], byte: u8| {
        blocks.iter().for_each(|block| data.write(block * BLOCK, &vec![byte; BLOCK as usize]).unwrap());
    };
    write(&[0, 1, 2, 4, 5, 6, 15], 1);
    let old = set(&bench, 0x91, 0x71);
    write(&[0, 2, 8], 2);
    data.write(5 * BLOCK + 512, &[2; 512]).unwrap();
    data.discard(6 * BLOCK, BLOCK).unwrap();
    write(&[15], 2);
    let new = set(&bench, 0x92, 0x72);
    write(&[4], 3);

    // The volume begins in the middle of block 1.
    let at = |block: u64| block * BLOCK - BLOCK - BLOCK / 2;
    let run = |block, blocks, kind| Run { offset: at(block), length: blocks * BLOCK, kind };
    let differs = |block, blocks, kind| run(block, blocks, Kind::Differs(kind));
    let expected = [differs(2, 1, Both), differs(5, 1, Both), differs(6, 1, OnlyOld), differs(8, 1, OnlyNew)];
    for most in [1, 2, 3, 100] {
        assert_eq!(all(&bench, &new, Some(&old), most), expected, "{most} at a time");
    }
    let held =
        [Run { offset: 0, length: BLOCK / 2 + BLOCK, kind: Kind::Allocated }, run(4, 3, Kind::Allocated)];
    assert_eq!(all(&bench, &old, None, 100), held);

    // What the working copy takes, and what becomes of the original, changes no answer.
    let working = bench.array.set(&id(0x92).to_string()).unwrap().luns[0].working.to_string();
    bench.volume(&working).write(9 * BLOCK, &[9; 4096]).unwrap();
    bench.array.import_set(&id(0x92).to_string(), "a", crate::rules::set::Takeover::Never).unwrap();
    assert_eq!(all(&bench, &new, Some(&old), 100), expected);
    assert_eq!(all(&bench, &old, Some(&old), 100), []);
}

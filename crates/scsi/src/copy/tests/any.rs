//! Any list is parsed or refused; what is parsed stays inside.

use super::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn any_list_of_a_copy_is_parsed_or_refused(list in prop::collection::vec(any::<u8>(), 0..400), long in any::<bool>()) {
        let form = if long { Form::Lid4 } else { Form::Lid1 };
        let _request = parse(form, &list);
    }

    /// A good list with some bytes changed.
    #[test]
    fn segments_stay_inside_their_units(
        changes in prop::collection::vec((0usize..160, any::<u8>()), 0..8),
        capacity in 0u64..4096,
    ) {
        let segments = [segment(0, 1, 8, 16, 32), with_offset(4096, 0, 64), segment(0xffff, 0, 1, 0, 1)];
        let mut list = lid1(1, 0, &[naa(), naa()], &segments);
        for (at, to) in changes {
            if let Some(byte) = list.get_mut(at) {
                *byte = to;
            }
        }
        for (index, segment) in parse(Form::Lid1, &list).iter().flat_map(|one| &one.segments).enumerate() {
            if let Ok(moved) = segment.locate(index, Some(capacity), Some(BLOCKS)) {
                prop_assert!(moved.from.lba + moved.from.blocks <= capacity);
                prop_assert!(moved.to.lba + moved.to.blocks <= BLOCKS);
                prop_assert_eq!(moved.from.blocks, moved.to.blocks);
            }
        }
    }

    #[test]
    fn any_list_of_tokens_is_parsed_to_ranges_inside_or_refused(
        list in prop::collection::vec(any::<u8>(), 0..640),
        ranges in 0u8..4,
    ) {
        let mut list = list;
        for at in [14, 534] {
            if list.len() > at + 2 {
                (list[0], list[at], list[at + 1]) = (0xff, 0, ranges * 16);
            }
        }
        with_unit(everything, |unit| {
            let found = parse_populate(&list, unit).map(|one| one.ranges);
            let used = parse_use(&list, unit).map(|one| one.ranges);
            for range in found.into_iter().chain(used).flatten() {
                assert!(range.lba + range.blocks <= BLOCKS);
            }
        });
    }

    /// Block by block, as the standard tells it.
    #[test]
    fn pieces_are_the_blocks_in_their_order(
        source in prop::collection::vec((0u64..1000, 0u64..20), 0..6),
        destination in prop::collection::vec((0u64..1000, 0u64..20), 0..6),
        offset in 0u64..30,
    ) {
        let extents = |list: &[(u64, u64)]| -> Vec<_> {
            list.iter().map(|(lba, blocks)| crate::Extent { lba: *lba, blocks: *blocks }).collect()
        };
        let blocks = |list: &[(u64, u64)]| -> Vec<u64> {
            list.iter().flat_map(|(lba, blocks)| *lba..lba + blocks).collect()
        };
        let (from, to) = (blocks(&source), blocks(&destination));
        let enough = from.len() >= offset as usize + to.len();
        match lay_out(&extents(&source), offset, &extents(&destination)) {
            Err(_) => prop_assert!(!enough),
            Ok(pieces) => {
                prop_assert!(enough);
                let found: Vec<_> = pieces
                    .iter()
                    .flat_map(|piece| (0..piece.from.blocks).map(|at| (piece.from.lba + at, piece.to + at)))
                    .collect();
                let expected: Vec<_> = from[offset as usize..].iter().copied().zip(to).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}

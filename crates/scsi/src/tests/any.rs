//! Whatever comes from outside: no panic, and plans that stay inside the unit.

use super::*;
use crate::limits::BLOCK;
use crate::mode::{self, Header};
use crate::provision;
use proptest::prelude::*;

proptest! {
    #[test]
    fn any_cdb_decodes_without_panic_to_blocks_inside_the_unit(bytes in prop::array::uniform16(any::<u8>()), row in 0usize..100, all in any::<bool>(), size in 0u64..1 << 40) {
        let mut bytes = bytes;
        if let Some(row) = table::TABLE.get(row) {
            bytes[0] = row.opcode;
            bytes[1] = row.service_action.map_or(bytes[1], |action| bytes[1] & 0xe0 | action);
        }
        let set_up = |unit: &mut Unit<'_>| {
            if all {
                everything(unit);
            }
            unit.size_bytes = size * BLOCK;
        };
        let plan = with_unit(set_up, |unit| plan(&bytes, unit));
        if let Ok(
            Plan::Read(extent)
            | Plan::ReadMedium(extent)
            | Plan::Write { extent, .. }
            | Plan::Verify { extent, .. }
            | Plan::WriteVerify { extent, .. }
            | Plan::CompareAndWrite { extent, .. }
            | Plan::WriteSame { extent, .. }
            | Plan::LbaStatus { extent, .. }
            | Plan::WriteAtomic { extent, .. }
            | Plan::OrWrite { extent, .. }
            | Plan::Prefetch(extent),
        ) = plan
        {
            prop_assert!(extent.lba + extent.blocks <= size);
        }
    }

    #[test]
    fn any_parameter_list_parses_without_panic(list in prop::collection::vec(any::<u8>(), 0..300)) {
        with_unit(everything, |unit| {
            let _extents = provision::parse_unmap(&list, unit);
            let _six = mode::select(&list, Header::Six, unit);
            let _ten = mode::select(&list, Header::Ten, unit);
        });
    }
}

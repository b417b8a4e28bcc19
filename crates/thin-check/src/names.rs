//! Stable names of problems, for programs: they stand in `--json`, so none is ever changed or used again.

use crate::problem::Problem;

impl Problem {
    /// The name of this kind of problem.
    pub fn name(&self) -> &'static str {
        use Problem::*;
        match self {
            Unreadable { .. } => "unreadable",
            PointerOutOfRange { .. } => "pointer_out_of_range",
            BadChecksum { .. } => "bad_checksum",
            WrongBlockNumber { .. } => "wrong_block_number",
            TwoUses { .. } => "two_uses",
            Unformatted => "unformatted",
            BadMagic { .. } => "bad_magic",
            UnknownVersion { .. } => "unknown_version",
            NeedsCheck => "needs_check",
            IncompatibleFeatures { .. } => "incompatible_features",
            ReadOnlyFeatures { .. } => "read_only_features",
            MetadataBlockSize { .. } => "metadata_block_size",
            DataBlockSize { .. } => "data_block_size",
            TimeTooLarge { .. } => "time_too_large",
            MetadataTooShort { .. } => "metadata_too_short",
            DataTooShort { .. } => "data_too_short",
            MapTooLarge { .. } => "map_too_large",
            HeldInFuture { .. } => "held_in_future",
            NodeFlags { .. } => "node_flags",
            NodeValueSize { .. } => "node_value_size",
            NodeMaxEntries { .. } => "node_max_entries",
            NodeEntries { .. } => "node_entries",
            KeyOrder { .. } => "key_order",
            KeysOutsideParent { .. } => "keys_outside_parent",
            UnevenDepth => "uneven_depth",
            Underfull { .. } => "underfull",
            Loop => "loop",
            TooDeep { .. } => "too_deep",
            DeviceIdTooLarge { .. } => "device_id_too_large",
            NoDetails { .. } => "no_details",
            NoMappingTree { .. } => "no_mapping_tree",
            MappedBlocks { .. } => "mapped_blocks",
            DeviceInFuture { .. } => "device_in_future",
            DataBlockOutOfRange { .. } => "data_block_out_of_range",
            MappingInFuture { .. } => "mapping_in_future",
            PrivateButShared { .. } => "private_but_shared",
            BitmapMissing { .. } => "bitmap_missing",
            BitmapBeyondEnd { .. } => "bitmap_beyond_end",
            BitsBeyondEnd { .. } => "bits_beyond_end",
            OverflowMissing { .. } => "overflow_missing",
            OverflowStray { .. } => "overflow_stray",
            OverflowSmall { .. } => "overflow_small",
            CountTooLow { .. } => "count_too_low",
            CountTooHigh { .. } => "count_too_high",
            FreeHint { .. } => "free_hint",
            FreeHintClipped { .. } => "free_hint_clipped",
            SearchHint { .. } => "search_hint",
            Allocated { .. } => "allocated",
        }
    }
}

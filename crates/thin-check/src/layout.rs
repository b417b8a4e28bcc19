//! The bytes of dm-thin metadata: sizes, salts, checksums and field access. Written from the format alone; nothing
//! here is shared with the pool engine, so that a mistake there cannot hide here.
//!
//! Every block starts with a checksum (offset 0) and holds its own number (offset 8); which salt the checksum carries
//! is the only mark of the block's kind.

use std::fmt;

/// Bytes of a metadata block.
pub const BLOCK_BYTES: usize = 4096;
/// One metadata block.
pub type Block = [u8; BLOCK_BYTES];

/// Two-bit entries of one bitmap block.
pub(crate) const BITMAP_ENTRIES: u64 = 16_320;
/// Magic number of a superblock.
pub(crate) const MAGIC: u64 = 27_022_010;
/// Bytes before the keys of a node.
pub(crate) const NODE_HEADER: usize = 32;
/// Bytes before the entries of a bitmap or index block.
pub(crate) const MAP_HEADER: usize = 16;

/// What a block's checksum says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockKind {
    /// The superblock, or the frozen copy of one.
    Superblock,
    /// A node of any B-tree.
    Node,
    /// A bitmap of a space map.
    Bitmap,
    /// The index block of the metadata space map.
    Index,
}

impl BlockKind {
    const ALL: [BlockKind; 4] = [BlockKind::Superblock, BlockKind::Node, BlockKind::Bitmap, BlockKind::Index];

    fn salt(self) -> u32 {
        match self {
            BlockKind::Superblock => 160_774,
            BlockKind::Node => 121_107,
            BlockKind::Bitmap => 240_779,
            BlockKind::Index => 160_478,
        }
    }

    /// The kind whose checksum `block` carries, if it carries any.
    pub fn of(block: &Block) -> Option<BlockKind> {
        let found = u32_at(block, 0) ^ raw_checksum(block);
        Self::ALL.into_iter().find(|kind| kind.salt() == found)
    }

    /// The checksum that `block` must carry to be of this kind.
    pub fn checksum(self, block: &Block) -> u32 {
        raw_checksum(block) ^ self.salt()
    }
}

impl fmt::Display for BlockKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BlockKind::Superblock => "superblock",
            BlockKind::Node => "tree node",
            BlockKind::Bitmap => "bitmap",
            BlockKind::Index => "index block",
        })
    }
}

/// CRC-32C without the final inversion that the usual function applies.
fn raw_checksum(block: &Block) -> u32 {
    !crc32c::crc32c(&block[4..])
}

/// The little-endian u32 at `offset`; callers pass offsets inside the block.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("a slice of four bytes"))
}

/// The little-endian u64 at `offset`; callers pass offsets inside the block.
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("a slice of eight bytes"))
}

/// Entries of `value_size` bytes that a node holds: the largest multiple of three that fits.
pub(crate) fn max_entries(value_size: usize) -> usize {
    (BLOCK_BYTES - NODE_HEADER) / (8 + value_size) / 3 * 3
}

/// The count of two bits that bitmap entry `index` holds. The lower bit has the greater weight.
pub(crate) fn bitmap_entry(block: &Block, index: usize) -> u8 {
    let bits = block[MAP_HEADER + index / 4] >> (2 * (index % 4));
    ((bits & 1) << 1) | ((bits >> 1) & 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(block: u64, value_size: usize) -> Block {
        let mut bytes = [0; BLOCK_BYTES];
        bytes[4] = 2;
        bytes[8..16].copy_from_slice(&block.to_le_bytes());
        bytes[20..24].copy_from_slice(&(max_entries(value_size) as u32).to_le_bytes());
        bytes[24] = value_size as u8;
        bytes
    }

    #[test]
    fn checksums_agree_with_the_vectors_of_the_format() {
        assert_eq!(!crc32c::crc32c(b"123456789"), 0x1CF9_6D7C);
        assert_eq!(raw_checksum(&[0; BLOCK_BYTES]), 0x58CD_A791);
        for (size, sum) in [(4, 0x41A2_E41B), (8, 0x49C5_4642), (16, 0xFA9A_80A0), (24, 0xB1C8_1346)] {
            assert_eq!(BlockKind::Node.checksum(&node(7, size)), sum, "value size {size}");
        }
        let mut bitmap = [0; BLOCK_BYTES];
        bitmap[8] = 9;
        assert_eq!(BlockKind::Bitmap.checksum(&bitmap), 0xDA43_AF11);
        let mut index = [0; BLOCK_BYTES];
        (index[8], index[16], index[28]) = (8, 7, 9);
        index[24..28].copy_from_slice(&16_311u32.to_le_bytes());
        assert_eq!(BlockKind::Index.checksum(&index), 0xF385_2FAD);
    }

    #[test]
    fn the_bits_of_a_count_are_swapped() {
        let mut block = [0; BLOCK_BYTES];
        (block[16], block[17]) = (0x36, 0x02);
        let counts: Vec<u8> = (0..5).map(|index| bitmap_entry(&block, index)).collect();
        assert_eq!(counts, [1, 2, 3, 0, 1]);
    }

    #[test]
    fn nodes_hold_what_the_format_says() {
        assert_eq!([4, 8, 16, 24].map(max_entries), [336, 252, 168, 126]);
    }
}

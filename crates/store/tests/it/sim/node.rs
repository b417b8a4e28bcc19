//! Blocks of metadata, as far as tests look into them and forge them (dm-thin format sections 3 to 6).

const SUPERBLOCK_SALT: u32 = 160_774;
const NODE_SALT: u32 = 121_107;
/// Where a node's keys begin.
const KEYS: usize = 32;

/// Blocks of a metadata image and their numbers.
pub fn blocks(image: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    (0..).zip(image.chunks_exact(4096))
}

pub fn number(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn word(node: &[u8], at: usize) -> u32 {
    number(node, at) as u32
}

fn entries(node: &[u8]) -> usize {
    word(node, 16) as usize
}

/// Keys of a node.
pub fn keys(node: &[u8]) -> impl Iterator<Item = u64> {
    (0..entries(node)).map(|entry| number(node, KEYS + 8 * entry))
}

/// A leaf with values of so many bytes.
fn is_leaf(node: &[u8], value_bytes: u32) -> bool {
    word(node, 4) == 2 && word(node, 24) == value_bytes && entries(node) > 0
}

/// A leaf of the details of devices.
pub fn is_table_of_devices(node: &[u8]) -> bool {
    is_leaf(node, 24)
}

/// A leaf of mappings, if there are fewer devices than entries in it.
pub fn is_mapping_leaf(node: &[u8]) -> bool {
    is_leaf(node, 8) && entries(node) > 10
}

/// A node above leaves, of any tree.
pub fn is_inner(node: &[u8]) -> bool {
    word(node, 4) == 1 && word(node, 24) == 8 && entries(node) > 0
}

/// The node as it would stand in another block.
pub fn moved(node: &[u8], block: u64) -> Vec<u8> {
    let mut node = node.to_vec();
    node[8..16].copy_from_slice(&block.to_le_bytes());
    seal(&mut node, NODE_SALT);
    node
}

/// The table with another number of mapped blocks for a device, or `None` if it does not say any.
pub fn with_mapped_blocks(table: &[u8], device: u64, mapped: u64) -> Option<Vec<u8>> {
    let entry = is_table_of_devices(table).then(|| keys(table).position(|key| key == device))??;
    let at = KEYS + 8 * word(table, 20) as usize + 24 * entry;
    let mut table = table.to_vec();
    table[at..at + 8].copy_from_slice(&mapped.to_le_bytes());
    seal(&mut table, NODE_SALT);
    Some(table)
}

pub fn seal_superblock(superblock: &mut [u8]) {
    seal(superblock, SUPERBLOCK_SALT);
}

/// Puts a block's checksum right (section 3).
fn seal(block: &mut [u8], salt: u32) {
    let sum = !crc32c(&block[4..]) ^ salt;
    block[..4].copy_from_slice(&sum.to_le_bytes());
}

/// CRC-32C (RFC 3720 appendix B.4), a bit at a time.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| crc >> 1 ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

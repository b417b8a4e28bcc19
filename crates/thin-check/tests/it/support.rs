//! Golden pools: images made by kernels, LVM, thin_restore and another engine, in the project's `testdata`.

use std::{
    cell::Cell,
    collections::BTreeSet,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};
use umbra_thin_check::{BLOCK_BYTES, Block, BlockKind, MemoryImage, ReadBlock};

/// The file `name`.
pub fn find(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/dm-thin").join(name)
}

/// The unpacked image `name` (`kernel/basic`).
pub fn golden(name: &str) -> MemoryImage {
    MemoryImage(unpacked(&find(&format!("{name}.bin.zst"))))
}

/// Every golden pool, with its name.
pub fn goldens() -> Vec<(String, MemoryImage)> {
    let expected = json("expected.json");
    let names = expected.as_object().unwrap().keys();
    names.map(|name| (name.clone(), golden(name))).collect()
}

/// The text file `name`, which may be packed.
pub fn packed_text(name: &str) -> String {
    let packed = find(&format!("{name}.zst"));
    match packed.exists() {
        true => String::from_utf8(unpacked(&packed)).unwrap(),
        false => std::fs::read_to_string(find(name)).unwrap(),
    }
}

fn unpacked(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = File::open(path).unwrap();
    ruzstd::decoding::StreamingDecoder::new(file).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// Counts the blocks that `act` reads, and fails the test when it reads on and on.
pub fn counted(image: &MemoryImage, limit: u64, act: impl FnOnce(&dyn ReadBlock)) -> u64 {
    let counting = Counting { image, reads: Cell::new(0), limit };
    act(&counting);
    counting.reads.get()
}

struct Counting<'a> {
    image: &'a MemoryImage,
    reads: Cell<u64>,
    limit: u64,
}

impl ReadBlock for Counting<'_> {
    fn blocks(&self) -> u64 {
        self.image.blocks()
    }
    fn read_block(&self, number: u64, into: &mut Block) -> io::Result<()> {
        self.reads.set(self.reads.get() + 1);
        let (blocks, limit) = (self.image.blocks(), self.limit);
        assert!(self.reads.get() <= limit, "more than {limit} reads of {blocks} blocks");
        self.image.read_block(number, into)
    }
}

/// A JSON file that stands beside the tests.
pub fn json(name: &str) -> serde_json::Value {
    serde_json::from_reader(File::open(find(name)).unwrap()).unwrap()
}

/// Block `number` of the image.
pub fn block_of(image: &mut MemoryImage, number: usize) -> &mut Block {
    (&mut image.0[number * BLOCK_BYTES..][..BLOCK_BYTES]).try_into().unwrap()
}

/// Makes the checksum right again after a change to a block that was of this kind.
pub fn seal(block: &mut Block, kind: BlockKind) {
    let sum = kind.checksum(block);
    block[..4].copy_from_slice(&sum.to_le_bytes());
}

/// Nodes of the mapping trees below `roots`.
pub fn nodes_below(image: &MemoryImage, roots: &[u64]) -> BTreeSet<u64> {
    let (mut open, mut nodes) = (roots.to_vec(), BTreeSet::new());
    while let Some(block) = open.pop() {
        let bytes = &image.0[block as usize * BLOCK_BYTES..][..BLOCK_BYTES];
        let internal = bytes[4] == 1;
        if nodes.insert(block) && internal {
            let pointers = bytes[2048..].chunks_exact(8).take(usize::from(bytes[16]));
            open.extend(pointers.map(|pointer| u64::from_le_bytes(pointer.try_into().unwrap())));
        }
    }
    nodes
}

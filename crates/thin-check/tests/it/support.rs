//! Golden pools: small ones stand beside the tests, the large ones in the project's shared test data, which may be
//! absent from a clone.

use std::{
    cell::Cell,
    collections::BTreeSet,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};
use umbra_thin_check::{BLOCK_BYTES, Block, BlockKind, MemoryImage, ReadBlock};

fn folders() -> Vec<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = std::env::var_os("UMBRA_TESTDATA")
        .map_or_else(|| here.join("../../../shared/testdata"), PathBuf::from)
        .join("dm-thin");
    vec![here.join("tests/data"), shared]
}

/// The file `name`, wherever it is; says loudly that it is missing otherwise.
pub fn find(name: &str) -> Option<PathBuf> {
    let found = folders().into_iter().map(|folder| folder.join(name)).find(|path| path.exists());
    if found.is_none() {
        eprintln!(
            "SKIPPED: {name} is in none of {:?}; set UMBRA_TESTDATA to the shared test data",
            folders()
        );
    }
    found
}

/// The unpacked image `name` (`kernel/basic`).
pub fn golden(name: &str) -> Option<MemoryImage> {
    Some(MemoryImage(unpacked(&find(&format!("{name}.bin.zst"))?)))
}

/// Every golden pool that is there, with its name.
pub fn goldens() -> Vec<(String, MemoryImage)> {
    let expected = json("expected.json");
    let names = expected.as_object().unwrap().keys();
    names.filter_map(|name| golden(name).map(|image| (name.clone(), image))).collect()
}

/// The text file `name`, which may be packed.
pub fn packed_text(name: &str) -> Option<String> {
    let packed =
        folders().into_iter().map(|folder| folder.join(format!("{name}.zst"))).find(|path| path.exists());
    let bytes = match packed {
        Some(path) => unpacked(&path),
        None => std::fs::read(find(name)?).unwrap(),
    };
    Some(String::from_utf8(bytes).unwrap())
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
    serde_json::from_reader(File::open(find(name).unwrap()).unwrap()).unwrap()
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

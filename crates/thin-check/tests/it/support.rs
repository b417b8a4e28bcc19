//! Golden pools: small ones stand beside the tests, the large ones in the project's shared test data, which may be
//! absent from a clone.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};
use umbra_thin_check::{BLOCK_BYTES, Block, BlockKind, MemoryImage};

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
    let file = File::open(find(&format!("{name}.bin.zst"))?).unwrap();
    let mut bytes = Vec::new();
    ruzstd::decoding::StreamingDecoder::new(file).unwrap().read_to_end(&mut bytes).unwrap();
    Some(MemoryImage(bytes))
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

//! Damage to a pool's metadata as the fuzzer describes it: changes that know the format's fields, and checksums made
//! right again, without which nothing would get behind the first check.
//!
//! Offsets are those of the dm-thin format, sections 3 to 7. What always holds: without a change the image is sound.

use crate::{
    disk::Disk,
    seeds::{Seed, seed},
};
use arbitrary::Arbitrary;
use umbra_thin::Page;
use umbra_thin_check::BlockKind;

/// Changes of one image that are carried out; more say nothing new.
const CHANGES_MAX: usize = 32;

/// A sound pool and what is changed about it.
#[derive(Debug, Arbitrary)]
pub struct Image {
    seed: u8,
    damage: Vec<Damage>,
}

impl Image {
    /// The image as described.
    pub(crate) fn disk(&self) -> Disk {
        let seed = self.seed();
        let disk = seed.disk();
        self.damage.iter().take(CHANGES_MAX).for_each(|damage| damage.carry_out(seed, &disk));
        disk
    }

    /// The pool that was changed.
    pub(crate) fn seed(&self) -> &'static Seed {
        seed(self.seed)
    }

    /// Whether nothing is changed.
    pub(crate) fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }
}

/// One block changed.
#[derive(Debug, Arbitrary)]
struct Damage {
    block: u16,
    change: Change,
    seal: Seal,
}

/// What is changed in a block. Entries are counted round: any number names one.
#[derive(Debug, Arbitrary)]
enum Change {
    /// A header field of a node: flags, entries, most entries, value size.
    Header { field: u8, value: u8 },
    /// A key of a node.
    Key { entry: u16, word: Word },
    /// A value of a node, or a part of one.
    Value { entry: u16, part: u8, word: Word },
    /// A field of the superblock.
    Field { field: u8, word: Word },
    /// A two-bit count of a bitmap.
    Count { entry: u16, bits: u8 },
    /// The content of another block.
    Copy { from: u16 },
    /// Eight bytes anywhere.
    Word { at: u16, word: Word },
    /// A byte anywhere.
    Byte { at: u16, value: u8 },
}

/// A 64-bit value that may mean something.
#[derive(Debug, Arbitrary)]
enum Word {
    Small(u8),
    /// One of the blocks in use.
    Block(u16),
    Mapping {
        block: u16,
        time: u8,
    },
    /// What stands there, changed a little.
    Add(i8),
    Any(u64),
}

/// Checksum and block number after a change.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Seal {
    /// Right, of the kind that the block was.
    Right,
    /// Right, of some kind.
    Kind(u8),
    /// Right, but of another block.
    Elsewhere(u8),
    /// As the change left them.
    Torn,
}

const KINDS: [BlockKind; 4] = [BlockKind::Superblock, BlockKind::Node, BlockKind::Bitmap, BlockKind::Index];
const NODE_FIELDS: [usize; 4] = [4, 16, 20, 24];
const KEYS: usize = 32;
const BITMAP: usize = 16;
/// Offsets in the superblock: flags, uuid, version and time, transaction, held root, both maps' four fields, both
/// roots, block sizes, metadata blocks, features.
const FIELDS: [usize; 21] =
    [4, 16, 40, 44, 48, 56, 64, 72, 80, 88, 192, 200, 208, 216, 320, 328, 336, 340, 344, 352, 360];

impl Damage {
    fn carry_out(&self, seed: &Seed, disk: &Disk) {
        let block = nth(&seed.used, self.block);
        let mut page = disk.page(block);
        let kind = BlockKind::of(&page);
        self.change.carry_out(&mut page, seed, disk);
        self.seal.carry_out(&mut page, kind, block as u64);
        disk.write(block as u64, &page);
    }
}

impl Change {
    fn carry_out(&self, page: &mut Page, seed: &Seed, disk: &Disk) {
        match self {
            Change::Header { field, value } => {
                page[NODE_FIELDS[usize::from(*field) % NODE_FIELDS.len()]] = *value;
            }
            Change::Key { entry, word } => {
                let entry = nth_entry(page, *entry);
                word.put(page, KEYS + 8 * entry, seed);
            }
            Change::Value { entry, part, word } => {
                let at = value_at(page, nth_entry(page, *entry), *part);
                word.put(page, at, seed);
            }
            Change::Field { field, word } => {
                word.put(page, FIELDS[usize::from(*field) % FIELDS.len()], seed);
            }
            Change::Count { entry, bits } => {
                let at = (BITMAP + usize::from(*entry) / 4) % page.len();
                let shift = 2 * (entry % 4);
                page[at] = page[at] & !(3 << shift) | (bits & 3) << shift;
            }
            Change::Copy { from } => *page = disk.page(nth(&seed.used, *from)),
            Change::Word { at, word } => word.put(page, usize::from(*at) % page.len(), seed),
            Change::Byte { at, value } => page[usize::from(*at) % page.len()] = *value,
        }
    }
}

impl Word {
    /// Puts the word at an offset, as far as it fits into the page.
    fn put(&self, page: &mut Page, at: usize, seed: &Seed) {
        let Some(bytes) = page.get_mut(at..).filter(|bytes| bytes.len() >= 8) else { return };
        let mut old = [0; 8];
        old.copy_from_slice(&bytes[..8]);
        let word = match *self {
            Word::Small(value) => value.into(),
            Word::Block(number) => nth(&seed.used, number) as u64,
            Word::Mapping { block, time } => u64::from(block) << 24 | u64::from(time),
            Word::Add(value) => u64::from_le_bytes(old).wrapping_add_signed(value.into()),
            Word::Any(value) => value,
        };
        bytes[..8].copy_from_slice(&word.to_le_bytes());
    }
}

impl Seal {
    /// Makes checksum and number what the seal says.
    pub(crate) fn carry_out(self, page: &mut Page, was: Option<BlockKind>, block: u64) {
        let (kind, number) = match self {
            Seal::Right => (was, block),
            Seal::Kind(kind) => (Some(KINDS[usize::from(kind) % KINDS.len()]), block),
            Seal::Elsewhere(number) => (was, number.into()),
            Seal::Torn => return,
        };
        page[8..16].copy_from_slice(&number.to_le_bytes());
        let checksum = kind.map_or(0, |kind| kind.checksum(page));
        page[..4].copy_from_slice(&checksum.to_le_bytes());
    }
}

fn nth(all: &[usize], number: u16) -> usize {
    all[usize::from(number) % all.len()]
}

fn field(page: &Page, at: usize) -> usize {
    usize::from(page[at]) | usize::from(page[at + 1]) << 8
}

fn nth_entry(page: &Page, number: u16) -> usize {
    usize::from(number) % field(page, 16).max(1)
}

/// Where a part of a value stands, by what the node says of itself.
fn value_at(page: &Page, entry: usize, part: u8) -> usize {
    let (most, size) = (field(page, 20), field(page, 24));
    KEYS + 8 * most + size * entry + 8 * (usize::from(part) % (size / 8).max(1))
}

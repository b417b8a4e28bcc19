//! What a pool holds, read as it is asked for and never as a whole: superblock, devices in the order of their ids. For
//! listings of pools that are sound; on a damaged one it stops with an error at the first block that does not fit.

use crate::{
    cursor::Cursor,
    devices::Details,
    finding::Version,
    image::ReadBlock,
    layout::{BLOCK_BYTES, BlockKind, u64_at},
    problem::Use,
    superblock::Superblock,
};
use umbra_base::{Error, ErrorCode, Result};

/// A pool, or the state of it that its metadata snapshot holds.
#[derive(Debug)]
pub struct Listing<'a> {
    image: &'a dyn ReadBlock,
    /// The superblock, or the frozen copy of one; that has no space maps.
    pub superblock: Superblock,
}

/// A device with its mapping tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// The device's id.
    pub id: u64,
    /// Root of its mapping tree.
    pub root: u64,
    /// What the pool says of it.
    pub details: Details,
}

impl<'a> Listing<'a> {
    /// Reads the superblock, or the one that the metadata snapshot froze.
    pub fn open(image: &'a dyn ReadBlock, version: Version) -> Result<Listing<'a>> {
        let live = read_superblock(image, 0)?;
        let superblock = match (version, live.held_root) {
            (Version::Live, _) => live,
            (Version::Held, 0) => {
                return Err(Error::new(ErrorCode::ObjectNotFound, "the pool has no metadata snapshot")
                    .hint("leave out the option that asks for it"));
            }
            (Version::Held, block) => read_superblock(image, block)?,
        };
        Ok(Listing { image, superblock })
    }

    /// Every device, in ascending order of ids.
    pub fn devices(&self) -> impl Iterator<Item = Result<Listed>> + use<'a> {
        let mut roots = self.cursor(Use::TopLevel);
        let mut details = self.cursor(Use::Details);
        std::iter::from_fn(move || {
            let root = roots.next_entry(|id, value| (id, u64_at(value, 0))).transpose();
            let told = details.next_entry(|id, value| (id, Details::parse(value))).transpose();
            let listed = root.and_then(|root| told.and_then(|told| join(root, told))).transpose();
            if matches!(listed, Some(Err(_))) {
                roots.stop();
                details.stop();
            }
            listed
        })
    }

    /// The device with that id.
    pub fn device(&self, id: u64) -> Result<Listed> {
        let root = self.cursor(Use::TopLevel).find(id, |value| u64_at(value, 0))?;
        let details = self.cursor(Use::Details).find(id, Details::parse)?;
        match join(root.map(|root| (id, root)), details.map(|details| (id, details)))? {
            Some(listed) => Ok(listed),
            None => Err(Error::new(ErrorCode::ObjectNotFound, format!("the pool has no device {id}"))
                .hint("`umbra pool usage` lists the devices")
                .param("device", id)),
        }
    }

    /// The metadata that this reads.
    pub fn image(&self) -> &'a dyn ReadBlock {
        self.image
    }

    fn cursor(&self, kind: Use) -> Cursor<'a> {
        let root = match kind {
            Use::Details => self.superblock.details_root,
            _ => self.superblock.mapping_root,
        };
        Cursor::new(self.image, kind, root)
    }
}

/// What both trees say of one device, if they speak of the same.
fn join(root: Option<(u64, u64)>, details: Option<(u64, Details)>) -> Result<Option<Listed>> {
    match (root, details) {
        (None, None) => Ok(None),
        (Some((id, root)), Some((same, details))) if id == same => Ok(Some(Listed { id, root, details })),
        (Some((id, _)), details) if details.is_none_or(|(other, _)| other > id) => {
            Err(corrupt(format!("device {id} has mappings but no details")))
        }
        (_, Some((id, _))) => Err(corrupt(format!("device {id} has details but no mapping tree"))),
        (Some((id, _)), None) => Err(corrupt(format!("device {id} has mappings but no details"))),
    }
}

fn read_superblock(image: &dyn ReadBlock, number: u64) -> Result<Superblock> {
    let mut block = Box::new([0; BLOCK_BYTES]);
    if number >= image.blocks() {
        return Err(corrupt(format!(
            "the superblock's place, block {number}, lies beyond the metadata's end"
        )));
    }
    image.read_block(number, &mut block).map_err(|error| Error::io(format!("read block {number}"), error))?;
    let superblock = Superblock::parse(&block);
    let sound = BlockKind::of(&block) == Some(BlockKind::Superblock)
        && u64_at(&*block, 8) == number
        && superblock.has_magic();
    if sound {
        Ok(superblock)
    } else {
        Err(corrupt(format!("block {number} is no superblock of a thin pool")))
    }
}

fn corrupt(what: String) -> Error {
    Error::new(ErrorCode::Corrupt, what).hint("`umbra pool check` tells what is damaged and what it costs")
}

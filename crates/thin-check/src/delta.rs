//! What two devices of one pool have in common and where they differ, in the order of virtual blocks.
//!
//! Both trees are followed side by side. Where they meet in the same node, everything below is the same: it is read
//! once, or not at all when only changes are asked for, so that those cost in proportion to their number.

use crate::{
    cursor::{Cursor, Place, Subtree},
    image::ReadBlock,
    limits,
    mappings::Mapping,
    problem::Use,
};
use umbra_base::Result;

/// How two devices compare in a place. Only the data block counts, not when it was mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// Both map the same data blocks.
    Same,
    /// Both map other data blocks.
    Different,
    /// Only the left device maps anything.
    LeftOnly,
    /// Only the right device maps anything.
    RightOnly,
}

/// A run of virtual blocks that compare alike, consecutive on each side that maps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// How they compare.
    pub comparison: Comparison,
    /// First virtual block.
    pub virtual_block: u64,
    /// Blocks.
    pub length: u64,
    /// First data block of the left device, where it maps any.
    pub left: Option<u64>,
    /// First data block of the right device, where it maps any.
    pub right: Option<u64>,
}

/// The differences between two devices.
#[derive(Debug)]
pub struct Delta<'a> {
    image: &'a dyn ReadBlock,
    left: Side<'a>,
    right: Side<'a>,
    /// A subtree of both, while it is read for what is the same.
    common: Option<Cursor<'a>>,
    only_changes: bool,
    open: Option<Difference>,
}

#[derive(Debug)]
struct Side<'a> {
    cursor: Cursor<'a>,
    /// Levels of the tree.
    levels: usize,
}

impl<'a> Delta<'a> {
    /// From the device with root `left` to the one with root `right`. With `only_changes` what is the same is left out,
    /// and subtrees that both share are not read.
    pub fn between(image: &'a dyn ReadBlock, left: u64, right: u64, only_changes: bool) -> Result<Delta<'a>> {
        let [left, right] = [Side::new(image, left)?, Side::new(image, right)?];
        Ok(Delta { image, left, right, common: None, only_changes, open: None })
    }

    /// How the next block compares; none at the end.
    fn step(&mut self) -> Result<Option<Difference>> {
        loop {
            if let Some(common) = &mut self.common {
                match common.next_entry(Mapping::parse).transpose()? {
                    Some(mapping) => return Ok(one(Some(mapping), Some(mapping))),
                    None => self.common = None,
                }
            }
            let (left, right) = (self.left.cursor.at(), self.right.cursor.at());
            match (left, right) {
                (At::Subtree(left), At::Subtree(right)) => self.meet(left, right)?,
                (At::Subtree(subtree), At::Mapping(mapping)) if mapping.virtual_block < subtree.low => {
                    return Ok(self.take(None, Some(mapping)));
                }
                (At::Mapping(mapping), At::Subtree(subtree)) if mapping.virtual_block < subtree.low => {
                    return Ok(self.take(Some(mapping), None));
                }
                (At::Subtree(_), _) => self.left.cursor.descend()?,
                (_, At::Subtree(_)) => self.right.cursor.descend()?,
                (At::Mapping(left), At::Mapping(right)) => return Ok(self.take_first(left, right)),
                (At::Mapping(left), At::End) => return Ok(self.take(Some(left), None)),
                (At::End, At::Mapping(right)) => return Ok(self.take(None, Some(right))),
                (At::End, At::End) => return Ok(None),
            }
        }
    }

    /// Two subtrees that were not read yet: one and the same, or one of them is opened.
    fn meet(&mut self, left: Subtree, right: Subtree) -> Result<()> {
        if left.block == right.block {
            self.left.cursor.skip();
            self.right.cursor.skip();
            if !self.only_changes {
                self.common = Some(Cursor::within(self.image, Use::Mapping, left));
            }
            return Ok(());
        }
        // The one that begins first, or stands higher, may hold the other further down.
        let heights = (self.left.height(), self.right.height());
        if (left.low, heights.1) <= (right.low, heights.0) {
            self.left.cursor.descend()
        } else {
            self.right.cursor.descend()
        }
    }

    fn take_first(&mut self, left: Mapping, right: Mapping) -> Option<Difference> {
        match left.virtual_block.cmp(&right.virtual_block) {
            std::cmp::Ordering::Less => self.take(Some(left), None),
            std::cmp::Ordering::Equal => self.take(Some(left), Some(right)),
            std::cmp::Ordering::Greater => self.take(None, Some(right)),
        }
    }

    fn take(&mut self, left: Option<Mapping>, right: Option<Mapping>) -> Option<Difference> {
        if left.is_some() {
            self.left.cursor.skip();
        }
        if right.is_some() {
            self.right.cursor.skip();
        }
        one(left, right)
    }
}

impl Iterator for Delta<'_> {
    type Item = Result<Difference>;
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let next = match self.step() {
                Ok(Some(next)) => next,
                Ok(None) => return self.open.take().map(Ok),
                Err(error) => {
                    (self.open, self.common) = (None, None);
                    self.left.cursor.stop();
                    self.right.cursor.stop();
                    return Some(Err(error));
                }
            };
            if self.only_changes && next.comparison == Comparison::Same {
                continue;
            }
            match &mut self.open {
                Some(open) if open.goes_on_with(&next) => open.length += 1,
                open => {
                    if let Some(done) = open.replace(next) {
                        return Some(Ok(done));
                    }
                }
            }
        }
    }
}

enum At {
    Subtree(Subtree),
    Mapping(Mapping),
    End,
}

impl Cursor<'_> {
    fn at(&self) -> At {
        match self.place() {
            Place::Subtree(subtree) => At::Subtree(subtree),
            Place::Entry(key, value) => At::Mapping(Mapping::parse(key, value)),
            Place::End => At::End,
        }
    }
}

impl<'a> Side<'a> {
    fn new(image: &'a dyn ReadBlock, root: u64) -> Result<Side<'a>> {
        let mut probe = Cursor::new(image, Use::Mapping, root);
        while let Place::Subtree(_) = probe.place() {
            probe.descend()?;
        }
        let levels = probe.depth().min(limits::TREE_LEVELS);
        Ok(Side { cursor: Cursor::new(image, Use::Mapping, root), levels })
    }

    /// Levels at and below the subtree that comes next.
    fn height(&self) -> usize {
        self.levels.saturating_sub(self.cursor.depth())
    }
}

/// A comparison of one block.
fn one(left: Option<Mapping>, right: Option<Mapping>) -> Option<Difference> {
    let virtual_block = left.or(right)?.virtual_block;
    let (left, right) = (left.map(|left| left.data_block), right.map(|right| right.data_block));
    let comparison = match (left, right) {
        (Some(left), Some(right)) if left == right => Comparison::Same,
        (Some(_), Some(_)) => Comparison::Different,
        (Some(_), None) => Comparison::LeftOnly,
        (None, _) => Comparison::RightOnly,
    };
    Some(Difference { comparison, virtual_block, length: 1, left, right })
}

impl Difference {
    /// Whether `next`, of one block, only makes this one longer.
    fn goes_on_with(&self, next: &Difference) -> bool {
        let moved = |block: Option<u64>| block.map(|block| block + self.length);
        self.comparison == next.comparison
            && next.virtual_block - self.virtual_block == self.length
            && next.left == moved(self.left)
            && next.right == moved(self.right)
    }
}

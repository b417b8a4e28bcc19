//! One device's mappings in order, one by one or as runs, for listings and for comparing pools. On a damaged tree they
//! stop with an error at the first block that does not fit.

use crate::{cursor::Cursor, image::ReadBlock, layout::u64_at, node::Node, problem::Use};
use umbra_base::Result;

/// One entry of a mapping leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// Block of the device.
    pub virtual_block: u64,
    /// Block of the data device.
    pub data_block: u64,
    /// Snapshot time at which it was mapped.
    pub time: u32,
}

impl Mapping {
    /// Entry `index` of a mapping leaf.
    pub(crate) fn of(leaf: &Node, index: usize) -> Mapping {
        Mapping::parse(leaf.key(index), leaf.value(index))
    }

    pub(crate) fn parse(virtual_block: u64, value: &[u8]) -> Mapping {
        let packed = u64_at(value, 0);
        Mapping { virtual_block, data_block: packed >> 24, time: (packed & 0xFF_FFFF) as u32 }
    }
}

/// Every mapping of a device, in ascending order of virtual blocks.
#[derive(Debug)]
pub struct Mappings<'a>(Cursor<'a>);

impl<'a> Mappings<'a> {
    /// The mappings below `root`, a device's root in a [`crate::Summary`] or a [`crate::Listing`].
    pub fn below(image: &'a dyn ReadBlock, root: u64) -> Mappings<'a> {
        Mappings(Cursor::new(image, Use::Mapping, root))
    }
}

impl Iterator for Mappings<'_> {
    type Item = Result<Mapping>;
    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_entry(Mapping::parse)
    }
}

/// Consecutive virtual blocks on consecutive data blocks, mapped at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// First block of the device.
    pub virtual_block: u64,
    /// First block of the data device.
    pub data_block: u64,
    /// Blocks.
    pub length: u64,
    /// Snapshot time at which they were mapped.
    pub time: u32,
}

/// The mappings of a device as the longest runs that there are.
#[derive(Debug)]
pub struct Runs<'a> {
    mappings: Mappings<'a>,
    open: Option<Run>,
}

impl<'a> Runs<'a> {
    /// The runs below `root`, a device's root in a [`crate::Summary`] or a [`crate::Listing`].
    pub fn below(image: &'a dyn ReadBlock, root: u64) -> Runs<'a> {
        Runs { mappings: Mappings::below(image, root), open: None }
    }
}

impl Iterator for Runs<'_> {
    type Item = Result<Run>;
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mapping = match self.mappings.next() {
                None => return self.open.take().map(Ok),
                Some(Err(error)) => {
                    self.open = None;
                    return Some(Err(error));
                }
                Some(Ok(mapping)) => mapping,
            };
            match &mut self.open {
                Some(run) if run.goes_on_with(&mapping) => run.length += 1,
                open => {
                    if let Some(done) = open.replace(Run::from(mapping)) {
                        return Some(Ok(done));
                    }
                }
            }
        }
    }
}

impl Run {
    fn goes_on_with(&self, next: &Mapping) -> bool {
        next.virtual_block - self.virtual_block == self.length
            && next.data_block == self.data_block + self.length
            && next.time == self.time
    }
}

impl From<Mapping> for Run {
    fn from(mapping: Mapping) -> Run {
        let Mapping { virtual_block, data_block, time } = mapping;
        Run { virtual_block, data_block, length: 1, time }
    }
}

/// Calls `each` with every mapping below `root`, in ascending order.
pub fn for_each_mapping(image: &dyn ReadBlock, root: u64, each: &mut dyn FnMut(Mapping)) -> Result<()> {
    Mappings::below(image, root).try_for_each(|mapping| mapping.map(&mut *each))
}

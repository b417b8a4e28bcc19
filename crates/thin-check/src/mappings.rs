//! Reading one device's mappings in order, for listings and for comparing pools. Meant for pools that passed the
//! check; on others it stops with an error at the first block that does not fit.

use crate::{
    devices::Mapping,
    image::ReadBlock,
    layout::{BLOCK_BYTES, BlockKind},
    limits,
    node::Node,
};
use umbra_base::{Error, ErrorCode, Result};

const MAPPING_BYTES: usize = 8;

/// Calls `each` with every mapping below `root` (a device's root in a [`crate::Summary`]), in ascending order.
pub fn for_each_mapping(image: &dyn ReadBlock, root: u64, each: &mut dyn FnMut(Mapping)) -> Result<()> {
    visit(image, root, 0, 0, u64::MAX, each)
}

/// Keys must lie in `low..=high`: since the parts of a parent are disjoint, no image makes this visit a node twice.
fn visit(
    image: &dyn ReadBlock,
    block: u64,
    level: usize,
    low: u64,
    high: u64,
    each: &mut dyn FnMut(Mapping),
) -> Result<()> {
    let node = read(image, block)?;
    let fits = node.entries == 0 || (node.key(0) >= low && node.key(node.entries - 1) <= high);
    if !fits || level >= limits::TREE_LEVELS || (node.entries == 0 && level > 0) {
        return Err(corrupt(block, "does not fit its place in the tree".to_owned()));
    }
    for index in 0..node.entries {
        if node.internal {
            let end = node.last_key_below(index, high);
            visit(image, node.child(index), level + 1, node.key(index), end, each)?;
        } else {
            each(Mapping::of(&node, index));
        }
    }
    Ok(())
}

fn read(image: &dyn ReadBlock, block: u64) -> Result<Node> {
    let mut bytes = Box::new([0; BLOCK_BYTES]);
    if block >= image.blocks() {
        return Err(corrupt(block, format!("lies beyond the {} blocks of the metadata", image.blocks())));
    }
    image
        .read_block(block, &mut bytes)
        .map_err(|error| Error::io(format!("read metadata block {block}"), error))?;
    if BlockKind::of(&bytes) != Some(BlockKind::Node) || crate::layout::u64_at(&*bytes, 8) != block {
        return Err(corrupt(block, "is no tree node".to_owned()));
    }
    Node::parse(bytes, MAPPING_BYTES).map_err(|problem| corrupt(block, problem.to_string()))
}

fn corrupt(block: u64, what: String) -> Error {
    Error::new(ErrorCode::Corrupt, format!("mapping tree: block {block} {what}"))
        .hint("check the pool: `umbra pool check`")
        .param("block", block)
}

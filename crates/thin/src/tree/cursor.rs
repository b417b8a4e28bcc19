//! Walking one tree, or two side by side, with the choice of not looking into a subtree (section 9.9).
//!
//! Picture: a cursor stands on an item, a subtree not yet looked into or an entry; it looks into it or passes over it.
//! Two trees that share history share nodes: where both cursors stand on the same metadata block, both pass over it,
//! and nothing of it is read. So the cost is that of the differences.

use super::place::{Care, Place};
use crate::{
    ThinError,
    meta::{Meta, MetaRead},
    node::Node,
    values::{BlockTime, Tree},
};
use std::{cmp::Ordering, sync::Arc};

/// What a cursor stands on.
#[derive(Debug, Clone, Copy)]
enum Item {
    Subtree { place: Place, height: usize },
    Entry { key: u64, mapping: BlockTime },
}

struct Level {
    node: Arc<Node>,
    place: Place,
    at: usize,
}

/// A walk through a mapping tree, from a key on.
struct Cursor {
    /// Before the root was looked into.
    root: Option<Place>,
    levels: Vec<Level>,
    /// Levels of the whole tree.
    height: usize,
    from: u64,
}

impl Cursor {
    /// Tells where an item begins: no key of it is lower.
    fn start(&self, item: &Item) -> u64 {
        match item {
            Item::Subtree { place, .. } => place.low().max(self.from),
            Item::Entry { key, .. } => *key,
        }
    }

    fn item(&self) -> Option<Item> {
        if let Some(place) = self.root {
            return Some(Item::Subtree { place, height: self.height });
        }
        let Level { node, place, at } = self.levels.last()?;
        Some(if node.is_leaf() {
            Item::Entry { key: node.key(*at), mapping: BlockTime::unpack(node.word(*at)) }
        } else {
            let height = self.height.saturating_sub(self.levels.len());
            Item::Subtree { place: place.child(node, *at), height }
        })
    }

    /// Goes to the next item without looking into this one.
    fn pass(&mut self) {
        self.step();
        self.drop_finished();
    }

    fn step(&mut self) {
        if self.root.take().is_none()
            && let Some(level) = self.levels.last_mut()
        {
            level.at += 1;
        }
    }

    fn drop_finished(&mut self) {
        while self.levels.last().is_some_and(|level| level.at >= level.node.len()) {
            self.levels.pop();
        }
    }

    /// Goes to the first item of the node that this one is.
    fn enter(&mut self, node: Arc<Node>, place: Place) {
        self.step();
        let at = match (node.lower_bound(self.from), node.is_leaf()) {
            (Some(i), true) if node.key(i) < self.from => i + 1,
            (i, _) => i.unwrap_or(0),
        };
        self.levels.push(Level { node, place, at });
        self.drop_finished();
    }
}

/// Goes through two leaves for as long as their keys are the same: most of the work where little differs in many leaves.
fn compare_leaves(left: &mut Cursor, right: &mut Cursor, see: SeeDifference<'_>) {
    let (Some(a), Some(b)) = (left.levels.last_mut(), right.levels.last_mut()) else { return };
    let both = (a.node.len() - a.at).min(b.node.len() - b.at);
    for _ in 0..both {
        let key = a.node.key(a.at);
        if key != b.node.key(b.at) {
            return;
        }
        let [old, new] = [a.node.word(a.at), b.node.word(b.at)].map(|word| BlockTime::unpack(word).block);
        if old != new {
            see(key, Some(old), Some(new));
        }
        a.at += 1;
        b.at += 1;
    }
}

/// What is shown a difference: the key, and the data block on either side.
pub(crate) type SeeDifference<'a> = &'a mut dyn FnMut(u64, Option<u64>, Option<u64>);

/// A comparison under way, or a walk through one tree.
struct Steps {
    left: Cursor,
    right: Cursor,
    spent: u64,
}

impl<R: MetaRead> Meta<R> {
    /// Shows `see` the mappings from key `from` on, after having read about `budget` nodes; returns the key to go on
    /// from, or `None` at the end.
    pub(crate) fn walk_some(
        &mut self,
        root: u64,
        (from, budget): (u64, u64),
        see: &mut dyn FnMut(u64, BlockTime),
    ) -> Result<Option<u64>, ThinError> {
        let mut cursor = Cursor { root: Some(Place::root(root)), levels: Vec::new(), height: 0, from };
        let mut spent = 0;
        while let Some(item) = cursor.item() {
            let start = cursor.start(&item);
            if spent >= budget && start > from {
                return Ok(Some(start));
            }
            match item {
                Item::Subtree { place, .. } => spent += self.look_into(&mut cursor, place)?,
                Item::Entry { key, mapping } => {
                    see(key, mapping);
                    cursor.pass();
                }
            }
        }
        Ok(None)
    }

    /// Shows `see` where two trees map differently, from key `from` on, after having read about `budget` nodes;
    /// returns the key to go on from, or `None` at the end.
    pub(crate) fn compare(
        &mut self,
        (left, right): (u64, u64),
        (from, budget): (u64, u64),
        see: SeeDifference<'_>,
    ) -> Result<Option<u64>, ThinError> {
        if left == right {
            return Ok(None);
        }
        let (left, right) = (self.cursor(left, from)?, self.cursor(right, from)?);
        let mut steps = Steps { left, right, spent: 0 };
        loop {
            let items = (steps.left.item(), steps.right.item());
            let starts =
                [items.0.map(|item| steps.left.start(&item)), items.1.map(|item| steps.right.start(&item))];
            match starts.into_iter().flatten().min() {
                None => return Ok(None),
                Some(start) if steps.spent >= budget && start > from => return Ok(Some(start)),
                Some(_) => {}
            }
            let order = match starts {
                [Some(left), Some(right)] => left.cmp(&right),
                [Some(_), None] => Ordering::Less,
                _ => Ordering::Greater,
            };
            self.compare_items(&mut steps, items, order, see)?;
        }
    }

    fn compare_items(
        &mut self,
        steps: &mut Steps,
        items: (Option<Item>, Option<Item>),
        order: Ordering,
        see: SeeDifference<'_>,
    ) -> Result<(), ThinError> {
        let Steps { left, right, spent } = steps;
        match (items, order) {
            ((Some(Item::Subtree { place: a, .. }), Some(Item::Subtree { place: b, .. })), _)
                if a.block == b.block =>
            {
                left.pass();
                right.pass();
            }
            ((Some(Item::Entry { key, mapping }), _), Ordering::Less) => {
                see(key, Some(mapping.block), None);
                left.pass();
            }
            ((_, Some(Item::Entry { key, mapping })), Ordering::Greater) => {
                see(key, None, Some(mapping.block));
                right.pass();
            }
            ((Some(Item::Subtree { place, .. }), _), Ordering::Less) => {
                *spent += self.look_into(left, place)?
            }
            ((_, Some(Item::Subtree { place, .. })), Ordering::Greater) => {
                *spent += self.look_into(right, place)?;
            }
            ((Some(Item::Entry { .. }), Some(Item::Entry { .. })), _) => {
                compare_leaves(left, right, see);
                left.drop_finished();
                right.drop_finished();
            }
            ((a, b), _) => {
                // Both begin here: the higher one is looked into, so that equal subtrees come to stand side by side.
                let height = |item| match item {
                    Some(Item::Subtree { height, place }) => Some((height, place)),
                    _ => None,
                };
                let (a, b) = (height(a), height(b));
                let highest = a.map(|a| a.0).max(b.map(|b| b.0));
                for (cursor, side) in [(left, a), (right, b)] {
                    if let Some((height, place)) = side
                        && Some(height) == highest
                    {
                        *spent += self.look_into(cursor, place)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn look_into(&mut self, cursor: &mut Cursor, place: Place) -> Result<u64, ThinError> {
        let node = self.visit(&place, Tree::Mapping, Care::Read)?;
        cursor.enter(node, place);
        Ok(1)
    }

    fn cursor(&mut self, root: u64, from: u64) -> Result<Cursor, ThinError> {
        let (mut place, mut height) = (Place::root(root), 1);
        loop {
            let node = self.visit(&place, Tree::Mapping, Care::Read)?;
            if node.is_leaf() {
                return Ok(Cursor { root: Some(Place::root(root)), levels: Vec::new(), height, from });
            }
            place = place.child(&node, node.lower_bound(from).unwrap_or(0));
            height += 1;
        }
    }
}

//! The byte ranges that changes on the wire are about to touch: two that overlap never travel together, because the
//! target may carry them out in either order.

use std::ops::Range;

#[derive(Debug, Default)]
pub(super) struct Claims {
    ranges: Vec<(u64, Range<u64>)>,
}

impl Claims {
    /// Whether somebody other than `order` claims a part of `range`.
    pub(super) fn overlap(&self, range: &Range<u64>, order: u64) -> bool {
        let meets = |other: &Range<u64>| other.start < range.end && range.start < other.end;
        self.ranges.iter().any(|(owner, other)| *owner != order && meets(other))
    }

    pub(super) fn add(&mut self, order: u64, range: Range<u64>) {
        if !self.ranges.iter().any(|(owner, other)| *owner == order && *other == range) {
            self.ranges.push((order, range));
        }
    }

    pub(super) fn remove(&mut self, order: u64) {
        self.ranges.retain(|(owner, _)| *owner != order);
    }
}

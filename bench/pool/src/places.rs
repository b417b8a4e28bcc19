//! Which bytes the next request is for.
//!
//! What always holds: every offset is a multiple of the request's length or of the block, and the request lies inside the
//! span; two orders of one seed go the same way, so that contenders do the same work.

/// Bytes of a pool's block, and of a qcow2 cluster.
pub const BLOCK: u64 = 64 << 10;
/// Steps of a scattered pass; odd, so that it meets every block of a power of two once.
pub const STRIDE: u64 = 1237;

/// How requests follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Order {
    /// At places that no cache would guess.
    Random,
    /// One after the other, from the start again at the end.
    Sequential,
    /// Each block once before any is met again, far from the one before; the request is at the block's start.
    Scattered,
}

/// An order with its position.
#[derive(Debug, Clone)]
pub struct Places {
    order: Order,
    span: u64,
    len: u64,
    state: u64,
}

impl Places {
    /// Requests of `len` bytes in the first `span` bytes.
    pub fn new(order: Order, span: u64, len: u64, seed: u64) -> Places {
        let state = if order == Order::Random { seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1 } else { 0 };
        Places { order, span, len, state }
    }

    /// The next request's offset.
    pub fn next(&mut self) -> u64 {
        match self.order {
            Order::Random => self.below(self.span / self.len) * self.len,
            Order::Sequential => {
                let at = self.state;
                self.state = (at + self.len) % self.span;
                at
            }
            Order::Scattered => {
                let blocks = self.span / BLOCK;
                self.state = (self.state + STRIDE) % blocks;
                self.state * BLOCK
            }
        }
    }

    /// A number below `bound`, by chance (xorshift64*, multiplied down).
    pub fn below(&mut self, bound: u64) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let number = self.state.wrapping_mul(0x2545_F491_4F6C_DD1D);
        ((u128::from(number) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_scattered_pass_meets_each_block_once() {
        let mut places = Places::new(Order::Scattered, 256 * BLOCK, 4096, 1);
        let met: BTreeSet<u64> = (0..256).map(|_| places.next()).collect();
        assert_eq!(met.len(), 256);
        assert!(met.iter().all(|at| at % BLOCK == 0 && *at < 256 * BLOCK));
    }

    #[test]
    fn requests_lie_inside_the_span() {
        for order in [Order::Random, Order::Sequential] {
            let mut places = Places::new(order, 10 << 20, 1 << 20, 3);
            let met: BTreeSet<u64> = (0..1000).map(|_| places.next()).collect();
            assert_eq!(met, (0..10).map(|i| i << 20).collect::<BTreeSet<u64>>());
        }
    }
}

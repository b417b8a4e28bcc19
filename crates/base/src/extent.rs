//! A part of planned I/O, as it passes from a store to whoever has a ring.

/// Bytes of a data file that follow each other, or bytes that no file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First byte in the data file; `None`: nothing is mapped, it reads as zeroes.
    pub at: Option<u64>,
    /// Bytes.
    pub len: u64,
}

//! What a session needs to know of a protocol: how requests look, and what the headers of answers say.

use anyhow::Result;

/// Bytes of a header: an iSCSI basic header segment; the floor's are as long.
pub const HEADER: usize = 48;

/// Bytes of a header.
pub type Header = [u8; HEADER];

/// Reading or writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Way {
    /// From the LUN.
    Read,
    /// To the LUN.
    Write,
}

/// What the header of an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// `len` bytes of what a slot reads follow, from its byte `at` on; with the last of them the slot is done, if `last`.
    Data {
        /// The slot.
        slot: usize,
        /// Where in what it reads.
        at: usize,
        /// How many bytes.
        len: usize,
        /// Whether the request is done then.
        last: bool,
    },
    /// A slot is done.
    Done {
        /// The slot.
        slot: usize,
    },
    /// These bytes of what a slot writes are asked for.
    Wanted {
        /// The slot.
        slot: usize,
        /// By what name.
        transfer_tag: u32,
        /// From which byte on.
        at: usize,
        /// How many.
        len: usize,
    },
    /// The peer asks whether we live, of a session that waits for its turn; this says so.
    Pinged(Header),
}

/// A protocol, on one connection.
pub trait Wire {
    /// The header of a slot's requests, all set but what [`Wire::request`] sets; and how many bytes of data go with it.
    fn template(&self, way: Way, slot: usize, len: usize) -> (Header, usize);

    /// Makes it the header of the next request, at this byte of the LUN.
    fn request(&mut self, header: &mut Header, offset: u64);

    /// The header of data that was asked for: `len` bytes from byte `at` on, the `number`th of its kind.
    fn data_out(&self, wanted: &Wanted, number: u32, at: usize, len: usize, last: bool) -> Header;

    /// Bytes that may follow one header.
    fn segment(&self) -> usize;

    /// Takes the header of an answer apart.
    fn answer(&mut self, header: &Header) -> Result<Answer>;
}

/// Data that was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// For which slot.
    pub slot: usize,
    /// By what name.
    pub transfer_tag: u32,
}

/// Four bytes of a header, in the network's order.
pub fn word(header: &Header, at: usize) -> u32 {
    u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

/// Sets four bytes of a header.
pub fn set_word(header: &mut Header, at: usize, value: u32) {
    header[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

//! The sending half of a connection: the bytes that wait for the socket, and the numbers that every response carries
//! (RFC 7143 sections 4.2.2.1 and 4.2.2.2).
//!
//! What always holds: StatSN advances by one with each response that carries status, in the order in which responses
//! stand in the buffer; MaxCmdSN never goes back.

use crate::pdu::{Bhs, Digests, write_pdu};

/// Bytes to send and sequence numbers.
#[derive(Debug)]
pub(super) struct Link {
    pub out: Vec<u8>,
    /// In force for what is sent from now on.
    pub digests: Digests,
    /// The StatSN of the next response with status.
    pub stat_sn: u32,
    /// The next CmdSN that we expect, and the last that we take.
    pub exp_cmd_sn: u32,
    pub max_cmd_sn: u32,
}

impl Link {
    pub fn new() -> Self {
        Link { out: Vec::new(), digests: Digests::default(), stat_sn: 0, exp_cmd_sn: 0, max_cmd_sn: 0 }
    }

    /// Takes the numbers that the first login request starts from.
    pub fn start(&mut self, stat_sn: u32, cmd_sn: u32) {
        (self.stat_sn, self.exp_cmd_sn, self.max_cmd_sn) = (stat_sn, cmd_sn, cmd_sn);
    }

    /// The StatSN for a response with status, advanced.
    pub fn next_stat_sn(&mut self) -> u32 {
        let stat_sn = self.stat_sn;
        self.stat_sn = self.stat_sn.wrapping_add(1);
        stat_sn
    }

    /// Opens the window to `free` commands; never narrower than it was announced.
    pub fn open_window(&mut self, free: u32) {
        let max = self.exp_cmd_sn.wrapping_add(free).wrapping_sub(1);
        if serial_less(self.max_cmd_sn, max) {
            self.max_cmd_sn = max;
        }
    }

    pub fn send(&mut self, header: Bhs, data: &[u8]) {
        write_pdu(&mut self.out, header, data, self.digests);
    }
}

/// `a < b` in serial number arithmetic of 32 bits (RFC 1982, RFC 7143 section 4.2.2).
pub(super) fn serial_less(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_never_narrows_and_wraps_around() {
        let mut link = Link::new();
        (link.exp_cmd_sn, link.max_cmd_sn) = (u32::MAX - 1, u32::MAX - 2);
        link.open_window(4);
        assert_eq!(link.max_cmd_sn, 1);
        link.open_window(2);
        assert_eq!(link.max_cmd_sn, 1);
        assert!(serial_less(u32::MAX, 0) && !serial_less(0, u32::MAX));
    }
}

//! Command numbering: which CmdSN may come (RFC 7143 section 4.2.2.1).
//!
//! What always holds: MaxCmdSN never goes back; a number is taken once; no more numbers are marked as received ahead of
//! their turn than the window has.

use super::event::CloseReason;

/// The command window.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// The next CmdSN that we expect, and the last that we take.
    pub exp_cmd_sn: u32,
    pub max_cmd_sn: u32,
    /// Numbers ahead of the next one that count as received: their commands were aborted before they came.
    ahead: Vec<u32>,
}

impl Window {
    /// Closed, before this number.
    pub fn new(cmd_sn: u32) -> Self {
        Window { exp_cmd_sn: cmd_sn, max_cmd_sn: cmd_sn.wrapping_sub(1), ahead: Vec::new() }
    }

    /// Opens to `free` commands; never narrower than it was announced.
    pub fn open(&mut self, free: u32) {
        let max = self.exp_cmd_sn.wrapping_add(free).wrapping_sub(1);
        if serial_less(self.max_cmd_sn, max) {
            self.max_cmd_sn = max;
        }
    }

    fn contains(&self, cmd_sn: u32) -> bool {
        !serial_less(cmd_sn, self.exp_cmd_sn) && !serial_less(self.max_cmd_sn, cmd_sn)
    }

    /// Takes the number of a request; `false` for one to drop in silence. On the only connection of a session requests come
    /// in order, so that a gap inside the window can never be filled.
    pub fn admit(&mut self, cmd_sn: u32) -> Result<bool, CloseReason> {
        if !self.contains(cmd_sn) || self.ahead.contains(&cmd_sn) {
            return Ok(false);
        }
        if cmd_sn != self.exp_cmd_sn {
            return Err(CloseReason::CommandGap { expected: self.exp_cmd_sn, found: cmd_sn });
        }
        self.advance();
        Ok(true)
    }

    fn advance(&mut self) {
        self.exp_cmd_sn = self.exp_cmd_sn.wrapping_add(1);
        while let Some(at) = self.ahead.iter().position(|ahead| *ahead == self.exp_cmd_sn) {
            self.ahead.swap_remove(at);
            self.exp_cmd_sn = self.exp_cmd_sn.wrapping_add(1);
        }
    }

    /// The command `cmd_sn` was aborted by a request numbered `by` and never came: from now on it counts as received (section
    /// 11.6.1, case b). `false` where it cannot be still to come.
    pub fn skip(&mut self, cmd_sn: u32, by: u32) -> bool {
        if !self.contains(cmd_sn) || !serial_less(cmd_sn, by) {
            return false;
        }
        if cmd_sn == self.exp_cmd_sn {
            self.advance();
        } else if !self.ahead.contains(&cmd_sn) {
            self.ahead.push(cmd_sn);
        }
        true
    }
}

/// `a < b` in serial number arithmetic of 32 bits (RFC 1982, RFC 7143 section 4.2.2).
fn serial_less(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(first: u32, size: u32) -> Window {
        let mut window = Window::new(first);
        window.open(size);
        window
    }

    #[test]
    fn it_never_narrows_and_wraps_around() {
        let mut window = window(u32::MAX - 1, 4);
        assert_eq!(window.max_cmd_sn, 1);
        window.open(2);
        assert_eq!(window.max_cmd_sn, 1);
        for cmd_sn in [u32::MAX - 1, u32::MAX, 0, 1] {
            assert_eq!(window.admit(cmd_sn), Ok(true));
        }
        assert_eq!(window.admit(2), Ok(false), "closed");
        assert_eq!(window.admit(1), Ok(false), "a duplicate");
    }

    #[test]
    fn a_gap_inside_is_an_error_outside_is_silence() {
        let mut window = window(10, 4);
        for (cmd_sn, answer) in [(9, Ok(false)), (14, Ok(false)), (10, Ok(true))] {
            assert_eq!(window.admit(cmd_sn), answer, "{cmd_sn}");
        }
        assert_eq!(window.admit(12), Err(CloseReason::CommandGap { expected: 11, found: 12 }));
    }

    #[test]
    fn aborted_numbers_count_as_received_in_any_order() {
        let mut window = window(u32::MAX - 1, 6);
        assert!(window.skip(0, 3), "ahead");
        assert!(window.skip(0, 3), "once more");
        assert!(window.skip(u32::MAX - 1, 3), "the next one");
        assert_eq!(window.admit(0), Ok(false), "came after all");
        assert_eq!(window.admit(u32::MAX), Ok(true));
        assert_eq!(window.exp_cmd_sn, 1, "over the one that was marked");
        assert!(window.ahead.is_empty());
    }

    #[test]
    fn only_what_can_still_come_is_marked() {
        let mut window = window(10, 4);
        for (cmd_sn, by) in [(9, 12), (14, 20), (12, 12), (13, 12)] {
            assert!(!window.skip(cmd_sn, by), "{cmd_sn} by {by}");
        }
        assert_eq!((window.exp_cmd_sn, window.ahead.len()), (10, 0));
    }
}

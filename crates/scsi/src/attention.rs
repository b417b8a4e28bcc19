//! Unit attention conditions of one initiator port at one LUN: SAM-5 section 5.14.
//!
//! What always holds: each condition waits at most once; a power-on condition replaces what is older; the queue is
//! bounded by the number of conditions there are.

use crate::sense::Sense;

/// Pending conditions, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Attentions {
    pending: Vec<Sense>,
}

impl Attentions {
    /// Notes a condition.
    pub fn post(&mut self, condition: Sense) {
        const RESET_CODE: u8 = 0x29;
        if condition.code == RESET_CODE {
            self.pending.clear();
        }
        if !self.pending.contains(&condition) {
            self.pending.push(condition);
        }
    }

    /// Takes the condition that a command must report instead of being carried out. INQUIRY, REPORT LUNS and REQUEST
    /// SENSE are carried out (the latter takes it as its data).
    pub fn interrupt(&mut self, opcode: u8) -> Option<Sense> {
        const INQUIRY: u8 = 0x12;
        const REPORT_LUNS: u8 = 0xa0;
        const REQUEST_SENSE: u8 = 0x03;
        match opcode {
            INQUIRY | REPORT_LUNS | REQUEST_SENSE => None,
            _ => self.take(),
        }
    }

    /// Takes the oldest condition.
    pub fn take(&mut self) -> Option<Sense> {
        if self.pending.is_empty() { None } else { Some(self.pending.remove(0)) }
    }

    /// REPORT LUNS tells what REPORTED LUNS DATA HAS CHANGED would (SPC-4 section 6.33).
    pub fn luns_reported(&mut self) {
        self.pending.retain(|condition| *condition != Sense::REPORTED_LUNS_CHANGED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    const TEST_UNIT_READY: u8 = 0;

    #[test]
    fn each_condition_is_told_once_and_in_order() {
        let mut attentions = Attentions::default();
        attentions.post(Sense::CAPACITY_CHANGED);
        attentions.post(Sense::REPORTED_LUNS_CHANGED);
        attentions.post(Sense::CAPACITY_CHANGED);
        assert_eq!(attentions.interrupt(0x12), None, "INQUIRY is carried out");
        assert_eq!(attentions.interrupt(TEST_UNIT_READY), Some(Sense::CAPACITY_CHANGED));
        assert_eq!(attentions.interrupt(TEST_UNIT_READY), Some(Sense::REPORTED_LUNS_CHANGED));
        assert_eq!(attentions.interrupt(TEST_UNIT_READY), None);
    }

    #[test]
    fn report_luns_and_resets_clear_what_they_outdate() {
        let mut attentions = Attentions::default();
        attentions.post(Sense::REPORTED_LUNS_CHANGED);
        attentions.luns_reported();
        assert_eq!(attentions.take(), None);
        attentions.post(Sense::CAPACITY_CHANGED);
        attentions.post(Sense::BUS_DEVICE_RESET);
        assert_eq!(attentions.take(), Some(Sense::BUS_DEVICE_RESET));
        assert_eq!(attentions.take(), None);
    }
}

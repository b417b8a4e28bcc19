//! Unit attention conditions of one initiator port at one LUN: SAM-5 section 5.14.
//!
//! What always holds: each condition waits at most once; a reset replaces what it outdates and is told first; the queue
//! is bounded.

use crate::sense::Sense;

/// Conditions that wait at most. There are fewer that we ever post.
const WAITING: usize = 32;

/// Pending conditions, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Attentions {
    pending: Vec<Sense>,
}

impl Attentions {
    /// Notes a condition.
    pub fn post(&mut self, condition: Sense) {
        let rank = rank(&condition);
        if rank > 0 {
            if self.pending.iter().any(|other| self::rank(other) > rank) {
                return;
            }
            self.pending.clear();
        }
        if !self.pending.contains(&condition) && self.pending.len() < WAITING {
            self.pending.push(condition);
        }
    }

    /// Takes a reset, which comes even before RESERVATION CONFLICT (SAM-5 section 5.3.3).
    pub fn interrupt_by_reset(&mut self, opcode: u8) -> Option<Sense> {
        let is_reset = self.pending.first().is_some_and(|condition| rank(condition) > 0);
        if is_reset { self.interrupt(opcode) } else { None }
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
        self.pending.retain(|condition| !condition.is_same_condition(&Sense::REPORTED_LUNS_CHANGED));
    }
}

/// Resets by what they outdate: those of a higher rank, all of a lower one (SAM-5 section 5.14, precedence of unit
/// attention conditions). Zero is no reset.
fn rank(condition: &Sense) -> u8 {
    match (condition.code, condition.qualifier) {
        (0x29, 0x00 | 0x01 | 0x04) => 4,
        (0x29, 0x02) | (0x3f, 0x01) => 3,
        (0x29, 0x03) => 2,
        (0x29, _) => 1,
        _ => 0,
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

    #[test]
    fn a_greater_reset_outlasts_a_smaller_one() {
        let mut attentions = Attentions::default();
        attentions.post(Sense::POWER_ON);
        attentions.post(Sense::NEXUS_LOSS);
        attentions.post(Sense::BUS_DEVICE_RESET);
        attentions.post(Sense::CAPACITY_CHANGED);
        assert_eq!(attentions.take(), Some(Sense::POWER_ON));
        attentions.post(Sense::NEXUS_LOSS);
        attentions.post(Sense::POWER_ON_OCCURRED);
        attentions.post(Sense::CAPACITY_CHANGED);
        attentions.post(Sense::POWER_ON);
        assert_eq!(attentions.take(), Some(Sense::POWER_ON), "the newer of two that are alike, alone");
        assert_eq!(attentions.take(), None);
    }

    #[test]
    fn only_a_reset_comes_before_reservations() {
        let mut attentions = Attentions::default();
        attentions.post(Sense::CAPACITY_CHANGED);
        assert_eq!(attentions.interrupt_by_reset(TEST_UNIT_READY), None);
        attentions.post(Sense::BUS_DEVICE_RESET);
        assert_eq!(attentions.interrupt_by_reset(0x12), None, "INQUIRY is carried out");
        assert_eq!(attentions.interrupt_by_reset(TEST_UNIT_READY), Some(Sense::BUS_DEVICE_RESET));
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut attentions = Attentions::default();
        (0..1000).for_each(|at| attentions.post(Sense::THIN_PROVISIONING_THRESHOLD.at(at)));
        assert_eq!(std::iter::from_fn(|| attentions.take()).count(), WAITING);
    }
}

//! What the end of a command means: done, once more, later, or failed for good.

use super::{Failure, cdb::Sense};
use crate::limits::{ABORTS, ATTENTIONS, BUSY_PAUSE, BUSY_TIME};
use umbra_base::Instant;
use umbra_iscsi::initiator::Outcome;

/// SAM-5 section 5.3.
mod status {
    pub(super) const GOOD: u8 = 0x00;
    pub(super) const CHECK_CONDITION: u8 = 0x02;
    pub(super) const BUSY: u8 = 0x08;
    pub(super) const TASK_SET_FULL: u8 = 0x28;
    pub(super) const TASK_ABORTED: u8 = 0x40;
}

/// SPC-4 section 4.5.6.
mod key {
    pub(super) const RECOVERED_ERROR: u8 = 0x1;
    pub(super) const NOT_READY: u8 = 0x2;
    pub(super) const ILLEGAL_REQUEST: u8 = 0x5;
    pub(super) const UNIT_ATTENTION: u8 = 0x6;
    pub(super) const DATA_PROTECT: u8 = 0x7;
    pub(super) const ABORTED_COMMAND: u8 = 0xb;
}

/// What a unit attention asks of us beyond sending the command once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attention {
    None,
    /// The LUN does not exist for us: look whether that is so.
    Gone,
    /// LUNs, identity, size or write protection may have changed: look again.
    Changed,
    /// The LUN was reset: what was not flushed may be lost.
    Reset,
}

#[derive(Debug)]
pub(super) enum Verdict {
    Good,
    Again(Attention),
    Later(Instant),
    Failed(Failure, String),
}

/// How often, and since when, a command has been tried.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    attentions: u32,
    aborts: u32,
    busy_since: Option<Instant>,
}

impl Attempts {
    pub(super) fn judge(&mut self, now: Instant, outcome: &Outcome) -> Verdict {
        let (status, sense) = match outcome {
            Outcome::TargetFailure { response } => {
                return self.aborted(Attention::None, format!("target failure {response:#04x}"));
            }
            Outcome::Status { status, sense } => (*status, sense),
        };
        match status {
            status::GOOD => Verdict::Good,
            status::CHECK_CONDITION => self.check_condition(now, sense),
            status::BUSY | status::TASK_SET_FULL => self.busy(now, "the target stayed busy"),
            status::TASK_ABORTED => {
                self.aborted(Attention::None, "the target aborted the command".to_owned())
            }
            other => Verdict::Failed(Failure::Io, format!("SCSI status {other:#04x}")),
        }
    }

    fn check_condition(&mut self, now: Instant, data: &[u8]) -> Verdict {
        let sense = Sense::parse(data);
        let text = format!("sense {:x}/{:02x}/{:02x}", sense.key, sense.asc, sense.ascq);
        match (sense.key, sense.asc, sense.ascq) {
            (key::RECOVERED_ERROR, ..) => Verdict::Good,
            (key::UNIT_ATTENTION, ..) => {
                self.attentions += 1;
                if self.attentions > ATTENTIONS {
                    return Verdict::Failed(Failure::Io, format!("{text}, again and again"));
                }
                Verdict::Again(attention(data))
            }
            (key::NOT_READY, ..) => self.busy(now, &text),
            (key::ABORTED_COMMAND, ..) => self.aborted(Attention::None, text),
            // LOGICAL UNIT NOT SUPPORTED: the verification says whether it is gone.
            (key::ILLEGAL_REQUEST, 0x25, _) => self.aborted(Attention::Gone, text),
            (key::ILLEGAL_REQUEST, 0x21, _) => Verdict::Failed(Failure::OutOfRange, text),
            // SPACE ALLOCATION FAILED WRITE PROTECT.
            (key::DATA_PROTECT, 0x27, 0x07) => Verdict::Failed(Failure::NoSpace, text),
            (key::DATA_PROTECT, ..) => Verdict::Failed(Failure::ReadOnly, text),
            _ => Verdict::Failed(Failure::Io, text),
        }
    }

    fn aborted(&mut self, attention: Attention, text: String) -> Verdict {
        self.aborts += 1;
        if self.aborts > ABORTS { Verdict::Failed(Failure::Io, text) } else { Verdict::Again(attention) }
    }

    fn busy(&mut self, now: Instant, text: &str) -> Verdict {
        let since = *self.busy_since.get_or_insert(now);
        if now.since(since) > BUSY_TIME {
            return Verdict::Failed(Failure::Io, text.to_owned());
        }
        Verdict::Later(now + BUSY_PAUSE)
    }
}

/// What this sense data asks for, if it is a unit attention (SPC-4 annex F).
pub(super) fn attention(data: &[u8]) -> Attention {
    match Sense::parse(data) {
        Sense { key: key::UNIT_ATTENTION, asc: 0x29, .. } => Attention::Reset,
        Sense { key: key::UNIT_ATTENTION, asc: 0x2a | 0x3f, .. } => Attention::Changed,
        _ => Attention::None,
    }
}

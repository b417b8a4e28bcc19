//! What copies came to, and how it is told: SPC-4 sections 6.22 to 6.28.
//!
//! What always holds: a list identifier names one copy at a time; results of at most [`COPY_RESULTS`] copies are kept,
//! the oldest go first; a copy that runs is never forgotten.

use super::{Keep, ListId, Token};
use crate::bytes::{counted, put};
use crate::limits::{BLOCK, COPY_RESULTS};
use crate::sense::{Sense, SenseFormat, status};
use std::collections::VecDeque;

/// The copies of one nexus at one unit. The loss of the nexus, and a reset of the unit, empty it.
#[derive(Debug, Clone, Default)]
pub struct Operations {
    known: VecDeque<Operation>,
}

#[derive(Debug, Clone)]
struct Operation {
    id: ListId,
    service: Service,
    keep: Keep,
    progress: Progress,
    state: State,
    token: Option<Token>,
}

/// Which command started a copy: RESPONSE TO SERVICE ACTION.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Service {
    ExtendedCopyLid1 = 0x00,
    ExtendedCopyLid4 = 0x01,
    PopulateToken = 0x10,
    WriteUsingToken = 0x11,
}

/// What a copy has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Segments that are finished.
    pub segments: u16,
    /// Blocks that are written; of POPULATE TOKEN, those that the token stands for.
    pub blocks: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running { asked_to_stop: bool },
    Ended(End),
}

/// How a copy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Done,
    /// By COPY OPERATION ABORT.
    Aborted,
    Failed(Sense),
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    StatusLid1,
    FailureDetails,
    StatusLid4,
    TokenInformation,
}

impl Operations {
    /// Notes that a copy begins. Its identifier is free again for the next one once it has ended.
    pub fn begin(&mut self, id: ListId, service: Service, keep: Keep) -> Result<(), Sense> {
        if let Some(at) = self.position(id) {
            if self.known[at].is_running() {
                return Err(Sense::OPERATION_IN_PROGRESS);
            }
            self.known.remove(at);
        }
        if self.known.len() >= COPY_RESULTS {
            let oldest = self.known.iter().position(|operation| !operation.is_running());
            self.known.remove(oldest.ok_or(Sense::INSUFFICIENT_RESOURCES)?);
        }
        let (progress, state) = (Progress::default(), State::Running { asked_to_stop: false });
        self.known.push_back(Operation { id, service, keep, progress, state, token: None });
        Ok(())
    }

    /// Notes how far a copy is. Whether it should go on: not after COPY OPERATION ABORT.
    pub fn advance(&mut self, id: ListId, progress: Progress) -> bool {
        let Some(at) = self.position(id) else { return true };
        self.known[at].progress = progress;
        self.known[at].state != State::Running { asked_to_stop: true }
    }

    /// Notes that a copy has ended, and the token that it made.
    pub fn end(&mut self, id: ListId, end: End, token: Option<Token>) {
        let Some(at) = self.position(id) else { return };
        let operation = &mut self.known[at];
        (operation.state, operation.token) = (State::Ended(end), token);
        if operation.keep == Keep::WhileRunning {
            self.known.remove(at);
        }
    }

    /// COPY OPERATION ABORT: asks a running copy to end.
    pub fn abort(&mut self, id: ListId) -> Result<(), Sense> {
        let at = self.position(id).ok_or(UNKNOWN)?;
        match &mut self.known[at].state {
            State::Running { asked_to_stop } => *asked_to_stop = true,
            State::Ended(_) => return Err(UNKNOWN),
        }
        Ok(())
    }

    /// The parameter data that is asked for. What has been told of a copy that ended well is not kept.
    pub fn receive(
        &mut self,
        wanted: Wanted,
        id: ListId,
        format: SenseFormat,
        allocation: usize,
    ) -> Result<Vec<u8>, Sense> {
        let at = self.position(id).ok_or(UNKNOWN)?;
        let operation = &self.known[at];
        let bytes = match wanted {
            Wanted::StatusLid1 => operation.status_lid1(),
            Wanted::FailureDetails => operation.failure_details(format).ok_or(UNKNOWN)?,
            Wanted::StatusLid4 => operation.status_lid4(format, Units::Bytes),
            Wanted::TokenInformation => operation.token_information(format),
        };
        let is_told = match operation.state {
            State::Running { .. } => false,
            State::Ended(End::Failed(_)) => wanted != Wanted::StatusLid1,
            State::Ended(_) => true,
        };
        if is_told {
            self.known.remove(at);
        }
        Ok(counted(bytes, allocation))
    }

    fn position(&self, id: ListId) -> Option<usize> {
        self.known.iter().position(|operation| operation.id == id)
    }
}

/// A list identifier that names no copy: in byte 2 of all these CDBs.
const UNKNOWN: Sense = Sense {
    specific: crate::sense::Specific::Field { place: crate::sense::Place::Cdb, byte: 2, bit: None },
    ..Sense::INVALID_FIELD_IN_CDB
};

/// What TRANSFER COUNT counts.
#[derive(Clone, Copy)]
enum Units {
    Bytes = 0x00,
    Mebibytes = 0x02,
    Blocks = 0xf1,
}

impl Operation {
    fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    fn failure(&self) -> Option<Sense> {
        match self.state {
            State::Ended(End::Failed(sense)) => Some(sense),
            _ => None,
        }
    }

    /// Section 6.25. A count that needs more than 32 bits is told in mebibytes.
    fn status_lid1(&self) -> Vec<u8> {
        let status = match self.state {
            State::Running { .. } => 0x00,
            State::Ended(End::Done) => 0x01,
            State::Ended(_) => 0x02,
        };
        let bytes = self.progress.blocks.saturating_mul(BLOCK);
        let (units, count) = match u32::try_from(bytes) {
            Ok(bytes) => (Units::Bytes, bytes),
            Err(_) => (Units::Mebibytes, u32::try_from(bytes >> 20).unwrap_or(u32::MAX)),
        };
        let mut list = vec![0; 12];
        list[4] = status;
        put(&mut list, 5, &self.progress.segments.to_be_bytes());
        list[7] = units as u8;
        put(&mut list, 8, &count.to_be_bytes());
        list
    }

    /// Section 6.22: of copies that failed only.
    fn failure_details(&self, format: SenseFormat) -> Option<Vec<u8>> {
        let sense = self.failure()?.encode(format);
        let mut list = vec![0; 60];
        list[56] = status::CHECK_CONDITION;
        put(&mut list, 58, &(sense.len() as u16).to_be_bytes());
        list.extend_from_slice(&sense);
        Some(list)
    }

    /// Section 6.24.
    fn status_lid4(&self, format: SenseFormat, units: Units) -> Vec<u8> {
        /// The update delay is not known: there is nothing to wait for.
        const UNKNOWN_DELAY: [u8; 4] = [0xff; 4];
        let status = match self.state {
            State::Running { .. } => 0x11,
            State::Ended(End::Done) => 0x01,
            State::Ended(End::Failed(_)) => 0x02,
            State::Ended(End::Aborted) => 0x60,
        };
        let sense = self.failure().map_or_else(Vec::new, |sense| sense.encode(format));
        let count = match units {
            Units::Blocks => self.progress.blocks,
            _ => self.progress.blocks.saturating_mul(BLOCK),
        };
        let mut list = vec![0; 32];
        (list[4], list[5]) = (self.service as u8, status);
        put(&mut list, 8, &UNKNOWN_DELAY);
        list[12] = if sense.is_empty() { status::GOOD } else { status::CHECK_CONDITION };
        (list[13], list[14], list[15]) = (sense.len() as u8, sense.len() as u8, units as u8);
        put(&mut list, 16, &count.to_be_bytes());
        put(&mut list, 24, &self.progress.segments.to_be_bytes());
        list.extend_from_slice(&sense);
        list
    }

    /// Section 6.28: the same, and the token in a descriptor of its own.
    fn token_information(&self, format: SenseFormat) -> Vec<u8> {
        let mut list = self.status_lid4(format, Units::Blocks);
        let token = self.token.as_ref().map(Token::bytes);
        let length = token.map_or(0, |token| 2 + token.len()) as u32;
        list.extend_from_slice(&length.to_be_bytes());
        if let Some(token) = token {
            list.extend_from_slice(&[0, 0]);
            list.extend_from_slice(token);
        }
        list
    }
}

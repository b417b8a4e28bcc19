//! What a decoded command asks the driver to do.

use crate::limits::BLOCK;
use crate::sense::{Sense, SenseFormat};
use crate::{copy, log, mode, reservation};

/// Consecutive logical blocks, inside the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub lba: u64,
    pub blocks: u64,
}

impl Extent {
    /// Byte offset of the first block.
    pub fn offset(&self) -> u64 {
        self.lba * BLOCK
    }

    /// Bytes in all.
    pub fn bytes(&self) -> u64 {
        self.blocks * BLOCK
    }
}

/// When a change must be on stable storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Whenever the initiator flushes.
    Cached,
    /// Before status (FUA, or a unit without write cache).
    BeforeStatus,
}

/// What a verify compares with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// Nothing: the medium must be readable.
    Medium,
    /// The data sent, block by block.
    Data,
    /// One block sent, for every block.
    OneBlock,
}

/// What a WRITE SAME writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// The one block sent.
    Sent,
    /// Zeroes, nothing is sent (NDOB).
    Zeroes,
}

/// A command, ready to be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// GOOD.
    Good,
    /// GOOD with these bytes.
    Reply(Vec<u8>),
    /// The pending unit attention, or none, as data.
    RequestSense {
        format: SenseFormat,
        allocation: usize,
    },
    /// [`report::luns`](crate::report::luns) of what the initiator sees.
    ReportLuns {
        select: report_select::Select,
        allocation: usize,
    },
    Read(Extent),
    /// Make durable what was written to the unit, then read (FUA).
    ReadMedium(Extent),
    Write {
        extent: Extent,
        durability: Durability,
    },
    Verify {
        extent: Extent,
        compare: Compare,
    },
    /// Write, make durable, then verify.
    WriteVerify {
        extent: Extent,
        compare: Compare,
    },
    /// The first half of the data is compared, the second written, both in one atomic step.
    CompareAndWrite {
        extent: Extent,
        durability: Durability,
    },
    WriteSame {
        extent: Extent,
        pattern: Pattern,
        release: Release,
    },
    /// [`provision::parse_unmap`](crate::provision::parse_unmap) of the data.
    Unmap {
        list: usize,
    },
    Flush,
    /// [`provision::lba_status`](crate::provision::lba_status) of the runs in the extent.
    LbaStatus {
        extent: Extent,
        allocation: usize,
    },
    /// [`mode::select`] of the data.
    ModeSelect {
        list: usize,
        header: mode::Header,
    },
    /// All of the data or nothing is written, whatever happens (SBC-4: WRITE ATOMIC).
    WriteAtomic {
        extent: Extent,
        durability: Durability,
    },
    /// Each bit that is set in the data is set, in one step with the reading (SBC-3: ORWRITE).
    OrWrite {
        extent: Extent,
        durability: Durability,
    },
    /// The blocks will be read soon. It ends with GOOD, whether or not anything was done for it.
    Prefetch(Extent),
    /// [`Reservations::report`](reservation::Reservations::report).
    PersistentReserveIn {
        report: reservation::Report,
        allocation: usize,
    },
    /// [`Reservations::apply`](reservation::Reservations::apply) with the data.
    PersistentReserveOut(reservation::Out),
    /// [`Reservations::apply_legacy`](reservation::Reservations::apply_legacy).
    LegacyReservation(reservation::Legacy),
    /// [`log::Wanted::page`] with what is counted now.
    LogSense(log::Wanted),
    /// [`copy::parse`] of the data, then each segment in turn.
    ExtendedCopy {
        form: copy::Form,
        list: usize,
    },
    /// [`copy::parse_populate`] of the data; the token waits to be asked for.
    PopulateToken {
        id: copy::ListId,
        list: usize,
    },
    /// [`copy::parse_use`] of the data.
    WriteUsingToken {
        id: copy::ListId,
        list: usize,
    },
    /// [`copy::Operations::abort`].
    CopyAbort(copy::ListId),
    /// [`copy::Operations::receive`].
    CopyResults {
        wanted: copy::Wanted,
        id: copy::ListId,
        allocation: usize,
    },
    /// [`copy::report_tokens`] of all that are valid.
    ReportTokens {
        allocation: usize,
    },
}

/// Whether a WRITE SAME may release the blocks instead of writing zeroes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    Allowed,
    No,
}

/// The SELECT REPORT field of REPORT LUNS (SPC-4 section 6.33).
pub mod report_select {
    /// Which units are wanted.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Select {
        All,
        /// Well-known, administrative or subsidiary units only: there are none.
        Special,
    }
}

impl Plan {
    /// The plan for what was really sent. Writes carry out the whole blocks that came (the transport reports the rest as a
    /// residual); for the others each byte counts (SBC-3 sections 5.2 and 5.38: an INVALID FIELD IN CDB).
    pub fn with_data(self, sent: u64) -> Result<Plan, Sense> {
        let takes = self.data_out();
        let whole = |extent: Extent| match sent % BLOCK {
            0 => Ok(Extent { blocks: sent / BLOCK, ..extent }),
            _ => Err(Sense::INVALID_FIELD_IN_INFORMATION_UNIT),
        };
        match self {
            Plan::CompareAndWrite { .. } | Plan::WriteSame { .. } if sent != takes => {
                Err(Sense::INVALID_FIELD_IN_CDB)
            }
            plan if sent >= takes => Ok(plan),
            Plan::Write { extent, durability } => Ok(Plan::Write { extent: whole(extent)?, durability }),
            Plan::OrWrite { extent, durability } => Ok(Plan::OrWrite { extent: whole(extent)?, durability }),
            Plan::WriteVerify { extent, compare } => {
                Ok(Plan::WriteVerify { extent: whole(extent)?, compare })
            }
            _ => Err(Sense::INVALID_FIELD_IN_INFORMATION_UNIT),
        }
    }

    /// Bytes that the command takes from the initiator.
    pub fn data_out(&self) -> u64 {
        match self {
            Plan::Write { extent, .. } | Plan::WriteVerify { extent, .. } => extent.bytes(),
            Plan::WriteAtomic { extent, .. } | Plan::OrWrite { extent, .. } => extent.bytes(),
            Plan::Verify { extent, compare: Compare::Data } => extent.bytes(),
            Plan::Verify { extent, compare: Compare::OneBlock } if extent.blocks > 0 => BLOCK,
            Plan::CompareAndWrite { extent, .. } => extent.bytes() * 2,
            Plan::WriteSame { pattern: Pattern::Sent, .. } => BLOCK,
            Plan::Unmap { list } | Plan::ModeSelect { list, .. } => *list as u64,
            Plan::PersistentReserveOut(out) => out.list as u64,
            Plan::ExtendedCopy { list, .. } => *list as u64,
            Plan::PopulateToken { list, .. } | Plan::WriteUsingToken { list, .. } => *list as u64,
            _ => 0,
        }
    }
}

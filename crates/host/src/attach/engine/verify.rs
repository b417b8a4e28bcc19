//! The questions that are asked of a LUN after each login and after each hint that it may have changed.

use super::{
    cdb::{self, BLOCK, Cdb, Designators},
    split::Limits,
};
use umbra_iscsi::initiator::Transfer;

/// The questions, in the order in which they are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verify {
    Luns,
    Ready,
    Identity,
    Capacity,
    Limits,
    Protection,
}

/// What the answers say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Verified {
    pub(super) designators: Designators,
    pub(super) size_bytes: u64,
    /// What is unmapped reads as zeroes.
    pub(super) zeroing: bool,
    pub(super) limits: Limits,
    pub(super) write_protected: bool,
}

impl Verified {
    /// Why a LUN that was `self` before and is `now` after cannot go on as the same device.
    pub(super) fn contradicts(&self, now: &Verified) -> Option<String> {
        if self.designators != now.designators {
            return Some("the LUN number now names another LUN".to_owned());
        }
        if now.size_bytes < self.size_bytes {
            return Some(format!("the LUN shrank from {} to {} bytes", self.size_bytes, now.size_bytes));
        }
        None
    }
}

impl Verify {
    pub(super) const FIRST: Verify = Verify::Luns;

    pub(super) fn next(self) -> Option<Verify> {
        match self {
            Verify::Luns => Some(Verify::Ready),
            Verify::Ready => Some(Verify::Identity),
            Verify::Identity => Some(Verify::Capacity),
            Verify::Capacity => Some(Verify::Limits),
            Verify::Limits => Some(Verify::Protection),
            Verify::Protection => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Verify::Ready => "TEST UNIT READY",
            Verify::Luns => "REPORT LUNS",
            Verify::Identity => "INQUIRY of page 83h",
            Verify::Capacity => "READ CAPACITY (16)",
            Verify::Limits => "INQUIRY of page B0h",
            Verify::Protection => "MODE SENSE (10)",
        }
    }

    pub(super) fn command(self) -> (Cdb, Transfer) {
        match self {
            Verify::Ready => (cdb::test_unit_ready(), Transfer::None),
            Verify::Luns => (cdb::report_luns(), Transfer::In(cdb::REPORT_BYTES)),
            Verify::Identity => (cdb::vital_product_data(0x83), Transfer::In(u32::from(cdb::VPD_BYTES))),
            Verify::Capacity => (cdb::read_capacity(), Transfer::In(u32::from(cdb::CAPACITY_BYTES))),
            Verify::Limits => (cdb::vital_product_data(0xb0), Transfer::In(u32::from(cdb::VPD_BYTES))),
            Verify::Protection => (cdb::mode_sense(), Transfer::In(u32::from(cdb::MODE_BYTES))),
        }
    }

    /// Reads an answer into `found`, or says why the LUN is not to be used.
    pub(super) fn take(
        self,
        data: &[u8],
        lun: u64,
        expected: &Designators,
        found: &mut Verified,
    ) -> Result<(), String> {
        let malformed = || format!("the answer to {} makes no sense", self.name());
        match self {
            Verify::Ready => {}
            Verify::Luns => {
                if !cdb::parse_report(data, lun).ok_or_else(malformed)? {
                    return Err("the array no longer shows this LUN to this host".to_owned());
                }
            }
            Verify::Identity => {
                found.designators = cdb::parse_designators(data).ok_or_else(malformed)?;
                if !expected.matches(&found.designators) {
                    return Err(format!(
                        "the LUN number names another LUN: expected {expected:x?}, found {:x?}",
                        found.designators
                    ));
                }
            }
            Verify::Capacity => {
                let (size, block) = cdb::parse_capacity(data).ok_or_else(malformed)?;
                if u64::from(block) != BLOCK {
                    return Err(format!("the LUN has blocks of {block} bytes, only {BLOCK} are supported"));
                }
                found.size_bytes = size;
                found.zeroing = cdb::parse_zeroing(data).ok_or_else(malformed)?;
            }
            Verify::Limits => {
                let limits = cdb::parse_block_limits(data).ok_or_else(malformed)?;
                found.limits = Limits::within(&limits, found.zeroing).ok_or_else(|| {
                    format!("the target transfers only {} bytes in a command", limits.transfer)
                })?;
            }
            Verify::Protection => {
                found.write_protected = cdb::parse_write_protect(data).ok_or_else(malformed)?;
            }
        }
        Ok(())
    }
}

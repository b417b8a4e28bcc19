//! Third-party copy: SPC-4 section 5.17 (EXTENDED COPY and ROD tokens), SBC-3 sections 5.7, 5.22 and 5.46.
//!
//! ```text
//!   EXTENDED COPY list --parse--> Request: designators, segments --locate--> Move: which blocks go where
//!   POPULATE TOKEN list --parse_populate--> Populate: ranges ---> Token, for Operations
//!   WRITE USING TOKEN list --parse_use--> Use: token, ranges --lay_out--> Pieces: which blocks go where
//!   Operations: what each copy of a nexus came to, until it is asked for
//! ```
//!
//! The driver copies while the command runs, whether or not IMMED lets it answer earlier. It finds units by their
//! designators among those that the initiator sees, and asks each destination whether it is write-protected or reserved.
//! A unit that fails ends the copy with [`Sense::THIRD_PARTY_DEVICE_FAILURE`], in its segment.
//!
//! What always holds: a list that was parsed has no more descriptors than announced; blocks that are copied lie inside
//! their units. Inline data, stream devices and RECEIVE COPY DATA are left out: nobody copies disks with them.

mod announce;
mod list;
mod operations;
mod segment;
#[cfg(test)]
mod tests;
mod token;

use crate::cdb::Cdb;
use crate::limits::{COPY_LIST_BYTES, TOKEN_RANGES};
use crate::plan::Plan;
use crate::sense::Sense;
use crate::unit::Unit;

pub use list::{Designator, Form, Keep, Request, parse};
pub use operations::{End, Operations, Progress, Service, Wanted};
pub use segment::{Move, Place, Segment};
pub use token::{
    Named, Piece, Populate, RodType, Token, Use, lay_out, parse_populate, parse_use, report_tokens,
};

pub(crate) use announce::{operating_parameters, third_party_page};

/// LIST IDENTIFIER: what an initiator calls a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListId(pub u32);

/// A list that is longer than any that we take is refused before it is sent.
fn list_length(cdb: &Cdb<'_>, most: usize) -> Result<usize, Sense> {
    match cdb.u32(10) as usize {
        list if list <= most => Ok(list),
        _ => Err(Sense::PARAMETER_LIST_LENGTH_ERROR.in_byte(10)),
    }
}

/// An empty list is no error, and copies nothing.
pub(crate) fn extended_copy(cdb: &Cdb<'_>, _unit: &Unit<'_>) -> Result<Plan, Sense> {
    let form = if cdb.u8(1) & 0x1f == 0 { Form::Lid1 } else { Form::Lid4 };
    match list_length(cdb, form.header() + COPY_LIST_BYTES)? {
        0 => Ok(Plan::Good),
        list => Ok(Plan::ExtendedCopy { form, list }),
    }
}

pub(crate) fn populate_token(cdb: &Cdb<'_>, _unit: &Unit<'_>) -> Result<Plan, Sense> {
    match list_length(cdb, token::POPULATE_HEADER + most_ranges())? {
        0 => Ok(Plan::Good),
        list => Ok(Plan::PopulateToken { id: ListId(cdb.u32(6)), list }),
    }
}

pub(crate) fn write_using_token(cdb: &Cdb<'_>, _unit: &Unit<'_>) -> Result<Plan, Sense> {
    match list_length(cdb, token::USE_HEADER + most_ranges())? {
        0 => Ok(Plan::Good),
        list => Ok(Plan::WriteUsingToken { id: ListId(cdb.u32(6)), list }),
    }
}

/// Room for one range too many, so that the refusal says so.
fn most_ranges() -> usize {
    (TOKEN_RANGES + 1) * token::RANGE
}

pub(crate) fn abort(cdb: &Cdb<'_>, _unit: &Unit<'_>) -> Result<Plan, Sense> {
    Ok(Plan::CopyAbort(ListId(cdb.u32(2))))
}

pub(crate) fn receive_lid1(cdb: &Cdb<'_>, _unit: &Unit<'_>) -> Result<Plan, Sense> {
    let wanted = if cdb.u8(1) & 0x1f == 0 { Wanted::StatusLid1 } else { Wanted::FailureDetails };
    let id = ListId(u32::from(cdb.u8(2)));
    Ok(Plan::CopyResults { wanted, id, allocation: cdb.u32(10) as usize })
}

pub(crate) fn receive_lid4(cdb: &Cdb<'_>, _unit: &Unit<'_>) -> Result<Plan, Sense> {
    const STATUS: u8 = 0x05;
    let wanted = if cdb.u8(1) & 0x1f == STATUS { Wanted::StatusLid4 } else { Wanted::TokenInformation };
    Ok(Plan::CopyResults { wanted, id: ListId(cdb.u32(2)), allocation: cdb.u32(10) as usize })
}

pub(crate) fn report_all_tokens(cdb: &Cdb<'_>, _unit: &Unit<'_>) -> Result<Plan, Sense> {
    Ok(Plan::ReportTokens { allocation: cdb.u32(10) as usize })
}

//! Commands that report: capacity, sense, LUNs, supported commands and functions (SPC-4 section 6, SBC-3 section 5).

use crate::cdb::{Cdb, truncated};
use crate::limits::BLOCK;
use crate::plan::{Plan, report_select::Select};
use crate::sense::{Sense, SenseFormat};
use crate::table::{self, Row};
use crate::unit::Unit;

/// SBC-3 section 5.15: a unit too large for 32 bits says so.
pub(crate) fn read_capacity10(_cdb: &Cdb<'_>, unit: &Unit<'_>) -> Result<Plan, Sense> {
    let last = u32::try_from(unit.blocks().saturating_sub(1)).unwrap_or(u32::MAX);
    let mut bytes = last.to_be_bytes().to_vec();
    bytes.extend_from_slice(&(BLOCK as u32).to_be_bytes());
    Ok(Plan::Reply(bytes))
}

/// SBC-3 section 5.16: thin (LBPME), released blocks read as zeroes (LBPRZ).
pub(crate) fn read_capacity16(cdb: &Cdb<'_>, unit: &Unit<'_>) -> Result<Plan, Sense> {
    const LBPME_LBPRZ: u8 = 0xc0;
    let mut bytes = vec![0; 32];
    bytes[..8].copy_from_slice(&unit.blocks().saturating_sub(1).to_be_bytes());
    bytes[8..12].copy_from_slice(&(BLOCK as u32).to_be_bytes());
    bytes[13] = unit.physical_exponent & 0x0f;
    bytes[14] = LBPME_LBPRZ;
    Ok(Plan::Reply(truncated(bytes, cdb.u32(10) as usize)))
}

pub(crate) fn request_sense(cdb: &Cdb<'_>, _unit: &Unit<'_>) -> Result<Plan, Sense> {
    const DESC: u8 = 0x01;
    let format = if cdb.has(1, DESC) { SenseFormat::Descriptor } else { SenseFormat::Fixed };
    Ok(Plan::RequestSense { format, allocation: usize::from(cdb.u8(4)) })
}

pub(crate) fn report_luns(cdb: &Cdb<'_>, _unit: &Unit<'_>) -> Result<Plan, Sense> {
    plan_report_luns(cdb)
}

/// An allocation length below 16 is refused (SPC-4 section 6.33).
pub(crate) fn plan_report_luns(cdb: &Cdb<'_>) -> Result<Plan, Sense> {
    let select = match cdb.u8(2) {
        0x00 | 0x02 | 0x11 => Select::All,
        0x01 | 0x10 | 0x12 => Select::Special,
        _ => return Err(Sense::INVALID_FIELD_IN_CDB.in_byte(2)),
    };
    match cdb.u32(6) as usize {
        0..16 => Err(Sense::INVALID_FIELD_IN_CDB.in_byte(6)),
        allocation => Ok(Plan::ReportLuns { select, allocation }),
    }
}

/// Bytes that REPORT LUNS has for so many LUNs.
pub fn luns_bytes(luns: usize) -> usize {
    8 + 8 * luns
}

/// The parameter data of REPORT LUNS for these LUN fields.
pub fn luns(fields: impl IntoIterator<Item = u64>, select: Select, allocation: usize) -> Vec<u8> {
    let mut bytes = vec![0; 8];
    if select == Select::All {
        fields.into_iter().for_each(|field| bytes.extend_from_slice(&field.to_be_bytes()));
    }
    let length = (bytes.len() - 8) as u32;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    truncated(bytes, allocation)
}

/// SBC-3 sections 5.17 and 5.18: there are no defects, in whatever format they are asked for.
pub(crate) fn defects10(cdb: &Cdb<'_>, _unit: &Unit<'_>) -> Result<Plan, Sense> {
    Ok(Plan::Reply(truncated(vec![0, cdb.u8(2) & DEFECT_LISTS, 0, 0], usize::from(cdb.u16(7)))))
}

pub(crate) fn defects12(cdb: &Cdb<'_>, _unit: &Unit<'_>) -> Result<Plan, Sense> {
    Ok(Plan::Reply(truncated(vec![0, cdb.u8(1) & DEFECT_LISTS, 0, 0, 0, 0, 0, 0], cdb.u32(6) as usize)))
}

/// Which lists are valid, and their format: as asked for.
const DEFECT_LISTS: u8 = 0x1f;

/// SPC-4 section 6.36: what `umbra-iscsi`'s driver carries out.
pub(crate) fn task_functions(cdb: &Cdb<'_>, _unit: &Unit<'_>) -> Result<Plan, Sense> {
    const EXTENDED: u8 = 0x80;
    /// ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET, TARGET RESET.
    const FUNCTIONS: u8 = 0x80 | 0x40 | 0x10 | 0x08 | 0x02;
    let mut bytes = vec![FUNCTIONS, 0, 0, 0];
    if cdb.has(2, EXTENDED) {
        bytes[3] = 12;
        bytes.resize(16, 0);
    }
    match cdb.u32(6) as usize {
        0..4 => Err(Sense::INVALID_FIELD_IN_CDB.in_byte(6)),
        allocation => Ok(Plan::Reply(truncated(bytes, allocation))),
    }
}

/// SPC-4 section 6.35.
pub(crate) fn operation_codes(cdb: &Cdb<'_>, unit: &Unit<'_>) -> Result<Plan, Sense> {
    const RCTD: u8 = 0x80;
    let timeouts = cdb.has(2, RCTD);
    let (opcode, action) = (cdb.u8(3), cdb.u16(4));
    let rows = table::offered(unit.features);
    let of_opcode = || rows.clone().filter(move |row| row.opcode == opcode);
    let has_actions = of_opcode().any(|row| row.service_action.is_some());
    let with_action = || of_opcode().find(|row| row.service_action.map(u16::from) == Some(action));
    let plain = || of_opcode().find(|row| row.service_action.is_none());
    let bytes = match cdb.u8(2) & 0x07 {
        0 => all_commands(rows, timeouts),
        1 if has_actions => return Err(Sense::INVALID_FIELD_IN_CDB.in_byte(2)),
        1 => one_command(plain(), timeouts),
        2 if !has_actions => return Err(Sense::INVALID_FIELD_IN_CDB.in_byte(2)),
        2 => one_command(with_action(), timeouts),
        3 => one_command(if has_actions { with_action() } else { plain() }, timeouts),
        _ => return Err(Sense::INVALID_FIELD_IN_CDB.in_byte(2)),
    };
    Ok(Plan::Reply(truncated(bytes, cdb.u32(6) as usize)))
}

/// Command timeouts descriptor (section 6.35.4): no timeout is known.
const TIMEOUTS: [u8; 12] = [0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn all_commands(rows: impl Iterator<Item = &'static Row>, timeouts: bool) -> Vec<u8> {
    const SERVACTV: u8 = 0x01;
    const CTDP: u8 = 0x02;
    let mut bytes = vec![0; 4];
    for row in rows {
        let flags = if row.service_action.is_some() { SERVACTV } else { 0 } | if timeouts { CTDP } else { 0 };
        bytes.extend_from_slice(&[row.opcode, 0, 0, row.service_action.unwrap_or(0), 0, flags]);
        bytes.extend_from_slice(&(row.usage.len() as u16).to_be_bytes());
        if timeouts {
            bytes.extend_from_slice(&TIMEOUTS);
        }
    }
    let length = (bytes.len() - 4) as u32;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    bytes
}

fn one_command(row: Option<&Row>, timeouts: bool) -> Vec<u8> {
    const NOT_SUPPORTED: u8 = 0x01;
    const BY_THE_STANDARD: u8 = 0x03;
    const CTDP: u8 = 0x80;
    let Some(row) = row else { return vec![0, NOT_SUPPORTED, 0, 0] };
    let mut bytes = vec![0, BY_THE_STANDARD | if timeouts { CTDP } else { 0 }];
    bytes.extend_from_slice(&(row.usage.len() as u16).to_be_bytes());
    let usage_at = bytes.len();
    bytes.extend_from_slice(row.usage);
    if let Some(action) = row.service_action {
        bytes[usage_at + 1] = bytes[usage_at + 1] & 0xe0 | action;
    }
    if timeouts {
        bytes.extend_from_slice(&TIMEOUTS);
    }
    bytes
}

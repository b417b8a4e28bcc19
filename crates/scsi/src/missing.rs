//! A LUN at which there is no unit: SPC-4 section 6.6.2, SAM-5 section 5.11.

use crate::cdb::{Cdb, truncated};
use crate::inquiry::STANDARD_BYTES;
use crate::plan::Plan;
use crate::report;
use crate::sense::{Sense, SenseFormat};

/// What no unit at a LUN means there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// LUN 0 always answers (design A1): a unit could be there (qualifier 001b), so that scanning goes on.
    LunZero,
    /// Nothing can be there (qualifier 011b).
    Other,
}

/// Decodes a command to a LUN without a unit.
pub fn plan_missing(cdb: &[u8; 16], absence: Absence) -> Result<Plan, Sense> {
    const INQUIRY: u8 = 0x12;
    const REPORT_LUNS: u8 = 0xa0;
    const REQUEST_SENSE: u8 = 0x03;
    let cdb = Cdb(cdb);
    match cdb.u8(0) {
        INQUIRY => inquiry(&cdb, absence),
        REPORT_LUNS => report::plan_report_luns(&cdb),
        REQUEST_SENSE => {
            let format = if cdb.has(1, 1) { SenseFormat::Descriptor } else { SenseFormat::Fixed };
            let sense = Sense::LOGICAL_UNIT_NOT_SUPPORTED.encode(format);
            Ok(Plan::Reply(truncated(sense, usize::from(cdb.u8(4)))))
        }
        _ => Err(Sense::LOGICAL_UNIT_NOT_SUPPORTED),
    }
}

fn inquiry(cdb: &Cdb<'_>, absence: Absence) -> Result<Plan, Sense> {
    const UNKNOWN_TYPE: u8 = 0x1f;
    cdb.refuse(1, 0x01)?;
    let qualifier = match absence {
        Absence::LunZero => 0b001,
        Absence::Other => 0b011,
    };
    let mut bytes = vec![0; STANDARD_BYTES];
    bytes[0] = qualifier << 5 | UNKNOWN_TYPE;
    (bytes[2], bytes[3], bytes[4]) = (0x06, 0x12, (STANDARD_BYTES - 5) as u8);
    bytes[8..36].fill(b' ');
    Ok(Plan::Reply(truncated(bytes, usize::from(cdb.u16(3)))))
}

//! LOG SENSE: SPC-4 sections 6.8 and 7.3, SBC-3 section 6.5.
//!
//! What always holds: every page that the list of supported pages names can be read.

use crate::bytes::put;
use crate::cdb::Cdb;
use crate::features::Feature;
use crate::plan::Plan;
use crate::sense::Sense;
use crate::threshold::{self, Resource, Resources};
use crate::unit::Unit;

/// A page whose contents the driver counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// PARAMETER POINTER: the first parameter that is wanted.
    from: u16,
    allocation: usize,
}

const SUPPORTED: (u8, u8) = (0x00, 0x00);
const SUPPORTED_SUBPAGES: (u8, u8) = (0x00, 0xff);
const PROVISIONING: (u8, u8) = (0x0c, 0x00);
const EXCEPTIONS: (u8, u8) = (0x2f, 0x00);

/// Pages and subpages, ascending.
fn pages(unit: &Unit<'_>) -> impl Iterator<Item = (u8, u8)> {
    let counted = unit.features.has(Feature::Thresholds).then_some(PROVISIONING);
    [SUPPORTED, SUPPORTED_SUBPAGES].into_iter().chain(counted).chain([EXCEPTIONS])
}

pub(crate) fn sense(cdb: &Cdb<'_>, unit: &Unit<'_>) -> Result<Plan, Sense> {
    const SAVE: u8 = 0x01;
    cdb.refuse(1, SAVE)?;
    let page = (cdb.u8(2) & 0x3f, cdb.u8(3));
    let (from, allocation) = (cdb.u16(5), usize::from(cdb.u16(7)));
    if !pages(unit).any(|known| known == page) {
        return Err(Sense::INVALID_FIELD_IN_CDB.in_byte(2).in_bit(5));
    }
    let parameters = match page {
        PROVISIONING => return Ok(Plan::LogSense(Wanted { from, allocation })),
        SUPPORTED => pages(unit).filter(|(_, subpage)| *subpage == 0).map(|(code, _)| code).collect(),
        SUPPORTED_SUBPAGES => pages(unit).flat_map(|(code, subpage)| [code, subpage]).collect(),
        _ => exceptions(),
    };
    if from != 0 {
        return Err(Sense::INVALID_FIELD_IN_CDB.in_byte(5));
    }
    Ok(Plan::Reply(whole(page, &parameters, allocation)))
}

/// The page with its header (SPC-4 section 7.3.2).
fn whole((code, subpage): (u8, u8), parameters: &[u8], allocation: usize) -> Vec<u8> {
    const SPF: u8 = 0x40;
    let format = if subpage == 0 { 0 } else { SPF };
    let mut bytes = vec![format | code, subpage, 0, 0];
    put(&mut bytes, 2, &(parameters.len() as u16).to_be_bytes());
    bytes.extend_from_slice(parameters);
    bytes.truncate(allocation);
    bytes
}

/// FORMAT AND LINKING 11b: a list in binary form.
const BINARY_LIST: u8 = 0x03;

/// One general parameter: no exception, no temperature (SPC-4 section 7.3.11).
fn exceptions() -> Vec<u8> {
    const NO_TEMPERATURE: u8 = 0xff;
    vec![0, 0, BINARY_LIST, 3, 0, 0, NO_TEMPERATURE]
}

impl Wanted {
    /// The logical block provisioning page (0Ch): counts in threshold sets.
    pub fn page(&self, resources: &Resources) -> Result<Vec<u8>, Sense> {
        let all = [(threshold::AVAILABLE, &resources.available), (threshold::USED, &resources.used)];
        let wanted = all.iter().filter(|(code, _)| *code >= self.from);
        let parameters: Vec<u8> = wanted.flat_map(|(code, resource)| parameter(*code, resource)).collect();
        if parameters.is_empty() {
            return Err(Sense::INVALID_FIELD_IN_CDB.in_byte(5));
        }
        Ok(whole(PROVISIONING, &parameters, self.allocation))
    }
}

/// Resource count parameter: SBC-3 section 6.5.
fn parameter(code: u16, resource: &Resource) -> [u8; 12] {
    let mut bytes = [0; 12];
    put(&mut bytes, 0, &code.to_be_bytes());
    (bytes[2], bytes[3]) = (BINARY_LIST, 8);
    put(&mut bytes, 4, &resource.sets().to_be_bytes());
    bytes[8] = resource.scope as u8;
    bytes
}

//! Mode parameters: MODE SENSE and MODE SELECT, SPC-4 sections 6.11 to 6.14 and 7.5.
//!
//! Nothing is saved: a restart, and a reset of the unit, bring the defaults back. What always holds: a MODE SELECT that is
//! refused changes nothing; what it sets, MODE SENSE shows.

mod pages;

use crate::bytes::{be16, put};
use crate::cdb::{Cdb, truncated};
use crate::limits::{BLOCK, MODE_LIST_BYTES};
use crate::plan::Plan;
use crate::sense::{Sense, SenseFormat};
use crate::threshold::Thresholds;
use crate::unit::Unit;
use pages::{Page, Values};

/// What MODE SELECT can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ModeState {
    /// D_SENSE.
    pub sense_format: SenseFormat,
    /// SWP.
    pub software_write_protect: bool,
    /// The logical block provisioning page, where thresholds are offered.
    pub thresholds: Thresholds,
}

/// Which of the two layouts of the parameter header a command uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    Six,
    Ten,
}

impl Header {
    fn bytes(self) -> usize {
        match self {
            Header::Six => 4,
            Header::Ten => 8,
        }
    }
}

pub(crate) fn sense6(cdb: &Cdb<'_>, unit: &Unit<'_>) -> Result<Plan, Sense> {
    sense(cdb, unit, Header::Six, usize::from(cdb.u8(4)))
}

pub(crate) fn sense10(cdb: &Cdb<'_>, unit: &Unit<'_>) -> Result<Plan, Sense> {
    sense(cdb, unit, Header::Ten, usize::from(cdb.u16(7)))
}

fn sense(cdb: &Cdb<'_>, unit: &Unit<'_>, header: Header, allocation: usize) -> Result<Plan, Sense> {
    const DBD: u8 = 0x08;
    const LLBAA: u8 = 0x10;
    let values = match cdb.u8(2) >> 6 {
        0 => Values::Current,
        1 => Values::Changeable,
        2 => Values::Default,
        _ => return Err(Sense::SAVING_NOT_SUPPORTED),
    };
    let pages = wanted_pages(cdb.u8(2) & 0x3f, cdb.u8(3), unit, values)?;
    let descriptor = match (cdb.has(1, DBD), header) {
        (true, _) => Vec::new(),
        (false, Header::Ten) if cdb.has(1, LLBAA) => long_descriptor(unit),
        (false, _) => short_descriptor(unit),
    };
    let mut bytes = parameter_header(unit, header, &descriptor, pages.len());
    bytes.extend_from_slice(&descriptor);
    bytes.extend_from_slice(&pages);
    Ok(Plan::Reply(truncated(bytes, allocation)))
}

/// One page, all pages, or those with their subpages (SPC-4 section 6.13, mode page code usage).
fn wanted_pages(code: u8, subpage: u8, unit: &Unit<'_>, values: Values) -> Result<Vec<u8>, Sense> {
    const ALL_PAGES: u8 = 0x3f;
    const ALL_SUBPAGES: u8 = 0xff;
    let is_wanted = |page: &&Page| {
        (code == ALL_PAGES || page.code == code) && (subpage == ALL_SUBPAGES || page.subpage == subpage)
    };
    if code == ALL_PAGES && !matches!(subpage, 0 | ALL_SUBPAGES) {
        return Err(Sense::INVALID_FIELD_IN_CDB.in_byte(3));
    }
    let mut wanted = pages::offered(unit).filter(is_wanted).peekable();
    if wanted.peek().is_none() {
        return Err(Sense::INVALID_FIELD_IN_CDB.in_byte(2).in_bit(5));
    }
    Ok(wanted.flat_map(|page| page.bytes(unit, values)).collect())
}

/// The device-specific parameter has WP and DPOFUA (SBC-3 section 6.4).
fn parameter_header(unit: &Unit<'_>, header: Header, descriptor: &[u8], pages: usize) -> Vec<u8> {
    const WP: u8 = 0x80;
    const DPOFUA: u8 = 0x10;
    let device = DPOFUA | if unit.writable().is_err() { WP } else { 0 };
    let following = header.bytes() + descriptor.len() + pages;
    match header {
        Header::Six => vec![(following - 1) as u8, 0, device, descriptor.len() as u8],
        Header::Ten => {
            let [high, low] = ((following - 2) as u16).to_be_bytes();
            let long_lba = u8::from(descriptor.len() == 16);
            vec![high, low, 0, device, long_lba, 0, 0, descriptor.len() as u8]
        }
    }
}

fn short_descriptor(unit: &Unit<'_>) -> Vec<u8> {
    let blocks = u32::try_from(unit.blocks()).unwrap_or(u32::MAX);
    let mut bytes = blocks.to_be_bytes().to_vec();
    bytes.extend_from_slice(&(BLOCK as u32).to_be_bytes());
    bytes
}

fn long_descriptor(unit: &Unit<'_>) -> Vec<u8> {
    let mut bytes = vec![0; 16];
    put(&mut bytes, 0, &unit.blocks().to_be_bytes());
    put(&mut bytes, 12, &(BLOCK as u32).to_be_bytes());
    bytes
}

pub(crate) fn select6(cdb: &Cdb<'_>, _unit: &Unit<'_>) -> Result<Plan, Sense> {
    plan_select(cdb, usize::from(cdb.u8(4)), Header::Six)
}

pub(crate) fn select10(cdb: &Cdb<'_>, _unit: &Unit<'_>) -> Result<Plan, Sense> {
    plan_select(cdb, usize::from(cdb.u16(7)), Header::Ten)
}

fn plan_select(cdb: &Cdb<'_>, list: usize, header: Header) -> Result<Plan, Sense> {
    const PF: u8 = 0x10;
    const SP: u8 = 0x01;
    cdb.refuse(1, SP)?;
    if !cdb.has(1, PF) || list > MODE_LIST_BYTES {
        return Err(Sense::INVALID_FIELD_IN_CDB.in_byte(1));
    }
    Ok(Plan::ModeSelect { list, header })
}

/// The state after a MODE SELECT with this parameter list. Pages may differ from the current values only where they
/// are changeable; nothing changes on a refusal. Where the state changed, all other nexuses of the unit get
/// [`Sense::MODE_PARAMETERS_CHANGED`].
pub fn select(list: &[u8], header: Header, unit: &Unit<'_>) -> Result<ModeState, Sense> {
    if list.is_empty() {
        return Ok(unit.mode);
    }
    let Some((head, rest)) = list.split_at_checked(header.bytes()) else {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR);
    };
    let (at, descriptor) = match header {
        Header::Six => (3, usize::from(head[3])),
        Header::Ten => (6, usize::from(be16(head, 6))),
    };
    let Some((descriptor, mut pages)) = rest.split_at_checked(descriptor) else {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR);
    };
    let same_descriptor =
        descriptor.is_empty() || descriptor == short_descriptor(unit) || descriptor == long_descriptor(unit);
    if !same_descriptor {
        return Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(at));
    }
    let mut state = unit.mode;
    while !pages.is_empty() {
        pages = pages::select(pages, list.len() - pages.len(), unit, &mut state)?;
    }
    Ok(state)
}

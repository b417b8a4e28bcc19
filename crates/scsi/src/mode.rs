//! Mode parameters: SPC-4 sections 6.9 to 6.12 and 7.5, SBC-3 section 6.4.
//!
//! Two pages: caching (08h; nothing changeable, WCE is as design A2 says) and control (0Ah; D_SENSE and SWP changeable).
//! Nothing is saved: a restart brings the defaults back.

use crate::cdb::{Cdb, truncated};
use crate::limits::{BLOCK, MODE_LIST_BYTES};
use crate::plan::Plan;
use crate::sense::{Sense, SenseFormat};
use crate::unit::{Access, Unit, WriteCache};

/// What MODE SELECT can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ModeState {
    /// D_SENSE.
    pub sense_format: SenseFormat,
    /// SWP.
    pub software_write_protect: bool,
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

const CACHING: u8 = 0x08;
const CONTROL: u8 = 0x0a;
const ALL_PAGES: u8 = 0x3f;
const D_SENSE: u8 = 0x04;
const SWP: u8 = 0x08;

/// Page control: which values are wanted (SPC-4 table 145).
#[derive(Clone, Copy)]
enum Values {
    Current,
    Changeable,
    Default,
}

fn caching(unit: &Unit<'_>, values: Values) -> Vec<u8> {
    const WCE: u8 = 0x04;
    let mut page = vec![0; 20];
    (page[0], page[1]) = (CACHING, 18);
    if let (Values::Current | Values::Default, WriteCache::Back) = (values, unit.cache) {
        page[2] = WCE;
    }
    page
}

fn control(unit: &Unit<'_>, values: Values) -> Vec<u8> {
    /// QUEUE ALGORITHM MODIFIER 1: simple tasks may be reordered without restriction.
    const UNRESTRICTED: u8 = 0x10;
    let state = match values {
        Values::Current => unit.mode,
        Values::Default => ModeState::default(),
        Values::Changeable => {
            ModeState { sense_format: SenseFormat::Descriptor, software_write_protect: true }
        }
    };
    let mut page = vec![0; 12];
    (page[0], page[1]) = (CONTROL, 10);
    if state.sense_format == SenseFormat::Descriptor {
        page[2] |= D_SENSE;
    }
    if state.software_write_protect {
        page[4] |= SWP;
    }
    if !matches!(values, Values::Changeable) {
        page[3] = UNRESTRICTED;
        // Busy timeout period: unlimited.
        (page[8], page[9]) = (0xff, 0xff);
    }
    page
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
    let pages = pages(cdb.u8(2) & 0x3f, cdb.u8(3), unit, values)?;
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

fn pages(code: u8, subpage: u8, unit: &Unit<'_>, values: Values) -> Result<Vec<u8>, Sense> {
    match (code, subpage) {
        (CACHING, 0) => Ok(caching(unit, values)),
        (CONTROL, 0) => Ok(control(unit, values)),
        (ALL_PAGES, 0 | 0xff) => Ok([caching(unit, values), control(unit, values)].concat()),
        _ => Err(Sense::INVALID_FIELD_IN_CDB.in_byte(2)),
    }
}

/// The device-specific parameter has WP and DPOFUA (SBC-3 section 6.4.1).
fn parameter_header(unit: &Unit<'_>, header: Header, descriptor: &[u8], pages: usize) -> Vec<u8> {
    const WP: u8 = 0x80;
    const DPOFUA: u8 = 0x10;
    let protected = unit.access == Access::ReadOnly || unit.mode.software_write_protect;
    let device = DPOFUA | if protected { WP } else { 0 };
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
    let mut bytes = unit.blocks().to_be_bytes().to_vec();
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&(BLOCK as u32).to_be_bytes());
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
/// are changeable; nothing changes on a refusal.
pub fn select(list: &[u8], header: Header, unit: &Unit<'_>) -> Result<ModeState, Sense> {
    if list.is_empty() {
        return Ok(unit.mode);
    }
    let Some((head, rest)) = list.split_at_checked(header.bytes()) else {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR);
    };
    let descriptor = match header {
        Header::Six => usize::from(head[3]),
        Header::Ten => usize::from(u16::from_be_bytes([head[6], head[7]])),
    };
    let Some((descriptor, mut pages)) = rest.split_at_checked(descriptor) else {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR);
    };
    let same_descriptor =
        descriptor.is_empty() || descriptor == short_descriptor(unit) || descriptor == long_descriptor(unit);
    if !same_descriptor {
        return Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST);
    }
    let mut state = unit.mode;
    while !pages.is_empty() {
        pages = select_page(pages, unit, &mut state)?;
    }
    Ok(state)
}

/// Takes one page off the list.
fn select_page<'a>(list: &'a [u8], unit: &Unit<'_>, state: &mut ModeState) -> Result<&'a [u8], Sense> {
    let code = list[0] & 0x3f;
    let (current, changeable) = match list[0] {
        CACHING | 0x88 => (caching(unit, Values::Current), caching(unit, Values::Changeable)),
        CONTROL | 0x8a => (control(unit, Values::Current), control(unit, Values::Changeable)),
        _ => return Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST),
    };
    if list.get(1) != current.get(1) {
        return Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST);
    }
    let Some((page, rest)) = list.split_at_checked(current.len()) else {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR);
    };
    let illegal =
        page.iter().zip(&current).zip(&changeable).skip(2).any(|((new, old), may)| (new ^ old) & !may != 0);
    if illegal {
        return Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST);
    }
    if code == CONTROL {
        state.sense_format =
            if page[2] & D_SENSE != 0 { SenseFormat::Descriptor } else { SenseFormat::Fixed };
        state.software_write_protect = page[4] & SWP != 0;
    }
    Ok(rest)
}

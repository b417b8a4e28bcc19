//! The mode pages of a disk: SPC-4 section 7.5, SBC-3 section 6.4.
//!
//! What always holds: a page has the same length for all kinds of values; bits that are one in the changeable values, and
//! no others, can be set by MODE SELECT.

use super::ModeState;
use crate::bytes::{be16, be32, put};
use crate::features::Feature;
use crate::sense::{Sense, SenseFormat};
use crate::threshold::{self, Threshold, Thresholds};
use crate::unit::{TaskSets, Unit, WriteCache};

/// Page control: which values are wanted (SPC-4 section 6.13).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    Current,
    Changeable,
    Default,
}

/// A mode page that we know.
pub(super) struct Page {
    pub code: u8,
    pub subpage: u8,
    feature: Option<Feature>,
    /// Everything after the page's header.
    body: fn(&Unit<'_>, Values) -> Vec<u8>,
    /// Takes over what a page says, header included, once it was seen that only changeable bits differ.
    apply: fn(&[u8], &mut ModeState),
}

const PAGES: [Page; 6] = [
    // Read-write error recovery, SBC-3 6.4.8
    Page { code: 0x01, subpage: 0x00, feature: None, body: error_recovery, apply: nothing },
    // Caching, SBC-3 6.4.5
    Page { code: 0x08, subpage: 0x00, feature: None, body: caching, apply: nothing },
    // Control, SPC-4 7.5.8
    Page { code: 0x0a, subpage: 0x00, feature: None, body: control, apply: apply_control },
    // Control extension, SPC-4 7.5.9
    Page { code: 0x0a, subpage: 0x01, feature: None, body: control_extension, apply: nothing },
    // Informational exceptions control, SBC-3 6.4.6
    Page { code: 0x1c, subpage: 0x00, feature: None, body: exceptions, apply: nothing },
    // Logical block provisioning, SBC-3 6.4.7
    Page {
        code: 0x1c,
        subpage: 0x02,
        feature: Some(Feature::Thresholds),
        body: provisioning,
        apply: apply_provisioning,
    },
];

/// The pages that are offered, in ascending order.
pub(super) fn offered(unit: &Unit<'_>) -> impl Iterator<Item = &'static Page> {
    let features = unit.features;
    PAGES.iter().filter(move |page| page.feature.is_none_or(|feature| features.has(feature)))
}

const SUBPAGE_FORMAT: u8 = 0x40;
const PAGE_CODE: u8 = 0x3f;

impl Page {
    /// The whole page.
    pub fn bytes(&self, unit: &Unit<'_>, values: Values) -> Vec<u8> {
        let body = (self.body)(unit, values);
        let mut bytes = match self.subpage {
            0 => vec![self.code, body.len() as u8],
            subpage => {
                let [high, low] = (body.len() as u16).to_be_bytes();
                vec![SUBPAGE_FORMAT | self.code, subpage, high, low]
            }
        };
        bytes.extend_from_slice(&body);
        bytes
    }

    fn header(&self) -> usize {
        if self.subpage == 0 { 2 } else { 4 }
    }
}

/// Takes one page off a MODE SELECT list, in which it begins at `at`.
pub(super) fn select<'a>(
    list: &'a [u8],
    at: usize,
    unit: &Unit<'_>,
    state: &mut ModeState,
) -> Result<&'a [u8], Sense> {
    let wrong = |byte: usize| Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(at + byte);
    let code = list[0] & PAGE_CODE;
    let subpage = match list[0] & SUBPAGE_FORMAT {
        0 => 0,
        _ => list.get(1).copied().filter(|subpage| *subpage != 0).ok_or(wrong(1))?,
    };
    let page = offered(unit).find(|page| (page.code, page.subpage) == (code, subpage)).ok_or(wrong(0))?;
    let (current, changeable) = (page.bytes(unit, Values::Current), page.bytes(unit, Values::Changeable));
    // PS is reserved here; the page's length must be ours.
    if list.iter().zip(&current).take(page.header()).skip(1).any(|(new, old)| new != old) {
        return Err(wrong(page.header() - 1));
    }
    let Some((sent, rest)) = list.split_at_checked(current.len()) else {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR);
    };
    let illegal = |byte: usize| (sent[byte] ^ current[byte]) & !changeable[byte] != 0;
    if let Some(byte) = (page.header()..sent.len()).find(|byte| illegal(*byte)) {
        return Err(wrong(byte));
    }
    (page.apply)(sent, state);
    Ok(rest)
}

fn nothing(_page: &[u8], _state: &mut ModeState) {}

/// Errors are neither retried nor repaired here: the backing does that.
fn error_recovery(_unit: &Unit<'_>, _values: Values) -> Vec<u8> {
    vec![0; 10]
}

/// WCE is as design A2 says; initiators cannot change it.
fn caching(unit: &Unit<'_>, values: Values) -> Vec<u8> {
    const WCE: u8 = 0x04;
    let mut body = vec![0; 18];
    if values != Values::Changeable && unit.cache == WriteCache::Back {
        body[0] = WCE;
    }
    body
}

const D_SENSE: u8 = 0x04;
const SWP: u8 = 0x08;

fn control(unit: &Unit<'_>, values: Values) -> Vec<u8> {
    /// TST 001b.
    const PER_NEXUS: u8 = 0x20;
    /// QUEUE ALGORITHM MODIFIER 1: simple tasks may be reordered without restriction.
    const UNRESTRICTED: u8 = 0x10;
    let mut body = vec![0; 10];
    let state = match values {
        Values::Current => unit.mode,
        Values::Default => ModeState::default(),
        Values::Changeable => {
            (body[0], body[2]) = (D_SENSE, SWP);
            return body;
        }
    };
    if state.sense_format == SenseFormat::Descriptor {
        body[0] |= D_SENSE;
    }
    if unit.task_sets == TaskSets::PerNexus {
        body[0] |= PER_NEXUS;
    }
    body[1] = UNRESTRICTED;
    if state.software_write_protect {
        body[2] |= SWP;
    }
    // Busy timeout period: unlimited.
    (body[6], body[7]) = (0xff, 0xff);
    body
}

fn apply_control(page: &[u8], state: &mut ModeState) {
    let descriptor = page[2] & D_SENSE != 0;
    state.sense_format = if descriptor { SenseFormat::Descriptor } else { SenseFormat::Fixed };
    state.software_write_protect = page[4] & SWP != 0;
}

/// No command priorities, no changes of access states by ourselves (IALUAE), sense data as long as it is.
fn control_extension(_unit: &Unit<'_>, _values: Values) -> Vec<u8> {
    vec![0; 28]
}

/// No informational exceptions are reported: DEXCPT is one.
fn exceptions(_unit: &Unit<'_>, values: Values) -> Vec<u8> {
    const DEXCPT: u8 = 0x08;
    let mut body = vec![0; 10];
    if values != Values::Changeable {
        body[0] = DEXCPT;
    }
    body
}

const ENABLED: u8 = 0x80;

/// Two thresholds, whose resource and direction are fixed: what is available decreases, what is used increases. SITUA is
/// zero and stays so: every nexus is told, as no choice of one would be right for hosts that know nothing of each other.
fn provisioning(unit: &Unit<'_>, values: Values) -> Vec<u8> {
    const INCREASING: u8 = 0x01;
    let mut body = vec![0; 28];
    let thresholds = match values {
        Values::Current => unit.mode.thresholds,
        Values::Default => Thresholds::default(),
        Values::Changeable => {
            let any = Threshold { enabled: true, sets: u32::MAX };
            Thresholds { available: any, used: any }
        }
    };
    describe(&mut body[threshold::AVAILABLE_AT - 4..], thresholds.available);
    describe(&mut body[threshold::USED_AT - 4..], thresholds.used);
    if values != Values::Changeable {
        body[threshold::AVAILABLE_AT - 3] = threshold::AVAILABLE as u8;
        body[threshold::USED_AT - 4] |= INCREASING;
        body[threshold::USED_AT - 3] = threshold::USED as u8;
    }
    body
}

/// A threshold descriptor (SBC-3 section 6.4.7), except what is fixed.
fn describe(descriptor: &mut [u8], threshold: Threshold) {
    descriptor[0] = if threshold.enabled { ENABLED } else { 0 };
    put(descriptor, 4, &threshold.sets.to_be_bytes());
}

fn apply_provisioning(page: &[u8], state: &mut ModeState) {
    let threshold = |at: usize| Threshold { enabled: page[at] & ENABLED != 0, sets: be32(page, at + 4) };
    debug_assert_eq!(usize::from(be16(page, 2)) + 4, page.len());
    state.thresholds =
        Thresholds { available: threshold(threshold::AVAILABLE_AT), used: threshold(threshold::USED_AT) };
}

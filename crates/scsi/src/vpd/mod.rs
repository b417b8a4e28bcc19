//! Vital product data pages: SPC-4 section 7.8, SBC-3 section 6.6.
//!
//! What always holds: the list of supported pages names exactly those that can be read; lengths are those of the whole
//! page, whatever the allocation length.

mod identity;
mod limits;

pub(crate) use identity::uuid as uuid_designator;

use crate::copy;
use crate::features::Feature;
use crate::unit::{Unit, WriteCache};

struct Page {
    code: u8,
    is_offered: fn(&Unit<'_>) -> bool,
    body: fn(&Unit<'_>) -> Vec<u8>,
}

/// Every page, in ascending order.
const PAGES: [Page; 10] = [
    Page { code: 0x00, is_offered: always, body: supported },
    Page { code: 0x80, is_offered: always, body: identity::serial_number },
    Page { code: 0x83, is_offered: always, body: identity::identification },
    Page { code: 0x86, is_offered: always, body: extended_inquiry },
    Page { code: 0x87, is_offered: always, body: mode_page_policy },
    Page { code: 0x88, is_offered: with_ports, body: identity::ports },
    Page { code: 0x8f, is_offered: with_copies, body: copy::third_party_page },
    Page { code: 0xb0, is_offered: always, body: limits::block_limits },
    Page { code: 0xb1, is_offered: always, body: limits::characteristics },
    Page { code: 0xb2, is_offered: always, body: limits::provisioning },
];

fn always(_unit: &Unit<'_>) -> bool {
    true
}

fn with_ports(unit: &Unit<'_>) -> bool {
    unit.features.has(Feature::PortGroups)
}

fn with_copies(unit: &Unit<'_>) -> bool {
    unit.features.copies()
}

fn offered<'a>(unit: &'a Unit<'_>) -> impl Iterator<Item = &'static Page> + use<'a> {
    PAGES.iter().filter(|page| (page.is_offered)(unit))
}

/// The whole page, header included.
pub(crate) fn page(code: u8, unit: &Unit<'_>) -> Option<Vec<u8>> {
    let page = offered(unit).find(|page| page.code == code)?;
    let body = (page.body)(unit);
    let mut bytes = vec![0, code];
    bytes.extend_from_slice(&(body.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&body);
    Some(bytes)
}

fn supported(unit: &Unit<'_>) -> Vec<u8> {
    offered(unit).map(|page| page.code).collect()
}

/// SPC-4 section 7.8.7: all task attributes, a volatile cache where there is one, attentions cleared as SAM-5 says.
fn extended_inquiry(unit: &Unit<'_>) -> Vec<u8> {
    const HEADSUP_ORDSUP_SIMPSUP: u8 = 0x07;
    const V_SUP: u8 = 0x01;
    const LUICLR: u8 = 0x01;
    const SENSE_BYTES: u8 = 252;
    let mut body = vec![0; 60];
    body[1] = HEADSUP_ORDSUP_SIMPSUP;
    body[2] = if unit.cache == WriteCache::Back { V_SUP } else { 0 };
    body[3] = LUICLR;
    body[9] = SENSE_BYTES;
    body
}

/// SPC-4 section 7.8.11: all pages and subpages are shared by all initiators, but for the caching page: who flushes on its own
/// account has a write-back cache, others do not (A2).
fn mode_page_policy(_unit: &Unit<'_>) -> Vec<u8> {
    /// Must be the first: of those that no other descriptor names.
    const ALL: [u8; 2] = [0x3f, 0xff];
    const CACHING: [u8; 2] = [0x08, 0];
    const SHARED: u8 = 0;
    const PER_NEXUS: u8 = 3;
    vec![ALL[0], ALL[1], SHARED, 0, CACHING[0], CACHING[1], PER_NEXUS, 0]
}

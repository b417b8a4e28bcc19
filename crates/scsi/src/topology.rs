//! Target ports and their groups, REPORT TARGET PORT GROUPS: SPC-4 section 6.37.
//!
//! What always holds: the relative identifiers of ports are unique in a target, and the port that a command came
//! through is one of them; drivers keep to that.

use crate::bytes::counted;
use crate::cdb::Cdb;
use crate::plan::Plan;
use crate::sense::Sense;
use crate::unit::Unit;

/// The ports through which a unit can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topology<'a> {
    /// The target's iSCSI name.
    pub target: &'a str,
    pub groups: &'a [PortGroup<'a>],
    /// Relative identifier of the port that the command came through.
    pub through: u16,
}

/// Ports with one access state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortGroup<'a> {
    pub number: u16,
    pub access: PortAccess,
    /// PREF: the group to use when there is a choice.
    pub preferred: bool,
    pub ports: &'a [Port],
}

/// A target port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// RELATIVE TARGET PORT IDENTIFIER, from 1.
    pub relative: u16,
    /// The iSCSI target portal group tag, part of the port's name.
    pub portal_group: u16,
}

/// Asymmetric access state (table 307). We tell what is so; no state can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum PortAccess {
    ActiveOptimized = 0x0,
    ActiveNonOptimized = 0x1,
    Standby = 0x2,
    Unavailable = 0x3,
    Transitioning = 0xf,
}

impl<'a> Topology<'a> {
    /// Every port, with its group.
    pub(crate) fn ports(&self) -> impl Iterator<Item = (&'a PortGroup<'a>, &'a Port)> + use<'a> {
        self.groups.iter().flat_map(|group| group.ports.iter().map(move |port| (group, port)))
    }

    /// The port that the command came through, with its group.
    pub(crate) fn here(&self) -> Option<(&'a PortGroup<'a>, &'a Port)> {
        self.ports().find(|(_, port)| port.relative == self.through)
    }

    /// `iqn...,t,0x` and the portal group tag: the name of an iSCSI target port (RFC 7143 section 4.4.3).
    pub(crate) fn port_name(&self, port: &Port) -> String {
        format!("{},t,0x{:04x}", self.target, port.portal_group)
    }
}

/// REPORT TARGET PORT GROUPS, with the short header or the extended one.
pub(crate) fn report_groups(cdb: &Cdb<'_>, unit: &Unit<'_>) -> Result<Plan, Sense> {
    let mut bytes = match cdb.u8(1) >> 5 {
        0 => vec![0; 4],
        // No transition takes time: there are none.
        1 => vec![0, 0, 0, 0, 0x10, 0, 0, 0],
        _ => return Err(Sense::INVALID_FIELD_IN_CDB.in_byte(1).in_bit(7)),
    };
    let groups = unit.topology.map_or(&[][..], |topology| topology.groups);
    groups.iter().for_each(|group| describe(group, &mut bytes));
    Ok(Plan::Reply(counted(bytes, cdb.u32(6) as usize)))
}

/// The target port group descriptor (table 306).
fn describe(group: &PortGroup<'_>, bytes: &mut Vec<u8>) {
    const PREF: u8 = 0x80;
    /// T_SUP, U_SUP, S_SUP, AN_SUP, AO_SUP: the states above.
    const SUPPORTED: u8 = 0x8f;
    const NO_STATUS: u8 = 0;
    let pref = if group.preferred { PREF } else { 0 };
    let [high, low] = group.number.to_be_bytes();
    let count = group.ports.len().min(usize::from(u8::MAX));
    bytes.extend_from_slice(&[pref | group.access as u8, SUPPORTED, high, low, 0, NO_STATUS, 0, count as u8]);
    for port in &group.ports[..count] {
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&port.relative.to_be_bytes());
    }
}

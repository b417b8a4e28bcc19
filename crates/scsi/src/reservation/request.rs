//! PERSISTENT RESERVE IN and OUT as they come: CDBs and parameter lists of SPC-4 sections 6.15 and 6.16.
//!
//! What always holds: a request that was parsed has all that its service action needs, and nothing in it is larger than
//! the parameter list was.

use super::nexus::{InitiatorPort, TransportId};
use super::report::Report;
use super::{Key, Kind};
use crate::bytes::{be16, be32, be64};
use crate::cdb::Cdb;
use crate::limits::RESERVE_LIST_BYTES;
use crate::plan::Plan;
use crate::sense::Sense;
use crate::unit::Unit;

/// A PERSISTENT RESERVE OUT whose parameter list has yet to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Out {
    service: Service,
    /// The type, where the CDB has a valid one of the scope LU_SCOPE.
    kind: Option<Kind>,
    /// Bytes of the parameter list.
    pub list: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Register,
    Reserve,
    Release,
    Clear,
    Preempt,
    PreemptAndAbort,
    RegisterAndIgnore,
    RegisterAndMove,
}

/// A request that can be carried out.
pub(super) struct Request {
    /// RESERVATION KEY: what the sender is registered with.
    pub key: Option<Key>,
    pub action: Action,
}

pub(super) enum Action {
    Register(Registration),
    Reserve(Kind),
    Release(Option<Kind>),
    Clear,
    Preempt(Preemption),
    Move(Relocation),
}

pub(super) struct Registration {
    /// Whether the key that is there must be named.
    pub existing: Existing,
    /// None: unregister.
    pub new: Option<Key>,
    /// SPEC_I_PT: who else is registered.
    pub others: Option<Vec<TransportId>>,
    pub all_ports: bool,
    pub persists: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    Checked,
    Ignored,
}

#[derive(Clone, Copy)]
pub(super) struct Preemption {
    pub victims: Option<Key>,
    pub kind: Option<Kind>,
    pub tasks: Tasks,
}

/// What happens to the tasks of the preempted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tasks {
    Stay,
    Aborted,
}

pub(super) struct Relocation {
    pub new: Key,
    pub to: InitiatorPort,
    pub port: u16,
    pub unregister: bool,
    pub persists: bool,
}

pub(crate) fn persistent_in(cdb: &Cdb<'_>, _unit: &Unit<'_>) -> Result<Plan, Sense> {
    let report = match cdb.u8(1) & 0x1f {
        0 => Report::Keys,
        1 => Report::Reservation,
        2 => Report::Capabilities,
        3 => Report::FullStatus,
        _ => return Err(Sense::INVALID_FIELD_IN_CDB.in_byte(1).in_bit(4)),
    };
    Ok(Plan::PersistentReserveIn { report, allocation: usize::from(cdb.u16(7)) })
}

pub(crate) fn persistent_out(cdb: &Cdb<'_>, _unit: &Unit<'_>) -> Result<Plan, Sense> {
    const LU_SCOPE: u8 = 0;
    let service = match cdb.u8(1) & 0x1f {
        0 => Service::Register,
        1 => Service::Reserve,
        2 => Service::Release,
        3 => Service::Clear,
        4 => Service::Preempt,
        5 => Service::PreemptAndAbort,
        6 => Service::RegisterAndIgnore,
        7 => Service::RegisterAndMove,
        _ => return Err(Sense::INVALID_FIELD_IN_CDB.in_byte(1).in_bit(4)),
    };
    let list = cdb.u32(5) as usize;
    if !(BASIC..=RESERVE_LIST_BYTES).contains(&list) {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.in_byte(5));
    }
    let kind = Kind::from_code(cdb.u8(2) & 0x0f).filter(|_| cdb.u8(2) >> 4 == LU_SCOPE);
    Ok(Plan::PersistentReserveOut(Out { service, kind, list }))
}

/// Bytes of the basic parameter list.
const BASIC: usize = 24;
const SPEC_I_PT: u8 = 0x08;
const ALL_TG_PT: u8 = 0x04;
const APTPL: u8 = 0x01;

impl Out {
    /// The request that the parameter list makes of it.
    pub(super) fn parse(&self, list: &[u8]) -> Result<Request, Sense> {
        if list.len() != self.list || list.len() < BASIC {
            return Err(Sense::PARAMETER_LIST_LENGTH_ERROR);
        }
        let (key, second) = (Key::new(be64(list, 0)), Key::new(be64(list, 8)));
        let action = match self.service {
            Service::RegisterAndMove => Action::Move(relocation(list, second)?),
            Service::Register => Action::Register(registration(list, Existing::Checked, second)?),
            _ if list[20] & SPEC_I_PT != 0 => {
                return Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(20).in_bit(3));
            }
            _ if list.len() != BASIC => return Err(Sense::PARAMETER_LIST_LENGTH_ERROR),
            Service::RegisterAndIgnore => Action::Register(registration(list, Existing::Ignored, second)?),
            Service::Reserve => Action::Reserve(self.kind.ok_or(Sense::INVALID_FIELD_IN_CDB.in_byte(2))?),
            Service::Release => Action::Release(self.kind),
            Service::Clear => Action::Clear,
            Service::Preempt => self.preemption(second, Tasks::Stay),
            Service::PreemptAndAbort => self.preemption(second, Tasks::Aborted),
        };
        Ok(Request { key, action })
    }

    fn preemption(&self, victims: Option<Key>, tasks: Tasks) -> Action {
        Action::Preempt(Preemption { victims, kind: self.kind, tasks })
    }
}

fn registration(list: &[u8], existing: Existing, new: Option<Key>) -> Result<Registration, Sense> {
    let flags = list[20];
    let others = if flags & SPEC_I_PT != 0 { Some(transport_ids(list)?) } else { None };
    if others.is_none() && list.len() != BASIC {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR);
    }
    let (all_ports, persists) = (flags & ALL_TG_PT != 0, flags & APTPL != 0);
    Ok(Registration { existing, new, others, all_ports, persists })
}

/// The TransportIDs after the basic list. One that is wrong spoils all.
fn transport_ids(list: &[u8]) -> Result<Vec<TransportId>, Sense> {
    const AT: usize = BASIC + 4;
    if list.len() < AT || be32(list, BASIC) as usize != list.len() - AT {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.in_list(BASIC));
    }
    let (mut ids, mut rest) = (Vec::new(), &list[AT..]);
    while !rest.is_empty() {
        let wrong = Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(list.len() - rest.len());
        let (id, left) = TransportId::take(rest).ok_or(wrong)?;
        ids.push(id);
        rest = left;
    }
    Ok(ids)
}

/// The parameter list of REGISTER AND MOVE (section 6.16.4): one initiator port, by its port.
fn relocation(list: &[u8], new: Option<Key>) -> Result<Relocation, Sense> {
    const UNREG: u8 = 0x02;
    if be32(list, 20) as usize != list.len() - BASIC {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.in_list(20));
    }
    let Some((TransportId::Port(to), [])) = TransportId::take(&list[BASIC..]) else {
        return Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(BASIC));
    };
    let new = new.ok_or(Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(8))?;
    let (unregister, persists) = (list[17] & UNREG != 0, list[17] & APTPL != 0);
    Ok(Relocation { new, to, port: be16(list, 18), unregister, persists })
}

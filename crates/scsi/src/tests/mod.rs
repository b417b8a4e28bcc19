//! The command table against what the standards say of each command: CDB in, plan or sense out.

mod any;
mod blocks;
mod conflicts;
mod modes;
mod pages;
mod reports;

use crate::mode::ModeState;
use crate::topology::{Port, PortAccess, PortGroup, Topology};
use crate::*;

pub(crate) const BLOCKS: u64 = 2048;

pub(crate) fn identity() -> LunIdentity {
    LunIdentity {
        naa: 0x3123_4567_89ab_cdef,
        uuid: *b"0123456789abcdef",
        serial: "SER-1".to_owned(),
        product: "LUN".to_owned(),
    }
}

const FIRST: &[Port] = &[Port { relative: 1, portal_group: 1 }, Port { relative: 2, portal_group: 0x10 }];
const SECOND: &[Port] = &[Port { relative: 3, portal_group: 2 }];
const GROUPS: &[PortGroup<'_>] = &[
    PortGroup { number: 1, access: PortAccess::ActiveOptimized, preferred: true, ports: FIRST },
    PortGroup { number: 7, access: PortAccess::Standby, preferred: false, ports: SECOND },
];
pub(crate) const TARGET: &str = "iqn.2024-01.test:array";

/// A unit of a driver that offers nothing beyond the basic commands.
pub(crate) fn with_unit<T>(change: impl FnOnce(&mut Unit<'_>), check: impl FnOnce(&Unit<'_>) -> T) -> T {
    let identity = identity();
    let mut unit = Unit {
        vendor: "UMBRA",
        revision: "0001",
        identity: &identity,
        size_bytes: BLOCKS * limits::BLOCK,
        access: Access::ReadWrite,
        cache: WriteCache::Back,
        mode: ModeState::default(),
        physical_exponent: 3,
        allocation: 65_536,
        features: Features::NONE,
        atomic: AtomicLimits::default(),
        task_sets: TaskSets::One,
        topology: None,
    };
    change(&mut unit);
    check(&unit)
}

/// Everything switched on.
pub(crate) fn everything(unit: &mut Unit<'_>) {
    unit.features = Features::ALL;
    unit.atomic = AtomicLimits { blocks: 256, alignment: 8, granularity: 4 };
    unit.topology = Some(Topology { target: TARGET, groups: GROUPS, through: 2 });
}

pub(crate) fn cdb(bytes: &[u8]) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[..bytes.len()].copy_from_slice(bytes);
    cdb
}

/// With the basic commands only.
fn decode(bytes: &[u8]) -> Result<Plan, Sense> {
    with_unit(|_| {}, |unit| plan(&cdb(bytes), unit))
}

/// With everything switched on.
pub(crate) fn decode_all(bytes: &[u8]) -> Result<Plan, Sense> {
    with_unit(everything, |unit| plan(&cdb(bytes), unit))
}

fn bytes_of(plan: Result<Plan, Sense>) -> Vec<u8> {
    match plan {
        Ok(Plan::Reply(reply)) => reply,
        other => panic!("{other:?}"),
    }
}

fn reply(bytes: &[u8]) -> Vec<u8> {
    bytes_of(decode(bytes))
}

pub(crate) fn reply_all(bytes: &[u8]) -> Vec<u8> {
    bytes_of(decode_all(bytes))
}

/// Key, code, qualifier.
fn refusal(bytes: &[u8]) -> (u8, u8, u8) {
    let sense = decode(bytes).expect_err("it should be refused");
    (sense.key, sense.code, sense.qualifier)
}

const OUT_OF_RANGE: (u8, u8, u8) = (5, 0x21, 0);
const INVALID_FIELD: (u8, u8, u8) = (5, 0x24, 0);

//! Requests as they come over the wire, and what they do to a unit.

mod any;
mod legacy;
mod preempting;
mod registering;
mod relocating;
mod reports;
mod reserving;
mod saved;

use super::nexus::transport_id;
use super::*;
use crate::Plan;
use crate::tests::decode_all;

const REGISTER: u8 = 0;
const RESERVE: u8 = 1;
const RELEASE: u8 = 2;
const CLEAR: u8 = 3;
const PREEMPT: u8 = 4;
const PREEMPT_AND_ABORT: u8 = 5;
const REGISTER_AND_IGNORE: u8 = 6;
const REGISTER_AND_MOVE: u8 = 7;

const SPEC_I_PT: u8 = 0x08;
const ALL_TG_PT: u8 = 0x04;
const APTPL: u8 = 0x01;

const READ: [u8; 16] = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
const WRITE: [u8; 16] = [0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];

fn initiator(name: &str) -> InitiatorPort {
    InitiatorPort::new(&format!("iqn.2024-01.test:{name}"), [0x00, 0x02, 0x3d, 0, 0, 1]).unwrap()
}

fn nexus(name: &str, port: u16) -> Nexus {
    Nexus { initiator: initiator(name), port }
}

fn a() -> Nexus {
    nexus("a", 1)
}

fn b() -> Nexus {
    nexus("b", 1)
}

fn c() -> Nexus {
    nexus("c", 2)
}

fn key(value: u64) -> Key {
    Key::new(value).unwrap()
}

/// A PERSISTENT RESERVE OUT.
#[derive(Debug, Clone, Default)]
struct Ask {
    action: u8,
    kind: u8,
    key: u64,
    second: u64,
    flags: u8,
    tail: Vec<u8>,
}

impl Ask {
    fn list(&self) -> Vec<u8> {
        let mut list = [self.key.to_be_bytes(), self.second.to_be_bytes(), [0; 8]].concat();
        list[20] = self.flags;
        list.extend_from_slice(&self.tail);
        list
    }

    fn cdb(&self, list: usize) -> [u8; 10] {
        let [_, _, _, _, a, b, c, d] = (list as u64).to_be_bytes();
        [0x5f, self.action, self.kind, 0, 0, a, b, c, d, 0]
    }
}

fn out(ask: &Ask, list: usize) -> Result<Out, Sense> {
    match decode_all(&ask.cdb(list))? {
        Plan::PersistentReserveOut(out) => Ok(out),
        other => panic!("{other:?}"),
    }
}

/// A unit with two ports, and what its initiators were told.
#[derive(Debug, Default)]
struct World {
    state: Reservations,
    told: Vec<(Nexus, Sense)>,
    aborted: Vec<Nexus>,
}

const PORTS: [u16; 2] = [1, 2];

impl World {
    /// Carries a request out as a driver does; attentions and aborts of earlier requests are forgotten.
    fn send(&mut self, from: &Nexus, ask: &Ask) -> Result<(), Refusal> {
        let list = ask.list();
        let initiators = [initiator("a"), initiator("b"), initiator("c")];
        let known = Known { ports: &PORTS, initiators: &initiators };
        let before = self.state.clone();
        (self.told, self.aborted) = (Vec::new(), Vec::new());
        let outcome = before.apply(&out(ask, list.len())?, &list, from, &known)?;
        (self.state, self.told, self.aborted) = (outcome.state, outcome.attentions, outcome.abort);
        Ok(())
    }

    fn register(&mut self, from: &Nexus, key: u64) {
        let ask = Ask { action: REGISTER_AND_IGNORE, second: key, ..Ask::default() };
        self.send(from, &ask).expect("a registration");
    }

    fn reserve(&mut self, from: &Nexus, key: u64, kind: Kind) -> Result<(), Refusal> {
        self.send(from, &Ask { action: RESERVE, kind: kind as u8, key, ..Ask::default() })
    }

    fn release(&mut self, from: &Nexus, key: u64, kind: Kind) -> Result<(), Refusal> {
        self.send(from, &Ask { action: RELEASE, kind: kind as u8, key, ..Ask::default() })
    }

    /// `a`, `b` and `c` are registered with 0xa, 0xb and 0xc; `a` reserves.
    fn reserved(kind: Kind) -> World {
        let mut world = World::default();
        for (nexus, key) in [(a(), 0xa), (b(), 0xb), (c(), 0xc)] {
            world.register(&nexus, key);
        }
        world.reserve(&a(), 0xa, kind).unwrap();
        world
    }

    fn told(&self) -> Vec<(Nexus, Sense)> {
        self.told.clone()
    }

    fn keys(&self) -> Vec<u64> {
        self.state.registrants.iter().map(|one| one.key.get()).collect()
    }

    fn holder(&self) -> Option<(Kind, Holder)> {
        self.state.held.as_ref().map(|held| (held.kind, held.by.clone()))
    }
}

const CONFLICT: Result<(), Refusal> = Err(Refusal::ReservationConflict);

fn check(sense: Sense) -> Result<(), Refusal> {
    Err(Refusal::Check(sense))
}

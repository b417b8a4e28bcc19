//! What all shards of a target and its handle share. None of it is touched for a command.

use crate::book::{Book, Place};
use crate::config::{Directory, TargetConfig};
use crate::fence::Fence;
use crate::host::Host;
use crate::message::{Message, post};
use crate::slot::{LunMap, Slot, UnitState, lock};
use crate::unit::{LogicalUnit, LunEntry};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use umbra_iscsi::target::{CloseReason, Portal};
use umbra_ring::{Remote, Workers};

/// See the module.
pub(crate) struct Common<U: LogicalUnit> {
    pub config: TargetConfig,
    pub directory: Arc<dyn Directory>,
    pub book: Book,
    pub workers: Arc<Workers>,
    /// Those that change units.
    pub changers: Workers,
    /// How many there are.
    pub shards: usize,
    remotes: OnceLock<Vec<Remote<Message<U>>>>,
    /// By the initiator's name in lower case.
    hosts: Mutex<HashMap<String, Arc<Host<U>>>>,
    units: Mutex<HashMap<[u8; 16], Weak<UnitState>>>,
    /// Addresses that are listened on, and their groups.
    listening: Mutex<Vec<(SocketAddr, u16)>>,
}

impl<U: LogicalUnit> Common<U> {
    pub fn new(
        config: TargetConfig,
        directory: Arc<dyn Directory>,
        (workers, changers): (Workers, Workers),
        shards: usize,
    ) -> Self {
        Common {
            config,
            directory,
            book: Book::default(),
            workers: Arc::new(workers),
            changers,
            shards,
            remotes: OnceLock::new(),
            hosts: Mutex::default(),
            units: Mutex::default(),
            listening: Mutex::default(),
        }
    }

    /// The shards, once all of them have started.
    pub fn remotes(&self) -> &[Remote<Message<U>>] {
        self.remotes.get().map_or(&[], Vec::as_slice)
    }

    pub fn set_remotes(&self, remotes: Vec<Remote<Message<U>>>) {
        let _set_once = self.remotes.set(remotes);
    }

    pub fn host_or_new(&self, initiator: &str) -> Arc<Host<U>> {
        Arc::clone(lock(&self.hosts).entry(initiator.to_ascii_lowercase()).or_default())
    }

    /// The view that these entries are: slots of `old` where nothing changed.
    pub fn slots(&self, old: &LunMap<U>, luns: Vec<LunEntry<U>>) -> LunMap<U> {
        luns.into_iter()
            .map(|entry| match old.get(&entry.number).filter(|slot| slot.serves(&entry)) {
                Some(slot) => (entry.number, Arc::clone(slot)),
                None => {
                    let state = self.unit_state(entry.identity.uuid);
                    (entry.number, Arc::new(Slot::new(entry, state)))
                }
            })
            .collect::<BTreeMap<_, _>>()
    }

    fn unit_state(&self, uuid: [u8; 16]) -> Arc<UnitState> {
        let mut units = lock(&self.units);
        units.retain(|_, state| state.strong_count() > 0);
        if let Some(state) = units.get(&uuid).and_then(Weak::upgrade) {
            return state;
        }
        let state = Arc::new(UnitState::default());
        units.insert(uuid, Arc::downgrade(&state));
        state
    }

    /// Notes an address that is listened on; its group comes back.
    pub fn add_portal(&self, address: SocketAddr) -> u16 {
        let mut listening = lock(&self.listening);
        let group = listening.len() as u16 + 1;
        listening.push((address, group));
        group
    }

    /// What discovery tells somebody who reached us at `local`, at a portal of `group`.
    pub fn portals(&self, local: Option<&str>, group: u16) -> Vec<Portal> {
        let advertised = &self.config.advertised;
        if !advertised.is_empty() {
            let portal =
                |(at, address): (usize, &String)| Portal { address: address.clone(), group: at as u16 + 1 };
            return advertised.iter().enumerate().map(portal).collect();
        }
        let told = |(address, of): &(SocketAddr, u16)| match address.ip().is_unspecified() {
            false => Some(Portal { address: address.to_string(), group: *of }),
            // Only the one that it came by is known to lead here.
            true if *of == group => local.map(|local| Portal { address: local.to_owned(), group: *of }),
            true => None,
        };
        lock(&self.listening).iter().filter_map(told).collect()
    }

    /// Asks connections to end, wherever they are; the fence falls when they have.
    pub fn end(&self, places: &[Place], reason: &CloseReason, fence: &Fence) {
        for (number, remote) in self.remotes().iter().enumerate() {
            let ids: Arc<[u64]> =
                places.iter().filter(|place| place.shard == number).map(|place| place.id).collect();
            if !ids.is_empty() {
                post(remote, Message::End { ids, reason: reason.clone(), fence: fence.clone() });
            }
        }
    }
}

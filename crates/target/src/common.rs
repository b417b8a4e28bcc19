//! What all shards of a target and its handle share. None of it is touched for a read or write.

use crate::book::{Book, Place, SessionInfo};
use crate::config::{Directory, Keeper, TargetConfig};
use crate::fence::Fence;
use crate::host::Host;
use crate::message::{Ending, Message, post};
use crate::offload::Source;
use crate::slot::{LunMap, Slot, lock};
use crate::tokens::Tokens;
use crate::unit::{LogicalUnit, LunEntry};
use crate::unit_state::UnitState;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use umbra_base::{Error, ErrorCode, Result};
use umbra_iscsi::target::{Portal, SessionKind};
use umbra_ring::{Remote, Workers};
use umbra_scsi::reservation::{InitiatorPort, Reservations};
use umbra_scsi::topology::Port;

/// The group of the unix socket; those of TCP portals count up from 1.
pub(crate) const LOCAL_GROUP: u16 = 0x8000;

/// See the module.
pub(crate) struct Common<U: LogicalUnit> {
    pub config: TargetConfig,
    pub directory: Arc<dyn Directory>,
    pub keeper: Arc<dyn Keeper>,
    pub book: Book,
    /// For flushes, logins and what else takes no longer than a few writes to a disk.
    pub workers: Arc<Workers>,
    /// Those that change units.
    pub changers: Workers,
    /// Those that take long and change no data.
    pub readers: Workers,
    /// How many there are.
    pub shards: usize,
    pub tokens: Mutex<Tokens<Source<U>>>,
    remotes: OnceLock<Vec<Remote<Message<U>>>>,
    /// By the initiator's name in lower case.
    hosts: Mutex<HashMap<String, Arc<Host<U>>>>,
    units: Mutex<HashMap<[u8; 16], Weak<UnitState<U>>>>,
    /// Addresses that are listened on, and their groups.
    listening: Mutex<Vec<(SocketAddr, u16)>>,
}

impl<U: LogicalUnit> Common<U> {
    pub fn new(
        config: TargetConfig,
        (directory, keeper): (Arc<dyn Directory>, Arc<dyn Keeper>),
        [workers, changers, readers]: [Workers; 3],
        shards: usize,
    ) -> Self {
        Common {
            config,
            directory,
            keeper,
            book: Book::default(),
            workers: Arc::new(workers),
            changers,
            readers,
            shards,
            tokens: Mutex::default(),
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

    /// That of a host's logins now. Anybody can claim to be anybody, so that nothing is entered for a name.
    pub fn login_epoch(&self, initiator: &str) -> u64 {
        lock(&self.hosts).get(&initiator.to_ascii_lowercase()).map_or(0, |host| host.login_epoch())
    }

    pub fn host_or_new(&self, initiator: &str) -> Arc<Host<U>> {
        Arc::clone(lock(&self.hosts).entry(initiator.to_ascii_lowercase()).or_default())
    }

    /// The view that these entries are: slots of `old` where nothing changed. A unit whose reservations cannot be read is
    /// left out, so that no host writes where it was fenced.
    pub fn slots(&self, old: &LunMap<U>, luns: Vec<LunEntry<U>>) -> LunMap<U> {
        let slot = |entry: LunEntry<U>| {
            if let Some(slot) = old.get(&entry.number).filter(|slot| slot.serves(&entry)) {
                return Some((entry.number, Arc::clone(slot)));
            }
            match self.unit_state(&entry) {
                Ok(state) => Some((entry.number, Arc::new(Slot::new(entry, state)))),
                Err(error) => {
                    let (lun, serial) = (entry.number, &entry.identity.serial);
                    tracing::error!(lun, serial, %error, "a LUN is not shown: its reservations cannot be read");
                    None
                }
            }
        };
        luns.into_iter().filter_map(slot).collect()
    }

    fn unit_state(&self, entry: &LunEntry<U>) -> Result<Arc<UnitState<U>>> {
        let uuid = entry.identity.uuid;
        let mut units = lock(&self.units);
        units.retain(|_, state| state.strong_count() > 0);
        if let Some(state) = units.get(&uuid).and_then(Weak::upgrade) {
            state.set_unit(&entry.unit);
            return Ok(state);
        }
        let reservations = match self.keeper.reservations(uuid)? {
            None => Reservations::default(),
            Some(bytes) => Reservations::decode(&bytes)
                .map_err(|error| Error::new(ErrorCode::Corrupt, format!("saved reservations: {error}")))?
                .after_power_on(),
        };
        let state = Arc::new(UnitState::new(uuid, &entry.unit, reservations));
        units.insert(uuid, Arc::downgrade(&state));
        Ok(state)
    }

    /// Keeps a unit's reservations where they are to survive, and nothing where they are not.
    pub fn keep(&self, unit: [u8; 16], reservations: &Reservations) -> Result<()> {
        let bytes = reservations.persists().then(|| reservations.encode());
        self.keeper.save_reservations(unit, bytes.as_deref())
    }

    /// All units that somebody sees.
    pub fn unit_states(&self) -> Vec<Arc<UnitState<U>>> {
        lock(&self.units).values().filter_map(Weak::upgrade).collect()
    }

    /// Every port of the target.
    pub fn ports(&self) -> Arc<[Port]> {
        let mut groups: Vec<u16> = lock(&self.listening).iter().map(|(_, group)| *group).collect();
        groups.push(LOCAL_GROUP);
        groups.into_iter().map(|group| Port { relative: group, portal_group: group }).collect()
    }

    /// Initiator ports that are logged in.
    pub fn initiators(&self) -> Vec<InitiatorPort> {
        let port = |info: SessionInfo| InitiatorPort::new(&info.initiator.to_ascii_lowercase(), info.isid);
        let normal = |info: &SessionInfo| info.kind == SessionKind::Normal;
        self.book.sessions().into_iter().filter(normal).filter_map(port).collect()
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
    pub fn end(&self, places: &[Place], ending: Ending, fence: &Fence) {
        for (number, remote) in self.remotes().iter().enumerate() {
            let ids: Arc<[u64]> =
                places.iter().filter(|place| place.shard == number).map(|place| place.id).collect();
            if !ids.is_empty() {
                post(remote, Message::End { ids, ending, fence: fence.clone() });
            }
        }
    }
}

//! The target as a whole: its portals, its connections, and what each initiator sees.
//!
//! What always holds: of these locks none is held while a session's, a unit's or the directory's code runs, except
//! `Host::changing`, which only changes of the same view wait for.

use crate::config::{Directory, PortalAuth, TargetConfig};
use crate::connection;
use crate::host::{Host, LunMap};
use crate::limits::{CONNECTIONS, CONNECTIONS_PER_PEER, STACK_BYTES};
use crate::portal::Portal;
use crate::session::{Session, SessionInfo};
use crate::slot::{Exclusion, Slot, lock};
use crate::socket::{PeerKey, Socket};
use crate::unit::LunEntry;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, Weak};
use std::thread;
use umbra_base::Result;
use umbra_iscsi::target::{Authentication, CloseReason, SessionKind};
use umbra_scsi::Sense;
use umbra_scsi::mode::ModeState;

/// An iSCSI target. One for each array.
pub struct Target {
    pub(crate) config: TargetConfig,
    pub(crate) directory: Arc<dyn Directory>,
    /// By the initiator's name in lower case.
    hosts: Mutex<HashMap<String, Arc<Host>>>,
    connections: Mutex<Connections>,
    /// A connection was struck off.
    struck_off: Condvar,
    exclusions: Mutex<HashMap<[u8; 16], Weak<RwLock<()>>>>,
    portals: Mutex<Vec<Portal>>,
    stopping: AtomicBool,
    next_id: AtomicU64,
}

#[derive(Default)]
struct Connections {
    all: BTreeMap<u64, Entry>,
    last_tsih: u16,
}

struct Entry {
    session: Arc<Session>,
    nexus: Option<NexusId>,
}

/// What names a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NexusId {
    pub initiator: String,
    pub isid: [u8; 6],
    pub kind: SessionKind,
    pub tsih: u16,
}

impl NexusId {
    /// Whether both are one nexus: a later login with it replaces the session (RFC 7143 section 6.3.5).
    fn is_same(&self, other: &NexusId) -> bool {
        self.kind == SessionKind::Normal
            && other.kind == SessionKind::Normal
            && (&self.initiator, self.isid) == (&other.initiator, other.isid)
    }
}

/// Why a session is not enrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotEnrolled {
    TooMany,
    /// The connection ended meanwhile.
    Gone,
}

impl Target {
    /// A target without portals and LUNs.
    pub fn new(config: TargetConfig, directory: Arc<dyn Directory>) -> Arc<Self> {
        Arc::new(Target {
            config,
            directory,
            hosts: Mutex::default(),
            connections: Mutex::default(),
            struck_off: Condvar::new(),
            exclusions: Mutex::default(),
            portals: Mutex::default(),
            stopping: AtomicBool::new(false),
            next_id: AtomicU64::new(1),
        })
    }

    /// Listens on a TCP address (port 0: a free one) and returns it.
    pub fn listen_tcp(self: &Arc<Self>, addr: SocketAddr, auth: PortalAuth) -> Result<SocketAddr> {
        let (portal, bound) = Portal::tcp(self, addr, auth)?;
        lock(&self.portals).push(portal);
        Ok(bound)
    }

    /// Listens on a unix socket of mode 0600 for processes of root and of our own user; no CHAP there.
    pub fn listen_unix(self: &Arc<Self>, path: &Path) -> Result<()> {
        let portal = Portal::unix(self, path)?;
        lock(&self.portals).push(portal);
        Ok(())
    }

    /// Sets what `initiator` sees, as a whole. A fence (design A1): when this returns, no earlier command of the initiator to
    /// a LUN that was removed, replaced or made read-only can still change it. Sessions get unit attentions.
    pub fn set_luns(&self, initiator: &str, luns: Vec<LunEntry>) {
        let host = self.host_or_new(initiator);
        let _one_change_at_a_time = lock(&host.changing);
        let old = host.luns();
        let new: LunMap = luns.into_iter().map(|entry| (entry.number, self.slot_for(&old, entry))).collect();
        let old = host.replace(new.clone());
        let gone: Vec<&Arc<Slot>> = old
            .values()
            .filter(|slot| !new.get(&slot.number).is_some_and(|kept| Arc::ptr_eq(kept, slot)))
            .collect();
        gone.iter().for_each(|slot| slot.close());
        for session in self.logged_in() {
            session.view_changed(&host, &old, &new);
        }
        gone.iter().for_each(|slot| slot.drain());
    }

    /// The slot that serves `entry`: the old one if nothing changed.
    fn slot_for(&self, old: &LunMap, entry: LunEntry) -> Arc<Slot> {
        let before = old.get(&entry.number);
        if let Some(slot) = before.filter(|slot| slot.serves(&entry)) {
            return Arc::clone(slot);
        }
        let mode = before
            .filter(|slot| slot.identity.uuid == entry.identity.uuid)
            .map_or(ModeState::default(), |slot| slot.mode());
        let exclusion = self.exclusion(entry.identity.uuid);
        Arc::new(Slot::new(entry, exclusion, mode))
    }

    fn exclusion(&self, uuid: [u8; 16]) -> Exclusion {
        let mut exclusions = lock(&self.exclusions);
        exclusions.retain(|_, exclusion| exclusion.strong_count() > 0);
        if let Some(exclusion) = exclusions.get(&uuid).and_then(Weak::upgrade) {
            return exclusion;
        }
        let exclusion = Exclusion::default();
        exclusions.insert(uuid, Arc::downgrade(&exclusion));
        exclusion
    }

    /// Whether LUN `number` may be given to something else (design A1): it is not in the view, and every session that knew it
    /// has asked REPORT LUNS since, or ended.
    pub fn number_is_forgotten(&self, initiator: &str, number: u16) -> bool {
        let Some(host) = self.host(initiator) else { return true };
        if host.slot(number).is_some() {
            return false;
        }
        let knows = |session: &Arc<Session>| {
            let state = session.state();
            let nexus = state.nexus.as_ref().filter(|nexus| Arc::ptr_eq(&nexus.host, &host));
            nexus.is_some_and(|nexus| nexus.stale.contains(&number))
        };
        !self.logged_in().iter().any(knows)
    }

    /// Ends all sessions of `initiator`, logins under way included, and waits until nothing of them runs.
    pub fn drop_sessions(&self, initiator: &str) {
        self.host_or_new(initiator).forget_logins();
        let initiator = initiator.to_ascii_lowercase();
        let ids = self.ids_where(|nexus| nexus.initiator == initiator);
        self.end_all(CloseReason::TargetClosed("sessions of this initiator were dropped"), &ids);
    }

    /// All logged-in sessions.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        let info = |session: &Arc<Session>| session.state().nexus.as_ref().map(|nexus| nexus.info.clone());
        self.logged_in().iter().filter_map(info).collect()
    }

    /// Closes the portals, ends all connections, and waits until nothing runs. Units are not flushed here.
    pub fn shutdown(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        std::mem::take(&mut *lock(&self.portals)).into_iter().for_each(Portal::close);
        let all: Vec<u64> = lock(&self.connections).all.keys().copied().collect();
        self.end_all(CloseReason::TargetClosed("the target stops"), &all);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Takes in a connection, if there is room.
    pub(crate) fn welcome(self: &Arc<Self>, socket: Socket, authentication: Authentication) {
        if let Err(error) = socket.prepare() {
            tracing::warn!(%error, peer = socket.peer(), "connection refused: socket options");
            return;
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let session = Arc::new(connection::session(self, id, socket, authentication));
        if let Err(why) = self.admit(&session) {
            tracing::warn!(session = id, peer = session.peer, why, "connection refused");
            return;
        }
        let (target, reader) = (Arc::clone(self), Arc::clone(&session));
        let thread = thread::Builder::new().name(format!("iscsi-{id}-rx")).stack_size(STACK_BYTES);
        if let Err(error) = thread.spawn(move || connection::serve(&target, &reader)) {
            tracing::error!(session = id, %error, "connection refused: no thread");
            self.strike_off(&session);
        }
    }

    fn admit(&self, session: &Arc<Session>) -> Result<(), &'static str> {
        let mut connections = lock(&self.connections);
        if self.is_stopping() {
            return Err("the target stops");
        }
        let keys = || connections.all.values().map(|entry| entry.session.peer_key);
        let local = session.peer_key == PeerKey::Local;
        if !local && keys().filter(|key| *key != PeerKey::Local).count() >= CONNECTIONS {
            return Err("too many connections");
        }
        if keys().filter(|key| *key == session.peer_key).count() >= CONNECTIONS_PER_PEER {
            return Err("too many connections from this address");
        }
        connections.all.insert(session.id, Entry { session: Arc::clone(session), nexus: None });
        Ok(())
    }

    /// Gives a session its handle. The session that it replaces has ended when this returns.
    pub(crate) fn enroll(
        &self,
        session: &Session,
        mut nexus: NexusId,
        most: usize,
    ) -> Result<u16, NotEnrolled> {
        loop {
            let replaced = self.ids_where(|other| other.is_same(&nexus));
            self.end_all(CloseReason::TargetClosed("replaced by a new login"), &replaced);
            let mut connections = lock(&self.connections);
            let others = || connections.all.values().filter_map(|entry| entry.nexus.as_ref());
            if others().any(|other| other.is_same(&nexus)) {
                continue;
            }
            if others().filter(|other| other.initiator == nexus.initiator).count() >= most {
                return Err(NotEnrolled::TooMany);
            }
            nexus.tsih = connections.next_tsih();
            let entry = connections.all.get_mut(&session.id).ok_or(NotEnrolled::Gone)?;
            let tsih = nexus.tsih;
            entry.nexus = Some(nexus);
            return Ok(tsih);
        }
    }

    /// Whether a session has this handle.
    pub(crate) fn has_tsih(&self, tsih: u16) -> bool {
        !self.ids_where(|nexus| nexus.tsih == tsih).is_empty()
    }

    /// Forgets a connection of which nothing runs any more.
    pub(crate) fn strike_off(&self, session: &Session) {
        lock(&self.connections).all.remove(&session.id);
        self.struck_off.notify_all();
    }

    /// All sessions past login.
    pub(crate) fn logged_in(&self) -> Vec<Arc<Session>> {
        let connections = lock(&self.connections);
        let past_login = connections.all.values().filter(|entry| entry.nexus.is_some());
        past_login.map(|entry| Arc::clone(&entry.session)).collect()
    }

    fn ids_where(&self, which: impl Fn(&NexusId) -> bool) -> Vec<u64> {
        let connections = lock(&self.connections);
        let named = connections.all.iter().filter(|(_, entry)| entry.nexus.as_ref().is_some_and(&which));
        named.map(|(id, _)| *id).collect()
    }

    /// Ends connections and waits until nothing of them runs.
    fn end_all(&self, reason: CloseReason, ids: &[u64]) {
        let connections = lock(&self.connections);
        let sessions: Vec<Arc<Session>> = ids
            .iter()
            .filter_map(|id| connections.all.get(id))
            .map(|entry| Arc::clone(&entry.session))
            .collect();
        drop(connections);
        sessions.iter().for_each(|session| session.end(reason.clone()));
        let connections = lock(&self.connections);
        let any_left = |connections: &mut Connections| ids.iter().any(|id| connections.all.contains_key(id));
        drop(self.struck_off.wait_while(connections, any_left).unwrap_or_else(PoisonError::into_inner));
    }

    /// Notes a unit attention for the other sessions of the same view.
    pub(crate) fn post_to_others(&self, session: &Arc<Session>, number: u16, condition: Sense) {
        let Some(host) = session.state().nexus.as_ref().map(|nexus| Arc::clone(&nexus.host)) else { return };
        for other in self.logged_in() {
            let mut state = other.state();
            let nexus = state.nexus.as_mut().filter(|nexus| Arc::ptr_eq(&nexus.host, &host));
            if let Some(nexus) = nexus.filter(|_| !Arc::ptr_eq(&other, session)) {
                nexus.attentions.entry(number).or_default().post(condition);
            }
        }
    }

    pub(crate) fn host(&self, initiator: &str) -> Option<Arc<Host>> {
        lock(&self.hosts).get(&initiator.to_ascii_lowercase()).cloned()
    }

    pub(crate) fn host_or_new(&self, initiator: &str) -> Arc<Host> {
        Arc::clone(lock(&self.hosts).entry(initiator.to_ascii_lowercase()).or_default())
    }
}

impl Connections {
    /// A handle that no session has; never 0.
    fn next_tsih(&mut self) -> u16 {
        loop {
            self.last_tsih = self.last_tsih.wrapping_add(1);
            let taken =
                |entry: &Entry| entry.nexus.as_ref().is_some_and(|nexus| nexus.tsih == self.last_tsih);
            if self.last_tsih != 0 && !self.all.values().any(taken) {
                return self.last_tsih;
            }
        }
    }
}

impl Session {
    /// The view of this session's initiator changed: what it must be told (SPC-4 section 6.33, SBC-3 section 4.9).
    fn view_changed(&self, host: &Arc<Host>, old: &LunMap, new: &LunMap) {
        let mut state = self.state();
        let Some(nexus) = state.nexus.as_mut().filter(|nexus| Arc::ptr_eq(&nexus.host, host)) else { return };
        let inventory_changed = !old.keys().eq(new.keys());
        for number in old.keys().filter(|number| !new.contains_key(number)) {
            nexus.attentions.remove(number);
            nexus.stale.insert(*number);
        }
        for (number, slot) in new {
            let attentions = nexus.attentions.entry(*number).or_default();
            match old.get(number) {
                Some(before) if Arc::ptr_eq(before, slot) => {}
                Some(before) => changes(before, slot).for_each(|condition| attentions.post(condition)),
                None => {}
            }
            if inventory_changed {
                attentions.post(Sense::REPORTED_LUNS_CHANGED);
            }
        }
    }
}

/// The conditions that tell the difference between two slots of one number.
fn changes(before: &Slot, after: &Slot) -> impl Iterator<Item = Sense> {
    let replaced = before.identity != after.identity;
    let access = before.access != after.access;
    let size = before.announced_bytes != after.announced_bytes;
    [
        replaced.then_some(Sense::INQUIRY_DATA_CHANGED),
        replaced.then_some(Sense::REPORTED_LUNS_CHANGED),
        (access && !replaced).then_some(Sense::MODE_PARAMETERS_CHANGED),
        size.then_some(Sense::CAPACITY_CHANGED),
    ]
    .into_iter()
    .flatten()
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("iqn", &self.config.iqn).finish_non_exhaustive()
    }
}

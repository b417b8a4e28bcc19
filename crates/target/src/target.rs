//! The target as its owner holds it: portals, views, sessions. Everything else happens on the shards.

use crate::book::SessionInfo;
use crate::common::{Common, LOCAL_GROUP};
use crate::config::{Directory, Keeper, PortalAuth, TargetConfig};
use crate::fence::Fence;
use crate::limits::{CHANGERS, JOBS, READERS, WORKERS};
use crate::message::{Aftermath, Ending, Message, Portal, post};
use crate::portal;
use crate::shard::Server;
use crate::slot::{Slot, lock};
use crate::tokens::Maker;
use crate::unit::{LogicalUnit, LunEntry};
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use umbra_base::{Error, Result};
use umbra_iscsi::target::Authentication;
use umbra_ring::{Remote, Workers};
use umbra_scsi::{Sense, reservation::Nexus};

/// An iSCSI target for units of one kind. One for each array.
pub struct Target<U: LogicalUnit> {
    common: Arc<Common<U>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    sockets: Mutex<Vec<PathBuf>>,
}

impl<U: LogicalUnit> Target<U> {
    /// A target without portals and LUNs; its shards run.
    pub fn new(
        config: TargetConfig,
        directory: Arc<dyn Directory>,
        keeper: Arc<dyn Keeper>,
    ) -> Result<Arc<Self>> {
        let shards = match config.shards {
            0 => thread::available_parallelism().map_or(1, usize::from),
            shards => shards,
        };
        let workers =
            |threads| Workers::start(threads, JOBS).map_err(|e| Error::io("start the target's workers", e));
        let workers = [workers(WORKERS)?, workers(CHANGERS)?, workers(READERS)?];
        let common = Arc::new(Common::new(config, (directory, keeper), workers, shards));
        let started = (0..shards).map(|number| start(number, &common)).collect::<Result<Vec<_>>>()?;
        let (remotes, threads) = started.into_iter().unzip();
        common.set_remotes(remotes);
        Ok(Arc::new(Target { common, threads: Mutex::new(threads), sockets: Mutex::default() }))
    }

    /// Listens on a TCP address (port 0: a free one) and returns it. Each portal is a portal group of its own.
    pub fn listen_tcp(&self, address: SocketAddr, auth: PortalAuth) -> Result<SocketAddr> {
        let authentication = match auth {
            PortalAuth::Chap => Authentication::Chap,
            PortalAuth::InsecureNone => Authentication::None,
        };
        let (listener, bound) = portal::tcp(address)?;
        let group = self.common.add_portal(bound);
        self.listen(listener, Portal { authentication, group, local: false });
        Ok(bound)
    }

    /// Listens on a unix socket of mode 0600 for processes of root and of our own user; no CHAP there.
    pub fn listen_unix(&self, path: &Path) -> Result<()> {
        let listener = portal::unix(path)?;
        lock(&self.sockets).push(path.to_owned());
        let portal = Portal { authentication: Authentication::None, group: LOCAL_GROUP, local: true };
        self.listen(listener, portal);
        Ok(())
    }

    fn listen(&self, listener: OwnedFd, portal: Portal) {
        if let Some(first) = self.common.remotes().first() {
            post(first, Message::Listen { listener, portal });
        }
    }

    /// Sets what `initiator` sees, as a whole. A fence (design A1): when this returns, no earlier command of the
    /// initiator to a LUN that was removed, replaced or made read-only can still change it. Sessions get unit
    /// attentions. ROD tokens that it made of a unit that it sees no more are revoked, whoever has them.
    pub fn set_luns(&self, initiator: &str, luns: Vec<LunEntry<U>>) {
        let host = self.common.host_or_new(initiator);
        let _one_change_at_a_time = lock(&host.changing);
        let new = Arc::new(self.common.slots(&host.luns(), luns));
        let old = host.replace(new.clone());
        Fence::wait(|fence| {
            for remote in self.common.remotes() {
                let (host, old, new, fence) = (host.clone(), old.clone(), new.clone(), fence.clone());
                post(remote, Message::View { host, old, new, fence });
            }
        });
        host.all_heard();
        let seen = |slot: &&Arc<Slot<U>>| !new.values().any(|kept| kept.identity.uuid == slot.identity.uuid);
        for slot in old.values().filter(seen) {
            self.forget_reservations(initiator, slot);
            // Nothing of it makes a token of this unit any more: what did is behind the fence.
            let lost = Maker { host: initiator.to_ascii_lowercase(), unit: slot.identity.uuid };
            self.common.revoke_tokens(|made| *made == lost);
        }
    }

    /// Revokes all ROD tokens and lets go of what they keep: space is needed. False: there were none. Waits for
    /// nothing; a WRITE USING TOKEN under way ends with its present step, and lets go then.
    pub fn give_up_tokens(&self) -> bool {
        self.common.revoke_tokens(|_| true)
    }

    /// A host lost a unit: what it had registered there is gone, and those whom that concerns are told. No shard is waited
    /// for while the reservations are kept from changing: it may wait for just that.
    fn forget_reservations(&self, initiator: &str, slot: &Slot<U>) {
        let Some(attentions) = self.unregister(initiator, slot) else { return };
        let aftermath =
            Aftermath { unit: slot.identity.uuid, attentions, abort: Vec::new(), asker: 0, tag: 0 };
        let aftermath = Arc::new(aftermath);
        Fence::wait(|fence| {
            for remote in self.common.remotes() {
                post(remote, Message::Reserved { aftermath: aftermath.clone(), fence: fence.clone() });
            }
        });
    }

    /// Takes a host's registrations from a unit; who is to be told what, if there were reservations.
    fn unregister(&self, initiator: &str, slot: &Slot<U>) -> Option<Vec<(Nexus, Sense)>> {
        let _no_other_change = slot.state.changing();
        let outcome = slot.state.reserved()?.without(|port| port.name().eq_ignore_ascii_case(initiator));
        if let Err(error) = self.common.keep(slot.identity.uuid, &outcome.state) {
            // It comes back registered after a restart, which fences others at worst.
            tracing::warn!(%error, lun = slot.number, "the end of a registration could not be kept");
        }
        slot.state.install(outcome.state);
        Some(outcome.attentions)
    }

    /// Whether LUN `number` may be given to something else (design A1): it is not in the view, and every session that knew it
    /// has asked REPORT LUNS since, or ended.
    pub fn number_is_forgotten(&self, initiator: &str, number: u16) -> bool {
        self.common.host_or_new(initiator).is_forgotten(number)
    }

    /// Ends all sessions of `initiator`, logins under way included, and waits until nothing of them runs. Who is logged in
    /// is told, and not waited for.
    pub fn drop_sessions(&self, initiator: &str) {
        self.common.host_or_new(initiator).forget_logins();
        let places = self.common.book.places(|info| info.initiator.eq_ignore_ascii_case(initiator));
        Fence::wait(|fence| self.common.end(&places, Ending::Dropped, &fence));
    }

    /// All logged-in sessions.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        self.common.book.sessions()
    }

    /// Closes the portals, ends all connections, whose initiators are told, and waits until nothing runs. ROD tokens end.
    /// Units are not flushed here.
    pub fn shutdown(&self) {
        self.common.book.close();
        for path in lock(&self.sockets).drain(..) {
            let _already_gone = fs::remove_file(path);
        }
        Fence::wait(|fence| {
            for remote in self.common.remotes() {
                post(remote, Message::Stop { fence: fence.clone() });
            }
        });
        for thread in lock(&self.threads).drain(..) {
            if thread.join().is_err() {
                tracing::error!("a shard of the target panicked");
            }
        }
        self.common.revoke_tokens(|_| true);
    }
}

impl<U: LogicalUnit> Drop for Target<U> {
    /// Without [`Target::shutdown`] the shards end by themselves, some time after this.
    fn drop(&mut self) {
        for remote in self.common.remotes() {
            post(remote, Message::Stop { fence: Fence::new(|| ()) });
        }
    }
}

type Started<U> = (Remote<Message<U>>, JoinHandle<()>);

/// Starts a shard on a thread of its own.
fn start<U: LogicalUnit>(number: usize, common: &Arc<Common<U>>) -> Result<Started<U>> {
    let (started, begun) = mpsc::sync_channel(1);
    let common = common.clone();
    let thread = thread::Builder::new().name(format!("iscsi-{number}")).spawn(move || {
        match Server::new(number, &common) {
            Ok(server) => {
                let _somebody_waits = started.send(Ok(server.remote()));
                server.run();
            }
            Err(error) => {
                let _somebody_waits = started.send(Err(error));
            }
        }
    });
    let thread = thread.map_err(|error| Error::io("start a shard of the target", error))?;
    match begun.recv() {
        Ok(Ok(remote)) => Ok((remote, thread)),
        Ok(Err(error)) => Err(Error::io("start a shard of the target", error)),
        Err(_) => Err(Error::io("start a shard of the target", std::io::Error::other("it panicked"))),
    }
}

impl<U: LogicalUnit> fmt::Debug for Target<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("iqn", &self.common.config.iqn).finish_non_exhaustive()
    }
}

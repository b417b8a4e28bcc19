//! The login as the driver sees it: who may come, and what a new session replaces.

use super::{Kind, Server, connection::Nexus, token};
use crate::book::{NotEnrolled, SessionInfo};
use crate::config::HostLogin;
use crate::fence::Fence;
use crate::host::Host;
use crate::limits::SESSIONS_PER_HOST;
use crate::message::{Ending, Message, post};
use crate::unit::LogicalUnit;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use umbra_iscsi::pdu::response::login_status;
use umbra_iscsi::target::{Challenge, Initiator, Resend, SessionKind};
use umbra_ring::Account;
use umbra_scsi::attention::Attentions;
use umbra_scsi::reservation::{self, InitiatorPort};
use umbra_scsi::{Sense, WriteCache};

impl<U: LogicalUnit> Server<U> {
    /// Asks the directory, which may take its time, on a worker.
    pub(super) fn identify(&mut self, c: usize, initiator: String) {
        let conn = &mut self.conns[c];
        conn.login.asking = true;
        let (id, common) = (conn.id, self.common.clone());
        self.shard.call(token(Kind::Login, c, 0), move || {
            // The epoch is read before the directory is asked: who is dropped after that does not get in.
            let epoch = common.login_epoch(&initiator);
            let who = match common.directory.host(&initiator) {
                Some(HostLogin { secret, mutual }) => Initiator::Known { secret, mutual },
                None => Initiator::Unknown,
            };
            Message::Identified { id, epoch, who, challenge: challenge() }
        });
    }

    pub(super) fn identified(
        &mut self,
        c: usize,
        id: u64,
        epoch: u64,
        who: Initiator,
        challenge: Result<Challenge, String>,
    ) {
        let Some(conn) = self.conns.get_mut(c).filter(|conn| conn.id == id) else { return };
        (conn.login.asking, conn.login.epoch) = (false, epoch);
        match challenge {
            Ok(challenge) => conn.core.admit(who, challenge),
            Err(why) => conn.core.refuse(login_status::TARGET_ERROR, format!("no random numbers: {why}")),
        }
        self.go_on(c);
    }

    pub(super) fn not_identified(&mut self, c: usize, result: io::Result<u32>) {
        let Some(conn) = self.conns.get_mut(c) else { return };
        conn.login.asking = false;
        let why = result.err().map_or_else(String::new, |error| error.to_string());
        conn.core.refuse(login_status::OUT_OF_RESOURCES, why);
        self.go_on(c);
    }

    fn go_on(&mut self, c: usize) {
        self.pump(c);
        let conn = &mut self.conns[c];
        let (digests, max_data) = conn.core.framing();
        conn.receiver.set_mode(digests, max_data);
        self.transmit(c);
        self.parse(c);
        self.touch(c);
    }

    /// Enters the session in the book. It replaces one of the same name and ISID, whose commands have all ended when
    /// the login completes (RFC 7143 section 6.3.5).
    pub(super) fn enroll(&mut self, c: usize) {
        let conn = &mut self.conns[c];
        let Some(request) = conn.login.request.take() else { return };
        if conn.core.closed().is_some() {
            return;
        }
        if request.tsih != 0 {
            match self.common.book.has_tsih(request.tsih) {
                true => conn.core.refuse(login_status::TOO_MANY_CONNECTIONS, "one connection a session"),
                false => conn.core.refuse(login_status::SESSION_DOES_NOT_EXIST, "no session with this TSIH"),
            }
            return self.go_on(c);
        }
        let info = SessionInfo {
            initiator: request.initiator.clone(),
            isid: request.isid,
            tsih: 0,
            kind: request.kind,
            resend: request.resend,
            peer: conn.peer.clone(),
            portal_group: conn.portal.group,
        };
        match self.common.book.enroll(conn.id, info, SESSIONS_PER_HOST) {
            Ok(info) => self.establish(c, info),
            Err(NotEnrolled::Taken(places)) => {
                conn.login.request = Some(request);
                let (id, remote) = (conn.id, self.shard.remote());
                let fence = Fence::new(move || post(&remote, Message::Enroll { id }));
                self.common.end(&places, Ending::Replaced, &fence);
            }
            Err(NotEnrolled::TooMany) => {
                conn.core.refuse(login_status::OUT_OF_RESOURCES, "too many sessions of this initiator");
                self.go_on(c);
            }
            Err(NotEnrolled::Gone) => {}
        }
    }

    fn establish(&mut self, c: usize, info: SessionInfo) {
        let now = self.now;
        let host = self.common.host_or_new(&info.initiator);
        let account = self.account_of(&host);
        let conn = &mut self.conns[c];
        if host.login_epoch() != conn.login.epoch {
            conn.core.refuse(
                login_status::AUTHORIZATION_FAILURE,
                "the sessions of this initiator were dropped meanwhile",
            );
            return self.go_on(c);
        }
        tracing::info!(
            session = conn.id,
            initiator = info.initiator,
            peer = info.peer,
            info.tsih,
            "session up"
        );
        let Some(initiator) = InitiatorPort::new(&info.initiator.to_ascii_lowercase(), info.isid) else {
            conn.core.refuse(login_status::INITIATOR_ERROR, "no initiator has such a name");
            return self.go_on(c);
        };
        let scsi = reservation::Nexus { initiator, port: info.portal_group };
        conn.nexus = (info.kind == SessionKind::Normal).then(|| nexus(host, account, scsi, info.resend));
        conn.initiator = info.initiator;
        conn.core.accept(now, info.tsih);
        self.go_on(c);
    }

    /// The memory that a host has here: its sessions share one account.
    fn account_of(&self, host: &Arc<Host<U>>) -> Arc<Account> {
        let nexuses = self.conns.iter().filter_map(|(_, conn)| conn.nexus.as_ref());
        let mut accounts = nexuses.filter(|nexus| Arc::ptr_eq(&nexus.host, host)).map(|nexus| &nexus.account);
        accounts.next().cloned().unwrap_or_default()
    }
}

/// What a session sees when it begins.
fn nexus<U>(host: Arc<Host<U>>, account: Arc<Account>, scsi: reservation::Nexus, resend: Resend) -> Nexus<U> {
    let luns = host.luns();
    let mut attentions = BTreeMap::<u16, Attentions>::new();
    for number in luns.keys() {
        attentions.entry(*number).or_default().post(Sense::POWER_ON);
    }
    let cache = match resend {
        Resend::Promised => WriteCache::Back,
        Resend::No => WriteCache::Through,
    };
    Nexus { host, account, luns, cache, scsi, copies: BTreeMap::new(), attentions }
}

fn challenge() -> Result<Challenge, String> {
    let mut random = [0; 17];
    getrandom::fill(&mut random).map_err(|error| error.to_string())?;
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&random[..16]);
    Ok(Challenge { id: random[16], bytes })
}

//! The login as the driver sees it: who may come, and what a new session replaces.

use crate::config::HostLogin;
use crate::limits::SESSIONS_PER_HOST;
use crate::session::{Nexus, Session, SessionInfo};
use crate::target::{NexusId, NotEnrolled, Target};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use umbra_iscsi::pdu::response::login_status;
use umbra_iscsi::target::{Challenge, Initiator, SessionRequest};
use umbra_scsi::Sense;
use umbra_scsi::attention::Attentions;

/// Answers [`Event::Identify`](umbra_iscsi::target::Event::Identify). Returns the epoch of the login: see
/// [`Host::forget_logins`](crate::host::Host::forget_logins).
pub(crate) fn identify(target: &Target, session: &Session, initiator: &str) -> u64 {
    // The epoch is read before the directory is asked: who is dropped after that does not get in.
    let epoch = target.host(initiator).map_or(0, |host| host.login_epoch());
    let who = match target.directory.host(initiator) {
        Some(HostLogin { secret }) => Initiator::Known { secret },
        None => Initiator::Unknown,
    };
    let mut challenge = Challenge { id: 0, bytes: [0; 16] };
    let mut random = [0; 17];
    if let Err(error) = getrandom::fill(&mut random) {
        session.state().connection.refuse(login_status::TARGET_ERROR, format!("no random numbers: {error}"));
        return epoch;
    }
    challenge.id = random[16];
    challenge.bytes.copy_from_slice(&random[..16]);
    session.state().connection.admit(who, challenge);
    epoch
}

/// Answers [`Event::SessionReady`](umbra_iscsi::target::Event::SessionReady): the new session replaces one of the same
/// name and ISID, whose commands have all ended when the login completes (RFC 7143 section 6.3.5).
pub(crate) fn establish(target: &Target, session: &Arc<Session>, request: SessionRequest, epoch: u64) {
    let refuse = |status, why: &str| session.state().connection.refuse(status, why);
    if request.tsih != 0 {
        return match target.has_tsih(request.tsih) {
            true => refuse(login_status::TOO_MANY_CONNECTIONS, "one connection a session"),
            false => refuse(login_status::SESSION_DOES_NOT_EXIST, "no session with this TSIH"),
        };
    }
    let (initiator, isid, kind) = (request.initiator.clone(), request.isid, request.kind);
    let tsih = match target.enroll(session, NexusId { initiator, isid, kind, tsih: 0 }, SESSIONS_PER_HOST) {
        Ok(tsih) => tsih,
        Err(NotEnrolled::TooMany) => {
            return refuse(login_status::OUT_OF_RESOURCES, "too many sessions of this initiator");
        }
        Err(NotEnrolled::Gone) => return,
    };
    let host = target.host_or_new(&request.initiator);
    if host.login_epoch() != epoch {
        return refuse(login_status::AUTHORIZATION_FAILURE, "the sessions of this initiator were dropped");
    }
    let mut state = session.state();
    let info = SessionInfo {
        initiator: request.initiator,
        isid: request.isid,
        tsih,
        kind: request.kind,
        resend: request.resend,
        peer: session.peer.clone(),
    };
    tracing::info!(session = session.id, initiator = info.initiator, peer = info.peer, tsih, "session up");
    let mut attentions = BTreeMap::<u16, Attentions>::new();
    for number in host.luns().keys() {
        attentions.entry(*number).or_default().post(Sense::POWER_ON);
    }
    state.nexus = Some(Nexus { host, info, attentions, stale: BTreeSet::new() });
    state.connection.accept(crate::session::now(), tsih);
}

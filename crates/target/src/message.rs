//! What reaches a shard from elsewhere: connections, changes of views, requests of other sessions, answers of workers.

use crate::fence::Fence;
use crate::host::Host;
use crate::limits::STOPPED_WAIT;
use crate::outcome::Outcome;
use crate::slot::LunMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use umbra_iscsi::target::{Authentication, Challenge, CloseReason, Initiator};
use umbra_ring::{Buf, Remote};
use umbra_scsi::{Sense, reservation::Nexus};

/// A portal, as its connections need to know it.
#[derive(Debug, Clone)]
pub(crate) struct Portal {
    pub authentication: Authentication,
    /// Its group, which is also its relative port identifier.
    pub group: u16,
    /// Whether it is the unix socket.
    pub local: bool,
}

/// A connection that was accepted.
#[derive(Debug)]
pub(crate) struct Newcomer {
    pub id: u64,
    pub socket: OwnedFd,
    pub portal: Portal,
    pub peer: String,
    /// The address that it reached us at.
    pub local: Option<String>,
}

/// Which sessions see a unit, and may be told of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AtUnit {
    pub uuid: [u8; 16],
    /// The connection on whose behalf it is.
    pub asker: u64,
}

/// What a change of reservations did to others.
#[derive(Debug)]
pub(crate) struct Aftermath {
    pub unit: [u8; 16],
    pub attentions: Vec<(Nexus, Sense)>,
    /// Whose tasks at the unit end, but for the one that asked for it.
    pub abort: Vec<Nexus>,
    pub asker: u64,
    pub tag: u32,
}

/// Why connections end that neither broke the protocol nor were ended by their peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The target stops.
    Stopping,
    /// The owner drops the sessions of an initiator.
    Dropped,
    /// The initiator has logged in anew.
    Replaced,
}

impl Ending {
    pub fn reason(self) -> CloseReason {
        match self {
            Ending::Stopping => CloseReason::TargetClosed("the target stops"),
            Ending::Dropped => CloseReason::TargetClosed("sessions of this initiator were dropped"),
            Ending::Replaced => CloseReason::Replaced,
        }
    }

    /// Whether the initiator is told, and after how many seconds it may come back (Time2Wait). open-iscsi and libiscsi do
    /// nothing but heed that, and come back by themselves when the connection ends.
    pub fn told(self) -> Option<u16> {
        match self {
            Ending::Stopping => Some(STOPPED_WAIT),
            Ending::Dropped => Some(0),
            // It knows.
            Ending::Replaced => None,
        }
    }
}

/// A message. Tokens of messages mean nothing, except where a worker answers for a task.
#[derive(Debug)]
pub(crate) enum Message<U> {
    /// Accept connections from this listener.
    Listen { listener: OwnedFd, portal: Portal },
    /// Serve this connection.
    Adopt(Newcomer),
    /// What a host sees has changed.
    View { host: Arc<Host<U>>, old: Arc<LunMap<U>>, new: Arc<LunMap<U>>, fence: Fence },
    /// End these connections.
    End { ids: Arc<[u64]>, ending: Ending, fence: Fence },
    /// End the tasks at a unit, of all sessions, and tell them why.
    Clear { unit: [u8; 16], condition: Sense, fence: Fence },
    /// Tell the other sessions that see a unit.
    Tell { at: AtUnit, condition: Sense },
    /// Who logs in there may do so, or not.
    Identified { id: u64, epoch: u64, who: Initiator, challenge: Result<Challenge, String> },
    /// What stood in a login's way has ended.
    Enroll { id: u64 },
    /// The tasks that a task management request names have ended.
    Managed { id: u64, tag: u32, response: u8 },
    /// All tasks of a session that logs out have ended.
    LoggedOut { id: u64 },
    /// A task's slow call has returned, with its buffer.
    Called { outcome: Outcome, buf: Option<Buf> },
    /// A task's change of reservations is in force.
    Changed { aftermath: Aftermath },
    /// Reservations of a unit have changed.
    Reserved { aftermath: Arc<Aftermath>, fence: Fence },
    /// All shards have done their part of what a task began.
    Settled { task: usize },
    /// A flush has returned.
    Flushed { outcome: Outcome },
    /// A look at thresholds and tokens is over.
    Watched,
    /// End everything, then the thread.
    Stop { fence: Fence },
}

/// Posts a message. A shard that has ended has nothing left that it could concern, so its fence may fall.
///
/// Bounded by what peers may have open: connections, task management requests and commands of each.
pub(crate) fn post<U: Send + Sync + 'static>(remote: &Remote<Message<U>>, message: Message<U>) {
    let _gone = remote.post(0, message);
}

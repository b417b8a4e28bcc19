//! What an initiator brings to a login, and what the login agrees on.

use crate::chap::{Challenge, Secret};
use crate::pdu::Digests;
use std::{fmt, time::Duration};

/// The private key by which Umbra's initiator says that it resends unflushed writes after a reconnect (A2).
pub const RESEND_KEY: &str = "X-io.umbra.Resend";

/// How the initiator proves who it is.
#[derive(Clone, PartialEq, Eq)]
pub enum Auth {
    /// Not at all: the transport has done it (a unix socket), or the portal does not ask.
    None,
    /// CHAP (RFC 1994).
    Chap { user: String, secret: Vec<u8> },
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Auth::None => f.write_str("None"),
            Auth::Chap { user, .. } => f.debug_struct("Chap").field("user", user).finish_non_exhaustive(),
        }
    }
}

/// What the target has to prove, in its turn, to an initiator that uses CHAP (mutual CHAP).
#[derive(Debug, Clone)]
pub struct Mutual {
    /// The target's; not the initiator's own.
    pub secret: Secret,
    /// Fresh for each session.
    pub challenge: Challenge,
}

/// What a session is started with.
#[derive(Debug, Clone)]
pub struct Config {
    pub initiator_name: String,
    pub target_name: String,
    pub auth: Auth,
    /// With [`Auth::Chap`]: the target must prove itself, or it is left.
    pub mutual: Option<Mutual>,
    /// The digests to insist on.
    pub digests: Digests,
    /// The initiator's part of the session id: the same at each reconnect, so that the target ends the old session.
    pub isid: [u8; 6],
    /// Limit on the login.
    pub login_time: Duration,
    /// Silence while commands wait after which the target is pinged.
    pub ping_busy: Duration,
    /// Silence on an idle session after which the target is pinged.
    pub ping_idle: Duration,
    /// How long an answer to a ping may take.
    pub ping_time: Duration,
    /// How long an answer to a logout may take.
    pub logout_time: Duration,
}

impl Config {
    /// The usual limits.
    pub fn new(initiator_name: String, target_name: String, auth: Auth, isid: [u8; 6]) -> Self {
        Config {
            initiator_name,
            target_name,
            auth,
            mutual: None,
            digests: Digests::default(),
            isid,
            login_time: crate::limits::LOGIN_TIME,
            ping_busy: Duration::from_secs(5),
            ping_idle: Duration::from_secs(30),
            ping_time: Duration::from_secs(15),
            logout_time: Duration::from_secs(5),
        }
    }
}

/// What a login agreed on (RFC 7143 section 13).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    pub initial_r2t: bool,
    pub immediate_data: bool,
    pub first_burst: usize,
    pub max_burst: usize,
    /// Longest data segment that the target takes.
    pub send_segment: usize,
    pub digests: Digests,
    /// Whether the target knows [`RESEND_KEY`]: its LUNs report a volatile write cache and count on us.
    pub resend: bool,
}

impl Default for Parameters {
    /// The defaults of the standard, in force for keys that the target does not answer.
    fn default() -> Self {
        Parameters {
            initial_r2t: true,
            immediate_data: true,
            first_burst: 65536,
            max_burst: 262_144,
            send_segment: 8192,
            digests: Digests::default(),
            resend: false,
        }
    }
}

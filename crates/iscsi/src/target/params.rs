//! What a connection is started with.

/// Whether a portal demands CHAP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    Chap,
    /// No authentication by the protocol: the transport has its own (peer credentials), or an administrator said so.
    None,
}

/// An address at which the target can be reached, for discovery (RFC 7143 section 13.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Portal {
    /// `HOST:PORT`, `[V6]:PORT`.
    pub address: String,
    /// Portal group tag: sessions over several connections would have to stay within one group.
    pub group: u16,
}

/// Constants of a connection.
#[derive(Debug, Clone)]
pub struct Params {
    /// The target's iSCSI name.
    pub target_name: String,
    /// A name for people, told at login.
    pub target_alias: Option<String>,
    pub authentication: Authentication,
    /// Of the portal that this connection came in by.
    pub portal_group_tag: u16,
    /// All that discovery tells.
    pub portals: Vec<Portal>,
    /// Commands that one session may have open.
    pub queue_depth: u32,
}

//! What a connection is started with.

/// Whether a portal demands CHAP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    Chap,
    /// No authentication by the protocol: the transport has its own (peer credentials), or an administrator said so.
    None,
}

/// Constants of a connection.
#[derive(Debug, Clone)]
pub struct Params {
    /// The target's iSCSI name.
    pub target_name: String,
    pub authentication: Authentication,
    pub portal_group_tag: u16,
    /// Addresses for SendTargets, as `HOST:PORT`, `[V6]:PORT`.
    pub addresses: Vec<String>,
    /// Commands that one session may have open.
    pub queue_depth: u32,
}

//! What the composition root supplies to a target.

use umbra_iscsi::chap::Secret;

/// Constants of a target.
#[derive(Debug, Clone)]
pub struct TargetConfig {
    /// iSCSI name of the target.
    pub iqn: String,
    /// T10 vendor identification (8 characters) and product revision (4).
    pub vendor: String,
    pub revision: String,
    /// Portal addresses for discovery, `HOST:PORT`; empty: the address that the initiator reached us at.
    pub advertised: Vec<String>,
}

impl TargetConfig {
    /// A target with this name and Umbra's vendor strings.
    pub fn new(iqn: impl Into<String>) -> Self {
        TargetConfig {
            iqn: iqn.into(),
            vendor: "UMBRA".to_owned(),
            revision: "0001".to_owned(),
            advertised: Vec::new(),
        }
    }
}

/// Whether a TCP portal demands CHAP (design X1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortalAuth {
    Chap,
    InsecureNone,
}

/// Who may log in. Called by connection threads, with no lock of the target held.
pub trait Directory: Send + Sync + 'static {
    /// What is known of this initiator; `None` refuses it.
    fn host(&self, initiator: &str) -> Option<HostLogin>;
}

/// How a known initiator logs in.
#[derive(Debug, Clone)]
pub struct HostLogin {
    /// Its CHAP secret; without one it cannot use a portal that demands CHAP.
    pub secret: Option<Secret>,
}

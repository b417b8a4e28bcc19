//! Hosts, and which LUNs they see.

use super::UnixNanos;
use serde::{Deserialize, Serialize};
use umbra_base::{HostId, LunId};

/// An initiator that may log in. Its CHAP secret is not here, but in a file of its own (X1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its id.
    pub id: HostId,
    /// Its name, unique among hosts.
    pub name: String,
    /// Its iSCSI name, unique among hosts.
    pub initiator: String,
    /// When it was made.
    pub created: UnixNanos,
    /// The catalogue revision of its last change.
    #[serde(default)]
    pub revision: u64,
}

/// "This host sees this LUN under this number." Without a mask record a LUN does not exist for a host (A1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mask {
    /// Who sees it.
    pub host: HostId,
    /// What is seen.
    pub lun: LunId,
    /// The SCSI LUN: 1 and above; 0 is never given out, so that what answers there is always the target itself.
    pub number: u16,
}

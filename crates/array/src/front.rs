//! What the driver needs of the iSCSI target: to show LUNs to hosts, and to be sure that what is hidden is hidden.
//!
//! The target itself stands behind this trait in `serve`; the driver's tests stand in for it.

use crate::{
    model::{Access, ScsiIdentity},
    unit::Unit,
};
use std::sync::Arc;

/// One LUN as a host is to see it.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The SCSI LUN.
    pub number: u16,
    /// Its bytes.
    pub unit: Arc<Unit>,
    /// What SCSI calls it.
    pub scsi: ScsiIdentity,
    /// Whether the host may write.
    pub access: Access,
}

/// A logged-in initiator.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its iSCSI name.
    pub initiator: String,
    /// Where it came from, `ADDRESS:PORT` or `unix`.
    pub peer: String,
}

/// The target, from the driver's side.
pub trait Front: Send + Sync + 'static {
    /// Sets what `initiator` sees, whole. A fence (A1): on return, no earlier command of it to a LUN that was removed,
    /// replaced or made read-only can still change anything.
    fn show(&self, initiator: &str, luns: Vec<Shown>);

    /// Whether every session that knew that number has asked for the list of LUNs since, or ended (A1).
    fn has_forgotten(&self, initiator: &str, number: u16) -> bool;

    /// Ends the sessions of an initiator that is no host any more.
    fn drop_sessions(&self, initiator: &str);

    /// Ends all ROD tokens and lets go of the points in time that they keep; waits for nothing. False: there were none.
    fn give_up_tokens(&self) -> bool;

    /// Who is logged in.
    fn sessions(&self) -> Vec<Session>;
}

//! Providers: whoever makes copies of volumes, behind VSS's phases.
//!
//! ```text
//! begin_prepare -> end_prepare -> pre_commit -> [writes are held] commit -> [released] post_commit -> finish
//!        \--------------\--------------\------------------\----------------------\--> abort
//! ```
//!
//! What always holds: [`Provider::commit`] is the only call inside the hold; it opens nothing and logs nothing (S7),
//! whatever it needs was opened by [`Provider::pre_commit`]. [`Provider::abort`] may come in any state, also twice, also
//! for a set that the provider never heard of, and leaves nothing of the set.

mod array;

pub use array::ArrayProvider;

use std::collections::BTreeMap;
use umbra_api::v1;
use umbra_base::{Result, SetId};
use umbra_vss::CutTime;

/// What kind of copies a provider makes (VSS).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(
    dead_code,
    reason = "VSS's kinds, and words of the interface; the first software provider makes the second"
)]
pub enum Kind {
    /// Copies are LUNs with a life of their own: they can be transported, imported and broken.
    Hardware,
    /// Copies live inside a file system or volume manager.
    Software,
    /// The one that comes with the system and takes what nobody else takes.
    System,
}

impl Kind {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Hardware => "hardware",
            Kind::Software => "software",
            Kind::System => "system",
        }
    }
}

/// Everything that a provider must know to begin a set.
#[derive(Debug, Clone)]
pub struct SetSpec {
    /// The id, made by the requester.
    pub set: SetId,
    /// The LUNs under the volumes, each once.
    pub luns: Vec<String>,
    /// One for each volume.
    pub copies: Vec<v1::CopyRecord>,
    /// Volumes on the LUNs that nobody asked for.
    pub extra_volumes: Vec<String>,
    /// For people and programs.
    pub labels: BTreeMap<String, String>,
    /// Zero: never.
    pub expires_at_unix_ns: u64,
    /// When the set is usable.
    pub import: Import,
    /// How long the set lives.
    pub life: Life,
}

/// When a hardware set is usable (B1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Import {
    /// This host imports it as part of its creation.
    Implicit,
    /// Somebody imports it later, from its document.
    Later,
}

/// How long a set lives (B6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Until its requester goes.
    Volatile,
    /// Until somebody deletes it.
    Persistent,
}

/// A maker of copies.
#[tonic::async_trait]
pub trait Provider: Send + Sync + 'static {
    /// Unique on this host; what `--provider` names.
    fn name(&self) -> &'static str;
    /// What kind of copies it makes.
    fn kind(&self) -> Kind;
    /// What it says of itself.
    async fn describe(&self) -> v1::Provider;
    /// Opens the set and starts whatever takes long.
    async fn begin_prepare(&self, spec: &SetSpec) -> Result<()>;
    /// Waits until what was started is done.
    async fn end_prepare(&self, set: SetId) -> Result<()>;
    /// Opens whatever the cut needs. Nothing stands still yet.
    async fn pre_commit(&self, set: SetId) -> Result<()>;
    /// Cuts all LUNs of the set at one instant. Writes are held.
    async fn commit(&self, set: SetId) -> Result<CutTime>;
    /// Waits until the copies are durable. Writes flow again.
    async fn post_commit(&self, set: SetId) -> Result<()>;
    /// Makes the copies usable; the record of the set as it is now.
    async fn finish(&self, set: SetId, import: Import) -> Result<v1::SetRecord>;
    /// Discards the set, whatever there is of it.
    async fn abort(&self, set: SetId) -> Result<()>;
}

//! Where the catalogue is kept: read at a revision, commit if nobody was faster.
//!
//! Behind a trait, so that a shared store can take the place of the local file when several gateways serve one pool
//! (design section 3). What always holds: a commit is durable on return and happens whole or not at all; what `read`
//! answers was committed.

mod rows;
mod schema;
mod sqlite;

pub use sqlite::{Opened, SqliteCatalogue};

use crate::model::{Catalogue, Change};
use std::sync::Arc;
use umbra_base::Result;

/// A store of one catalogue.
pub trait CatalogueStore: Send + Sync + 'static {
    /// The catalogue at its newest revision. Never waits for the disk.
    fn read(&self) -> Arc<Catalogue>;

    /// Carries out `change` if the catalogue is still at revision `expected`, else `revision_conflict`. On success the
    /// revision is `expected + 1`, and every object that was put carries it.
    fn commit(&self, expected: u64, change: &Change) -> Result<Arc<Catalogue>>;
}

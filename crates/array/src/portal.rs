//! The iSCSI target as the driver's [`Front`], and who may log in to it.

use crate::{
    catalogue::CatalogueStore,
    front::{Front, Session, Shown},
    model::Access,
    secrets::Secrets,
    unit::Unit,
};
use std::{fmt, sync::Arc};
use umbra_target::{Directory, HostLogin, LunEntry, LunIdentity, Mutual, Secret, Target};

/// Product identification of every LUN (SPC-4 section 6.6.2).
const PRODUCT: &str = "UMBRA LUN";

/// The target.
#[derive(Debug)]
pub struct TargetFront(pub Arc<Target<Unit>>);

impl Front for TargetFront {
    fn show(&self, initiator: &str, luns: Vec<Shown>) {
        self.0.set_luns(initiator, luns.into_iter().map(entry).collect());
    }

    fn has_forgotten(&self, initiator: &str, number: u16) -> bool {
        self.0.number_is_forgotten(initiator, number)
    }

    fn drop_sessions(&self, initiator: &str) {
        self.0.drop_sessions(initiator);
    }

    fn give_up_tokens(&self) -> bool {
        self.0.give_up_tokens()
    }

    fn sessions(&self) -> Vec<Session> {
        let session =
            |info: umbra_target::SessionInfo| Session { initiator: info.initiator, peer: info.peer };
        self.0.sessions().into_iter().map(session).collect()
    }
}

fn entry(shown: Shown) -> LunEntry<Unit> {
    LunEntry {
        number: shown.number,
        unit: shown.unit,
        identity: LunIdentity {
            naa: shown.scsi.naa(),
            uuid: *shown.scsi.uuid().as_bytes(),
            serial: shown.scsi.serial(),
            product: PRODUCT.to_owned(),
        },
        access: match shown.access {
            Access::ReadWrite => umbra_target::Access::ReadWrite,
            Access::ReadOnly => umbra_target::Access::ReadOnly,
        },
    }
}

/// The hosts of the catalogue, with their secrets.
pub struct Hosts {
    /// Who is known.
    pub catalogue: Arc<dyn CatalogueStore>,
    /// What they must know.
    pub secrets: Arc<Secrets>,
    /// What the array calls itself to hosts that ask for proof.
    pub target: String,
}

impl fmt::Debug for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hosts").field("secrets", &self.secrets).finish_non_exhaustive()
    }
}

impl Directory for Hosts {
    fn host(&self, initiator: &str) -> Option<HostLogin> {
        let host = self.catalogue.read().host_of_initiator(initiator)?.clone();
        let secret = match self.secrets.get(host.id) {
            Ok(secret) => Some(Secret::new(secret)),
            // Without its secret the host can use only portals that ask for none.
            Err(error) => {
                tracing::error!(host = host.name, error = ?error, "read the secret of a host");
                None
            }
        };
        let mutual = match self.secrets.mutual(host.id) {
            Ok(secret) => {
                secret.map(|secret| Mutual { name: self.target.clone(), secret: Secret::new(secret) })
            }
            // A host that asks for proof is refused then.
            Err(error) => {
                tracing::error!(host = host.name, error = ?error, "read the array's own secret for a host");
                None
            }
        };
        Some(HostLogin { secret, mutual })
    }
}

//! Ids of the things that Umbra knows. All are UUIDs made by whoever creates the thing (design section 1), so that a
//! lost answer can be asked for again. Each kind is a type of its own, so that a copy's id is never taken for a set's.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.hyphenated().fmt(f) }
        }

        impl FromStr for $name {
            type Err = crate::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map($name).map_err(|source| {
                    crate::Error::new(crate::ErrorCode::InvalidArgument, format!("{text:?} is not an id"))
                        .hint("ids are UUIDs such as 3f2c0a3e-....")
                        .because(source)
                })
            }
        }

        impl From<Uuid> for $name { fn from(uuid: Uuid) -> Self { $name(uuid) } }
    )*};
}

ids! {
    /// A snapshot set: copies of one instant. VSS SnapshotSetId.
    SetId;
    /// A shadow copy: one volume of a set. VSS SnapshotId.
    CopyId;
    /// A logical unit of an array.
    LunId;
    /// A host as the array knows it.
    HostId;
    /// An array.
    ArrayId;
    /// A piece of long work; also the idempotency key of its request.
    OperationId;
}

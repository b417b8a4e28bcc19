//! Where a writer's data lies, and which of it a set covers.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};
use umbra_base::{Error, ErrorCode, Result, SetId};
use umbra_vss::{Claim, Consistency};

/// A path with data of a writer, links followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Where.
    pub path: PathBuf,
    /// What lies there, for people: `data`, `WAL`, `tablespace fast`.
    pub what: String,
}

/// What a writer says about itself, at any time and without disturbing anything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// `PostgreSQL 15.18`, or nothing.
    pub product: String,
    /// All of its data.
    pub places: Vec<Place>,
    /// What limits what it can vouch for.
    pub remarks: Vec<String>,
}

/// The function that finds the volume of the set that a path lies on; `None` if it lies on none of them.
pub type VolumeOf = Arc<dyn Fn(&Path) -> Option<String> + Send + Sync>;

/// The set that a writer is asked to take part in.
#[derive(Clone)]
pub struct SetContext {
    /// Its id.
    pub set: SetId,
    /// The volume of a path. It is asked again in `prepare`, because data moves.
    pub volume_of: VolumeOf,
}

impl fmt::Debug for SetContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetContext").field("set", &self.set).finish_non_exhaustive()
    }
}

/// The volumes of a set that have data of a writer, with what lies on each.
pub(crate) type Covered = BTreeMap<String, Vec<String>>;

impl SetContext {
    /// Whether any of the places lies in the set.
    pub(crate) fn touches(&self, places: &[Place]) -> bool {
        places.iter().any(|place| (self.volume_of)(&place.path).is_some())
    }

    /// The volumes of all places, or which place lies outside of the set.
    pub(crate) fn cover(&self, writer: &str, places: &[Place]) -> Result<Covered> {
        let mut covered = Covered::new();
        for place in places {
            let Some(volume) = (self.volume_of)(&place.path) else { return Err(outside(writer, place)) };
            covered.entry(volume).or_default().push(place.what.clone());
        }
        Ok(covered)
    }
}

fn outside(writer: &str, place: &Place) -> Error {
    let (what, path) = (&place.what, place.path.display());
    Error::new(
        ErrorCode::InconsistentSnapshot,
        format!("writer {writer:?}: its {what} in {path} lies outside of the set"),
    )
    .hint("add that volume to the set, or create the set without writers")
    .param("writer", writer)
    .param("path", path)
}

/// The same claim for every volume.
pub(crate) fn claims(covered: &Covered, level: Consistency, reason: &str) -> Vec<Claim> {
    let claim = |(volume, what): (&String, &Vec<String>)| Claim {
        volume: volume.clone(),
        level,
        reason: format!("{}: {reason}", what.join(", ")),
    };
    covered.iter().map(claim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str) -> Place {
        Place { path: path.into(), what: format!("data of {path}") }
    }

    fn context() -> SetContext {
        let volume_of =
            |path: &Path| ["/a", "/b"].into_iter().find(|v| path.starts_with(v)).map(str::to_owned);
        SetContext { set: SetId(uuid::Uuid::nil()), volume_of: Arc::new(volume_of) }
    }

    #[test]
    fn one_place_in_the_set_is_enough_to_be_touched() {
        assert!(context().touches(&[place("/c"), place("/a/x")]));
        assert!(!context().touches(&[place("/c")]));
    }

    #[test]
    fn a_place_outside_of_the_set_is_named() {
        let error = context().cover("w", &[place("/a/x"), place("/c/y")]).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InconsistentSnapshot);
        assert_eq!(error.params()["path"], "/c/y");
        let covered = context().cover("w", &[place("/a/x"), place("/a/y"), place("/b")]).unwrap();
        assert_eq!(covered.len(), 2);
        assert_eq!(claims(&covered, Consistency::Application, "proved")[0].volume, "/a");
    }
}

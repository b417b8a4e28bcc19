//! What one set is to be made of: volumes, and the writers and providers that take part.
//!
//! A [`Plan`] is checked once, by [`Plan::check`]; behind that door every name in it resolves and the set can be one
//! instant (S1). Writers and providers are known by name, volumes by the path the requester used.

use std::collections::BTreeSet;
use umbra_base::{Error, ErrorCode, Result, SetId, limits::VOLUMES_PER_SET};

use crate::limits::WRITERS_PER_SET;

/// When a writer is frozen; thawed in reverse (VSS application levels).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Web servers and the like: stop the stream of requests first.
    FrontEnd,
    /// Databases and other applications.
    Application,
    /// Services that the applications use.
    System,
}

impl Level {
    /// In the order of freezing.
    pub const ALL: [Level; 3] = [Level::FrontEnd, Level::Application, Level::System];

    /// The word in configuration files and timelines.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::FrontEnd => "front-end",
            Level::Application => "application",
            Level::System => "system",
        }
    }
}

/// What stands between a volume and its writers while the providers cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// A mounted file system: frozen by the guard during the cut.
    Mounted,
    /// No mounted file system: nothing but the provider's own cut holds its writes.
    Raw,
    /// A mounted file system whose snapshot is itself a write to it (btrfs): synced, not frozen, cut last of all.
    SelfCommitting,
}

/// A volume of the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumePlan {
    /// Mount point or device, as the requester named it.
    pub name: String,
    /// The provider that copies it.
    pub provider: String,
    /// What holds its writes.
    pub ground: Ground,
}

/// A writer that takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterPlan {
    /// Its name, unique on the host.
    pub name: String,
    /// When it is frozen.
    pub level: Level,
}

/// A provider that takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderPlan {
    /// Its name, unique on the host.
    pub name: String,
}

/// All that takes part in one set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The id, made by the requester.
    pub set: SetId,
    /// The members; none comes later.
    pub volumes: Vec<VolumePlan>,
    /// Writers with data on any of the volumes.
    pub writers: Vec<WriterPlan>,
    /// Providers, each with at least one of the volumes.
    pub providers: Vec<ProviderPlan>,
}

impl Plan {
    /// Whether this can become a set that is one instant.
    pub fn check(&self) -> Result<()> {
        self.check_bounds()?;
        self.check_names()?;
        self.check_one_instant()
    }

    fn check_bounds(&self) -> Result<()> {
        if self.volumes.is_empty() {
            return Err(Error::new(ErrorCode::InvalidArgument, "a set needs at least one volume"));
        }
        at_most("volumes", self.volumes.len(), VOLUMES_PER_SET)?;
        at_most("writers", self.writers.len(), WRITERS_PER_SET)
    }

    fn check_names(&self) -> Result<()> {
        unique("volume", self.volumes.iter().map(|v| &v.name))?;
        unique("writer", self.writers.iter().map(|w| &w.name))?;
        unique("provider", self.providers.iter().map(|p| &p.name))?;
        for volume in &self.volumes {
            if !self.providers.iter().any(|p| p.name == volume.provider) {
                let text =
                    format!("volume {:?}: provider {:?} is not in the plan", volume.name, volume.provider);
                return Err(Error::new(ErrorCode::Internal, text));
            }
        }
        for provider in &self.providers {
            if !self.volumes.iter().any(|v| v.provider == provider.name) {
                let text = format!("provider {:?} has no volume in the plan", provider.name);
                return Err(Error::new(ErrorCode::Internal, text));
            }
        }
        Ok(())
    }

    /// S1. Frozen file systems stand still from the first cut to the last, so any number of providers may cut them.
    /// A volume that nothing freezes goes on changing between two cuts: at most one cut may lie on such volumes.
    fn check_one_instant(&self) -> Result<()> {
        let raw: BTreeSet<_> =
            self.volumes.iter().filter(|v| v.ground == Ground::Raw).map(|v| &v.provider).collect();
        let own: Vec<_> = self.volumes.iter().filter(|v| v.ground == Ground::SelfCommitting).collect();
        if raw.len() + own.len() <= 1 {
            return Ok(());
        }
        let names: Vec<_> =
            self.volumes.iter().filter(|v| v.ground != Ground::Mounted).map(|v| v.name.as_str()).collect();
        let text = format!(
            "volumes {} cannot be held while they are cut, so they would not be one instant",
            names.join(", ")
        );
        Err(Error::new(ErrorCode::VolumeNotSupported, text)
            .hint("put each of them into a set of its own, or mount them")
            .param("volumes", names.join(",")))
    }

    /// The providers in the order of their cuts: those whose cut is itself a write come last.
    pub(crate) fn commit_order(&self) -> Vec<String> {
        let last = |name: &str| {
            self.volumes.iter().any(|v| v.provider == name && v.ground == Ground::SelfCommitting)
        };
        let (own, held): (Vec<_>, Vec<_>) = self.providers.iter().partition(|p| last(&p.name));
        held.into_iter().chain(own).map(|p| p.name.clone()).collect()
    }

    /// Whether the guard has anything to freeze.
    pub(crate) fn has_mounted(&self) -> bool {
        self.volumes.iter().any(|v| v.ground == Ground::Mounted)
    }

    /// Whether any volume has a file system to be synced.
    pub(crate) fn has_file_system(&self) -> bool {
        self.volumes.iter().any(|v| v.ground != Ground::Raw)
    }

    pub(crate) fn writers_at(&self, level: Level) -> impl Iterator<Item = &WriterPlan> {
        self.writers.iter().filter(move |w| w.level == level)
    }
}

fn at_most(what: &str, count: usize, bound: usize) -> Result<()> {
    if count <= bound {
        return Ok(());
    }
    Err(Error::new(
        ErrorCode::LimitReached,
        format!("{count} {what} in one set, at most {bound} are allowed"),
    )
    .param("limit", bound))
}

fn unique<'a>(what: &str, names: impl Iterator<Item = &'a String>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Error::new(ErrorCode::InvalidArgument, format!("{what} {name:?} is named twice")));
        }
    }
    Ok(())
}

//! The consistency that a set really reached, volume by volume (S5, W2).
//!
//! A writer claims what it can vouch for on each volume that has its data; the lowest claim counts. Where no writer
//! has data, a frozen file system is consistent as a file system, and a raw device is what a crash would leave.

use std::time::Duration;

use crate::plan::{Ground, Plan};

/// What a copy of a volume is good for, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Consistency {
    /// What a loss of power would have left.
    Crash,
    /// The file system needs no repair.
    FileSystem,
    /// The application vouches for its data.
    Application,
}

impl Consistency {
    /// The word in documents and `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Consistency::Crash => "crash",
            Consistency::FileSystem => "file_system",
            Consistency::Application => "application",
        }
    }
}

/// What a writer vouches for on one volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The volume, by its name in the plan.
    pub volume: String,
    /// The level that it vouches for.
    pub level: Consistency,
    /// Why not more, or how it gets there.
    pub reason: String,
}

/// What a writer says when it is prepared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WriterReport {
    /// One for each volume of the set that has its data.
    pub claims: Vec<Claim>,
    /// How long it can be frozen, if shorter than the limit.
    pub freeze_at_most: Option<Duration>,
}

/// What one volume's copy is good for, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeReached {
    /// The volume, by its name in the plan.
    pub volume: String,
    /// The level.
    pub level: Consistency,
    /// Sentences, the first about the file system, then one for each writer.
    pub reasons: Vec<String>,
}

/// What each volume of `plan` reached, given the reports of its writers. Holds only if every attestation succeeded.
pub(crate) fn reached<'a>(
    plan: &Plan,
    reports: impl Iterator<Item = (&'a String, &'a WriterReport)> + Clone,
) -> Vec<VolumeReached> {
    plan.volumes
        .iter()
        .map(|volume| {
            let (ground, reason) = grounded(volume.ground);
            let claims: Vec<_> = reports
                .clone()
                .flat_map(|(writer, report)| report.claims.iter().map(move |claim| (writer, claim)))
                .filter(|(_, claim)| claim.volume == volume.name)
                .collect();
            let level = claims.iter().map(|(_, claim)| claim.level).min().unwrap_or(ground);
            let told = claims.iter().map(|(writer, claim)| format!("writer {writer:?}: {}", claim.reason));
            VolumeReached {
                volume: volume.name.clone(),
                level,
                reasons: [reason.to_owned()].into_iter().chain(told).collect(),
            }
        })
        .collect()
}

fn grounded(ground: Ground) -> (Consistency, &'static str) {
    match ground {
        Ground::Mounted => (Consistency::FileSystem, "the file system was frozen during the cut"),
        Ground::SelfCommitting => {
            (Consistency::FileSystem, "the file system made the copy itself, in one transaction")
        }
        Ground::Raw => {
            (Consistency::Crash, "no file system is mounted, so nothing was frozen but the device's writes")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{ProviderPlan, VolumePlan};
    use std::collections::BTreeMap;
    use umbra_base::SetId;

    fn level_of(ground: Ground, claims: &[(&str, Consistency)]) -> VolumeReached {
        let volume = VolumePlan { name: "/a".into(), provider: "p".into(), ground };
        let plan = Plan {
            set: SetId(Default::default()),
            volumes: vec![volume],
            writers: vec![],
            providers: vec![ProviderPlan { name: "p".into() }],
        };
        let report = |level| WriterReport {
            claims: vec![Claim { volume: "/a".into(), level, reason: "because".into() }],
            freeze_at_most: None,
        };
        let reports: BTreeMap<_, _> =
            claims.iter().map(|(name, level)| (name.to_string(), report(*level))).collect();
        reached(&plan, reports.iter()).remove(0)
    }

    #[test]
    fn the_lowest_claim_counts() {
        use Consistency::*;
        assert_eq!(level_of(Ground::Mounted, &[]).level, FileSystem);
        assert_eq!(level_of(Ground::Raw, &[]).level, Crash);
        assert_eq!(level_of(Ground::Mounted, &[("pg", Application)]).level, Application);
        let mixed = level_of(Ground::Mounted, &[("pg", Crash), ("web", Application)]);
        assert_eq!(mixed.level, Crash);
        assert_eq!(mixed.reasons.len(), 3);
    }
}

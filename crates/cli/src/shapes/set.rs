//! Sets and their copies.

use super::{given, info::Extent, rfc3339};
use crate::{
    output::Shape,
    table::{or_dash, short, table},
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io::{self, Write},
};
use umbra_api::v1;

#[derive(Debug, Serialize)]
pub struct SetList {
    pub sets: Vec<Set>,
}

#[derive(Debug, Serialize)]
pub struct Set {
    pub id: String,
    pub state: &'static str,
    pub provider: String,
    pub creator_host: Option<String>,
    pub importer_host: Option<String>,
    pub epoch: u64,
    pub transportable: bool,
    pub volatile: bool,
    pub begun: Option<String>,
    pub cut: Option<String>,
    pub broken: Option<String>,
    pub broken_access: Option<&'static str>,
    pub expires: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub copies: Vec<Copy>,
    pub luns: Vec<SetLun>,
    pub extra_volumes: Vec<String>,
    pub timeline: Vec<Phase>,
    pub revision: u64,
}

#[derive(Debug, Serialize)]
pub struct Copy {
    #[serde(rename = "copy_id")]
    pub id: String,
    pub volume: String,
    pub volume_device: Option<String>,
    pub mount_point: Option<String>,
    pub fs_type: Option<String>,
    pub fs_uuid: Option<String>,
    pub consistency: &'static str,
    pub consistency_reason: Option<String>,
    pub writers: Vec<String>,
    pub extents: Vec<Extent>,
    pub exposed_at: Option<String>,
    pub devices: Vec<String>,
}

/// A LUN of a set: the original, and the working copy that hosts see.
#[derive(Debug, Serialize)]
pub struct SetLun {
    pub origin_lun: String,
    pub working_lun: String,
    pub identity: Vec<Identity>,
}

/// An identity that was renewed or reverted.
#[derive(Debug, Serialize)]
pub struct Identity {
    #[serde(rename = "where")]
    pub place: String,
    pub kind: String,
    pub before: String,
    pub after: String,
}

#[derive(Debug, Serialize)]
pub struct Phase {
    pub name: String,
    pub start_us: u64,
    pub duration_us: u64,
    pub outcome: Option<String>,
    pub note: Option<String>,
}

/// One set.
#[derive(Debug, Serialize)]
pub struct OneSet {
    pub set: Set,
}

/// One set with the phases of its creation shown; as JSON it is the same.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct WithTimeline(pub OneSet);

impl From<v1::ServiceSet> for Set {
    fn from(set: v1::ServiceSet) -> Self {
        let mut shown = Set::from(set.record.unwrap_or_default());
        for state in set.copies {
            if let Some(copy) = shown.copies.iter_mut().find(|copy| copy.id == state.copy_id) {
                copy.exposed_at = given(state.exposed_at);
                copy.devices = state.devices;
            }
        }
        shown
    }
}

impl From<v1::SetRecord> for Set {
    fn from(set: v1::SetRecord) -> Self {
        let broken_access = if set.broken_read_write { "read_write" } else { "read_only" };
        Set {
            state: state(set.state()),
            id: set.id,
            provider: set.provider,
            creator_host: given(set.creator_host),
            importer_host: given(set.importer_host),
            epoch: set.epoch,
            transportable: set.transportable,
            volatile: set.volatile,
            begun: rfc3339(set.begun_unix_ns),
            cut: rfc3339(set.cut_unix_ns),
            broken: rfc3339(set.broken_unix_ns),
            broken_access: (set.broken_unix_ns != 0).then_some(broken_access),
            expires: rfc3339(set.expires_at_unix_ns),
            labels: set.labels.into_iter().collect(),
            copies: set.copies.into_iter().map(Copy::from).collect(),
            luns: set.luns.into_iter().map(SetLun::from).collect(),
            extra_volumes: set.extra_volumes,
            timeline: set.timeline.into_iter().map(Phase::from).collect(),
            revision: set.revision,
        }
    }
}

impl From<v1::CopyRecord> for Copy {
    fn from(copy: v1::CopyRecord) -> Self {
        Copy {
            consistency: consistency(copy.consistency()),
            id: copy.copy_id,
            volume: copy.volume,
            volume_device: given(copy.volume_device),
            mount_point: given(copy.mount_point),
            fs_type: given(copy.fs_type),
            fs_uuid: given(copy.fs_uuid),
            consistency_reason: given(copy.consistency_reason),
            writers: copy.writers,
            extents: copy.extents.into_iter().map(Extent::from).collect(),
            exposed_at: None,
            devices: Vec::new(),
        }
    }
}

impl From<v1::SetLun> for SetLun {
    fn from(lun: v1::SetLun) -> Self {
        SetLun {
            origin_lun: lun.origin_lun_id,
            working_lun: lun.working_lun_id,
            identity: lun.identity.into_iter().map(Identity::from).collect(),
        }
    }
}

impl From<v1::IdentityChange> for Identity {
    fn from(change: v1::IdentityChange) -> Self {
        Identity { place: change.r#where, kind: change.kind, before: change.before, after: change.after }
    }
}

impl From<v1::Phase> for Phase {
    fn from(phase: v1::Phase) -> Self {
        Phase {
            name: phase.name,
            start_us: phase.start_us,
            duration_us: phase.duration_us,
            outcome: given(phase.outcome),
            note: given(phase.note),
        }
    }
}

fn state(state: v1::SetState) -> &'static str {
    match state {
        v1::SetState::Pending => "pending",
        v1::SetState::Created => "created",
        v1::SetState::Imported => "imported",
        v1::SetState::Breaking => "breaking",
        v1::SetState::Broken => "broken",
        v1::SetState::Unspecified => "unknown",
    }
}

fn consistency(consistency: v1::Consistency) -> &'static str {
    match consistency {
        v1::Consistency::Crash => "crash",
        v1::Consistency::FileSystem => "file_system",
        v1::Consistency::Application => "application",
        v1::Consistency::Unspecified => "unknown",
    }
}

impl Shape for SetList {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows: Vec<_> = self.sets.iter().flat_map(rows).collect();
        table(out, ["SET", "STATE", "CUT", "COPY", "VOLUME", "CONSISTENCY", "EXPOSED AT"], &rows)
    }
}

fn rows(set: &Set) -> Vec<[String; 7]> {
    let row = |copy: &Copy| {
        [
            short(&set.id),
            set.state.to_owned(),
            seconds(set.cut.as_deref()),
            short(&copy.id),
            copy.volume.clone(),
            copy.consistency.replace('_', "-"),
            or_dash(copy.exposed_at.as_deref().unwrap_or_default()),
        ]
    };
    set.copies.iter().map(row).collect()
}

/// A time to the second, for people.
fn seconds(time: Option<&str>) -> String {
    time.and_then(|time| time.split('.').next()).map_or_else(|| "-".to_owned(), |time| format!("{time}Z"))
}

impl Shape for OneSet {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.set.text(out)
    }
}

impl Set {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "set {} {}", self.id, self.state)?;
        writeln!(out, "  cut at {}", seconds(self.cut.as_deref()))?;
        self.copies.iter().try_for_each(|copy| copy.text(out))?;
        for lun in &self.luns {
            writeln!(out, "  LUN {} from LUN {}", lun.working_lun, lun.origin_lun)?;
            lun.identity.iter().try_for_each(|change| change.text(out))?;
        }
        match self.extra_volumes.as_slice() {
            [] => Ok(()),
            extra => writeln!(out, "  also on these LUNs, not asked for: {}", extra.join(" ")),
        }
    }
}

impl Copy {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let fs = self.fs_type.as_deref().unwrap_or("no file system");
        let consistency = self.consistency.replace('_', "-");
        writeln!(out, "  copy {} of {} ({fs}), {consistency} consistency", self.id, self.volume)?;
        if let Some(reason) = &self.consistency_reason {
            writeln!(out, "    {reason}")?;
        }
        if !self.writers.is_empty() {
            writeln!(out, "    writers {}", self.writers.join(" "))?;
        }
        match &self.exposed_at {
            Some(path) => writeln!(out, "    exposed at {path}"),
            None => Ok(()),
        }
    }
}

impl Identity {
    pub fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "    {} of {}: {} -> {}", self.kind, self.place, self.before, self.after)
    }
}

impl Shape for WithTimeline {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.0.text(out)?;
        let row = |phase: &Phase| {
            [
                phase.name.replace('_', " "),
                millis(phase.start_us),
                millis(phase.duration_us),
                or_dash(phase.outcome.as_deref().unwrap_or_default()),
                phase.note.clone().unwrap_or_default(),
            ]
        };
        let rows: Vec<_> = self.0.set.timeline.iter().map(row).collect();
        table(out, ["PHASE", "START ms", "TOOK ms", "OUTCOME", "NOTE"], &rows)
    }
}

/// Microseconds as milliseconds with three digits.
fn millis(us: u64) -> String {
    format!("{:>9}", format!("{}.{:03}", us / 1000, us % 1000))
}

//! Records as the wire has them.

use crate::{
    driver::{self, CutDone, level_name},
    front,
    model::{self, Access, Catalogue, SetState},
    rules::Outcome,
};
use std::{path::PathBuf, time::Duration};
use umbra_api::v1;
use umbra_store::{DifferenceKind, Mode, Thresholds, Usage};

/// Where hosts reach the target.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// The target's iSCSI name.
    pub iqn: String,
    /// ADDR:PORT of each TCP portal.
    pub portals: Vec<String>,
    /// The local portal.
    pub iscsi_socket: PathBuf,
}

/// Outcome.
pub fn outcome(outcome: Outcome) -> i32 {
    let outcome = match outcome {
        Outcome::Created => v1::Outcome::Created,
        Outcome::Changed => v1::Outcome::Changed,
        Outcome::Unchanged => v1::Outcome::Unchanged,
        Outcome::Deleted => v1::Outcome::Deleted,
    };
    outcome.into()
}

/// A LUN, with who sees it.
pub fn lun(cat: &Catalogue, addresses: &Addresses, lun: &model::Lun, mapped_bytes: u64) -> v1::Lun {
    let (kind, origin) = match &lun.kind {
        model::LunKind::Ordinary => (v1::LunKind::Ordinary, None),
        model::LunKind::Copy(origin) => (v1::LunKind::Copy, Some(origin)),
        model::LunKind::Broken(origin) => (v1::LunKind::Broken, Some(origin)),
    };
    let presentations = cat.masks_of_lun(lun.id).filter_map(|mask| presentation(cat, addresses, mask));
    v1::Lun {
        id: lun.id.to_string(),
        name: lun.name.clone(),
        size_bytes: lun.size_bytes,
        mapped_bytes,
        read_only: lun.access == Access::ReadOnly,
        kind: kind.into(),
        naa: format!("{:016x}", lun.scsi.naa()),
        serial: lun.scsi.serial(),
        labels: lun.labels.clone().into_iter().collect(),
        expires_at_unix_ns: lun.expires_at,
        created_unix_ns: lun.created,
        origin_lun_id: origin.map(|origin| origin.lun.to_string()).unwrap_or_default(),
        set_id: origin.map(|origin| origin.set.to_string()).unwrap_or_default(),
        presentations: presentations.collect(),
        revision: lun.revision,
        reserved_bytes: lun.reserve.bytes(lun.size_bytes),
        quota_bytes: lun.quota_bytes.unwrap_or_default(),
    }
}

fn presentation(cat: &Catalogue, addresses: &Addresses, mask: &model::Mask) -> Option<v1::Presentation> {
    let host = cat.hosts.get(&mask.host)?;
    let (iqn, number) = (&addresses.iqn, mask.number);
    Some(v1::Presentation {
        host_id: host.id.to_string(),
        host_name: host.name.clone(),
        initiator: host.initiator.clone(),
        number: number.into(),
        urls: addresses.portals.iter().map(|portal| format!("iscsi://{portal}/{iqn}/{number}")).collect(),
        unix_url: format!("iscsi+unix://{}/{iqn}/{number}", addresses.iscsi_socket.display()),
    })
}

/// A host.
pub fn host(cat: &Catalogue, host: &model::Host) -> v1::Host {
    let mut lun_numbers: Vec<u32> = cat.masks_of_host(host.id).map(|mask| mask.number.into()).collect();
    lun_numbers.sort_unstable();
    v1::Host {
        id: host.id.to_string(),
        name: host.name.clone(),
        initiator: host.initiator.clone(),
        created_unix_ns: host.created,
        revision: host.revision,
        lun_numbers,
    }
}

/// A set; `lease_left` and `cut` are those of a pending one.
pub fn set(
    cat: &Catalogue,
    set: &model::SnapshotSet,
    lease_left: Duration,
    cut: Option<CutDone>,
) -> v1::SetRecord {
    let importer = set.state.importer().and_then(|id| cat.hosts.get(&id));
    let (broken_unix_ns, broken_read_write) = match set.state {
        SetState::Broken { at, access, .. } => (at, access == Access::ReadWrite),
        _ => (0, false),
    };
    v1::SetRecord {
        id: set.id.to_string(),
        state: state(&set.state).into(),
        creator_host: set.creator_name.clone(),
        importer_host: importer.map(|host| host.name.clone()).unwrap_or_default(),
        epoch: set.epoch,
        transportable: set.transportable,
        volatile: set.volatile,
        copies: set.copies.iter().map(copy).collect(),
        luns: set.luns.iter().map(set_lun).collect(),
        labels: set.labels.clone().into_iter().collect(),
        expires_at_unix_ns: set.expires_at,
        begun_unix_ns: set.begun,
        cut_unix_ns: cut.map_or(set.state.cut(), |cut| cut.at),
        broken_unix_ns,
        timeline: set.timeline.iter().map(step).collect(),
        lease_left_ms: millis(lease_left),
        broken_read_write,
        extra_volumes: set.extra_volumes.clone(),
        revision: set.revision,
        provider: "array".to_owned(),
    }
}

fn state(state: &SetState) -> v1::SetState {
    match state {
        SetState::Pending => v1::SetState::Pending,
        SetState::Created { .. } => v1::SetState::Created,
        SetState::Imported { .. } => v1::SetState::Imported,
        SetState::Breaking { .. } => v1::SetState::Breaking,
        SetState::Broken { .. } => v1::SetState::Broken,
    }
}

fn set_lun(lun: &model::SetLun) -> v1::SetLun {
    let change = |change: &model::IdentityChange| v1::IdentityChange {
        r#where: change.place.clone(),
        kind: change.kind.clone(),
        before: change.before.clone(),
        after: change.after.clone(),
    };
    v1::SetLun {
        origin_lun_id: lun.origin.to_string(),
        working_lun_id: lun.working.to_string(),
        identity: lun.identity.iter().map(change).collect(),
    }
}

fn copy(copy: &model::CopyRecord) -> v1::CopyRecord {
    let extent = |extent: &model::Extent| v1::Extent {
        lun_id: extent.lun.to_string(),
        offset_bytes: extent.offset,
        length_bytes: extent.length,
    };
    let consistency = match copy.consistency {
        model::Consistency::Unspecified => v1::Consistency::Unspecified,
        model::Consistency::Crash => v1::Consistency::Crash,
        model::Consistency::FileSystem => v1::Consistency::FileSystem,
        model::Consistency::Application => v1::Consistency::Application,
    };
    v1::CopyRecord {
        copy_id: copy.id.to_string(),
        volume: copy.volume.clone(),
        volume_device: copy.device.clone(),
        fs_type: copy.fs_type.clone(),
        fs_uuid: copy.fs_uuid.clone(),
        mount_point: copy.mount_point.clone(),
        extents: copy.extents.iter().map(extent).collect(),
        consistency: consistency.into(),
        consistency_reason: copy.consistency_reason.clone(),
        writers: copy.writers.clone(),
    }
}

fn step(step: &model::Step) -> v1::Phase {
    v1::Phase {
        name: step.name.clone(),
        start_us: step.start_us,
        duration_us: step.duration_us,
        outcome: step.outcome.clone(),
        note: step.note.clone(),
    }
}

/// How full the pool is, and what is said about that; `trouble` says why it takes no changes.
pub fn pool(
    usage: &Usage,
    thresholds: Thresholds,
    trouble: Option<String>,
    damage: Vec<String>,
) -> v1::PoolStatus {
    /// Bytes of a metadata block of the pool's format.
    const METADATA_BLOCK: u64 = 4096;
    let (mode, reason) = match usage.mode {
        Mode::ReadWrite => ("read_write", String::new()),
        Mode::ReadOnly => ("read_only", trouble.unwrap_or_default()),
        Mode::Closed => ("read_only", "the array is stopping".to_owned()),
    };
    let level = thresholds.level(usage.data_used, usage.data_total);
    v1::PoolStatus {
        block_bytes: usage.block_bytes,
        data_bytes: usage.data_total * usage.block_bytes,
        data_used_bytes: usage.data_used * usage.block_bytes,
        metadata_bytes: usage.metadata_total * METADATA_BLOCK,
        metadata_used_bytes: usage.metadata_used * METADATA_BLOCK,
        mode: mode.to_owned(),
        reason,
        level: level_name(level).to_owned(),
        low_percent: thresholds.low_percent.into(),
        critical_percent: thresholds.critical_percent.into(),
        full_wait_ms: millis(thresholds.full_wait),
        reserved_bytes: usage.data_owed * usage.block_bytes,
        damage,
    }
}

/// How copies differ.
pub fn differences(page: &driver::Page, block_bytes: u64) -> v1::ListDifferencesReply {
    let kind = |kind| match kind {
        driver::Kind::Allocated => v1::DifferenceKind::Allocated,
        driver::Kind::Differs(DifferenceKind::Both) => v1::DifferenceKind::Changed,
        driver::Kind::Differs(DifferenceKind::OnlyNew) => v1::DifferenceKind::New,
        driver::Kind::Differs(DifferenceKind::OnlyOld) => v1::DifferenceKind::Discarded,
    };
    let run = |run: &driver::Run| v1::Difference {
        offset_bytes: run.offset,
        length_bytes: run.length,
        kind: kind(run.kind).into(),
    };
    v1::ListDifferencesReply {
        differences: page.runs.iter().map(run).collect(),
        next_token: page.next.map(|next| next.to_string()).unwrap_or_default(),
        volume_bytes: page.volume_bytes,
        block_bytes,
    }
}

/// Who is logged in.
pub fn session(session: front::Session) -> v1::SessionStatus {
    v1::SessionStatus { initiator: session.initiator, peer: session.peer }
}

/// Whole milliseconds, rounded up so that what is left is never shown as nothing.
fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}

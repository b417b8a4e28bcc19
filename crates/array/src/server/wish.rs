//! Requests as checked wishes: ids parsed, enums known. Bounds and meanings are the rules' matter.

use crate::{
    limits,
    model::{Access, Consistency, CopyRecord, Extent, IdentityChange, Reserve, Step},
    rules::{
        begin::NewSet,
        lun::NewLun,
        set::{Identities, Learned, Takeover},
    },
};
use std::str::FromStr;
use umbra_api::v1;
use umbra_base::{Error, ErrorCode, HostId, Result};
use umbra_store::Extend;
use uuid::Uuid;

/// A LUN.
pub fn new_lun(request: v1::CreateLunRequest) -> Result<NewLun> {
    Ok(NewLun {
        id: made_id(&request.id)?,
        name: request.name,
        size_bytes: request.size_bytes,
        labels: request.labels.into_iter().collect(),
        expires_at: request.expires_at_unix_ns,
        reserve: match (request.reserve_all, request.reserve_bytes) {
            (true, _) => Reserve::All,
            (false, 0) => Reserve::Nothing,
            (false, bytes) => Reserve::Bytes(bytes),
        },
        quota_bytes: given(request.quota_bytes),
    })
}

/// What a pool is to be extended to; 0 leaves a size as it is.
pub fn extend(request: v1::ExtendPoolRequest) -> Extend {
    Extend { data_bytes: given(request.data_bytes), metadata_bytes: given(request.metadata_bytes) }
}

/// Where in a volume a page begins, and how many runs it has at most.
pub fn place(page: Option<v1::PageRequest>) -> Result<(u64, usize)> {
    let page = page.unwrap_or_default();
    let from = if page.token.is_empty() { Ok(0) } else { page.token.parse() };
    let from = from.map_err(|source: std::num::ParseIntError| {
        Error::new(ErrorCode::InvalidArgument, format!("{:?} is no token of a page", page.token))
            .hint("take next_token of the page before")
            .because(source)
    })?;
    let most = if page.size == 0 { limits::DIFFERENCES } else { page.size as usize };
    Ok((from, most.min(limits::DIFFERENCES)))
}

/// A number that is there, unless it is 0.
fn given(number: u64) -> Option<u64> {
    (number > 0).then_some(number)
}

/// A host's id; one is made for a caller that has none.
pub fn host_id(text: &str) -> Result<HostId> {
    made_id(text)
}

/// A set.
pub fn new_set(request: v1::BeginSetRequest) -> Result<NewSet> {
    Ok(NewSet {
        id: id(&request.set_id)?,
        origins: request.origin_lun_keys,
        copies: all(request.copies, copy)?,
        labels: request.labels.into_iter().collect(),
        expires_at: request.expires_at_unix_ns,
        transportable: request.transportable,
        volatile: request.volatile,
        extra_volumes: request.extra_volumes,
    })
}

/// What was learned about a set.
pub fn learned(request: v1::UpdateSetRequest) -> Result<Learned> {
    Ok(Learned {
        timeline: request.timeline.into_iter().map(step).collect(),
        copies: all(request.copies, copy)?,
        identities: identities(request.luns)?,
    })
}

/// The identities of working LUNs.
pub fn identities(luns: Vec<v1::SetLun>) -> Result<Identities> {
    all(luns, |lun| Ok((id(&lun.working_lun_id)?, lun.identity.into_iter().map(identity_change).collect())))
}

/// Access.
pub fn access(read_only: bool) -> Access {
    if read_only { Access::ReadOnly } else { Access::ReadWrite }
}

/// Whether to take a set away from a host.
pub fn takeover(steal: bool) -> Takeover {
    if steal { Takeover::Steal } else { Takeover::Never }
}

fn all<T, U>(items: Vec<T>, one: impl FnMut(T) -> Result<U>) -> Result<Vec<U>> {
    items.into_iter().map(one).collect()
}

fn id<T: FromStr<Err = Error>>(text: &str) -> Result<T> {
    text.parse()
}

fn made_id<T: FromStr<Err = Error> + From<Uuid>>(text: &str) -> Result<T> {
    if text.is_empty() { Ok(Uuid::new_v4().into()) } else { id(text) }
}

fn copy(copy: v1::CopyRecord) -> Result<CopyRecord> {
    let consistency = v1::Consistency::try_from(copy.consistency).map_err(|_| {
        Error::new(ErrorCode::InvalidArgument, format!("{} is no consistency", copy.consistency))
    })?;
    Ok(CopyRecord {
        id: id(&copy.copy_id)?,
        volume: copy.volume,
        device: copy.volume_device,
        fs_type: copy.fs_type,
        fs_uuid: copy.fs_uuid,
        mount_point: copy.mount_point,
        extents: all(copy.extents, extent)?,
        consistency: match consistency {
            v1::Consistency::Unspecified => Consistency::Unspecified,
            v1::Consistency::Crash => Consistency::Crash,
            v1::Consistency::FileSystem => Consistency::FileSystem,
            v1::Consistency::Application => Consistency::Application,
        },
        consistency_reason: copy.consistency_reason,
        writers: copy.writers,
    })
}

fn extent(extent: v1::Extent) -> Result<Extent> {
    Ok(Extent { lun: id(&extent.lun_id)?, offset: extent.offset_bytes, length: extent.length_bytes })
}

fn identity_change(change: v1::IdentityChange) -> IdentityChange {
    IdentityChange { place: change.r#where, kind: change.kind, before: change.before, after: change.after }
}

fn step(phase: v1::Phase) -> Step {
    Step {
        name: phase.name,
        start_us: phase.start_us,
        duration_us: phase.duration_us,
        outcome: phase.outcome,
        note: phase.note,
    }
}

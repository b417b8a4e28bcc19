//! Renewing the identities on a copy, so that it can stand beside its original (I1): UUIDs of file systems, GUIDs of
//! a GPT and its partitions.
//!
//! ```text
//!   view/disk, view/p1, ...  --plan-->  Edits (before, after)  --apply-->  renewed       --undo-->  as before
//! ```
//! Everything is done on the file view of an attachment, before a block device of the LUN exists that the kernel or udev
//! could scan; where a journal has to be replayed by a mount (XFS), the mount has no place in any namespace and its loop
//! device is locked against udev. What always holds: an edit says where, what, before and after, is planned before it
//! is made and can be stored then; making or undoing it twice is the same as once; after each, the identity is read back.

mod ext;
mod gpt;
mod xfs;

use crate::probe::{self, Content};
use serde::{Deserialize, Serialize};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
};
use umbra_base::{Error, ErrorCode, Result};

pub(crate) use gpt::table_guids;

/// What an edit changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// UUID of an ext2, ext3 or ext4 file system.
    Ext4Uuid,
    /// The feature that keeps an ext4's checksums valid when its UUID changes.
    Ext4MetadataCsumSeed,
    XfsUuid,
    GptDiskGuid,
    GptPartitionGuid,
}

impl Kind {
    const ALL: [Kind; 5] = [
        Kind::Ext4Uuid,
        Kind::Ext4MetadataCsumSeed,
        Kind::XfsUuid,
        Kind::GptDiskGuid,
        Kind::GptPartitionGuid,
    ];

    /// The stable text.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Ext4Uuid => "ext4-uuid",
            Kind::Ext4MetadataCsumSeed => "ext4-metadata-csum-seed",
            Kind::XfsUuid => "xfs-uuid",
            Kind::GptDiskGuid => "gpt-disk-guid",
            Kind::GptPartitionGuid => "gpt-partition-guid",
        }
    }

    /// The kind of that text.
    pub fn from_text(text: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One change of identity, with its undo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// The part of the LUN: `disk`, `p1`, ...
    pub place: String,
    pub kind: Kind,
    pub before: String,
    pub after: String,
}

/// A part of the LUN whose identity stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftAlone {
    pub place: String,
    /// Its content, where that is known.
    pub content: Option<Content>,
}

/// Which identities are renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renew {
    /// All that are known.
    All,
    /// Those that collide with one of these ([`crate::volumes::visible_identities`]); lower case.
    Colliding(Vec<String>),
}

impl Renew {
    fn wants(&self, identity: &str) -> bool {
        match self {
            Renew::All => true,
            Renew::Colliding(visible) => visible.contains(&identity.to_lowercase()),
        }
    }
}

/// What is to be changed, and what is not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Plan {
    pub edits: Vec<Edit>,
    /// Contents that are not recognised, or whose identity Umbra does not know how to renew.
    pub left_alone: Vec<LeftAlone>,
}

/// Looks at a file view and says what renewing would change. Changes nothing.
pub fn plan(view: &Path, which: &Renew) -> Result<Plan> {
    let mut plan = Plan::default();
    let partitions = partition_files(view)?;
    if partitions.is_empty() {
        plan_content(view, "disk", which, &mut plan)?;
    } else {
        plan.edits = gpt::plan(&view.join("disk"), which)?;
    }
    for place in partitions {
        plan_content(view, &place, which, &mut plan)?;
    }
    Ok(plan)
}

fn plan_content(view: &Path, place: &str, which: &Renew, plan: &mut Plan) -> Result<()> {
    let path = view.join(place);
    let content = probe::probe(&path)?;
    let edits = match &content {
        Some(content) if !which.wants(&content.uuid) => return Ok(()),
        Some(content) if ext::knows(&content.fs_type) => ext::plan(&path, place, content)?,
        Some(content) if content.fs_type == "xfs" => xfs::plan(place, content),
        _ => {
            plan.left_alone.push(LeftAlone { place: place.to_owned(), content });
            return Ok(());
        }
    };
    plan.edits.extend(edits);
    Ok(())
}

/// `p1`, `p2`, ... of a view, in their order.
fn partition_files(view: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(view).map_err(|error| Error::io(format!("read {}", view.display()), error))?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut found: Vec<(u32, String)> =
        names.filter_map(|name| Some((name.strip_prefix('p')?.parse().ok()?, name))).collect();
    found.sort();
    Ok(found.into_iter().map(|(_, name)| name).collect())
}

/// Makes the edits. If one fails, those before it are undone.
pub fn apply(view: &Path, edits: &[Edit]) -> Result<()> {
    for (index, edit) in edits.iter().enumerate() {
        if let Err(error) = set(view, edit, &edit.after) {
            return Err(match undo(view, &edits[..=index]) {
                Ok(()) => error,
                Err(undo) => {
                    error.hint(format!("what was changed before could not be undone: {}", undo.chain()))
                }
            });
        }
    }
    Ok(())
}

/// Renews what `which` says; the record of what was done can be undone with [`undo`].
pub fn renew(view: &Path, which: &Renew) -> Result<Plan> {
    let plan = plan(view, which)?;
    apply(view, &plan.edits)?;
    Ok(plan)
}

/// Gives everything its old identity back, the last edit first.
pub fn undo(view: &Path, edits: &[Edit]) -> Result<()> {
    edits.iter().rev().try_for_each(|edit| set(view, edit, &edit.before))
}

/// Makes what `edit` is about have `value`, unless it has it.
fn set(view: &Path, edit: &Edit, value: &str) -> Result<()> {
    let path = place_path(view, &edit.place)?;
    match edit.kind {
        Kind::Ext4Uuid => ext::set_uuid(&path, value),
        Kind::Ext4MetadataCsumSeed => ext::set_seed(&path, value == ext::ON),
        Kind::XfsUuid => xfs::set_uuid(&path, value),
        Kind::GptDiskGuid => gpt::set_disk_guid(&view.join("disk"), value),
        Kind::GptPartitionGuid => gpt::set_partition_guid(&view.join("disk"), &edit.place, value),
    }
}

/// Records come from elsewhere: a place is `disk` or `pN`, never a path.
fn place_path(view: &Path, place: &str) -> Result<PathBuf> {
    if place == "disk" || partition_number(place).is_some() {
        return Ok(view.join(place));
    }
    Err(Error::new(ErrorCode::InvalidArgument, format!("{place:?} is no part of a LUN")))
}

fn partition_number(place: &str) -> Option<u32> {
    place.strip_prefix('p').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

/// The UUID at `path` has to be `wanted` by now.
fn read_back(path: &Path, wanted: &str) -> Result<()> {
    match probe::probe(path)? {
        Some(content) if content.uuid.eq_ignore_ascii_case(wanted) => Ok(()),
        found => {
            let found = found.map_or_else(|| "nothing".to_owned(), |content| content.uuid);
            let text = format!("the UUID of {} is {found} after being set to {wanted}", path.display());
            Err(Error::new(ErrorCode::IdentityFailed, text))
        }
    }
}

fn has_uuid(path: &Path, wanted: &str) -> Result<bool> {
    Ok(probe::probe(path)?.is_some_and(|content| content.uuid.eq_ignore_ascii_case(wanted)))
}

fn fresh_uuid() -> String {
    uuid::Uuid::new_v4().hyphenated().to_string()
}

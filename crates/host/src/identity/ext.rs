//! ext2, ext3, ext4: e2fsck replays the journal, tune2fs sets the UUID. With metadata checksums, which are seeded by the UUID,
//! the seed is first stored by itself, so that changing the UUID rewrites one block and not every one.

use super::{Edit, Kind, fresh_uuid, has_uuid, read_back};
use crate::{
    probe::{self, Content},
    tools,
};
use std::{ffi::OsStr, path::Path};
use umbra_base::Result;

pub(super) const ON: &str = "on";
const OFF: &str = "off";
const PACKAGE: &str = "e2fsprogs";

pub(super) fn knows(fs_type: &str) -> bool {
    matches!(fs_type, "ext2" | "ext3" | "ext4")
}

pub(super) fn plan(path: &Path, place: &str, content: &Content) -> Result<Vec<Edit>> {
    let features = probe::ext_features(path)?;
    let edit = |kind, before: &str, after: String| Edit {
        place: place.to_owned(),
        kind,
        before: before.to_owned(),
        after,
    };
    let mut edits = Vec::new();
    if features.metadata_csum && !features.csum_seed {
        edits.push(edit(Kind::Ext4MetadataCsumSeed, OFF, ON.to_owned()));
    }
    edits.push(edit(Kind::Ext4Uuid, &content.uuid, fresh_uuid()));
    Ok(edits)
}

pub(super) fn set_uuid(path: &Path, uuid: &str) -> Result<()> {
    if has_uuid(path, uuid)? {
        return Ok(());
    }
    tune(path, &["-U", uuid])?;
    read_back(path, uuid)
}

pub(super) fn set_seed(path: &Path, wanted: bool) -> Result<()> {
    if probe::ext_features(path)?.csum_seed == wanted {
        return Ok(());
    }
    tune(path, &["-O", if wanted { "metadata_csum_seed" } else { "^metadata_csum_seed" }])
}

/// tune2fs on a file system whose journal is empty; it insists on a full check first where it has doubts.
fn tune(path: &Path, args: &[&str]) -> Result<()> {
    if probe::ext_features(path)?.needs_recovery {
        check(path, &["-y", "-E", "journal_only"])?;
    }
    let args: Vec<&OsStr> = args.iter().map(OsStr::new).chain([path.as_os_str()]).collect();
    if tools::run("tune2fs", PACKAGE, &args)?.code == Some(0) {
        return Ok(());
    }
    check(path, &["-f", "-y"])?;
    let second = tools::run("tune2fs", PACKAGE, &args)?;
    if second.code == Some(0) { Ok(()) } else { Err(second.error(format!("tune2fs on {}", path.display()))) }
}

/// e2fsck(8): 0 clean, 1 and 2 repaired, anything else failed.
fn check(path: &Path, args: &[&str]) -> Result<()> {
    let args: Vec<&OsStr> = args.iter().map(OsStr::new).chain([path.as_os_str()]).collect();
    let ended = tools::run("e2fsck", PACKAGE, &args)?;
    match ended.code {
        Some(0..=2) => Ok(()),
        _ => Err(ended.error(format!("e2fsck on {}", path.display()))),
    }
}

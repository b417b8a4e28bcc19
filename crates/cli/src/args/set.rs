//! Commands on sets and copies.

use clap::Args;
use std::path::PathBuf;

/// Copy one or more volumes at one instant
///
/// Prepares the writers concerned, flushes and freezes the file systems, cuts all copies in one transaction of the
/// array, thaws. The file systems are frozen for well under a second as a rule and at most 60 s. Prints the set's id and
/// its copies. The originals go on as they were; the copies are read-only until broken and cost space only as they and
/// the originals drift apart. If anything fails, nothing of the set remains.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  umbra create /srv/db /srv/wal
  umbra create /srv/db --wait
  umbra create /srv/db --volatile --exec 'umbra expose $UMBRA_COPY_1 /mnt/then && rsync -a /mnt/then/ backup:/db/'")]
pub struct CreateArgs {
    /// Mount points or block devices
    #[arg(required = true, value_name = "VOLUME")]
    pub volumes: Vec<String>,
    /// Delete the set when CMD has ended, or when this command dies
    #[arg(long, requires = "exec")]
    pub volatile: bool,
    /// Run CMD by `sh -c` once the set is there, with UMBRA_SET and UMBRA_COPY_1, UMBRA_COPY_2, ... in its environment
    #[arg(long, value_name = "CMD", requires = "volatile")]
    pub exec: Option<String>,
    /// Do not involve writers: file-system consistency at best
    #[arg(long)]
    pub no_writers: bool,
    /// The provider to use, as `umbra providers` names it
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    /// Wait while another set is being created, instead of refusing
    #[arg(long)]
    pub wait: bool,
    /// Put a label on the set
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = crate::parse::label_arg)]
    pub labels: Vec<(String, String)>,
}

/// List sets and their copies
///
/// Without options, the sets that this host knows and that are not broken. Changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  umbra list\n  umbra list --broken\n  umbra list --set 81d0 --json")]
pub struct ListArgs {
    /// Only this set
    #[arg(long, value_name = "SET")]
    pub set: Option<String>,
    /// Broken sets instead: where the LUNs that they became came from
    #[arg(long)]
    pub broken: bool,
}

/// Show one set: its copies, how consistent each is, its LUNs
///
/// Changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  umbra show 81d0\n  umbra show 81d0 --timeline")]
pub struct ShowArgs {
    /// The set, or one of its copies
    #[arg(value_name = "ID")]
    pub id: String,
    /// The phases of its creation, with their times
    #[arg(long)]
    pub timeline: bool,
}

/// Mount a copy read-only at a folder
///
/// Attaches the copy's LUNs if they are not, gives the file system a new identity where the original's would collide,
/// and mounts it. The original is not touched, nor is the pristine cut.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  umbra expose 3f2c /mnt/then\n  ls /mnt/then")]
pub struct ExposeArgs {
    /// The copy
    #[arg(value_name = "COPY")]
    pub copy: String,
    /// A folder; made if missing
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
}

/// Unmount an exposed copy
///
/// The copy stays, and can be exposed again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  umbra unexpose 3f2c")]
pub struct UnexposeArgs {
    /// The copy
    #[arg(value_name = "COPY")]
    pub copy: String,
}

/// Turn a whole set into ordinary LUNs that live on by themselves
///
/// Afterwards no set is there any more: its LUNs keep contents, device, mounts and masks, survive the deletion of
/// their originals, and are managed by `umbra lun`. There is no way back, except with --mask. Without flags they stay
/// read-only, and each gets its original's identity back where that collides with nothing.
///
/// --mask stands alone; --revert-identity and --no-revert-identity exclude each other.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  umbra break 81d0                                    keep read-only copies
  umbra break 81d0 --read-write --no-revert-identity  a writable clone beside the original
  umbra break 81d0 --read-write --revert-identity     replace a lost original
  umbra break 81d0 --mask                             hand the set back to the array")]
pub struct BreakArgs {
    /// The set
    #[arg(value_name = "SET")]
    pub set: String,
    /// Make the LUNs writable
    #[arg(long)]
    pub read_write: bool,
    /// Un-import instead: the LUNs leave this host, the set stays in the array, un-imported
    #[arg(long, conflicts_with_all = ["read_write", "revert_identity", "no_revert_identity"])]
    pub mask: bool,
    /// Give every LUN its original's identity back; refused if an original is visible here
    #[arg(long, conflicts_with = "no_revert_identity")]
    pub revert_identity: bool,
    /// Keep the identities that the copies have
    #[arg(long)]
    pub no_revert_identity: bool,
}

/// Delete a set, or one copy of it
///
/// Exposed copies are unmounted first; a copy in use is refused. The originals are not touched; broken LUNs are deleted
/// by `umbra lun delete`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  umbra delete 81d0")]
pub struct DeleteArgs {
    /// A set or a copy
    #[arg(value_name = "SET|COPY")]
    pub key: String,
}

/// Show which parts of a volume changed between two of its copies, or which parts of one hold data
///
/// Compares the copies as they were cut: what was written into them since does not count, nor does what the original
/// holds by now. Each line has the first byte in the volume, a number of bytes, and what became of them: "changed",
/// "new" (nothing was there before), "discarded" (nothing is there any more), or with one copy "allocated". Whole blocks
/// of the pool are told (`umbra pool status` shows their size), in ascending order, at a cost that grows with what
/// changed and not with the volume. A block that was written with what it held before is told as well. Needs the array
/// alone. Changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  umbra diff 3f2c                     what a first backup has to read
  umbra diff 3f2c 81d0                what changed from the older copy 3f2c to the newer 81d0
  umbra diff 3f2c 81d0 --json | jq -c '.differences[]'")]
pub struct DiffArgs {
    /// The copy, or the older of two; the LUN of a copy will do, too
    #[arg(value_name = "COPY")]
    pub copy: String,
    /// The newer copy of the same volume
    #[arg(value_name = "COPY")]
    pub newer: Option<String>,
}

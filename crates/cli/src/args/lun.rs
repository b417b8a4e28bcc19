//! Commands on LUNs. All but attach, detach, mount and unmount speak to the array alone; no service is needed.

use crate::parse::{reserve_arg, size_arg};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// LUNs of the array, and this host's block devices for them
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  umbra lun create data --size 10G
  umbra lun unmask data --to db1
  umbra lun attach data
  umbra lun list")]
pub enum LunCommand {
    Create(LunCreate),
    List(LunList),
    /// Show one LUN: size, space in use, who sees it under which number and URL
    ///
    /// Changes nothing.
    #[command(
        after_help = "Examples:\n  umbra lun show data\n  umbra lun show data --json | jq -r '.lun.presentations[].urls[]'"
    )]
    Show(LunKey),
    Delete(LunDelete),
    Extend(LunExtend),
    Rename(LunRename),
    /// Make a LUN read-only for every host
    ///
    /// A fence: when the command returns, no earlier write of any host can still change the LUN. A mounted file system
    /// gets write errors from then on; remount it read-only first.
    #[command(after_help = "Examples:\n  umbra lun read-only data")]
    ReadOnly(LunKey),
    /// Make a LUN writable again
    ///
    /// Hosts that have it attached are told at once.
    #[command(after_help = "Examples:\n  umbra lun read-write data")]
    ReadWrite(LunKey),
    Unmask(LunUnmask),
    Mask(LunMask),
    /// Make a LUN a block device of this host, and print the device
    ///
    /// The LUN must be unmasked to this host. The device stays until detached, also without the service, and comes back
    /// by itself after the array was restarted. Attaching what is attached prints the same device again.
    #[command(after_help = "Examples:\n  umbra lun attach data\n  mkfs.ext4 $(umbra lun attach data)")]
    Attach(LunKey),
    /// Give up this host's block device for a LUN
    ///
    /// Refused while the device is mounted or open. The LUN itself is not touched.
    #[command(after_help = "Examples:\n  umbra lun detach data")]
    Detach(LunKey),
    Mount(LunMount),
    Unmount(LunUnmount),
}

/// How much of the pool is kept for a LUN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserve {
    Bytes(u64),
    All,
}

/// Create a LUN
///
/// It takes space in the pool only as it is written to. No host sees it until it is unmasked.
///
/// With --reserve, space is kept for it: others cannot fill the pool so far that its own writes find no room, also after
/// it was copied. Space that is not there cannot be promised: then the command is refused. With --quota, it fills the pool
/// no further than that; a write beyond fails, while what it has can be written on. Its copies have neither.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  umbra lun create data --size 10G
  umbra lun create db --size 100G --reserve all
  umbra lun create scratch --size 1T --quota 50G")]
pub struct LunCreate {
    /// A name, not used by another LUN
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Its size
    #[arg(long, value_name = "SIZE", value_parser = size_arg)]
    pub size: u64,
    /// Keep so much space in the pool for it, or all that it can need, also after it was extended
    #[arg(long, value_name = "SIZE|all", value_parser = reserve_arg)]
    pub reserve: Option<Reserve>,
    /// Let it take so much of the pool at most, what it shares with copies included
    #[arg(long, value_name = "SIZE", value_parser = size_arg)]
    pub quota: Option<u64>,
    /// Put a label on it
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = crate::parse::label_arg)]
    pub labels: Vec<(String, String)>,
}

/// List the LUNs of the array
///
/// Changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  umbra lun list\n  umbra lun list --host db1")]
pub struct LunList {
    /// Only those that this host sees
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
}

#[derive(Debug, Args)]
pub struct LunKey {
    /// The LUN's name, id or a unique prefix of its id
    #[arg(value_name = "LUN")]
    pub lun: String,
}

/// Delete a LUN and its contents
///
/// Its copies, broken or not, keep theirs. Refused while it is a copy of a set that is not broken. Detach it from hosts
/// first: a device of a deleted LUN has only errors to give.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  umbra lun detach data\n  umbra lun delete data")]
pub struct LunDelete {
    /// The LUN's name, id or a unique prefix of its id
    #[arg(value_name = "LUN")]
    pub lun: String,
}

/// Make a LUN larger
///
/// Its contents stay; the file system on it is not grown. A LUN cannot be made smaller.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  umbra lun extend data --size 20G")]
pub struct LunExtend {
    /// The LUN's name, id or a unique prefix of its id
    #[arg(value_name = "LUN")]
    pub lun: String,
    /// Its new size
    #[arg(long, value_name = "SIZE", value_parser = size_arg)]
    pub size: u64,
}

/// Give a LUN another name
///
/// Its id, its SCSI identity and its devices stay as they are.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  umbra lun rename data old-data")]
pub struct LunRename {
    /// The LUN's name, id or a unique prefix of its id
    #[arg(value_name = "LUN")]
    pub lun: String,
    /// Its new name
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// Let a host see a LUN
///
/// The host finds it under a number of its own, shown by `umbra lun show`. Other hosts see no difference.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  umbra lun unmask data --to db1")]
pub struct LunUnmask {
    /// The LUN's name, id or a unique prefix of its id
    #[arg(value_name = "LUN")]
    pub lun: String,
    /// The host
    #[arg(long, value_name = "HOST")]
    pub to: String,
}

/// Hide a LUN from a host
///
/// A fence: when the command returns, no earlier command of that host can still change the LUN. Its contents stay.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  umbra lun mask data --from db1\n  umbra lun mask data")]
pub struct LunMask {
    /// The LUN's name, id or a unique prefix of its id
    #[arg(value_name = "LUN")]
    pub lun: String,
    /// The host; without it, every host
    #[arg(long, value_name = "HOST")]
    pub from: Option<String>,
}

/// Mount a LUN's file system at a folder
///
/// Attaches the LUN first if it is not. The mount stays until unmounted, also without the service.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  umbra lun mount data /srv/data\n  umbra lun mount disk /srv/part2 --partition 2 --read-only"
)]
pub struct LunMount {
    /// The LUN's name, id or a unique prefix of its id
    #[arg(value_name = "LUN")]
    pub lun: String,
    /// A folder
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// Mount it read-only
    #[arg(long)]
    pub read_only: bool,
    /// Mount this partition instead of the whole LUN
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=128))]
    pub partition: Option<u32>,
}

/// Unmount what is mounted at a folder
///
/// The LUN stays attached. Refused while files on it are open.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  umbra lun unmount /srv/data")]
pub struct LunUnmount {
    /// The folder
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
}

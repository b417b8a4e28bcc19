//! Commands on a pool: the array's own through the array, and the metadata of any pool in files.

use crate::parse::size_arg;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// The array's pool, and pools in files
///
/// `status` and `extend` speak to a running array. All others read the metadata of a pool that nobody uses meanwhile: that
/// of a stopped array, of LVM or of any other user of dm-thin, in a file or on a block device. They change nothing.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  umbra pool status
  umbra pool extend --data 200G
  umbra pool check /var/lib/umbra/array
  umbra pool usage /var/lib/umbra/array")]
pub enum PoolCommand {
    /// Show the array, its pool's space and mode, its portals and sessions
    ///
    /// The level says how much space is left: plenty; low, where new sets are refused; critical, where expendable copies
    /// are given up. What is reserved is not in use yet, and kept for the LUNs that reserve it. Changes nothing.
    #[command(
        after_help = "Examples:\n  umbra pool status\n  umbra pool status --json | jq .pool.data_used_bytes"
    )]
    Status,
    Extend(PoolExtend),
    Check(PoolCheck),
    Dump(PoolDump),
    Delta(PoolDelta),
    Usage(PoolUsage),
}

/// Make the array's pool larger while it serves
///
/// SIZE is what the data or the metadata has afterwards, not what is added. The files grow, or on block devices what
/// they have grown by is taken up; writes that wait for space go on at once. Data is rounded down to whole blocks. A
/// pool is never made smaller; the size that it has already is "unchanged".
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
#[command(after_help = "Examples:
  umbra pool extend --data 200G
  umbra pool extend --data 2T --metadata 4G")]
pub struct PoolExtend {
    /// New size of the data
    #[arg(long, value_name = "SIZE", value_parser = size_arg)]
    pub data: Option<u64>,
    /// New size of the metadata; `umbra pool status` shows how full it is
    #[arg(long, value_name = "SIZE", value_parser = size_arg)]
    pub metadata: Option<u64>,
}

/// The metadata of a pool.
#[derive(Debug, Args)]
pub struct PoolFile {
    /// The pool's metadata: a file, a block device, or the folder of a stopped array
    #[arg(value_name = "META")]
    pub path: PathBuf,
}

/// Check a pool's metadata; name what is damaged and what it costs
///
/// Follows every pointer, verifies every checksum, and compares what it finds with what the pool says of itself: trees,
/// devices, mappings, sharing, both space maps. Each finding says how bad it is, in which tree and block it stands, and
/// which blocks of which devices it costs. Changes nothing.
///
/// The verdict is "clean"; "repairable", if only the space maps are wrong, which can be rebuilt without loss; or "error",
/// if something is lost or the pool must not be written to. Exit status: 0 clean; 4 damage of either kind; 1 the pool
/// could not be looked at.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  umbra pool check /var/lib/umbra/array
  umbra pool check pool.meta --data pool.data
  umbra pool check /dev/vg/pool_tmeta --json | jq '.lost'")]
pub struct PoolCheck {
    #[command(flatten)]
    pub pool: PoolFile,
    /// The pool's data file or device, to see whether it is large enough [default: that of the array, for a folder]
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
}

/// How a dump is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DumpFormat {
    /// What thin_dump prints, and thin_restore reads
    Xml,
    /// One object (docs/json.md); so does --json
    Json,
}

/// Print what a pool holds: its devices and what each maps
///
/// Writes as it reads: runs of virtual blocks, the data blocks that they are mapped to, and when that was. The XML is that
/// of thin_dump, and thin_restore makes a pool of it. A damaged tree ends it with exit status 4. Changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  umbra pool dump /var/lib/umbra/array | xz > pool.xml.xz
  umbra pool dump pool.meta --device 1 --device 7 --format json
  umbra pool dump pool.meta --skip-mappings")]
pub struct PoolDump {
    #[command(flatten)]
    pub pool: PoolFile,
    /// How to write it
    #[arg(long, value_enum, default_value = "xml")]
    pub format: DumpFormat,
    /// Only this device; may be given more than once
    #[arg(long = "device", value_name = "ID")]
    pub devices: Vec<u64>,
    /// What the metadata snapshot holds, instead of what the pool holds now
    #[arg(long)]
    pub held: bool,
    /// Devices without their mappings
    #[arg(long)]
    pub skip_mappings: bool,
}

/// Print how two devices of a pool differ
///
/// For each run of virtual blocks: the same data blocks, different ones, or blocks that only the left (--from) or only the
/// right (--to) device maps. The XML is that of thin_delta; with --verbose it names the data blocks, too. Changes
/// nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  umbra pool delta pool.meta --from 7 --to 1
  umbra pool delta pool.meta --from 7 --to 1 --changed --json | jq '.differences[]'")]
pub struct PoolDelta {
    #[command(flatten)]
    pub pool: PoolFile,
    /// The left device
    #[arg(long, value_name = "ID")]
    pub from: u64,
    /// The right device
    #[arg(long, value_name = "ID")]
    pub to: u64,
    /// Leave out what is the same: what both devices share is then not even read
    #[arg(long)]
    pub changed: bool,
}

/// Show what each device of a pool maps, alone and shared
///
/// MAPPED is what a device maps, EXCLUSIVE what would come back if it were deleted, SHARED what others map as well.
/// CREATED and SNAPPED are the pool's snapshot times, not those of a clock. The numbers are those of thin_ls. Changes
/// nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  umbra pool usage /var/lib/umbra/array
  umbra pool usage pool.meta --blocks
  umbra pool usage pool.meta --json | jq '.devices[] | .exclusive_bytes'")]
pub struct PoolUsage {
    #[command(flatten)]
    pub pool: PoolFile,
    /// Numbers of data blocks instead of sizes
    #[arg(long)]
    pub blocks: bool,
}

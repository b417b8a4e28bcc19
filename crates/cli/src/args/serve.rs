//! Commands that run something: the demo, the service, the array.

use crate::parse::size_arg;
use clap::{Args, Subcommand};
use std::{net::SocketAddr, path::PathBuf};

/// Show the whole story with real parts, in a temporary folder, and remove everything again
///
/// Starts an array with two LUNs, puts ext4 and XFS on them and a database on both, copies both volumes at one instant
/// while the database works, exposes the copies beside the originals, breaks them into LUNs of their own, starts a
/// second database on these, shows one to a second host, kills the service, deletes the originals. Every step has a
/// check; the demo fails where one does not hold. Needs root, FUSE, loop devices, mkfs.ext4, mkfs.xfs, PostgreSQL (or
/// else sqlite3), thin_check, and qemu-img or python3 with libiscsi.
///
/// Everything happens in one new folder under $TMPDIR; nothing else of the machine is changed, and nothing is left, also
/// after Ctrl-C or a failed step. Any number of demos can run at once. UMBRA_DEMO_PG_BIN names the folder of another
/// PostgreSQL's programs; where it holds none, SQLite tells the story.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  umbra demo\n  umbra demo --json | jq '.steps[] | {name, ok, ms}'\n  TMPDIR=/var/tmp umbra demo --keep"
)]
pub struct DemoArgs {
    /// Leave the folder with its logs (mounts, devices and processes are removed all the same)
    #[arg(long)]
    pub keep: bool,
}

/// Run the service of this host
///
/// The service creates, exposes and breaks sets, and attaches LUNs. It holds no data: stopping or killing it harms no
/// LUN, and what is attached or mounted stays so. It listens on a unix socket for root.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  umbra serve\n  umbra serve --config ./umbra.toml --socket ./umbra.sock")]
pub struct Serve {
    /// Configuration file [default: /etc/umbra/umbra.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Run an array: LUNs in a thin pool, served over iSCSI
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  umbra array serve --dir /var/lib/umbra/array --size 100G")]
pub enum ArrayCommand {
    Serve(ArrayServe),
}

/// Run an array: LUNs in a thin pool, served over iSCSI
///
/// DIR holds array.sock (management), pool.meta and pool.data (the pool, in the kernel's dm-thin format) and
/// catalogue.sqlite. The pool is made at the first start; later starts open it as it is. SIGTERM is a clean stop. LUNs
/// reach this machine over a unix socket in DIR, other machines over the portals given with --listen, with CHAP.
///
/// When more of the pool's data is in use than --low says, the array warns and refuses new sets; from --critical on it
/// gives up copies that can be done without: volatile sets, the oldest first, then sets that expire, the soonest first.
/// Nothing else is ever given up. A write that finds the pool full waits --full-wait for space (`umbra pool extend`)
/// before it fails.
///
/// The table [pool] of umbra.toml has low, critical, full_wait and cache as well; the command line wins.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  umbra array serve --dir /var/lib/umbra/array --size 100G
  umbra array serve --dir /srv/array --size 10T --block-size 1M --low 70 --critical 90
  umbra array serve --dir /var/lib/umbra/array --listen 192.0.2.10:3260")]
pub struct ArrayServe {
    /// The array's folder; made if missing
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Size of the pool's data file, at the first start
    #[arg(long, value_name = "SIZE", value_parser = size_arg)]
    pub size: Option<u64>,
    /// The pool's data file, instead of DIR/pool.data; a file that has a size needs no --size
    #[arg(long, value_name = "PATH", requires = "meta")]
    pub data: Option<PathBuf>,
    /// The pool's metadata file, instead of DIR/pool.meta
    #[arg(long, value_name = "PATH", requires = "data")]
    pub meta: Option<PathBuf>,
    /// Size of the pool's blocks, at the first start: a multiple of 64K, up to 1G [default: 64K]
    ///
    /// The unit in which LUNs take space. The first write to a block that a copy shares copies all of it, unless it
    /// covers the block: small blocks suit LUNs that are copied often, large ones keep the metadata of huge pools small.
    #[arg(long, value_name = "SIZE", value_parser = size_arg)]
    pub block_size: Option<u64>,
    /// Memory for metadata: 5M serve 64G in use, in blocks of 64K, without reading any again [default: 64M]
    #[arg(long, value_name = "SIZE", value_parser = size_arg)]
    pub cache_size: Option<u64>,
    /// Percent of the pool in use from which on new sets are refused [default: 80]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub low: Option<u8>,
    /// Percent of the pool in use from which on expendable copies are given up [default: 95]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub critical: Option<u8>,
    /// Seconds that a full pool lets writes wait for space before they fail; hosts give up after 30, mostly [default: 5]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub full_wait: Option<u64>,
    /// A file with the table [pool] [default: /etc/umbra/umbra.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Serve iSCSI at this address too; port 0 takes a free one (`umbra pool status` tells which)
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Vec<SocketAddr>,
    /// Tell hosts that discover the array this address instead of that of --listen: for networks that translate addresses
    ///
    /// One for each --listen, in the same order, or none.
    #[arg(long, value_name = "HOST:PORT", requires = "listen")]
    pub advertise: Vec<String>,
    /// Microseconds that a thread which serves hosts keeps its processor for the next command before it sleeps; 0: it sleeps at once [default: 50]
    ///
    /// Only while commands come that soon after each other. Spares a host that has one command under way at a time the
    /// waking of a thread for each.
    #[arg(long, value_name = "MICROSECONDS", value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub busy_poll: Option<u16>,
    /// Go on though pool.log is missing or damaged: what was acknowledged and not flushed is lost, as after a power failure
    ///
    /// For once, when a start was refused for it and the log cannot be brought back.
    #[arg(long)]
    pub accept_lost_log: bool,
    /// Let hosts log in without CHAP: anybody who can reach a portal can then read and write what its initiator name sees
    #[arg(long, requires = "listen")]
    pub insecure_no_auth: bool,
}

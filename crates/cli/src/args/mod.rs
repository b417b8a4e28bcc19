//! The command line as types, without behaviour: one definition feeds parsing, `--help`, man pages and completions.
//!
//! One file per group of commands. What always holds: a command stands here only if it does something real, says in a
//! sentence what it changes and what not, and has an example.

mod host;
mod lun;
mod pool;
mod serve;
mod set;

pub use host::{HostAdd, HostCommand, HostKey, HostSecret};
pub use lun::{
    LunCommand, LunCreate, LunDelete, LunExtend, LunKey, LunList, LunMask, LunMount, LunRename, LunUnmask,
    LunUnmount, Reserve,
};
pub use pool::{DumpFormat, PoolCheck, PoolCommand, PoolDelta, PoolDump, PoolExtend, PoolFile, PoolUsage};
pub use serve::{ArrayCommand, ArrayServe, DemoArgs, Serve};
pub use set::{BreakArgs, CreateArgs, DeleteArgs, DiffArgs, ExposeArgs, ListArgs, ShowArgs, UnexposeArgs};

use clap::{ArgAction, Args, Parser, Subcommand};
use std::path::PathBuf;

/// Where the service listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/umbra/umbra.sock";

/// Volume shadow copies for Linux: point-in-time copies of several volumes together, as LUNs that can live on.
///
/// An array (`umbra array serve`) holds LUNs in a thin pool and serves them over iSCSI. A service (`umbra serve`), one
/// per host, attaches LUNs as block devices, and makes copies of several volumes at one instant with the applications on
/// them brought to a consistent state first. A copy can be exposed read-only, or broken: turned into ordinary LUNs,
/// writable if wished, that need neither their originals nor the service.
///
/// VOLUME is a mount point or a block device. LUN, SET, COPY and HOST are names or ids; a unique prefix of an id will
/// do. Sizes are written 512M or 10G. Data goes to stdout and everything else to stderr.
///
/// Exit status: 0 done or unchanged; 1 refused or failed; 2 wrong usage; 3 busy, timed out or unreachable: try again;
/// 4 damage found.
#[derive(Debug, Parser)]
#[command(
    name = "umbra",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 110,
    after_help = "Examples:
  umbra demo                          see the whole story, in a temporary folder
  umbra array serve --dir /var/lib/umbra/array --size 100G
  umbra serve
  umbra create /srv/db /srv/wal       copy two volumes at one instant
  umbra expose 3f2c /mnt/then         look at a copy
  umbra break 81d0 --read-write       let a set's LUNs live on by themselves"
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Print one JSON object on stdout instead of text (shapes: docs/json.md); errors too
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
    /// The service's socket [default: /run/umbra/umbra.sock]
    #[arg(long, global = true, env = "UMBRA_SOCKET", value_name = "PATH", help_heading = "Global options")]
    pub socket: Option<PathBuf>,
    /// The array's management address [default: unix:/var/lib/umbra/array/array.sock]
    #[arg(
        long,
        global = true,
        env = "UMBRA_ARRAY",
        value_name = "unix:PATH",
        help_heading = "Global options"
    )]
    pub array: Option<String>,
    /// Say more on stderr; twice for still more
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
    /// Say nothing on stderr but errors
    #[arg(long, global = true, conflicts_with = "verbose", help_heading = "Global options")]
    pub quiet: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Demo(DemoArgs),
    Serve(Serve),
    #[command(subcommand)]
    Array(ArrayCommand),
    /// List the writers: the applications that take part in a set
    ///
    /// A writer brings its application to a consistent state before the cut. Shows each one's state, where its data
    /// lies and on which volumes. Changes nothing.
    #[command(after_help = "Examples:\n  umbra writers\n  umbra writers --json | jq '.writers[].state'")]
    Writers,
    /// List the providers: what makes the copies
    ///
    /// Only copies of a hardware provider (an array) are real LUNs, which can be broken. Changes nothing.
    #[command(after_help = "Examples:\n  umbra providers")]
    Providers,
    /// List this host's volumes and what could copy each
    ///
    /// Shows file system, mount points, and the extents over LUNs of the array. A volume without a provider cannot be
    /// copied. Changes nothing.
    #[command(
        after_help = "Examples:\n  umbra volumes\n  umbra volumes --json | jq '.volumes[] | select(.provider != null)'"
    )]
    Volumes,
    Create(CreateArgs),
    List(ListArgs),
    Show(ShowArgs),
    Expose(ExposeArgs),
    Unexpose(UnexposeArgs),
    Break(BreakArgs),
    Delete(DeleteArgs),
    Diff(DiffArgs),
    #[command(subcommand)]
    Lun(LunCommand),
    #[command(subcommand)]
    Host(HostCommand),
    #[command(subcommand)]
    Pool(PoolCommand),
}

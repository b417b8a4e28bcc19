//! Commands on the array's pool.

use clap::Subcommand;

/// The array's pool
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  umbra pool status")]
pub enum PoolCommand {
    /// Show the array, its pool's space and mode, its portals and sessions
    ///
    /// Changes nothing.
    #[command(
        after_help = "Examples:\n  umbra pool status\n  umbra pool status --json | jq .pool.data_used_bytes"
    )]
    Status,
}

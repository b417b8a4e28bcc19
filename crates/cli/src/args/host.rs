//! Commands on hosts, as the array knows them.

use clap::{Args, Subcommand};

/// Hosts that the array knows, and who may see which LUN
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  umbra host add backup1 --initiator iqn.2024-01.org.example:backup1\n  umbra host list"
)]
pub enum HostCommand {
    Add(HostAdd),
    /// List hosts and the LUN numbers that each sees
    ///
    /// Changes nothing.
    #[command(after_help = "Examples:\n  umbra host list")]
    List,
    /// Show one host
    ///
    /// Changes nothing.
    #[command(after_help = "Examples:\n  umbra host show backup1")]
    Show(HostKey),
    /// Forget a host
    ///
    /// Its sessions end and it cannot log in again. Refused while LUNs are unmasked to it. No LUN is touched.
    #[command(after_help = "Examples:\n  umbra lun mask data --from backup1\n  umbra host delete backup1")]
    Delete(HostKey),
    /// Print a host's CHAP user and secret
    ///
    /// The secret is made by the array when the host is added. Reading it is written to the audit log.
    #[command(
        after_help = "Examples:\n  umbra host secret backup1\n  umbra host secret backup1 --json | jq -r .secret\n  umbra host secret backup1 --mutual   # what the array proves itself with"
    )]
    Secret(HostSecret),
}

/// A host whose secrets are asked for.
#[derive(Debug, Args)]
pub struct HostSecret {
    /// Name or id of the host
    pub host: String,
    /// Print the array's own name and secret, for hosts that ask the array for proof (mutual CHAP)
    #[arg(long)]
    pub mutual: bool,
}

/// Make a host known to the array
///
/// It can then log in, with the CHAP secret that the array makes for it (`umbra host secret`), and sees no LUN until one
/// is unmasked to it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  umbra host add backup1 --initiator iqn.2024-01.org.example:backup1")]
pub struct HostAdd {
    /// A name for it
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Its iSCSI initiator name
    #[arg(long, value_name = "IQN")]
    pub initiator: String,
}

#[derive(Debug, Args)]
pub struct HostKey {
    /// The host's name, id or a unique prefix of its id
    #[arg(value_name = "HOST")]
    pub host: String,
}

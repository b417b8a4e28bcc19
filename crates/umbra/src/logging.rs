//! The log of a server: lines on standard error, for a supervisor to keep.

use std::io::Write;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};
use umbra_cli::args::Global;

/// Starts the log of this process. `UMBRA_LOG` has tracing's filter words and wins over `-v` and `--quiet`.
pub fn start<W>(global: &Global, writer: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    for<'a> <W as MakeWriter<'a>>::Writer: Write,
{
    let level = match (global.quiet, global.verbose) {
        (true, _) => "warn",
        (false, 0) => "info",
        (false, 1) => "debug",
        (false, _) => "trace",
    };
    let filter = EnvFilter::try_from_env("UMBRA_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(false)
        .with_target(false)
        .init();
}

//! The program that the tests start as `umbra`: the service and the internal subcommands that it starts in turn.

#![allow(clippy::print_stderr)]

use std::process::ExitCode;
use umbra_service::Options;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let result = match args.next().as_deref() {
        Some("guard") => umbra_guard::run(),
        Some("attach-lun") => umbra_host::attach::run(args),
        Some("serve") => {
            tracing_subscriber::fmt().with_ansi(false).with_writer(|| umbra_service::LogWriter).init();
            serve(Options { config: args.next().map(Into::into), ..Options::default() })
        }
        other => {
            eprintln!("unknown subcommand {other:?}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

fn serve(options: Options) -> umbra_base::Result<()> {
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    runtime.block_on(async {
        let kind = tokio::signal::unix::SignalKind::terminate();
        let mut terminate = tokio::signal::unix::signal(kind).expect("signals can be caught");
        umbra_service::serve(options, async move { terminate.recv().await.unwrap_or_default() }).await
    })
}

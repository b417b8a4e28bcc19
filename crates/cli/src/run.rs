//! From the command line to an exit status, or to something that only the binary can do.

use crate::{
    args::{ArrayCommand, ArrayServe, Cli, Command, Global, Serve},
    commands::{self, Context},
    demo,
    output::{Format, Output},
    report::report,
};
use clap::{Parser, error::ErrorKind};
use std::ffi::OsString;
use umbra_base::{Error, ErrorCode, ExitCode, Result};

/// What the binary has to do next.
#[derive(Debug)]
pub enum Action {
    /// Everything is done and told; end with this status.
    Done(ExitCode),
    /// Be the service.
    ServeService(Global, Serve),
    /// Be the array.
    ServeArray(Global, ArrayServe),
}

/// Reads the command line and does what it asks for.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Action {
    let args: Vec<OsString> = args.into_iter().collect();
    match Cli::try_parse_from(&args) {
        Ok(Cli { global, command: Command::Serve(serve) }) => Action::ServeService(global, serve),
        Ok(Cli { global, command: Command::Array(ArrayCommand::Serve(serve)) }) => {
            Action::ServeArray(global, serve)
        }
        Ok(cli) => Action::Done(client(cli)),
        Err(refused) => Action::Done(usage(&refused, &args)),
    }
}

/// Runs a client command on a runtime of its own.
fn client(cli: Cli) -> ExitCode {
    let output = Output::new(&cli.global);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => return report(output.format, &Error::io("start the threads of a client", source)),
    };
    let ended: Result<ExitCode> = runtime.block_on(async {
        match cli.command {
            Command::Demo(args) => demo::run(output, args).await,
            command => commands::run(&Context { global: cli.global, output }, command).await,
        }
    });
    runtime.shutdown_background(); // a blocked read of stdin must not hold the exit up
    ended.unwrap_or_else(|error| report(output.format, &error))
}

/// Help and version are answers; everything else that clap refuses is a usage error, as an object if one was asked for.
fn usage(refused: &clap::Error, args: &[OsString]) -> ExitCode {
    match refused.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            drop(refused.print()); // a reader that went away is no error
            ExitCode::Done
        }
        _ if args.iter().any(|arg| arg == "--json") => {
            let text = refused.to_string();
            let said = text.trim_start_matches("error: ").lines().map(str::trim);
            // What is wrong may take several lines; the usage behind the first empty one is the hint's business.
            let message = said.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
            let error = Error::new(ErrorCode::InvalidArgument, message).hint("`--help` shows the usage");
            report(Format::Json, &error)
        }
        _ => {
            drop(refused.print());
            ExitCode::Usage
        }
    }
}

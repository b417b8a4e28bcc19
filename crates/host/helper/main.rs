//! The program that the tests start as `umbra`: the internal subcommands of this crate, nothing else.

#![allow(clippy::print_stderr)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let result = match args.next().as_deref() {
        Some("attach-lun") => umbra_host::attach::run(args),
        Some("sandbox") => match umbra_host::sandbox::run_sandbox(args) {
            Ok(code) => return ExitCode::from(u8::try_from(code).unwrap_or(255)),
            Err(error) => Err(error),
        },
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

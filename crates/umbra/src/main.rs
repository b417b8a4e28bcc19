//! The one binary: it hands the command line to whoever it is meant for, and knows nothing itself.
//!
//! ```text
//!   umbra guard | attach-lun | sandbox   internal: the process becomes that part at once, without threads or runtime
//!   umbra array serve                    umbra_array
//!   umbra serve                          umbra_service
//!   everything else                      umbra_cli, a client
//! ```

#![forbid(unsafe_code)]

mod internal;
mod logging;
mod serving;

use std::{env, ffi::OsString, process::ExitCode};
use umbra_cli::Action;

fn main() -> ExitCode {
    let args: Vec<OsString> = env::args_os().collect();
    if let Some(status) = internal::run(&args) {
        return ExitCode::from(status);
    }
    let status = match umbra_cli::run(args) {
        Action::Done(status) => status,
        Action::ServeService(global, serve) => serving::service(&global, serve),
        Action::ServeArray(global, serve) => serving::array(&global, serve),
    };
    ExitCode::from(status as u8)
}

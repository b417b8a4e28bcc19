//! Parts that run as processes of their own, started by other parts and by nobody else. They are found before the
//! command line is parsed: the guard forks, a sandbox changes its namespaces, and neither may have a second thread.

use std::ffi::OsString;
use umbra_base::{Error, ErrorCode, Result};
use umbra_cli::{output::Format, report::report};

/// Becomes the part that the first word names, if it names one; the exit status.
pub fn run(args: &[OsString]) -> Option<u8> {
    let (name, rest) = args.get(1..)?.split_first()?;
    let ended = match name.to_str()? {
        "guard" if rest.is_empty() => umbra_guard::run(),
        "attach-lun" => texts(rest).and_then(umbra_host::attach::run).map(|()| 0),
        "sandbox" => texts(rest).and_then(umbra_host::sandbox::run_sandbox),
        _ => return None,
    };
    // A status above 255 does not exist; what cannot be told is told as a failure.
    Some(
        ended.map_or_else(|error| report(Format::Text, &error) as u8, |code| u8::try_from(code).unwrap_or(1)),
    )
}

fn texts(args: &[OsString]) -> Result<Vec<String>> {
    let refuse = |arg| Error::new(ErrorCode::InvalidArgument, format!("{arg:?} is no text"));
    args.iter().map(|arg| arg.to_str().map(str::to_owned).ok_or_else(|| refuse(arg))).collect()
}

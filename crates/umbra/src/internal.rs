//! Parts that run as processes of their own, started by other parts and by nobody else. They are found before the
//! command line is parsed: the guard forks, and must not have a second thread when it does.

use std::ffi::OsString;
use umbra_base::{Error, ErrorCode, ExitCode, Result};
use umbra_cli::{output::Format, report::report};

/// Becomes the part that the first word names, if it names one.
pub fn run(args: &[OsString]) -> Option<ExitCode> {
    let (name, rest) = args.get(1..)?.split_first()?;
    let ended = match name.to_str()? {
        "guard" if rest.is_empty() => umbra_guard::run(),
        "attach-lun" => texts(rest).and_then(umbra_host::attach::run),
        "sandbox" => return Some(told(texts(rest).and_then(umbra_host::sandbox::run))),
        _ => return None,
    };
    Some(told(ended.map(|()| ExitCode::Done)))
}

fn texts(args: &[OsString]) -> Result<Vec<String>> {
    let text = |arg: &OsString| {
        arg.to_str().map(str::to_owned).ok_or_else(|| {
            Error::new(ErrorCode::InvalidArgument, format!("{arg:?} is no text"))
        })
    };
    args.iter().map(text).collect()
}

fn told(ended: Result<ExitCode>) -> ExitCode {
    ended.unwrap_or_else(|error| report(Format::Text, &error))
}

//! Other programs, run to their end.

use anyhow::{Context, Result, ensure};
use std::{ffi::OsStr, process::Command};

/// Whether a program is there.
pub fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Runs a program and returns what it printed; fails with what it said. `package` is Debian's that has it.
pub fn run(
    program: &str,
    package: &str,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<String> {
    let output = Command::new(program).args(args).output();
    let output = output.with_context(|| format!("start {program} (Debian: {package})"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {}: {errors}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

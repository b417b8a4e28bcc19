//! Checks of the code base that the compiler does not make: `cargo xtask layers | licences | ci-lint`.
//!
//! ```text
//!   cargo metadata ──▶ packages ──┬─▶ layers     who may depend on whom, and on what from outside
//!                                 └─▶ licences   every package comes under a licence that we may ship
//!   sources ───────────────────────┬─▶ purity    pure crates touch no file, socket, clock or thread
//!                                  └─▶ safety    unsafe code stands in crates/sys alone
//! ```
//!
//! Each check is a function from facts to a list of faults, so that its tests show it failing.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program for developers: it prints

mod layers;
mod licences;
mod packages;
mod purity;
mod safety;
mod sources;

use anyhow::{Context, Result, bail};
use packages::Packages;
use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

const USAGE: &str = "usage: cargo xtask layers | licences | ci-lint

  layers    dependencies between crates, purity of the pure ones, unsafe code in crates/sys only
  licences  every package comes under a licence that we may ship
  ci-lint   formatting, clippy without warnings, layers, licences";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["layers"] => layers(),
        ["licences"] => licences(),
        ["ci-lint"] => ci_lint(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's folder: xtask is one level below it.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in a folder").to_owned()
}

fn layers() -> Result<()> {
    let packages = Packages::load(&root())?;
    let mut faults = layers::check(&packages);
    for name in layers::PURE {
        if let Some(package) = packages.member(name) {
            faults.extend(purity::check(&package.folder.join("src"))?);
        }
    }
    faults.extend(safety::check(&root(), &packages)?);
    conclude("layers", faults)
}

fn licences() -> Result<()> {
    conclude("licences", licences::check(&Packages::load(&root())?))
}

fn ci_lint() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    layers()?;
    licences()?;
    cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "-D", "warnings"])
}

fn cargo(arguments: &[&str]) -> Result<()> {
    let shown = format!("cargo {}", arguments.join(" "));
    let status = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(root())
        .status()
        .with_context(|| format!("run {shown}"))?;
    if !status.success() {
        bail!("{shown} failed");
    }
    println!("{shown}: ok");
    Ok(())
}

fn conclude(what: &str, faults: Vec<String>) -> Result<()> {
    for fault in &faults {
        eprintln!("{what}: {fault}");
    }
    match faults.len() {
        0 => {
            println!("{what}: ok");
            Ok(())
        }
        number => bail!("{what}: {number} faults"),
    }
}

//! The guard as a program of its own, for this crate's tests: what is shipped is `umbra guard`, the same function.
//!
//! `umbra-guard` is the guard. `umbra-guard hold RUNTIME PATH...` is a service that freezes the file systems of PATH and
//! then does nothing more, to be killed by a test.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "the test waits for the word")]

use std::{path::PathBuf, time::Duration};
use umbra_guard::{Client, Launch, Prepare};

fn main() {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        None | Some("guard") => umbra_guard::run(),
        Some("hold") => hold(args.map(PathBuf::from).collect()).expect("the file systems can be frozen"),
        Some(other) => panic!("{other} is nothing that this program does"),
    }
}

fn hold(mut paths: Vec<PathBuf>) -> umbra_base::Result<()> {
    let runtime = paths.remove(0);
    let within = Duration::from_secs(10);
    let launch = Launch { program: "/proc/self/exe".into(), args: vec![] };
    let client = Client::spawn(&launch, Box::new(|_| {}))?;
    let hold = Duration::from_secs(10);
    client.prepare(&Prepare { set: "held".into(), runtime, mounts: paths, undos: vec![], hold }, within)?;
    client.freeze(within)?;
    println!("frozen");
    loop {
        std::thread::sleep(within);
    }
}

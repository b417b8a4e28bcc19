//! What a command says, and where: data on stdout, all else on stderr.
//!
//! A command hands one [`Shape`] to [`Output::print`], which renders it as text or, with `--json`, as one object with the
//! version of the shapes in it. What always holds: nothing else of the crate writes to stdout, and a reader that went
//! away (a broken pipe) is no error.

use crate::args::Global;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use umbra_base::{Error, Result};

/// Version of the JSON shapes: raised when a field changes its meaning or goes away, not when one is added.
pub const SHAPES: u32 = 1;

/// A value that a command prints.
pub trait Shape: Serialize {
    /// Writes the value for people.
    fn text(&self, out: &mut dyn Write) -> io::Result<()>;
}

/// Text, or objects for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

/// How much goes to stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Talk {
    Quiet,
    Normal,
    Verbose,
}

/// Where a command puts what it has to say.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    pub format: Format,
    pub talk: Talk,
}

#[derive(Serialize)]
struct Versioned<'a, T: Serialize> {
    umbra: u32,
    #[serde(flatten)]
    value: &'a T,
}

impl Output {
    pub fn new(global: &Global) -> Self {
        Output {
            format: if global.json { Format::Json } else { Format::Text },
            talk: match (global.quiet, global.verbose) {
                (true, _) => Talk::Quiet,
                (false, 0) => Talk::Normal,
                (false, _) => Talk::Verbose,
            },
        }
    }

    /// Prints a command's result.
    pub fn print<S: Shape>(&self, shape: &S) -> Result<()> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let written = match self.format {
            Format::Text => shape.text(&mut out),
            Format::Json => json(&mut out, shape),
        };
        match written.and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(|source| Error::io("write to stdout", source)),
        }
    }

    /// Says something in passing, on stderr.
    pub fn note(&self, text: &str) {
        if self.talk >= Talk::Normal {
            let _ = writeln!(io::stderr(), "{text}"); // stderr gone: nobody to tell
        }
    }

    /// Says something that only `-v` asks for.
    pub fn detail(&self, text: &str) {
        if self.talk >= Talk::Verbose {
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// Whether somebody watches who would like to see progress.
    pub fn watched(&self) -> bool {
        self.talk >= Talk::Normal && io::stderr().is_terminal()
    }
}

/// Writes `value` as one versioned object.
pub fn json<T: Serialize>(out: &mut dyn Write, value: &T) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &Versioned { umbra: SHAPES, value }).map_err(io::Error::from)?;
    writeln!(out)
}

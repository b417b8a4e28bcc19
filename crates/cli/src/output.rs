//! What a command says, and where: data on stdout, all else on stderr.
//!
//! A command hands one [`Shape`] to [`Output::print`], which renders it as text or, with `--json`, as one object with the
//! version of the shapes in it. What always holds: nothing else of the crate writes to stdout, and a reader that went
//! away (a broken pipe) is no error.

use crate::args::Global;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use umbra_base::{Error, ExitCode, Result};

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

    /// Lets `write` put a long result on stdout, piece by piece. It is done early, and without a word, when the reader
    /// goes away.
    pub fn stream(&self, write: impl FnOnce(&mut dyn Write) -> Result<ExitCode>) -> Result<ExitCode> {
        let mut out =
            Pipe { out: io::BufWriter::with_capacity(STREAM_BYTES, io::stdout().lock()), gone: false };
        let written = write(&mut out);
        let flushed = out.flush().map_err(|source| Error::io("write to stdout", source));
        if out.gone { Ok(ExitCode::Done) } else { written.and_then(|exit| flushed.map(|()| exit)) }
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

/// Bytes gathered before they are written.
const STREAM_BYTES: usize = 64 << 10;

/// Remembers that its reader went away.
struct Pipe<W> {
    out: W,
    gone: bool,
}

impl<W: Write> Pipe<W> {
    fn noting<T>(&mut self, did: io::Result<T>) -> io::Result<T> {
        self.gone |= did.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        did
    }
}

impl<W: Write> Write for Pipe<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let did = self.out.write(bytes);
        self.noting(did)
    }

    fn flush(&mut self) -> io::Result<()> {
        let did = self.out.flush();
        self.noting(did)
    }
}

/// Writes `value` as one versioned object.
pub fn json<T: Serialize>(out: &mut dyn Write, value: &T) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &Versioned { umbra: SHAPES, value }).map_err(io::Error::from)?;
    writeln!(out)
}

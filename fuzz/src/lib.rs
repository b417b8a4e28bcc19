//! Fuzzers of all that comes from outside, a pool's files and what initiators say: what each target does with the
//! fuzzer's input.
//!
//! ```text
//!   targets/*.rs     one line each: libFuzzer's loop around a `run` of this library
//!        |
//!   blocks           single blocks and log records, any bytes        -> decoders of engine and checker
//!   image_engine     a damaged image and operations                  -> engine
//!   image_check      a damaged image                                 -> checker, and the engine beside it
//!   journal          a damaged log                                   -> store
//!   wire::pdu        bytes of a connection, in any portions          -> framing, headers, texts
//!   wire::login      requests of any shape, then PDUs of any kind    -> the target's protocol machine
//!   wire::cdb        commands with any parameter lists               -> SCSI decisions
//!   wire::session    whole sessions of several hosts over sockets    -> the target as it runs, with all its threads
//!        |
//!   session          a driver that does the operations (operation), commits and crashes included
//!   damage           changes of an image, checksums made right again, so that the fuzzer gets behind them
//!   seeds, disk      sound pools made by the engine itself; metadata in memory
//! ```
//!
//! What always holds for any input: no panic, and time and memory in proportion to the image (`scripts/fuzz` sets the
//! bounds); each module says what else. What holds for undamaged pools besides: no operation finds damage, every commit
//! can be written, and the checker is content with each.

#![forbid(unsafe_code)]

pub mod blocks;
mod damage;
mod disk;
pub mod image_check;
pub mod image_engine;
pub mod journal;
mod operation;
mod seeds;
mod session;
mod sparse;
pub mod wire;

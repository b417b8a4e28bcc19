//! The same standard tests stamped on every command; no server runs, no root is needed.

mod help;
mod parsing;
mod unreachable;

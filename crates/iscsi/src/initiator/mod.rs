//! The initiator's side of a session with one connection: login, commands with their data, pings, logout (RFC 7143),
//! at ErrorRecoveryLevel 0: whatever breaks the connection ends the session, and the caller starts another.
//!
//! ```text
//!   driver                     Session                          target
//!   Session::start  ---------> Login (security, operational) <-> ...
//!   submit(command) ---------> queue -> window -> Task <-------> SCSI Command, Data-Out, R2T, Data-In, SCSI Response
//!   next_event()    <--------- Event::{LoggedIn, Completed, ...}
//!   unsent()/sent() <--------- bytes out          received()  <- bytes in
//!   next_deadline(), tick(now): login limit, ping and its limit, logout limit
//! ```
//!
//! What always holds: a command is sent only inside the target's CmdSN window; data that the target sends is kept only
//! within what its command asked for; after an error the session yields nothing more. A session started with the same
//! ISID replaces the one before it (section 6.3.5): the target has ended that one's tasks before the login completes, which
//! is what makes resending after a reconnect safe (A2).

mod chap;
mod config;
mod error;
mod login;
mod session;
mod task;
#[cfg(test)]
mod tests;

pub use config::{Auth, Config, Mutual, Parameters, RESEND_KEY};
pub use error::SessionError;
pub use session::{Event, Session};
pub use task::{Command, Completion, Outcome, Tag, Transfer};

//! What comes over the wire: from bytes to PDUs, through the login, to commands, and all of it as whole sessions.

pub mod cdb;
pub mod login;
pub mod pdu;
pub mod session;
mod words;

//! What comes over the wire: from bytes to PDUs, through the login, to commands.

pub mod cdb;
pub mod login;
pub mod pdu;
mod words;

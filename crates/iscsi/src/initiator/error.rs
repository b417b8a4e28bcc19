//! Why a session ended before it was logged out. The connection is of no use after any of these.

use crate::pdu::{FrameError, TextError};
use umbra_base::ErrorCode;

/// The end of a session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    #[error("the target refused the login with status {status:#06x} ({meaning})")]
    LoginRefused { status: u16, meaning: &'static str },
    #[error("login: {0}")]
    Login(&'static str),
    #[error("the target broke the protocol: {0}")]
    Protocol(&'static str),
    #[error("unexpected PDU with opcode {opcode:#04x} {when}")]
    Unexpected { opcode: u8, when: &'static str },
    #[error("response number {found}, expected {expected}: one was lost")]
    StatSn { expected: u32, found: u32 },
    #[error("the target rejected a PDU with reason {reason:#04x}")]
    Rejected { reason: u8 },
    #[error("the target announced the end of the session (event {event})")]
    TargetLeaves { event: u8 },
    #[error("no answer to {what} within its limit")]
    Timeout { what: &'static str },
    #[error("bytes from the target are no PDU")]
    Frame(#[from] FrameError),
    #[error("text from the target is not key=value")]
    Text(#[from] TextError),
}

impl SessionError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            SessionError::LoginRefused { status, .. } if *status >> 8 == 2 => ErrorCode::AccessDenied,
            SessionError::LoginRefused { .. } | SessionError::TargetLeaves { .. } => ErrorCode::Unreachable,
            SessionError::Timeout { .. } => ErrorCode::TimedOut,
            _ => ErrorCode::ProtocolError,
        }
    }

    /// Whether connecting again may end better: false where the target knows us and will not have us.
    pub fn worth_a_retry(&self) -> bool {
        self.code() != ErrorCode::AccessDenied
    }
}

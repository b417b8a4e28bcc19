//! Errors through gRPC and back. The status message is for eyes that see only gRPC; the [`v1::ErrorDetail`] in the
//! status details is what our own clients read.

use crate::v1;
use prost::Message;
use tonic::{Code, Status};
use umbra_base::{Error, ErrorCode};

/// An error as a wire shape.
pub fn detail(error: &Error) -> v1::ErrorDetail {
    v1::ErrorDetail {
        code: error.code().as_str().to_owned(),
        message: error.chain(),
        hint: error.hint_text().unwrap_or_default().to_owned(),
        params: error.params().iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
    }
}

/// The error that a wire shape tells of.
pub fn error(detail: v1::ErrorDetail) -> Error {
    let mut error = Error::new(ErrorCode::from_text(&detail.code), detail.message);
    if !detail.hint.is_empty() {
        error = error.hint(detail.hint);
    }
    detail.params.iter().fold(error, |error, (name, value)| error.param(name, value))
}

/// The status that carries `error` to a client.
pub fn status(error: &Error) -> Status {
    let detail = detail(error);
    Status::with_details(grpc_code(error.code()), detail.message.clone(), detail.encode_to_vec().into())
}

/// The error that a status tells of; a status without our details (a broken connection, say) is `unreachable`.
pub fn from_status(status: &Status) -> Error {
    match v1::ErrorDetail::decode(status.details()) {
        Ok(detail) if !detail.code.is_empty() => error(detail),
        _ if matches!(status.code(), Code::Unavailable | Code::Unknown) => {
            Error::new(ErrorCode::Unreachable, "the connection broke before the answer came")
                .hint("see whether the service and the array run, then what became of it: umbra list")
                .because(status.message().to_owned())
        }
        _ => Error::new(code_of(status.code()), format!("the call ended with {}", status.code()))
            .because(status.message().to_owned()),
    }
}

fn code_of(code: Code) -> ErrorCode {
    match code {
        Code::DeadlineExceeded => ErrorCode::TimedOut,
        Code::Cancelled => ErrorCode::Cancelled,
        Code::PermissionDenied | Code::Unauthenticated => ErrorCode::AccessDenied,
        Code::Unimplemented => ErrorCode::Unsupported,
        Code::InvalidArgument => ErrorCode::InvalidArgument,
        _ => ErrorCode::Internal,
    }
}

fn grpc_code(code: ErrorCode) -> Code {
    use ErrorCode as E;
    match code {
        E::InvalidArgument => Code::InvalidArgument,
        E::ObjectNotFound => Code::NotFound,
        E::ObjectAlreadyExists => Code::AlreadyExists,
        E::AccessDenied => Code::PermissionDenied,
        E::Unsupported => Code::Unimplemented,
        E::InsufficientStorage | E::LimitReached => Code::ResourceExhausted,
        E::Corrupt => Code::DataLoss,
        E::Unreachable | E::SnapshotSetInProgress => Code::Unavailable,
        E::TimedOut => Code::DeadlineExceeded,
        E::Cancelled => Code::Cancelled,
        E::Io | E::Internal => Code::Internal,
        code if code.retryable() => Code::Aborted,
        _ => Code::FailedPrecondition,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_the_wire_whole() {
        let before = Error::new(ErrorCode::WriterTimeout, "freeze writer \"postgres\"")
            .hint("ask again")
            .param("writer", "postgres")
            .because("no answer within 60 s");
        let after = from_status(&status(&before));
        assert_eq!(after.code(), ErrorCode::WriterTimeout);
        assert_eq!(after.message(), "freeze writer \"postgres\": no answer within 60 s");
        assert_eq!(after.hint_text(), Some("ask again"));
        assert_eq!(after.params()["writer"], "postgres");
    }

    #[test]
    fn a_foreign_status_keeps_its_meaning() {
        assert_eq!(from_status(&Status::unavailable("gone")).code(), ErrorCode::Unreachable);
        assert_eq!(from_status(&Status::unimplemented("?")).code(), ErrorCode::Unsupported);
    }
}

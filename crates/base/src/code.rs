//! The closed list of error codes that people, scripts and other hosts may match on (design P1).
//!
//! A code is a stable snake_case string; where VSS has a word for the condition, ours is that word. What always
//! holds: no code is ever reused for another meaning, and each has exactly one exit code.

use std::fmt;

/// Exit status of the command line (design section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Done, or nothing had to change.
    Done = 0,
    /// Refused or failed; asking again the same way will not help.
    Failed = 1,
    /// The command line itself was wrong.
    Usage = 2,
    /// A time-out or a busy resource; asking again may succeed.
    TryAgain = 3,
    /// Damage was found.
    Damage = 4,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $exit:ident;)*) => {
        /// What kind of refusal or failure an error is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[$doc])* $variant,)* }

        impl ErrorCode {
            /// Every code, in the order of this file.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant,)*];

            /// The stable text of the code, as it stands on the wire and in `--json`.
            pub fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$variant => $text,)* }
            }

            /// The exit status of a command that ended with this code.
            pub fn exit(self) -> ExitCode {
                match self { $(ErrorCode::$variant => ExitCode::$exit,)* }
            }
        }
    };
}

codes! {
    /// An argument is malformed, out of bounds, or contradicts another. E_INVALIDARG.
    InvalidArgument = "invalid_argument", Usage;
    /// The set, copy, LUN or host is not known here. VSS_E_OBJECT_NOT_FOUND.
    ObjectNotFound = "object_not_found", Failed;
    /// The name or id is taken by something else. VSS_E_OBJECT_ALREADY_EXISTS.
    ObjectAlreadyExists = "object_already_exists", Failed;
    /// The object is not in a state in which this is allowed. VSS_E_BAD_STATE.
    BadState = "bad_state", Failed;
    /// The catalogue moved on between reading and writing; the caller reads again.
    RevisionConflict = "revision_conflict", TryAgain;
    /// Another set is being created on this host. VSS_E_SNAPSHOT_SET_IN_PROGRESS.
    SnapshotSetInProgress = "snapshot_set_in_progress", TryAgain;
    /// No provider can copy this volume. VSS_E_VOLUME_NOT_SUPPORTED.
    VolumeNotSupported = "volume_not_supported", Failed;
    /// The named provider cannot copy this volume. VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER.
    VolumeNotSupportedByProvider = "volume_not_supported_by_provider", Failed;
    /// A file system was frozen already by somebody else.
    VolumeFrozenElsewhere = "volume_frozen_elsewhere", Failed;
    /// A file system under Umbra's own files is part of the set (S7).
    VolumeUnderUmbra = "volume_under_umbra", Failed;
    /// The provider will not do this. VSS_E_PROVIDER_VETO.
    ProviderVeto = "provider_veto", Failed;
    /// A writer did not answer within its limit. VSS_E_WRITERERROR_TIMEOUT.
    WriterTimeout = "writer_timeout", TryAgain;
    /// A writer refused or failed. VSS_E_WRITERERROR_NONRETRYABLE.
    WriterFailed = "writer_failed", Failed;
    /// A writer's data is only partly in the set. VSS_E_WRITERERROR_INCONSISTENTSNAPSHOT.
    InconsistentSnapshot = "inconsistent_snapshot", Failed;
    /// Flushing took too long. VSS_E_FLUSH_WRITES_TIMEOUT.
    FlushWritesTimeout = "flush_writes_timeout", TryAgain;
    /// Writes were held longer than allowed. VSS_E_HOLD_WRITES_TIMEOUT.
    HoldWritesTimeout = "hold_writes_timeout", TryAgain;
    /// The cut could not be proven to lie inside the freeze (S2).
    FreezeNotProven = "freeze_not_proven", TryAgain;
    /// The host was suspended inside the window (S5).
    SuspendedInWindow = "suspended_in_window", TryAgain;
    /// The guard died or does not answer.
    GuardLost = "guard_lost", TryAgain;
    /// A lease ran out.
    LeaseExpired = "lease_expired", TryAgain;
    /// An original identity is still visible. VSS_E_BREAK_REVERT_ID_FAILED.
    BreakRevertIdFailed = "break_revert_id_failed", Failed;
    /// A device or mount is in use.
    VolumeInUse = "volume_in_use", Failed;
    /// Identity could not be renewed beside the original.
    IdentityFailed = "identity_failed", Failed;
    /// No space for it. VSS_E_INSUFFICIENT_STORAGE.
    InsufficientStorage = "insufficient_storage", Failed;
    /// A bound was reached. VSS_E_MAXIMUM_NUMBER_OF_*_REACHED.
    LimitReached = "limit_reached", Failed;
    /// The caller may not do this. E_ACCESSDENIED.
    AccessDenied = "access_denied", Failed;
    /// Known to the model, but not offered by this part. VSS_E_UNSUPPORTED_CONTEXT.
    Unsupported = "unsupported", Failed;
    /// Nobody answers at that address.
    Unreachable = "unreachable", TryAgain;
    /// The peer broke the protocol.
    ProtocolError = "protocol_error", Failed;
    /// A limit on time ran out that has no code of its own.
    TimedOut = "timed_out", TryAgain;
    /// The requester, or a signal, ended the operation.
    Cancelled = "cancelled", Failed;
    /// A program that the requester asked to be run failed.
    CommandFailed = "command_failed", Failed;
    /// Damage was found: checksums, structure, a file of the wrong shape.
    Corrupt = "corrupt", Damage;
    /// The system refused an operation on a file or device.
    Io = "io", Failed;
    /// A fault of ours. VSS_E_UNEXPECTED.
    Internal = "internal", Failed;
}

impl ErrorCode {
    /// The code of that text; a text from a newer version is [`ErrorCode::Internal`].
    pub fn from_text(text: &str) -> ErrorCode {
        Self::ALL.iter().copied().find(|code| code.as_str() == text).unwrap_or(ErrorCode::Internal)
    }

    /// Whether the same request may succeed later without anything being changed by a person.
    pub fn retryable(self) -> bool {
        self.exit() == ExitCode::TryAgain
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_code_has_a_text_of_its_own_and_reads_back() {
        let texts: HashSet<_> = ErrorCode::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(texts.len(), ErrorCode::ALL.len());
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_text(code.as_str()), *code);
        }
    }
}

//! How two copies of a volume differ, or what one holds.

use serde::Serialize;
use umbra_api::v1;

/// Fields that come before the differences.
#[derive(Debug, Serialize)]
pub struct DiffHead {
    pub copy: String,
    pub newer: Option<String>,
    pub block_bytes: u64,
    pub volume_bytes: u64,
}

/// A run of bytes of the volume.
#[derive(Debug, Serialize)]
pub struct Difference {
    pub offset_bytes: u64,
    pub length_bytes: u64,
    /// `changed`, `new`, `discarded` or `allocated`.
    pub kind: &'static str,
}

impl From<&v1::Difference> for Difference {
    fn from(run: &v1::Difference) -> Self {
        let kind = match run.kind() {
            v1::DifferenceKind::Changed => "changed",
            v1::DifferenceKind::New => "new",
            v1::DifferenceKind::Discarded => "discarded",
            v1::DifferenceKind::Allocated => "allocated",
            v1::DifferenceKind::Unspecified => "unknown",
        };
        Difference { offset_bytes: run.offset_bytes, length_bytes: run.length_bytes, kind }
    }
}

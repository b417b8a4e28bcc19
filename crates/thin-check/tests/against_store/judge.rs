//! The outside judges of a pool's metadata.

use std::{fs, process::Command};
use umbra_thin_check::{Expect, MemoryImage, Severity, check};

/// The feature that marks a pool which may be behind its log; written down here, not asked of the engine.
const LOG_FEATURE: u32 = 1 << 31;

/// Whether a log may stand beside the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    May,
    MustNot,
}

/// The metadata must pass our checker without a finding.
pub fn ours(metadata: &[u8], data_blocks: u64, log: Log) {
    let known_features = if log == Log::May { LOG_FEATURE } else { 0 };
    let report =
        check(&MemoryImage(metadata.to_vec()), Expect { data_blocks: Some(data_blocks), known_features });
    let found: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert!(report.verdict() == Severity::Ok && found.is_empty(), "the checker found {found:#?}");
}

/// The metadata must pass Debian's checker.
pub fn debians(metadata: &[u8]) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), metadata).unwrap();
    match Command::new("thin_check").arg(file.path()).output() {
        Err(error) => {
            eprintln!("SKIPPED: thin_check (package thin-provisioning-tools) does not run: {error}")
        }
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "thin_check: {text}{}", String::from_utf8_lossy(&output.stdout));
        }
    }
}

//! The outside judges of a pool: our independent checker, and `thin_check` of thin-provisioning-tools.

use std::{path::Path, process::Command};
use umbra_thin_check::{Expect, MemoryImage, Severity};

/// Which judge beside our own checker.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Judges {
    Ours,
    AlsoThinCheck,
}

/// Panics unless the metadata is clean. `log_bit`: whether the bit of a log in use may be set.
pub fn check_image(image: Vec<u8>, judges: Judges, features: u32) {
    if judges == Judges::AlsoThinCheck {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &image).unwrap();
        thin_check(file.path());
    }
    let expect = Expect { known_features: features, ..Expect::default() };
    let report = umbra_thin_check::check(&MemoryImage(image), expect);
    let found: Vec<_> = report.findings.iter().collect();
    assert!(report.verdict() == Severity::Ok, "{found:#?}");
}

pub fn thin_check(path: &Path) {
    match Command::new("thin_check").arg(path).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "thin_check: {text}");
        }
        Err(error) => eprintln!("SKIPPED: thin_check (thin-provisioning-tools): {error}"),
    }
}

/// Checks a closed pool: clean, and without our feature bit, so that a kernel may have it (A4).
pub fn check_closed(dir: &Path) {
    let image = std::fs::read(dir.join("pool.meta")).unwrap();
    check_image(image, Judges::AlsoThinCheck, 0);
    assert_eq!(std::fs::metadata(dir.join("pool.log")).unwrap().len(), 0);
}

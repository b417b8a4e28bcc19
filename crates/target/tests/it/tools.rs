//! libiscsi's tools against the target: what a foreign initiator makes of it.

use crate::lab::TARGET;
use crate::memory::MemoryUnit;
use std::process::Command;
use std::sync::{Arc, OnceLock, Weak};
use umbra_target::{
    Access, Directory, HostLogin, KeepNothing, LunEntry, PortalAuth, Secret, Target, TargetConfig,
};

/// Lets in whoever comes and shows it the same LUNs, with a secret if there is one.
struct Everybody {
    target: OnceLock<Weak<Target<MemoryUnit>>>,
    secret: Option<Secret>,
    luns: Vec<LunEntry<MemoryUnit>>,
}

impl Directory for Everybody {
    fn host(&self, initiator: &str) -> Option<HostLogin> {
        self.target.get().and_then(Weak::upgrade)?.set_luns(initiator, self.luns.clone());
        Some(HostLogin { secret: self.secret.clone(), mutual: None })
    }
}

struct Served {
    target: Arc<Target<MemoryUnit>>,
    portal: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.target.shutdown();
    }
}

fn serve(secret: Option<&str>) -> Served {
    let disk = Arc::new(MemoryUnit::new(128 << 20));
    let copy = Arc::new(MemoryUnit::new(64 << 20));
    let luns =
        vec![crate::lab::entry(1, &disk, Access::ReadWrite), crate::lab::entry(2, &copy, Access::ReadOnly)];
    let auth = if secret.is_some() { PortalAuth::Chap } else { PortalAuth::InsecureNone };
    let everybody = Arc::new(Everybody { target: OnceLock::new(), secret: secret.map(Secret::new), luns });
    let target = Target::new(
        TargetConfig::new(TARGET),
        Arc::clone(&everybody) as Arc<dyn Directory>,
        Arc::new(KeepNothing),
    )
    .unwrap();
    everybody.target.set(Arc::downgrade(&target)).unwrap();
    let addr = target.listen_tcp("127.0.0.1:0".parse().unwrap(), auth).unwrap();
    Served { target, portal: addr.to_string() }
}

/// Runs a tool for at most a minute; its output, or `None` when it is not installed.
fn run(tool: &str, args: &[&str]) -> Option<String> {
    let output = Command::new("timeout").arg("60").arg(tool).args(args).output().unwrap();
    if output.status.code() == Some(127) {
        eprintln!("SKIPPED: {tool} is not installed (package libiscsi-bin)");
        return None;
    }
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_ne!(output.status.code(), Some(124), "{tool} {args:?} hangs:\n{text}");
    Some(text)
}

#[test]
fn iscsi_ls_finds_the_luns() {
    let served = serve(None);
    let Some(text) = run("iscsi-ls", &["-s", &format!("iscsi://{}", served.portal)]) else { return };
    assert!(text.contains(&format!("Target:{TARGET} Portal:{},1", served.portal)), "{text}");
    assert!(text.contains("Lun:1    Type:DIRECT_ACCESS (Size:127M)"), "{text}");
    assert!(text.contains("Lun:2    Type:DIRECT_ACCESS (Size:63M)"), "{text}");
}

#[test]
fn iscsi_inq_and_readcapacity_agree_with_the_unit() {
    let served = serve(Some("a-long-secret-123"));
    let url = format!("iscsi://someone%a-long-secret-123@{}/{TARGET}/1", served.portal);
    let Some(text) = run("iscsi-inq", &[&url]) else { return };
    assert!(text.contains("Vendor:UMBRA") && text.contains("Product:MEMORY"), "{text}");
    let Some(text) = run("iscsi-readcapacity16", &[&url]) else { return };
    for line in ["Total size:134217728", "LBPME:1 LBPRZ:1", "LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT:3"] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    let wrong = format!("iscsi://someone%not-the-secret-1@{}/{TARGET}/1", served.portal);
    let Some(text) = run("iscsi-inq", &[&wrong]) else { return };
    assert!(!text.contains("Vendor"), "{text}");
}

/// Families that take a second or two each; the whole list is run by hand and by the full checks.
#[test]
fn iscsi_test_cu_finds_no_fault() {
    const FAMILIES: [&str; 16] = [
        "ALL.CompareAndWrite",
        "ALL.Inquiry",
        "ALL.ModeSense6",
        "ALL.Read10",
        "ALL.Read16",
        "ALL.ReadCapacity16",
        "ALL.ReportSupportedOpcodes",
        "ALL.Unmap",
        "ALL.Verify16",
        "ALL.Write10",
        "ALL.WriteSame16",
        "ALL.WriteVerify16",
        "ALL.iSCSIcmdsn",
        "ALL.iSCSIdatasn",
        "ALL.iSCSIResiduals",
        "ALL.iSCSITMF",
    ];
    let served = serve(None);
    let url = format!("iscsi://{}/{TARGET}/1", served.portal);
    for family in FAMILIES {
        let Some(text) = run("iscsi-test-cu", &["--dataloss", "-v", "-t", family, &url]) else { return };
        // A pattern that matches nothing would pass as well: the summary must be there.
        assert!(text.contains("Run Summary"), "{family}:\n{text}");
        assert!(!text.contains("FAILED\n"), "{family}:\n{text}");
    }
}

#[test]
fn iscsi_test_cu_finds_the_read_only_unit_read_only() {
    let served = serve(None);
    let url = format!("iscsi://{}/{TARGET}/2", served.portal);
    let Some(text) = run("iscsi-test-cu", &["--dataloss", "-v", "-t", "ALL.ReadOnly", &url]) else { return };
    assert!(text.contains("Run Summary") && !text.contains("FAILED\n"), "{text}");
}

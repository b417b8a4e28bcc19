//! A target with LUNs in memory, for trying initiators and conformance tools against it.
//!
//! `memory_target [ADDR:PORT [CHAP-SECRET]]` serves LUN 0 (64 MiB), LUN 1 (1 GiB) and LUN 2 (64 MiB, read-only) to every
//! initiator, and prints its URL. Ends when its standard input does.

#[path = "../tests/it/memory.rs"]
mod memory;

use memory::MemoryUnit;
use std::io::Read;
use std::sync::{Arc, OnceLock, Weak};
use umbra_target::{
    Access, Directory, HostLogin, KeepNothing, LunEntry, LunIdentity, PortalAuth, Secret, Target,
    TargetConfig,
};

/// Lets everybody in; who comes for the first time is shown the LUNs.
struct Everybody {
    target: OnceLock<Weak<Target<MemoryUnit>>>,
    secret: Option<Secret>,
    luns: Vec<LunEntry<MemoryUnit>>,
}

impl Directory for Everybody {
    fn host(&self, initiator: &str) -> Option<HostLogin> {
        let target = self.target.get().and_then(Weak::upgrade)?;
        target.set_luns(initiator, self.luns.clone());
        Some(HostLogin { secret: self.secret.clone(), mutual: None })
    }
}

fn lun(number: u16, mib: u64, access: Access) -> LunEntry<MemoryUnit> {
    let identity = LunIdentity {
        naa: 0x3000_0000_0000_0000 | u64::from(number),
        uuid: [number as u8; 16],
        serial: format!("UMBRA-MEM-{number:04}"),
        product: "MEMORY".to_owned(),
    };
    LunEntry { number, unit: Arc::new(MemoryUnit::new(mib << 20)), identity, access }
}

#[expect(clippy::print_stdout, reason = "the URL is what this program is started for")]
fn main() -> umbra_base::Result<()> {
    let mut args = std::env::args().skip(1);
    let addr = args.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let secret = args.next().map(Secret::new);
    let auth = if secret.is_some() { PortalAuth::Chap } else { PortalAuth::InsecureNone };
    let luns =
        vec![lun(0, 64, Access::ReadWrite), lun(1, 1024, Access::ReadWrite), lun(2, 64, Access::ReadOnly)];
    let directory = Arc::new(Everybody { target: OnceLock::new(), secret, luns });
    let target = Target::new(
        TargetConfig::new("iqn.2026-01.test.umbra:memory"),
        Arc::clone(&directory) as _,
        Arc::new(KeepNothing),
    )?;
    let _only_once = directory.target.set(Arc::downgrade(&target));
    let bad = |error| {
        umbra_base::Error::new(umbra_base::ErrorCode::InvalidArgument, format!("{addr:?}")).because(error)
    };
    let bound =
        target.listen_tcp(addr.parse().map_err(|error: std::net::AddrParseError| bad(error))?, auth)?;
    println!("iscsi://{bound}/iqn.2026-01.test.umbra:memory/1");
    let _until_closed = std::io::stdin().read_to_end(&mut Vec::new());
    target.shutdown();
    Ok(())
}

//! A target with LUNs in memory, for trying initiators and conformance tools against it.
//!
//! ```text
//! memory_target [--portal ADDR:PORT]... [--chap SECRET] [--mutual NAME SECRET] [--sectors BYTES]
//! ```
//! serves LUN 0 (64 MiB), LUN 1 (1 GiB), LUN 2 (64 MiB, read-only) and LUN 3 (64 MiB, physical blocks of 512 bytes) to every
//! initiator, and prints the URL of LUN 1 at each portal, one a line. Without `--portal` there is one, at a free port of
//! 127.0.0.1. `--chap` demands CHAP with this secret of everybody, `--mutual` proves with that one who we are to those that
//! ask; `--sectors` is the size of physical blocks of the other LUNs (4096). It ends when its standard input does.

#[path = "../tests/it/memory.rs"]
mod memory;

use memory::MemoryUnit;
use std::fmt::Display;
use std::io::Read;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Arc, OnceLock, Weak};
use umbra_base::{Error, ErrorCode, Result};
use umbra_target::{
    Access, Directory, HostLogin, KeepNothing, LunEntry, LunIdentity, Mutual, PortalAuth, Secret, Target,
    TargetConfig,
};

const IQN: &str = "iqn.2026-01.test.umbra:memory";

/// What it was told on its command line.
#[derive(Debug)]
struct Options {
    portals: Vec<SocketAddr>,
    login: HostLogin,
    sectors: u32,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Options> {
        let mut options = Options { portals: Vec::new(), login: HostLogin::default(), sectors: 4096 };
        while let Some(option) = words.next() {
            let mut value = || words.next().ok_or_else(|| bad(&option, &"a value is missing"));
            match option.as_str() {
                "--portal" => options.portals.push(parsed(&option, &value()?)?),
                "--chap" => options.login.secret = Some(Secret::new(value()?)),
                "--mutual" => {
                    options.login.mutual = Some(Mutual { name: value()?, secret: Secret::new(value()?) })
                }
                "--sectors" => options.sectors = parsed(&option, &value()?)?,
                _ => return Err(bad(&option, &"there is no such option")),
            }
        }
        if options.portals.is_empty() {
            options.portals.push(SocketAddr::from(([127, 0, 0, 1], 0)));
        }
        Ok(options)
    }

    fn auth(&self) -> PortalAuth {
        if self.login.secret.is_some() { PortalAuth::Chap } else { PortalAuth::InsecureNone }
    }
}

fn bad(option: &str, why: &dyn Display) -> Error {
    Error::new(ErrorCode::InvalidArgument, format!("{option}: {why}"))
}

fn parsed<T: FromStr<Err: Display>>(option: &str, value: &str) -> Result<T> {
    value.parse().map_err(|error: T::Err| bad(option, &error))
}

/// Lets everybody in; who comes for the first time is shown the LUNs.
struct Everybody {
    target: OnceLock<Weak<Target<MemoryUnit>>>,
    login: HostLogin,
    luns: Vec<LunEntry<MemoryUnit>>,
}

impl Directory for Everybody {
    fn host(&self, initiator: &str) -> Option<HostLogin> {
        let target = self.target.get().and_then(Weak::upgrade)?;
        target.set_luns(initiator, self.luns.clone());
        Some(self.login.clone())
    }
}

fn lun(number: u16, mib: u64, sectors: u32, access: Access) -> LunEntry<MemoryUnit> {
    let identity = LunIdentity {
        naa: 0x3000_0000_0000_0000 | u64::from(number),
        uuid: [number as u8; 16],
        serial: format!("UMBRA-MEM-{number:04}"),
        product: "MEMORY".to_owned(),
    };
    LunEntry { number, unit: Arc::new(MemoryUnit::on_sectors(mib << 20, sectors)), identity, access }
}

#[expect(clippy::print_stdout, reason = "the URLs are what this program is started for")]
fn main() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    let auth = options.auth();
    let luns = vec![
        lun(0, 64, options.sectors, Access::ReadWrite),
        lun(1, 1024, options.sectors, Access::ReadWrite),
        lun(2, 64, options.sectors, Access::ReadOnly),
        lun(3, 64, 512, Access::ReadWrite),
    ];
    let directory = Arc::new(Everybody { target: OnceLock::new(), login: options.login, luns });
    let target = Target::new(TargetConfig::new(IQN), Arc::clone(&directory) as _, Arc::new(KeepNothing))?;
    let _only_once = directory.target.set(Arc::downgrade(&target));
    for portal in options.portals {
        println!("iscsi://{}/{IQN}/1", target.listen_tcp(portal, auth)?);
    }
    let _until_closed = std::io::stdin().read_to_end(&mut Vec::new());
    target.shutdown();
    Ok(())
}

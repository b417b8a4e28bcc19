//! Our target, as the array runs it: a pool, its volume as a logical unit, no authentication.

#[path = "../../../../crates/array/src/unit.rs"]
#[allow(dead_code, reason = "the array uses all of it")]
mod unit;

use super::{TARGET, announce, wait_for_end};
use crate::{contents::fill, iscsi::LUN};
use anyhow::Result;
use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, OnceLock, Weak},
};
use umbra_store::{LunStore, PoolParams, ThinId, ThinPoolStore};
use umbra_target::{
    Access, Backend, Directory, HostLogin, KeepNothing, LogicalUnit, LunEntry, LunIdentity, PortalAuth,
    Target, TargetConfig,
};
use unit::{Instants, Unit};

/// Of the pool, beside the LUN.
const SPARE_BYTES: u64 = 64 << 20;

/// Lets everybody in, and shows him the LUN.
struct Everybody {
    target: OnceLock<Weak<Target<Unit>>>,
    luns: Vec<LunEntry<Unit>>,
}

impl Directory for Everybody {
    fn host(&self, initiator: &str) -> Option<HostLogin> {
        let target = self.target.get().and_then(Weak::upgrade)?;
        target.set_luns(initiator, self.luns.clone());
        Some(HostLogin::default())
    }
}

/// Makes points in time, in the array; here there is none.
enum Nobody {}

impl Instants for Nobody {
    fn point_in_time(&self, _origin: ThinId, _size_bytes: u64) -> umbra_base::Result<Arc<Unit>> {
        match *self {}
    }

    fn let_go(&self, _copy: ThinId) {
        match *self {}
    }
}

/// Serves until the parent has had enough.
pub fn serve(folder: &Path, bytes: u64, shards: usize, backend: Backend) -> Result<()> {
    let (target, socket) = start(folder, bytes, shards, backend)?;
    announce(socket);
    wait_for_end();
    target.shutdown();
    Ok(())
}

/// Makes a pool in `folder` with a LUN of `bytes` bytes that is all written, and serves it from now on.
pub fn start(
    folder: &Path,
    bytes: u64,
    shards: usize,
    backend: Backend,
) -> Result<(Arc<Target<Unit>>, SocketAddr)> {
    let params = PoolParams::new(bytes + SPARE_BYTES);
    let store: Arc<dyn LunStore> = Arc::new(ThinPoolStore::create_or_open(folder, params)?);
    store.create(ThinId(1))?;
    let unit = Arc::new(Unit::open(&store, ThinId(1), bytes, Weak::<Nobody>::new())?);
    fill(bytes, |at, part| Ok(unit.write(at, part)?))?;
    store.flush()?;
    let identity = LunIdentity {
        naa: 0x3000_0000_0000_0000 | u64::from(LUN),
        uuid: [LUN as u8; 16],
        serial: "UMBRA-BENCH".to_owned(),
        product: "BENCH".to_owned(),
    };
    let luns = vec![LunEntry { number: LUN, unit, identity, access: Access::ReadWrite }];
    let directory = Arc::new(Everybody { target: OnceLock::new(), luns });
    let config = TargetConfig { shards, backend, ..TargetConfig::new(TARGET) };
    let target = Target::new(config, directory.clone(), Arc::new(KeepNothing))?;
    let _only_once = directory.target.set(Arc::downgrade(&target));
    let socket = target.listen_tcp(SocketAddr::from(([127, 0, 0, 1], 0)), PortalAuth::InsecureNone)?;
    Ok((target, socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        generator::{Address, Protocol, Work, check},
        serve::floor,
        session::Load,
        wire::Way,
    };
    use umbra_bench_common::places::Order;

    const BYTES: u64 = 8 << 20;

    /// Small and many, at random; large, of which most is asked for.
    fn works() -> [Work; 2] {
        let load = |len, depth| Load { way: Way::Read, len, depth, salt: 0 };
        [
            Work { load: load(4096, 32), sessions: 4, order: Order::Random, span: BYTES },
            Work { load: load(1 << 20, 4), sessions: 1, order: Order::Sequential, span: BYTES },
        ]
    }

    #[test]
    fn our_target_gives_back_what_was_written_on_both_backends() {
        for backend in [Backend::Auto, Backend::Plain] {
            let folder = tempfile::tempdir().unwrap();
            let (target, socket) = start(folder.path(), BYTES, 2, backend).unwrap();
            for work in works() {
                check(Address { protocol: Protocol::Iscsi, socket }, work, 7).unwrap();
            }
            target.shutdown();
        }
    }

    #[test]
    fn the_floor_gives_back_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let socket = floor::start(&folder.path().join("file"), BYTES).unwrap();
        for work in works() {
            check(Address { protocol: Protocol::Floor, socket }, work, 7).unwrap();
        }
    }
}

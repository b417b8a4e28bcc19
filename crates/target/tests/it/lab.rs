//! A target with a portal, hosts and units, for one test.

use crate::memory::MemoryUnit;
use crate::raw::Raw;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use umbra_target::{
    Access, Directory, HostLogin, KeepNothing, Keeper, LogicalUnit, LunEntry, LunIdentity, PortalAuth,
    Secret, Target, TargetConfig,
};

pub const TARGET: &str = "iqn.2026-01.test:array";
pub const HOST_A: &str = "iqn.2026-01.test:host-a";
pub const HOST_B: &str = "iqn.2026-01.test:host-b";

/// Known hosts and how they log in.
#[derive(Default)]
pub struct Hosts(Mutex<HashMap<String, HostLogin>>);

impl Directory for Hosts {
    fn host(&self, initiator: &str) -> Option<HostLogin> {
        self.0.lock().unwrap().get(initiator).cloned()
    }
}

pub struct Lab<U: LogicalUnit = MemoryUnit> {
    pub target: Arc<Target<U>>,
    pub addr: SocketAddr,
    pub hosts: Arc<Hosts>,
}

impl Lab {
    /// Knows [`HOST_A`] and [`HOST_B`]; a portal without authentication.
    pub fn new() -> Lab {
        Lab::with(TargetConfig::new(TARGET))
    }
}

impl<U: LogicalUnit> Lab<U> {
    /// The same, for units of any kind.
    pub fn with(config: TargetConfig) -> Lab<U> {
        Lab::keeping(config, Arc::new(KeepNothing))
    }

    /// The same, with a place for what must outlive the target.
    pub fn keeping(config: TargetConfig, keeper: Arc<dyn Keeper>) -> Lab<U> {
        let hosts = Arc::new(Hosts::default());
        let target = Target::new(config, Arc::clone(&hosts) as Arc<dyn Directory>, keeper).unwrap();
        let addr = target.listen_tcp("127.0.0.1:0".parse().unwrap(), PortalAuth::InsecureNone).unwrap();
        let lab = Lab { target, addr, hosts };
        lab.know(HOST_A, None);
        lab.know(HOST_B, None);
        lab
    }

    pub fn know(&self, name: &str, secret: Option<&str>) {
        self.know_login(name, HostLogin { secret: secret.map(Secret::new), mutual: None });
    }

    pub fn know_login(&self, name: &str, login: HostLogin) {
        self.hosts.0.lock().unwrap().insert(name.to_owned(), login);
    }

    pub fn forget(&self, name: &str) {
        self.hosts.0.lock().unwrap().remove(name);
    }

    pub fn set(&self, host: &str, luns: &[(u16, &Arc<U>, Access)]) {
        self.target.set_luns(
            host,
            luns.iter().map(|(number, unit, access)| entry(*number, unit, *access)).collect(),
        );
    }

    /// A logged-in initiator that has been told of its unit attentions.
    pub fn login(&self, host: &str) -> Raw {
        self.login_with(host, &[])
    }

    /// The same with wishes of its own.
    pub fn login_with(&self, host: &str, keys: &[(&str, &str)]) -> Raw {
        let mut raw = Raw::connect(self.addr);
        raw.login(host, keys);
        raw.clear_attentions();
        raw
    }
}

impl<U: LogicalUnit> Drop for Lab<U> {
    fn drop(&mut self) {
        self.target.shutdown();
    }
}

pub fn unit() -> Arc<MemoryUnit> {
    Arc::new(MemoryUnit::new(1 << 20))
}

/// The identity is the unit's: the same whoever sees it, whatever its number.
pub fn entry<U>(number: u16, unit: &Arc<U>, access: Access) -> LunEntry<U> {
    entry_named(Arc::as_ptr(unit) as u64, number, unit, access)
}

/// The same with a name of its own: units of one name are one disk, at different times.
pub fn entry_named<U>(id: u64, number: u16, unit: &Arc<U>, access: Access) -> LunEntry<U> {
    let mut uuid = [0; 16];
    uuid[..8].copy_from_slice(&id.to_be_bytes());
    let identity = LunIdentity {
        naa: 3 << 60 | id >> 4,
        uuid,
        serial: format!("{id:016x}"),
        product: "MEMORY".to_owned(),
    };
    LunEntry { number, unit: Arc::clone(unit), identity, access }
}

/// Waits for what another thread will make true.
pub fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(Instant::now() < until, "never came true: {what}");
        std::thread::yield_now();
    }
}

//! A small world for tests: one host, two LUNs, and a set of them on demand.

use super::{
    Decision,
    begin::{self, Checked, NewSet, Reserved},
    lun::{self, NewLun},
    set,
};
use crate::model::{
    Access, Catalogue, Consistency, CopyRecord, Edit, Extent, Grave, GraveKind, Host, Mask, SetState, Thin,
};
use umbra_base::{ArrayId, CopyId, HostId, LunId, SetId};
use uuid::Uuid;

pub const SIZE: u64 = 1 << 20;

pub struct World {
    pub cat: Catalogue,
    pub host: HostId,
    pub other: HostId,
    pub set: SetId,
}

pub fn id(n: u128) -> Uuid {
    Uuid::from_u128(n << 96 | n)
}

pub fn host(n: u128, name: &str, initiator: &str) -> Host {
    Host { id: HostId(id(n)), name: name.into(), initiator: initiator.into(), created: 1, revision: 0 }
}

pub fn new_lun(n: u128, name: &str) -> NewLun {
    NewLun {
        id: LunId(id(n)),
        name: name.into(),
        size_bytes: SIZE,
        labels: Default::default(),
        expires_at: 0,
        reserve: Default::default(),
        quota_bytes: None,
    }
}

pub fn copy(n: u128, extents: &[(u128, u64, u64)]) -> CopyRecord {
    let extent = |&(lun, offset, length): &(u128, u64, u64)| Extent { lun: LunId(id(lun)), offset, length };
    CopyRecord {
        id: CopyId(id(n)),
        volume: "/data".into(),
        device: "/dev/loop0".into(),
        fs_type: "ext4".into(),
        fs_uuid: String::new(),
        mount_point: "/data".into(),
        extents: extents.iter().map(extent).collect(),
        consistency: Consistency::FileSystem,
        consistency_reason: String::new(),
        writers: vec![],
    }
}

pub fn new_set(n: u128, origins: &[&str]) -> NewSet {
    NewSet {
        id: SetId(id(n)),
        origins: origins.iter().map(|key| (*key).to_owned()).collect(),
        copies: vec![],
        labels: Default::default(),
        expires_at: 0,
        transportable: false,
        volatile: false,
        extra_volumes: vec![],
    }
}

pub fn all_forgotten(_: &Host, _: u16) -> bool {
    true
}

impl World {
    /// Hosts `a` (0x5) and `b` (0x6); LUNs `data` (0x1, thin 1) and `wal` (0x2, thin 2).
    pub fn new() -> Self {
        let array = ArrayId(Uuid::from_u128(0xabcdef01 << 96 | 7));
        let (host_a, host_b) = (host(5, "a", "iqn.2026-01.x:a"), host(6, "b", "iqn.2026-01.x:b-host"));
        let mut world =
            World { cat: Catalogue::new(array), host: host_a.id, other: host_b.id, set: SetId(id(0x99)) };
        for host in [host_a, host_b] {
            let decision = super::host::add(&world.cat, host).unwrap().0;
            world.apply(decision);
        }
        for (n, name) in [(1, "data"), (2, "wal")] {
            let decision = lun::create(&world.cat, new_lun(n, name), Thin(n as u32), 10).unwrap();
            world.apply(decision);
        }
        world
    }

    /// With a created set of `data` alone.
    pub fn with_set() -> Self {
        let mut world = World::new();
        world.begin(new_set(0x99, &["data"]));
        world.commit();
        world
    }

    pub fn apply(&mut self, decision: Decision) {
        let revision = self.cat.revision + 1;
        let change = decision.change.stamped(revision);
        self.cat.apply(revision, change);
    }

    pub fn begin(&mut self, new: NewSet) {
        let creator = self.cat.hosts[&self.host].clone();
        let before = self.cat.clone();
        let Checked::Fresh(origins) = begin::check_new(&before, &new, &creator).unwrap() else {
            panic!("known")
        };
        let reserve = |(n, _): (usize, &&crate::model::Lun)| Reserved {
            working: LunId(id(0x1000 + n as u128)),
            working_thin: Thin(100 + n as u32),
            pristine_thin: Thin(200 + n as u32),
        };
        let reserved: Vec<_> = origins.iter().enumerate().map(reserve).collect();
        self.apply(begin::begin(&before, new, &creator, &reserved, 20).unwrap());
    }

    pub fn commit(&mut self) {
        let set = self.cat.sets[&self.set].clone();
        self.apply(set::commit(&self.cat, &set, 30, 40).unwrap());
    }

    pub fn import(&mut self, host: HostId, takeover: set::Takeover) -> umbra_base::Result<()> {
        let set = self.cat.sets[&self.set].clone();
        let host = self.cat.hosts[&host].clone();
        let decision = set::import(&self.cat, &set, &host, takeover, &all_forgotten)?;
        self.apply(decision);
        Ok(())
    }

    pub fn break_set(&mut self, access: Access) {
        self.import(self.host, set::Takeover::Never).unwrap();
        let set = self.cat.sets[&self.set].clone();
        self.apply(set::begin_break(&self.cat, &set, None, access).unwrap());
        let set = self.cat.sets[&self.set].clone();
        self.apply(set::commit_break(&self.cat, &set, access, vec![], 50).unwrap());
    }

    pub fn unmask(&mut self, lun: u128, host: HostId) {
        let (lun, host) = (self.cat.luns[&LunId(id(lun))].clone(), self.cat.hosts[&host].clone());
        self.apply(lun::unmask(&self.cat, &lun, &host, 0, &all_forgotten).unwrap());
    }

    pub fn mask(&mut self, lun: u128) {
        let lun = self.cat.luns[&LunId(id(lun))].clone();
        self.apply(lun::mask(&self.cat, &lun, None, 0).unwrap());
    }

    pub fn state(&self) -> SetState {
        self.cat.sets[&self.set].state
    }

    /// One edit of each kind of record, with everything filled in.
    pub fn everything() -> Vec<Edit> {
        let mut world = World::new();
        let mut new = new_set(0x99, &["data", "wal"]);
        new.copies = vec![copy(0x77, &[(1, 0, SIZE), (2, 4096, 4096)])];
        new.labels.insert("for".into(), "test".into());
        world.begin(new);
        world.commit();
        world.break_set(Access::ReadOnly);
        let cat = &world.cat;
        let grave = Grave { id: id(0x55), kind: GraveKind::Lun, name: "old".into(), at: 3 };
        let mut edits = vec![Edit::SetCounters(cat.counters), Edit::Bury(grave), Edit::Doom(Thin(77))];
        edits.extend(cat.hosts.values().map(|host| Edit::PutHost((**host).clone())));
        edits.extend(cat.luns.values().map(|lun| Edit::PutLun((**lun).clone())));
        edits.extend(cat.sets.values().map(|set| Edit::PutSet((**set).clone())));
        edits.extend(cat.masks.values().map(|mask| Edit::PutMask(*mask)));
        edits
    }

    pub fn mask_of_nothing() -> Edit {
        Edit::PutMask(Mask { host: HostId(id(1)), lun: LunId(id(404)), number: 1 })
    }
}

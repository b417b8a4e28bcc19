//! The target under test, one for each backend of the ring, made once; and for each input its units and who sees them.
//!
//! ```text
//!   host A: LUN 0 own (rw)   LUN 1 shared (rw)   LUN 2 fixed (ro)
//!   host B: LUN 0 own (rw)   LUN 1 shared (ro)
//!   nobody: hidden           witness: LUN 0 its own (rw), two sessions that last, one on each shard
//! ```

use super::alarm::Alarm;
use super::marks::{UnitId, Units, WITNESS, marks};
use super::peer::{Allowed, Peer};
use super::stream::Stream;
use super::unit::{Door, FuzzUnit};
use arbitrary::Arbitrary;
use rustix::fs::{Mode, OFlags};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use umbra_scsi::limits::{BLOCK, TRANSFER_BLOCKS};
use umbra_target::{
    Access, Backend, Directory, HostLogin, Keeper, LunEntry, LunIdentity, Mutual, PortalAuth, Secret, Target,
    TargetConfig,
};

pub(super) const TARGET: &str = "iqn.2026-01.test:target";
const WITNESS_NAME: &str = "iqn.2026-01.test:witness";
const OWN_A: UnitId = 0;
const OWN_B: UnitId = 1;
const SHARED: UnitId = 2;
const HIDDEN: UnitId = 3;
const FIXED: UnitId = 4;
const UNITS: usize = 5;
const DOORS: [Door; UNITS] = [Door::Open, Door::Missing, Door::Ajar, Door::Missing, Door::Open];
const SHARDS: usize = 2;
/// Inputs of which the first is looked at for memory that does not come back: what is lost stays lost, and touching all
/// memory takes longer than all the rest.
const MEMORY_CHECKS: u64 = 64;
/// Bytes of the largest command.
const LARGEST: u32 = TRANSFER_BLOCKS * BLOCK as u32;
/// The witness's sessions that last count from 0; one that is new for each input has this.
const NEWCOMER: u8 = SHARDS as u8;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Arbitrary)]
pub(super) enum Host {
    A,
    B,
}

impl Host {
    pub(super) const ALL: [Host; 2] = [Host::A, Host::B];

    pub(super) fn name(self) -> &'static str {
        match self {
            Host::A => "iqn.2026-01.test:host-a",
            Host::B => "iqn.2026-01.test:host-b",
        }
    }

    pub(super) fn secret(self) -> &'static str {
        match self {
            Host::A => "the-secret-of-host-a",
            Host::B => "the-secret-of-host-b",
        }
    }

    /// What it sees at first.
    fn view(self) -> View {
        match self {
            Host::A => [
                Some((OWN_A, Access::ReadWrite)),
                Some((SHARED, Access::ReadWrite)),
                Some((FIXED, Access::ReadOnly)),
            ],
            Host::B => [Some((OWN_B, Access::ReadWrite)), Some((SHARED, Access::ReadOnly)), None],
        }
    }
}

/// LUNs 0 to 2 of a host.
type View = [Option<(UnitId, Access)>; 3];

/// How a host's view changes.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) enum Change {
    Remove,
    ReadOnly,
    /// As it was at first.
    Back,
    /// What the host has at its next LUN.
    Other,
}

/// How a peer reaches the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub(super) enum Way {
    Unix,
    Tcp,
    Chap,
}

/// Two hosts and a witness.
#[derive(Debug)]
struct Hosts;

impl Directory for Hosts {
    fn host(&self, initiator: &str) -> Option<HostLogin> {
        if initiator == WITNESS_NAME {
            return Some(HostLogin::default());
        }
        let host = Host::ALL.into_iter().find(|host| host.name() == initiator)?;
        let ours = Mutual { name: "target".to_owned(), secret: Secret::new("the-targets-own-one") };
        Some(HostLogin { secret: Some(Secret::new(host.secret())), mutual: Some(ours) })
    }
}

/// Keeps reservations in memory.
#[derive(Debug, Default)]
struct Kept(Mutex<HashMap<[u8; 16], Vec<u8>>>);

impl Keeper for Kept {
    fn save_reservations(&self, unit: [u8; 16], bytes: Option<&[u8]>) -> umbra_base::Result<()> {
        let mut kept = self.0.lock().expect("nobody panics under it");
        match bytes {
            Some(bytes) => kept.insert(unit, bytes.to_vec()),
            None => kept.remove(&unit),
        };
        Ok(())
    }

    fn reservations(&self, unit: [u8; 16]) -> umbra_base::Result<Option<Vec<u8>>> {
        Ok(self.0.lock().expect("nobody panics under it").get(&unit).cloned())
    }
}

/// A target's unix socket, which has no name any more: a fuzzer ends without a chance to remove it.
struct UnixDoor(OwnedFd);

impl UnixDoor {
    fn open(target: &Target<FuzzUnit>) -> UnixDoor {
        const WORKS: &str = "there is a folder for temporary files";
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("umbra-fuzz-{process}-{count}"));
        target.listen_unix(&path).expect(WORKS);
        let socket = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).expect(WORKS);
        std::fs::remove_file(&path).expect(WORKS);
        UnixDoor(socket)
    }

    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}

/// A target.
pub(super) struct Lab {
    pub(super) target: Arc<Target<FuzzUnit>>,
    kept: Arc<Kept>,
    tcp: SocketAddr,
    chap: SocketAddr,
    unix: UnixDoor,
    witness_unit: Arc<FuzzUnit>,
    witnesses: Mutex<Vec<Peer>>,
    checks: AtomicU64,
}

impl Lab {
    /// The target on one of the ring's backends.
    pub(super) fn of(plain: bool) -> &'static Lab {
        static LABS: [OnceLock<Lab>; 2] = [OnceLock::new(), OnceLock::new()];
        LABS[usize::from(plain)].get_or_init(|| Lab::new(plain))
    }

    fn new(plain: bool) -> Lab {
        const STARTS: &str = "the target starts";
        Alarm::set();
        let backend = if plain { Backend::Plain } else { Backend::Auto };
        // Of memory it takes the least that it can do with: room for one command of the largest size on each shard.
        let config = TargetConfig { shards: SHARDS, memory: 0, backend, ..TargetConfig::new(TARGET) };
        let kept = Arc::new(Kept::default());
        let target = Target::new(config, Arc::new(Hosts), Arc::clone(&kept) as _).expect(STARTS);
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let tcp = target.listen_tcp(local, PortalAuth::InsecureNone).expect(STARTS);
        let chap = target.listen_tcp(local, PortalAuth::Chap).expect(STARTS);
        let unix = UnixDoor::open(&target);
        let witness_unit = Arc::new(FuzzUnit::new(WITNESS, Door::Ajar, false));
        let entry = entry(0, WITNESS, 0, &witness_unit, Access::ReadWrite);
        target.set_luns(WITNESS_NAME, vec![entry]);
        let lab = Lab {
            target,
            kept,
            tcp,
            chap,
            unix,
            witness_unit,
            witnesses: Mutex::default(),
            checks: AtomicU64::new(0),
        };
        // Connections go to the shard that has the fewest.
        let witness = |isid| Peer::decent(lab.connect(Way::Unix), WITNESS_NAME, isid as u8);
        *lab.witnesses.lock().expect(STARTS) = (0..SHARDS).map(witness).collect();
        lab
    }

    /// A stream to the target.
    pub(super) fn connect(&self, way: Way) -> Stream {
        match way {
            Way::Unix => Stream::unix(&self.unix.path()),
            Way::Tcp => Stream::tcp(self.tcp),
            Way::Chap => Stream::tcp(self.chap),
        }
    }

    /// Sessions that never did any harm still work, and find all memory free; a new one is let in; and their unit has nothing
    /// of others'.
    pub(super) fn check_witnesses(&self) {
        let count_memory = self.checks.fetch_add(1, Ordering::Relaxed).is_multiple_of(MEMORY_CHECKS);
        for witness in &mut *self.witnesses.lock().expect("it never fails") {
            witness.write_and_read();
            if count_memory {
                witness.borrow_memory(LARGEST);
            }
        }
        Peer::decent(self.connect(Way::Tcp), WITNESS_NAME, NEWCOMER).write_and_read();
        check_contents(&self.witness_unit.contents(), Allowed { units: Units::of(WITNESS), in_place: true });
    }
}

/// Sees to it that a unit has only what may be there.
fn check_contents(contents: &[u8], allowed: Allowed) {
    for (at, mark) in marks(contents) {
        let is_right = allowed.units.has(mark.unit) && (!allowed.in_place || mark.belongs_at(at as u64));
        assert!(is_right, "{mark:?} at byte {at} of a unit that may have {allowed:?}");
    }
}

/// The units of one input, who sees them, and what may be in them.
pub(super) struct World {
    pub(super) lab: &'static Lab,
    units: Vec<Arc<FuzzUnit>>,
    number: u64,
    views: [View; 2],
    /// What each host ever saw at each LUN.
    seen: [[Units; 3]; 2],
    /// By unit: whose data may be in it.
    may_contain: [Units; UNITS],
    /// Who sent EXTENDED COPY.
    copying: [bool; 2],
    /// Contents of units that nobody can change at present.
    frozen: HashMap<UnitId, Vec<u8>>,
}

impl World {
    pub(super) fn new(plain: bool, slow: bool) -> World {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let new = |(id, door): (usize, &Door)| Arc::new(FuzzUnit::new(id as UnitId, *door, slow));
        let mut world = World {
            lab: Lab::of(plain),
            units: DOORS.iter().enumerate().map(new).collect(),
            number: NUMBER.fetch_add(1, Ordering::Relaxed) + 1,
            views: Host::ALL.map(Host::view),
            seen: Default::default(),
            may_contain: std::array::from_fn(|unit| Units::of(unit as UnitId)),
            copying: [false; 2],
            frozen: HashMap::new(),
        };
        Host::ALL.into_iter().for_each(|host| world.show(host));
        world.freeze();
        world
    }

    /// The unit that a host sees at a LUN, if it sees one.
    pub(super) fn unit_at(&self, host: Host, lun: u8) -> Option<UnitId> {
        let slot = self.views[host as usize].get(usize::from(lun))?;
        slot.map(|(unit, _)| unit)
    }

    /// What a host may be told at a LUN, or at all.
    pub(super) fn may_hear(&self, host: Host, lun: Option<u8>) -> Allowed {
        Allowed { units: self.may_know(host, lun), in_place: self.is_in_place() }
    }

    /// Whether nobody has moved data from one place to another.
    fn is_in_place(&self) -> bool {
        !self.copying.contains(&true)
    }

    fn may_know(&self, host: Host, lun: Option<u8>) -> Units {
        let luns = &self.seen[host as usize];
        let seen = match lun.and_then(|lun| luns.get(usize::from(lun))) {
            Some(units) => *units,
            None => luns.iter().fold(Units::default(), |all, units| all.and(*units)),
        };
        self.closure(seen)
    }

    /// These units' own data, and what came into them.
    fn closure(&self, of: Units) -> Units {
        let inside = (0..UNITS).filter(|unit| of.has(*unit as UnitId));
        inside.fold(Units::default(), |all, unit| all.and(self.may_contain[unit]))
    }

    /// A host may copy between all that it sees, from now on: a copy may begin later than it was asked for.
    pub(super) fn copies(&mut self, host: Host) {
        self.copying[host as usize] = true;
        self.flow();
    }

    /// What may have come where: by copies, and by commands that were sent to a LUN when another unit was there.
    fn flow(&mut self) {
        let before = self.may_contain;
        for host in Host::ALL {
            for (lun, slot) in self.views[host as usize].into_iter().enumerate() {
                let Some((unit, _)) = slot else { continue };
                let by_copies = self.copying[host as usize].then(|| self.may_know(host, None));
                let by_commands = self.closure(self.seen[host as usize][lun]);
                let mine = &mut self.may_contain[usize::from(unit)];
                *mine = mine.and(by_commands).and(by_copies.unwrap_or_default());
            }
        }
        if self.may_contain != before {
            self.flow();
        }
    }

    /// Changes what a host sees; returns when no command that began before can change what it lost (design A1).
    pub(super) fn change(&mut self, host: Host, lun: u8, change: Change) {
        let lun = usize::from(lun) % 3;
        let view = &mut self.views[host as usize];
        view[lun] = match change {
            Change::Remove => None,
            Change::ReadOnly => view[lun].map(|(unit, _)| (unit, Access::ReadOnly)),
            Change::Back => host.view()[lun],
            Change::Other => view[(lun + 1) % 3],
        };
        self.thaw(|_| true);
        self.show(host);
        self.freeze();
    }

    /// Ends a host's sessions; returns when nothing of them can change anything any more.
    pub(super) fn drop_sessions(&mut self, host: Host) {
        self.lab.target.drop_sessions(host.name());
        let other = self.views[1 - host as usize];
        for (unit, _) in self.views[host as usize].into_iter().flatten() {
            if !is_writable(&other, unit) {
                let contents = self.units[usize::from(unit)].contents();
                self.frozen.entry(unit).or_insert(contents);
            }
        }
    }

    /// A host comes, or may come: what it can write is not frozen any more.
    pub(super) fn comes(&mut self, host: Host) {
        let view = self.views[host as usize];
        self.thaw(|unit| is_writable(&view, unit));
    }

    fn show(&mut self, host: Host) {
        let view = self.views[host as usize];
        for (lun, (unit, _)) in view.iter().enumerate().filter_map(|(lun, slot)| Some((lun, (*slot)?))) {
            let seen = &mut self.seen[host as usize][lun];
            *seen = seen.and(Units::of(unit));
        }
        self.flow();
        let entries = view.iter().enumerate().filter_map(|(lun, slot)| {
            let (unit, access) = (*slot)?;
            Some(entry(lun as u16, unit, self.number, &self.units[usize::from(unit)], access))
        });
        self.lab.target.set_luns(host.name(), entries.collect());
    }

    /// Notes what nobody can change now.
    fn freeze(&mut self) {
        for unit in 0..UNITS as UnitId {
            if !self.views.iter().any(|view| is_writable(view, unit)) {
                let contents = self.units[usize::from(unit)].contents();
                self.frozen.entry(unit).or_insert(contents);
            }
        }
    }

    /// Sees to it that these units did not change while nobody could change them.
    fn thaw(&mut self, which: impl Fn(UnitId) -> bool) {
        let units = &self.units;
        self.frozen.retain(|unit, before| {
            let holds = !which(*unit);
            assert!(
                holds || units[usize::from(*unit)].contents() == *before,
                "unit {unit} has changed while nobody could change it"
            );
            holds
        });
    }

    /// Ends all sessions of both hosts, and looks at every unit.
    pub(super) fn end(mut self) {
        Host::ALL.into_iter().for_each(|host| self.drop_sessions(host));
        self.thaw(|_| true);
        for (id, unit) in self.units.iter().enumerate() {
            let allowed = Allowed { units: self.may_contain[id], in_place: self.is_in_place() };
            check_contents(&unit.contents(), allowed);
        }
        self.lab.check_witnesses();
        Host::ALL.into_iter().for_each(|host| self.lab.target.set_luns(host.name(), Vec::new()));
        let others =
            self.lab.target.sessions().into_iter().filter(|session| session.initiator != WITNESS_NAME);
        assert_eq!(others.count(), 0, "a session is left");
        self.lab.kept.0.lock().expect("nobody panics under it").clear();
    }
}

fn is_writable(view: &View, unit: UnitId) -> bool {
    view.contains(&Some((unit, Access::ReadWrite)))
}

/// `world` tells one input's units from another's.
fn entry(number: u16, id: UnitId, world: u64, unit: &Arc<FuzzUnit>, access: Access) -> LunEntry<FuzzUnit> {
    let mut uuid = [id; 16];
    uuid[..8].copy_from_slice(&world.to_be_bytes());
    let identity =
        LunIdentity { naa: naa(id), uuid, serial: format!("FUZZ-{id}"), product: "FUZZ".to_owned() };
    LunEntry { number, unit: Arc::clone(unit), identity, access }
}

/// What names a unit in a copy.
pub(super) fn naa(unit: UnitId) -> u64 {
    3 << 60 | 0x100 | u64::from(unit)
}

/// The hidden unit, which commands may well name.
pub(super) const NAMED_BY_COPIES: [UnitId; UNITS] = [OWN_A, OWN_B, SHARED, HIDDEN, FIXED];

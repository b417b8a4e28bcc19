//! Commands of any kind with any parameter lists, decoded and carried out on a unit without data: what a driver does, as
//! far as decisions go.
//!
//! What always holds: no plan reaches beyond its unit, changes one that is write-protected, takes more data than is announced,
//! or replies at a length without bound; what was read of a state is a state; a command that the unit says it knows is known.

use crate::operation::Place;
use arbitrary::Arbitrary;
use umbra_scsi::attention::Attentions;
use umbra_scsi::copy::{self, End, Form, Keep, ListId, Operations, Progress, RodType, Service, Token};
use umbra_scsi::limits::{
    BLOCK, COPY_SEGMENTS, COPY_TARGETS, RESERVE_LIST_BYTES, TOKEN_RANGES, TRANSFER_BLOCKS, UNMAP_DESCRIPTORS,
    WRITE_SAME_BLOCKS,
};
use umbra_scsi::mode::{self, ModeState};
use umbra_scsi::provision::{Provisioning, StatusRun, lba_status, parse_unmap, unmap_blocks};
use umbra_scsi::reservation::{InitiatorPort, Known, Nexus, Reservations};
use umbra_scsi::threshold::{Resource, Resources, Scope, Watch};
use umbra_scsi::topology::{Port, PortAccess, PortGroup, Topology};
use umbra_scsi::{
    Absence, Access, AtomicLimits, Extent, Feature, Features, LunIdentity, Plan, Sense, SenseFormat,
    TaskSets, Unit, WriteCache, admit, plan, plan_missing, report,
};

const COMMANDS_MAX: usize = 32;
/// Bytes of the longest reply: every command there is, or a full list of registrants.
const REPLY_MAX: usize = 64 << 10;
const PORTS: [Port; 2] = [Port { relative: 1, portal_group: 1 }, Port { relative: 2, portal_group: 2 }];
const NEXUSES: usize = 3;
const FEATURES: [Feature; 10] = [
    Feature::PersistentReservations,
    Feature::LegacyReservations,
    Feature::AtomicWrites,
    Feature::OrWrite,
    Feature::Prefetch,
    Feature::ExtendedCopy,
    Feature::RodTokens,
    Feature::LogPages,
    Feature::Thresholds,
    Feature::PortGroups,
];

/// A unit and commands to it.
#[derive(Debug, Arbitrary)]
pub struct Input<'a> {
    unit: Shape,
    /// Reservations as they were kept, with a right checksum.
    kept: Option<&'a [u8]>,
    commands: Vec<Command<'a>>,
}

#[derive(Debug, Arbitrary)]
struct Shape {
    blocks: Size,
    read_only: bool,
    cached: bool,
    /// Features that are missing.
    without: u16,
    exponent: u8,
    allocation: u8,
    atomic: (u16, u8, u8),
    task_sets: bool,
    ports: bool,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Size {
    Small(u8),
    Middle(u32),
    /// Around what 32 bits can say.
    Large(i8),
    Any(u64),
}

#[derive(Debug, Arbitrary)]
struct Command<'a> {
    from: u8,
    cdb: Cdb,
    list: List<'a>,
    /// The CDB names the list's length.
    fits: bool,
    /// Bytes of it that come, of 256.
    share: u8,
}

#[derive(Debug, Arbitrary)]
enum Cdb {
    Any([u8; 16]),
    /// One that the unit says it knows, with what it says that it looks at.
    Known {
        which: u8,
        bytes: [u8; 16],
    },
    /// The same, with blocks counted from the unit's ends.
    Blocks {
        which: u8,
        lba: Place,
        back: bool,
        blocks: u32,
        flags: u8,
    },
}

#[derive(Debug, Arbitrary)]
enum List<'a> {
    Bytes(&'a [u8]),
    Unmap(Vec<(Place, u32)>),
    /// The mode parameters of now, in bytes changed.
    Mode {
        changes: Vec<(u8, u8)>,
        bare: bool,
    },
    Reserve {
        key: u8,
        second: u8,
        flags: u8,
        ports: Vec<(u8, bool)>,
    },
    Copy {
        id: u32,
        usage: u8,
        targets: Vec<(u8, u8)>,
        segments: Vec<Segment>,
    },
    Token {
        head: [u8; 16],
        token: Option<(u8, u8)>,
        ranges: Vec<(Place, u32)>,
    },
}

#[derive(Debug, Arbitrary)]
struct Segment {
    offset: bool,
    places: (u8, u8),
    count: u32,
    from: Place,
    to: Place,
}

/// Carries them out.
pub fn run(input: Input<'_>) {
    let mut world = World::new(&input);
    input.commands.iter().take(COMMANDS_MAX).for_each(|command| world.command(command));
}

struct World<'a> {
    shape: &'a Shape,
    identity: LunIdentity,
    mode: ModeState,
    reservations: Reservations,
    nexuses: [Nexus; NEXUSES],
    attentions: [Attentions; NEXUSES],
    copies: [Operations; NEXUSES],
    tokens: Vec<Token>,
    watch: Watch,
}

impl<'a> World<'a> {
    fn new(input: &'a Input<'_>) -> World<'a> {
        let nexus = |number: u8| Nexus { initiator: initiator(number), port: u16::from(number % 2) + 1 };
        World {
            shape: &input.unit,
            identity: LunIdentity {
                naa: 0x3123_4567_89ab_cdef,
                uuid: *b"0123456789abcdef",
                serial: "FUZZED".to_owned(),
                product: "LUN".to_owned(),
            },
            mode: ModeState::default(),
            reservations: input.kept.and_then(kept).unwrap_or_default(),
            nexuses: [nexus(0), nexus(1), nexus(2)],
            attentions: std::array::from_fn(|_| Attentions::default()),
            copies: std::array::from_fn(|_| Operations::default()),
            tokens: Vec::new(),
            watch: Watch::default(),
        }
    }

    /// Calls `look` with the unit as it is now.
    fn with_unit<T>(&self, look: impl FnOnce(&Unit<'_>) -> T) -> T {
        let group =
            PortGroup { number: 1, access: PortAccess::ActiveOptimized, preferred: true, ports: &PORTS };
        let topology = Topology { target: "iqn.2026-01.test:target", groups: &[group], through: 1 };
        let (blocks, alignment, granularity) = self.shape.atomic;
        let unit = Unit {
            vendor: "UMBRA",
            revision: "0001",
            identity: &self.identity,
            size_bytes: self.shape.blocks.count() * BLOCK,
            access: if self.shape.read_only { Access::ReadOnly } else { Access::ReadWrite },
            cache: if self.shape.cached { WriteCache::Back } else { WriteCache::Through },
            mode: self.mode,
            physical_exponent: self.shape.exponent % 16,
            allocation: 512 << (self.shape.allocation % 16),
            features: self.shape.features(),
            atomic: AtomicLimits {
                blocks: blocks.into(),
                alignment: alignment.into(),
                granularity: granularity.into(),
            },
            task_sets: if self.shape.task_sets { TaskSets::One } else { TaskSets::PerNexus },
            topology: self.shape.ports.then_some(topology),
        };
        look(&unit)
    }

    fn command(&mut self, command: &Command<'_>) {
        let list = command.list.bytes(self);
        let mut cdb = command.cdb.bytes(self);
        if command.fits {
            put_length(&mut cdb, list.len());
        }
        for absence in [Absence::LunZero, Absence::Other] {
            if let Err(sense) = plan_missing(&cdb, absence) {
                check_sense(&sense);
            }
        }
        let from = usize::from(command.from) % NEXUSES;
        let (attentions, nexus) = (&mut self.attentions[from], &self.nexuses[from]);
        if admit(&cdb, attentions, &self.reservations, nexus).is_err() {
            return;
        }
        let planned = self.with_unit(|unit| {
            let planned = plan(&cdb, unit);
            if let Ok(plan) = &planned {
                check(plan, unit);
            }
            planned
        });
        match planned {
            Ok(plan) => {
                let takes = plan.data_out() as usize;
                let whole = list.len().min(takes);
                let sent = whole * (usize::from(command.share) + 1) / 256;
                match plan.with_data(sent as u64) {
                    Ok(plan) => {
                        self.with_unit(|unit| check(&plan, unit));
                        self.carry_out(from, &plan, &list[..sent]);
                    }
                    Err(sense) => check_sense(&sense),
                }
            }
            Err(sense) => {
                let is_known =
                    matches!(command.cdb, Cdb::Known { .. } | Cdb::Blocks { .. }) && cdb[0] != 0xff;
                assert!(!is_known || sense.code != 0x20, "{cdb:02x?} is said to be known");
                check_sense(&sense);
            }
        }
    }

    fn carry_out(&mut self, from: usize, plan: &Plan, list: &[u8]) {
        let refused = match plan {
            Plan::Unmap { .. } => self.unmap(list).err(),
            Plan::ModeSelect { header, .. } => {
                let chosen = self.with_unit(|unit| mode::select(list, *header, unit));
                chosen.map(|mode| self.mode = mode).err()
            }
            Plan::PersistentReserveOut(out) => {
                self.reserve(from, out, list);
                None
            }
            Plan::LegacyReservation(action) => {
                let _refused = self.reservations.apply_legacy(*action, &self.nexuses[from]);
                None
            }
            Plan::PersistentReserveIn { report, allocation } => {
                let bytes = self.reservations.report(*report, *allocation);
                assert!(bytes.len() <= (*allocation).min(REPLY_MAX));
                None
            }
            Plan::ExtendedCopy { form, .. } => self.extended_copy(from, *form, list).err(),
            Plan::PopulateToken { id, .. } => self.populate(from, *id, list).err(),
            Plan::WriteUsingToken { .. } => self.write_using(list).err(),
            Plan::CopyAbort(id) => self.copies[from].abort(*id).err(),
            Plan::CopyResults { wanted, id, allocation } => {
                let told = self.copies[from].receive(*wanted, *id, self.mode.sense_format, *allocation);
                told.map(|bytes| assert!(bytes.len() <= (*allocation).min(REPLY_MAX))).err()
            }
            Plan::ReportTokens { allocation } => {
                assert!(copy::report_tokens(&self.tokens, *allocation).len() <= (*allocation).min(REPLY_MAX));
                None
            }
            Plan::LogSense(wanted) => self.log(from, wanted).err(),
            Plan::LbaStatus { extent, allocation } => {
                self.lba_status(*extent, *allocation);
                None
            }
            Plan::ReportLuns { select, allocation } => {
                let fields = (0..300).map(|number| number << 48);
                assert!(report::luns(fields, *select, *allocation).len() <= (*allocation).min(REPLY_MAX));
                self.attentions[from].luns_reported();
                None
            }
            _ => None,
        };
        refused.iter().for_each(check_sense);
    }

    fn unmap(&self, list: &[u8]) -> Result<(), Sense> {
        self.with_unit(|unit| {
            let extents = parse_unmap(list, unit)?;
            assert!(extents.len() <= UNMAP_DESCRIPTORS);
            assert!(extents.iter().map(|extent| extent.blocks).sum::<u64>() <= unmap_blocks(unit));
            extents.iter().for_each(|extent| assert_inside(*extent, unit.blocks()));
            Ok(())
        })
    }

    fn reserve(&mut self, from: usize, out: &umbra_scsi::reservation::Out, list: &[u8]) {
        let initiators = [0, 1, 2].map(initiator);
        let known = Known { ports: &[1, 2], initiators: &initiators };
        let Ok(outcome) = self.reservations.apply(out, list, &self.nexuses[from], &known) else { return };
        for (nexus, condition) in &outcome.attentions {
            check_sense(condition);
            if let Some(at) = self.nexuses.iter().position(|one| one == nexus) {
                self.attentions[at].post(*condition);
            }
        }
        self.reservations = outcome.state;
        let again = Reservations::decode(&self.reservations.encode()).expect("it was encoded by us");
        assert_eq!(again.encode(), self.reservations.encode());
    }

    fn extended_copy(&mut self, from: usize, form: Form, list: &[u8]) -> Result<(), Sense> {
        let request = copy::parse(form, list)?;
        assert!(request.targets.len() <= COPY_TARGETS && request.segments.len() <= COPY_SEGMENTS);
        let blocks = self.shape.blocks.count();
        if let Some(id) = request.id {
            self.copies[from].begin(id, Service::ExtendedCopyLid1, request.keep)?;
        }
        let mut end = End::Done;
        for (index, segment) in request.segments.iter().enumerate() {
            let ends = [segment.source, segment.destination].map(|place| {
                let found = request.target(place)?;
                found.is_none_or(|designator| designator.names(&self.identity)).then_some(blocks)
            });
            match segment.locate(index, ends[0], ends[1]) {
                Ok(found) => {
                    assert_inside(found.from, blocks);
                    assert_inside(found.to, blocks);
                    assert_eq!(found.from.blocks, found.to.blocks);
                }
                Err(sense) => {
                    check_sense(&sense);
                    end = End::Failed(sense);
                    break;
                }
            }
        }
        if let Some(id) = request.id {
            let progress = Progress { segments: request.segments.len() as u16, blocks };
            let _asked_to_stop = self.copies[from].advance(id, progress);
            self.copies[from].end(id, end, None);
        }
        Ok(())
    }

    fn populate(&mut self, from: usize, id: ListId, list: &[u8]) -> Result<(), Sense> {
        let token = self.with_unit(|unit| {
            let request = copy::parse_populate(list, unit)?;
            assert!(request.ranges.len() <= TOKEN_RANGES);
            request.ranges.iter().for_each(|range| assert_inside(*range, unit.blocks()));
            let kind = request.kind.unwrap_or(RodType::PointInTime);
            Ok(Token::new(unit, kind, request.blocks(), self.tokens.len() as u64, [0x11; 32]))
        })?;
        self.tokens.push(token.clone());
        self.copies[from].begin(id, Service::PopulateToken, Keep::UntilAsked)?;
        self.copies[from].end(id, End::Done, Some(token));
        Ok(())
    }

    fn write_using(&self, list: &[u8]) -> Result<(), Sense> {
        self.with_unit(|unit| {
            let request = copy::parse_use(list, unit)?;
            request.ranges.iter().for_each(|range| assert_inside(*range, unit.blocks()));
            let source = [Extent { lba: 0, blocks: unit.blocks().min(1 << 20) }];
            let pieces = copy::lay_out(&source, request.offset, &request.ranges)?;
            let wanted: u64 = request.ranges.iter().map(|range| range.blocks).sum();
            assert_eq!(pieces.iter().map(|piece| piece.from.blocks).sum::<u64>(), wanted);
            for piece in pieces {
                assert_inside(piece.from, unit.blocks());
                assert_inside(Extent { lba: piece.to, ..piece.from }, unit.blocks());
            }
            Ok(())
        })
    }

    fn log(&mut self, from: usize, wanted: &umbra_scsi::log::Wanted) -> Result<(), Sense> {
        let bytes = self.shape.blocks.count() * BLOCK;
        let resources = Resources {
            available: Resource { bytes, scope: Scope::Shared },
            used: Resource { bytes: bytes / 2, scope: Scope::Dedicated },
        };
        for condition in self.watch.look(&self.mode.thresholds, &resources) {
            check_sense(&condition);
            self.attentions[from].post(condition);
        }
        assert!(wanted.page(&resources)?.len() <= REPLY_MAX);
        Ok(())
    }

    /// Runs as a store would tell them.
    fn lba_status(&self, extent: Extent, allocation: usize) {
        let mut offset = extent.offset();
        let end = offset + extent.bytes();
        let mut runs = Vec::new();
        while offset < end && runs.len() < 600 {
            let len = (offset / 7 % 9 + 1) * BLOCK;
            let status =
                if offset.is_multiple_of(3) { Provisioning::Mapped } else { Provisioning::Deallocated };
            runs.push(StatusRun { offset, len: len.min(end - offset), status });
            offset += len;
        }
        assert!(lba_status(&runs, allocation).len() <= allocation.min(REPLY_MAX));
    }

    /// The commands that the unit says it knows: CDB usage data of each.
    fn known(&self) -> Vec<Vec<u8>> {
        let ask = |cdb: [u8; 16]| match self.with_unit(|unit| plan(&cdb, unit)) {
            Ok(Plan::Reply(bytes)) => bytes,
            other => panic!("REPORT SUPPORTED OPERATION CODES: {other:?}"),
        };
        let all = ask([0xa3, 0x0c, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        let usage = |descriptor: &[u8]| {
            let how = if descriptor[5] & 1 == 1 { 2 } else { 1 };
            let (opcode, action) = (descriptor[0], descriptor[3]);
            ask([0xa3, 0x0c, how, opcode, 0, action, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])[4..].to_vec()
        };
        all[4..].chunks_exact(8).map(usage).collect()
    }
}

impl Shape {
    fn features(&self) -> Features {
        let missing = |at: usize| self.without >> at & 1 == 1;
        let gone = FEATURES.into_iter().enumerate().filter(|(at, _)| missing(*at));
        gone.fold(Features::ALL, |features, (_, gone)| features.without(gone))
    }
}

impl Size {
    /// Blocks, so few that their bytes can be counted.
    fn count(self) -> u64 {
        let blocks = match self {
            Size::Small(blocks) => blocks.into(),
            Size::Middle(blocks) => blocks.into(),
            Size::Large(off) => (1u64 << 32).saturating_add_signed(off.into()),
            Size::Any(blocks) => blocks,
        };
        blocks % (u64::MAX / BLOCK)
    }
}

impl Cdb {
    fn bytes(&self, world: &World<'_>) -> [u8; 16] {
        let (which, fill) = match self {
            Cdb::Any(bytes) => return *bytes,
            Cdb::Known { which, bytes } => (*which, *bytes),
            Cdb::Blocks { which, lba, back, blocks, flags } => {
                let size = world.shape.blocks.count();
                let lba = if *back { size.wrapping_sub(lba.block()) } else { lba.block() };
                (*which, with_blocks(lba, *blocks, *flags))
            }
        };
        let known = world.known();
        let usage = &known[usize::from(which) % known.len()];
        let fill = match (self, usage.len()) {
            (Cdb::Blocks { .. }, length) => narrow(&fill, length),
            _ => fill,
        };
        let mut cdb = [0; 16];
        for (at, mask) in usage.iter().enumerate() {
            cdb[at] = fill[at] & mask;
        }
        cdb[0] = usage[0];
        if has_action(usage) {
            cdb[1] = cdb[1] & 0xe0 | usage[1] & 0x1f;
        }
        cdb
    }
}

/// Whether usage data has a service action in byte 1, which is no mask then.
fn has_action(usage: &[u8]) -> bool {
    matches!(usage[0], 0x5e | 0x5f | 0x83 | 0x84 | 0x9e | 0xa3)
}

/// A CDB of sixteen bytes with these.
fn with_blocks(lba: u64, blocks: u32, flags: u8) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[1] = flags;
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

/// The same blocks in a shorter CDB.
fn narrow(long: &[u8; 16], length: usize) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[1] = long[1];
    match length {
        6 => {
            cdb[1..4].copy_from_slice(&long[7..10]);
            cdb[4] = long[13];
        }
        10 => {
            cdb[2..6].copy_from_slice(&long[6..10]);
            cdb[7..9].copy_from_slice(&long[12..14]);
        }
        12 => {
            cdb[2..6].copy_from_slice(&long[6..10]);
            cdb[6..10].copy_from_slice(&long[10..14]);
        }
        _ => cdb = *long,
    }
    cdb
}

/// Says in a CDB how long its parameter list is, where it has a field for that.
fn put_length(cdb: &mut [u8; 16], length: usize) {
    let field = match cdb[0] {
        0x15 => 4..5,
        0x42 | 0x55 => 7..9,
        0x5f => 5..9,
        0x83 => 10..14,
        _ => return,
    };
    let bytes = (length as u32).to_be_bytes();
    let from = 4 - field.len();
    cdb[field].copy_from_slice(&bytes[from..]);
}

impl List<'_> {
    fn bytes(&self, world: &World<'_>) -> Vec<u8> {
        match self {
            List::Bytes(bytes) => bytes.to_vec(),
            List::Unmap(ranges) => {
                let descriptors = describe(ranges);
                let length = descriptors.len() as u16;
                [&(length.wrapping_add(6)).to_be_bytes()[..], &length.to_be_bytes(), &[0; 4], &descriptors]
                    .concat()
            }
            List::Mode { changes, bare } => mode_list(world, changes, *bare),
            List::Reserve { key, second, flags, ports } => reserve_list(*key, *second, *flags, ports),
            List::Copy { id, usage, targets, segments } => copy_list(world, *id, *usage, targets, segments),
            List::Token { head, token, ranges } => token_list(world, head, *token, ranges),
        }
    }
}

/// Range descriptors of sixteen bytes, as many as a list has room for.
fn describe(ranges: &[(Place, u32)]) -> Vec<u8> {
    let descriptor = |(lba, blocks): &(Place, u32)| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&lba.block().to_be_bytes());
        bytes[8..12].copy_from_slice(&blocks.to_be_bytes());
        bytes
    };
    ranges.iter().take(UNMAP_DESCRIPTORS + 1).flat_map(descriptor).collect()
}

fn mode_list(world: &World<'_>, changes: &[(u8, u8)], bare: bool) -> Vec<u8> {
    let flags = if bare { 0x08 } else { 0 };
    let cdb = [0x1a, flags, 0x3f, 0xff, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let Ok(Plan::Reply(mut list)) = world.with_unit(|unit| plan(&cdb, unit)) else { return Vec::new() };
    // What is reserved there (SPC-4 section 6.11).
    list[0] = 0;
    for (at, change) in changes {
        let at = usize::from(*at) % list.len();
        list[at] ^= change;
    }
    list
}

fn reserve_list(key: u8, second: u8, flags: u8, ports: &[(u8, bool)]) -> Vec<u8> {
    let mut list = vec![0; 24];
    (list[7], list[15], list[20]) = (key, second, flags);
    let ids: Vec<u8> = ports.iter().flat_map(|(name, port)| transport_id(*name, *port)).collect();
    if !ids.is_empty() {
        list.extend_from_slice(&(ids.len() as u32).to_be_bytes());
        list.extend_from_slice(&ids);
    }
    list.truncate(RESERVE_LIST_BYTES + 1);
    list
}

/// A TransportID (SPC-4 section 7.6.4.6).
fn transport_id(name: u8, port: bool) -> Vec<u8> {
    let initiator = initiator(name);
    let mut text = initiator.name().as_bytes().to_vec();
    if port {
        text.extend_from_slice(b",i,0x800000000001");
    }
    text.resize((text.len() + 1).next_multiple_of(4).max(20), 0);
    let mut id = vec![if port { 0x45 } else { 0x05 }, 0];
    id.extend_from_slice(&(text.len() as u16).to_be_bytes());
    id.extend_from_slice(&text);
    id
}

fn copy_list(world: &World<'_>, id: u32, usage: u8, targets: &[(u8, u8)], segments: &[Segment]) -> Vec<u8> {
    let targets: Vec<u8> = targets.iter().flat_map(|(at, to)| target(world, *at, *to)).collect();
    let segments: Vec<u8> = segments.iter().flat_map(Segment::bytes).collect();
    let mut list = vec![id as u8, usage, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    list[2..4].copy_from_slice(&(targets.len() as u16).to_be_bytes());
    list[8..12].copy_from_slice(&(segments.len() as u32).to_be_bytes());
    list.extend_from_slice(&targets);
    list.extend_from_slice(&segments);
    list
}

/// An identification descriptor that names the unit, a byte of it changed.
fn target(world: &World<'_>, at: u8, to: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    (bytes[0], bytes[4], bytes[5], bytes[7]) = (0xe4, 1, 3, 8);
    bytes[8..16].copy_from_slice(&world.identity.naa.to_be_bytes());
    bytes[30] = 2;
    if to != 0 {
        bytes[usize::from(at) % 32] ^= to;
    }
    bytes
}

impl Segment {
    fn bytes(&self) -> Vec<u8> {
        let length = if self.offset { 32 } else { 28 };
        let mut bytes = vec![0; length];
        bytes[0] = if self.offset { 0x0a } else { 0x02 };
        bytes[3] = length as u8 - 4;
        let index = |place: u8| if place < 4 { u16::from(place) } else { 0xffff };
        bytes[4..6].copy_from_slice(&index(self.places.0).to_be_bytes());
        bytes[6..8].copy_from_slice(&index(self.places.1).to_be_bytes());
        bytes[8..12].copy_from_slice(&self.count.to_be_bytes());
        bytes[12..20].copy_from_slice(&self.from.block().to_be_bytes());
        bytes[20..28].copy_from_slice(&self.to.block().to_be_bytes());
        bytes
    }
}

fn token_list(
    world: &World<'_>,
    head: &[u8; 16],
    token: Option<(u8, u8)>,
    ranges: &[(Place, u32)],
) -> Vec<u8> {
    let descriptors = describe(ranges);
    let mut list = head.to_vec();
    let at = match token {
        None => 14,
        Some((which, change)) => {
            list.resize(536, 0);
            if let Some(token) = world.tokens.get(usize::from(which) % world.tokens.len().max(1)) {
                list[16..528].copy_from_slice(token.bytes());
            }
            list[16 + usize::from(change)] ^= change;
            534
        }
    };
    list[at..at + 2].copy_from_slice(&(descriptors.len() as u16).to_be_bytes());
    list.extend_from_slice(&descriptors);
    let following = (list.len() as u16).wrapping_sub(2);
    list[..2].copy_from_slice(&following.to_be_bytes());
    list
}

fn initiator(number: u8) -> InitiatorPort {
    let name = format!("iqn.2026-01.test:host-{}", number % 4);
    InitiatorPort::new(&name, [0x80, 0, 0, 0, 0, 1]).expect("it is a name")
}

/// The state in these bytes, if they are one once their checksum is right.
fn kept(bytes: &[u8]) -> Option<Reservations> {
    let mut bytes = [b"UMBRAPR1", bytes].concat();
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_be_bytes());
    let state = Reservations::decode(&bytes).ok()?;
    assert_eq!(Reservations::decode(&state.encode()).as_ref(), Ok(&state));
    Some(state)
}

/// A plan against the unit that it is for.
fn check(plan: &Plan, unit: &Unit<'_>) {
    let (extent, most) = match plan {
        Plan::Read(extent) | Plan::Write { extent, .. } | Plan::OrWrite { extent, .. } => {
            (*extent, TRANSFER_BLOCKS.into())
        }
        Plan::Verify { extent, .. } | Plan::WriteVerify { extent, .. } => (*extent, TRANSFER_BLOCKS.into()),
        Plan::CompareAndWrite { extent, .. } => (*extent, 255),
        Plan::WriteSame { extent, .. } => (*extent, WRITE_SAME_BLOCKS),
        Plan::WriteAtomic { extent, .. } => (*extent, unit.atomic.blocks.into()),
        Plan::LbaStatus { extent, .. } | Plan::Prefetch(extent) => (*extent, u64::MAX),
        _ => (Extent { lba: 0, blocks: 0 }, 0),
    };
    assert_inside(extent, unit.blocks());
    assert!(extent.blocks <= most, "{plan:?}");
    assert!(plan.data_out() <= u64::from(TRANSFER_BLOCKS) * BLOCK, "{plan:?}");
    if let Plan::Reply(bytes) = plan {
        assert!(bytes.len() <= REPLY_MAX, "{} bytes", bytes.len());
    }
    let is_protected = unit.access == Access::ReadOnly || unit.mode.software_write_protect;
    assert!(!is_protected || !changes(plan), "{plan:?} of a unit that is write-protected");
}

/// Whether a plan changes the unit that it is for. (An EXTENDED COPY names its destinations in its list.)
fn changes(plan: &Plan) -> bool {
    matches!(
        plan,
        Plan::Write { .. }
            | Plan::WriteVerify { .. }
            | Plan::CompareAndWrite { .. }
            | Plan::WriteSame { .. }
            | Plan::Unmap { .. }
            | Plan::WriteAtomic { .. }
            | Plan::OrWrite { .. }
            | Plan::WriteUsingToken { .. }
    )
}

fn assert_inside(extent: Extent, blocks: u64) {
    assert!(extent.lba.checked_add(extent.blocks).is_some_and(|end| end <= blocks), "{extent:?} of {blocks}");
}

/// Sense data fits where it goes, in both formats.
fn check_sense(sense: &Sense) {
    for format in [SenseFormat::Fixed, SenseFormat::Descriptor] {
        assert!((8..=252).contains(&sense.encode(format).len()), "{sense:?}");
    }
}

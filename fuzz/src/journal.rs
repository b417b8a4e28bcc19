//! The store on a damaged log: segments and records that are well sealed but say anything, and bytes changed at will.
//!
//! What always holds: opening either enters the log and leaves a sound pool, which works and closes, or refuses with
//! the pool untouched. A log can be entered twice. One that is refused as lost is refused until its loss is accepted.

use crate::{disk::Disk, operation::Place, sparse::SparseFile};
use arbitrary::Arbitrary;
use std::sync::{Arc, OnceLock};
use umbra_base::ErrorCode;
use umbra_store::{
    Background, LunStore, Mode, PoolParams, ThinId, ThinPoolStore, Volume,
    backing::{Backing, BlockFile},
};
use umbra_thin::{
    Superblock,
    log::{Change, HEADER_BYTES, Header, Record},
};

const BOOT: [u8; 16] = *b"umbra-fuzz-boot.";
const IDENTITY: [u8; 16] = *b"umbra-fuzz-pool.";
const BLOCK: u64 = 64 << 10;
const DATA_BLOCKS: u64 = 48;
const SEGMENT: u64 = umbra_store::limits::LOG_SEGMENT_BYTES;
const RECORDS_MAX: usize = 64;
const VOLUMES: [ThinId; 2] = [ThinId(1), ThinId(2)];
const SOUND: &str = "the store works on sound files";

/// A log.
#[derive(Debug, Arbitrary)]
pub struct Input {
    /// Whether it replaces the one that the store wrote, or lies over it.
    fresh: bool,
    segments: [Option<Segment>; 3],
    damage: Vec<(u16, u8)>,
    cut_off: Option<u16>,
}

#[derive(Debug, Arbitrary)]
struct Segment {
    /// Above the superblock's transaction.
    base: i8,
    foreign_boot: bool,
    foreign_pool: bool,
    records: Vec<Entry>,
}

#[derive(Debug, Arbitrary)]
struct Entry {
    map: bool,
    device: u8,
    at: Place,
    block: u8,
    len: Place,
    sequence: Option<Place>,
}

/// Three files of a store.
struct Files {
    meta: Arc<SparseFile>,
    data: Arc<SparseFile>,
    log: Arc<SparseFile>,
}

impl Files {
    fn copy(&self) -> Files {
        let copy = |file: &SparseFile| Arc::new(file.copy());
        Files { meta: copy(&self.meta), data: copy(&self.data), log: copy(&self.log) }
    }

    fn open(&self) -> umbra_base::Result<ThinPoolStore> {
        self.open_with(false)
    }

    fn open_with(&self, accept_lost_log: bool) -> umbra_base::Result<ThinPoolStore> {
        let backing = Backing {
            meta: self.meta.clone(),
            data: self.data.clone(),
            log: self.log.clone(),
            boot: BOOT,
            identity: IDENTITY,
        };
        let params = PoolParams {
            devices: 4,
            background: Background::Off,
            accept_lost_log,
            ..PoolParams::new(DATA_BLOCKS * BLOCK)
        };
        ThinPoolStore::on(backing, params)
    }

    fn trans_id(&self) -> u64 {
        let mut page = [0; 4096];
        self.meta.read_at(&mut page, 0).expect(SOUND);
        Superblock::decode(&page, 0).expect(SOUND).trans_id
    }

    fn assert_clean(&self, when: &str) {
        Disk::new(self.meta.pages()).assert_clean(when);
    }
}

/// Files as the death of the process leaves them: two volumes, blocks committed and blocks in the log only.
fn base() -> &'static Files {
    static BASE: OnceLock<Files> = OnceLock::new();
    BASE.get_or_init(|| {
        let files = Files { meta: Arc::default(), data: Arc::default(), log: Arc::default() };
        let store = files.open().expect(SOUND);
        let volumes = VOLUMES.map(|id| {
            store.create(id).expect(SOUND);
            store.open(id, DATA_BLOCKS * BLOCK).expect(SOUND)
        });
        let write = |volume: &Arc<dyn Volume>, block| volume.write(block * BLOCK, &[7; 512]).expect(SOUND);
        (0..8).for_each(|block| write(&volumes[0], block));
        store.flush().expect(SOUND);
        (4..12).for_each(|block| write(&volumes[1], block));
        volumes[0].discard(2 * BLOCK, 2 * BLOCK).expect(SOUND);
        files
    })
}

/// Opens the store on the log, uses it, closes it, opens it again.
pub fn run(input: Input) {
    let files = base().copy();
    input.write(&files);
    let before = files.meta.pages();
    let opened = match files.open() {
        Err(error) if is_lost(&error) => {
            assert!(!input.leaves_it(), "a sound log counts as lost: {error}");
            assert!(
                files.meta.pages() == before,
                "a pool whose log is lost was changed before that was accepted"
            );
            files.open_with(true)
        }
        opened => opened,
    };
    match opened {
        // Sound metadata, and a log that cannot be taken up: served read-only, without what the log speaks of.
        Ok(store) if store.usage().mode == Mode::ReadOnly => {
            assert!(files.meta.pages() == before, "a pool that is served read-only was changed");
        }
        Ok(store) => {
            files.assert_clean("after entering the log");
            use_store(&store);
            store.close().expect("what was entered can be committed");
            drop(store);
            files.assert_clean("after the close");
            drop(files.open().expect("a closed store opens"));
        }
        Err(error) => {
            assert!(matches!(error.code(), ErrorCode::Corrupt | ErrorCode::InsufficientStorage), "{error}");
            assert!(files.meta.pages() == before, "a refused log changed the pool");
        }
    }
}

fn is_lost(error: &umbra_base::Error) -> bool {
    error.code() == ErrorCode::BadState && error.hint_text().is_some_and(|hint| hint.contains("--accept-lost-log"))
}

/// Reads and writes what can be; only a lack of room may stop it.
fn use_store(store: &ThinPoolStore) {
    for id in VOLUMES {
        let volume = store.open(id, DATA_BLOCKS * BLOCK).expect("its creation was committed");
        for block in 0..DATA_BLOCKS {
            volume.read(block * BLOCK, &mut [0; 512]).expect("it is mapped or it is not");
        }
        if let Err(error) = volume.write(5 * BLOCK, &[9; 512]) {
            assert_eq!(error.code(), ErrorCode::InsufficientStorage, "{error}");
        }
    }
}

impl Input {
    /// Whether the log is the one that the store wrote.
    fn leaves_it(&self) -> bool {
        let Input { fresh, segments, damage, cut_off } = self;
        !fresh && segments.iter().all(Option::is_none) && damage.is_empty() && cut_off.unwrap_or(0) == 0
    }

    fn write(&self, files: &Files) {
        if self.fresh {
            files.log.set_size(0).expect(SOUND);
        }
        let trans_id = files.trans_id();
        for (segment, at) in self.segments.iter().zip(0..) {
            if let Some(segment) = segment {
                segment.write(&files.log, at * SEGMENT, trans_id);
            }
        }
        for (at, value) in &self.damage {
            let at = u64::from(*at);
            files.log.write_at(&[*value], at % 3 * SEGMENT + at / 3).expect(SOUND);
        }
        if let Some(cut_off) = self.cut_off {
            let size = files.log.size().expect(SOUND);
            files.log.set_size(size.saturating_sub(cut_off.into())).expect(SOUND);
        }
    }
}

impl Segment {
    fn write(&self, log: &SparseFile, at: u64, trans_id: u64) {
        let base = trans_id.wrapping_add_signed(self.base.into());
        let boot = if self.foreign_boot { [0; 16] } else { BOOT };
        let pool = if self.foreign_pool { [0; 16] } else { IDENTITY };
        log.write_at(&Header { pool, boot, base }.encode(), at).expect(SOUND);
        let records = self.records.iter().take(RECORDS_MAX).zip(0..);
        let bytes: Vec<u8> = records.flat_map(|(entry, i)| entry.record(i).encode(base)).collect();
        log.write_at(&bytes, at + HEADER_BYTES as u64).expect(SOUND);
    }
}

impl Entry {
    fn record(&self, number: u64) -> Record {
        let device = ThinId(self.device.into());
        let (vblock, len) = (self.at.block(), self.len.block());
        let change = match self.map {
            true => Change::Map { device, vblock, block: self.block.into(), len },
            false => Change::Unmap { device, vblock, len },
        };
        Record { sequence: self.sequence.map_or(number, Place::block), change }
    }
}

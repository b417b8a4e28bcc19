//! Block 0: the roots of everything, and the only block that is ever overwritten (dm-thin format section 4).
//!
//! What always holds: all fields lie in the first sector, the unit of atomicity; the rest stays zero; the uuid, which
//! kernels and tools leave alone, is kept as it was found.

use crate::{
    ThinError,
    limits::{DATA_BLOCK_SECTORS_MAX, DATA_BLOCK_SECTORS_MIN, META_BLOCK_BYTES, TIME_MAX},
    page::{Page, PageKind, get_u32, get_u64, put_u32, put_u64, seal, verify},
};

const MAGIC: u64 = 27_022_010;
/// What we write.
pub(crate) const VERSION: u32 = 2;
const META_BLOCK_SECTORS: u32 = 8;
const FLAG_NEEDS_CHECK: u32 = 1;

/// Incompatible feature: acknowledged writes may stand in a log beside the pool (section 16.5). Kernels refuse a pool
/// with it, because for them it would be behind; a clean close clears it (A4).
pub const INCOMPAT_LOG: u32 = 1 << 31;

/// Root of a space map (section 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpaceMapRoot {
    /// Blocks managed.
    pub nr_blocks: u64,
    /// Blocks with a count above zero.
    pub nr_allocated: u64,
    /// Data: root of the index tree. Metadata: the index block.
    pub bitmap_root: u64,
    /// Root of the overflow tree.
    pub ref_count_root: u64,
}

const ROOT_FIELDS: usize = 32;

impl SpaceMapRoot {
    fn unpack(bytes: &[u8]) -> Self {
        SpaceMapRoot {
            nr_blocks: get_u64(bytes, 0),
            nr_allocated: get_u64(bytes, 8),
            bitmap_root: get_u64(bytes, 16),
            ref_count_root: get_u64(bytes, 24),
        }
    }

    fn pack(&self, bytes: &mut [u8]) {
        put_u64(bytes, 0, self.nr_blocks);
        put_u64(bytes, 8, self.nr_allocated);
        put_u64(bytes, 16, self.bitmap_root);
        put_u64(bytes, 24, self.ref_count_root);
    }
}

/// The fields of block 0 as they stand on disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Superblock {
    /// Bit 0: needs_check.
    pub flags: u32,
    /// Zero in a kernel's pool; ours has the pool's identity here.
    pub uuid: [u8; 16],
    /// 1 or 2; we write 2.
    pub version: u32,
    /// Snapshot time.
    pub time: u32,
    /// A volume manager's transaction id. On our own pools it grows with each commit.
    pub trans_id: u64,
    /// Metadata snapshot, or 0.
    pub held_root: u64,
    /// Data space map.
    pub data_map: SpaceMapRoot,
    /// Metadata space map.
    pub meta_map: SpaceMapRoot,
    /// Top-level tree.
    pub mapping_root: u64,
    /// Details tree.
    pub details_root: u64,
    /// Sectors of a data block.
    pub data_block_sectors: u32,
    /// Sectors of a metadata block: 8.
    pub meta_block_sectors: u32,
    /// Metadata device's blocks when it was formatted; not the authority.
    pub nr_meta_blocks: u64,
    /// Unknown bits are ignored.
    pub compat: u32,
    /// Any bit: no writing.
    pub compat_ro: u32,
    /// Any bit but [`INCOMPAT_LOG`]: no use.
    pub incompat: u32,
    /// Beside [`INCOMPAT_LOG`]: the kernel's boot id when this was committed, under which the log must be there. Zero where
    /// it is not known. No field of the format: kernels and tools leave it alone, or make it zero.
    pub log_boot: [u8; 16],
}

/// The one table of fields: name, offset, how it is read, how it is written.
macro_rules! fields {
    ($apply:ident) => {
        $apply! {
            flags, 4, get_u32, put_u32;
            version, 40, get_u32, put_u32;
            time, 44, get_u32, put_u32;
            trans_id, 48, get_u64, put_u64;
            held_root, 56, get_u64, put_u64;
            mapping_root, 320, get_u64, put_u64;
            details_root, 328, get_u64, put_u64;
            data_block_sectors, 336, get_u32, put_u32;
            meta_block_sectors, 340, get_u32, put_u32;
            nr_meta_blocks, 344, get_u64, put_u64;
            compat, 352, get_u32, put_u32;
            compat_ro, 356, get_u32, put_u32;
            incompat, 360, get_u32, put_u32;
        }
    };
}
const FLAGS: usize = 4;
const UUID: usize = 16;
const MAGIC_AT: usize = 32;
const DATA_MAP: usize = 64;
const META_MAP: usize = 192;
const LOG_BOOT: usize = 368;

impl Superblock {
    /// A new pool's, before its trees have places.
    pub(crate) fn new(uuid: [u8; 16], data_block_sectors: u32, nr_meta_blocks: u64) -> Self {
        Superblock {
            uuid,
            version: VERSION,
            data_block_sectors,
            meta_block_sectors: META_BLOCK_SECTORS,
            nr_meta_blocks,
            ..Superblock::default()
        }
    }

    /// Reads and checks block 0 (or, with its own place, the held copy).
    pub fn decode(page: &Page, block: u64) -> Result<Self, ThinError> {
        match get_u64(page, MAGIC_AT) {
            MAGIC => {}
            found => return Err(ThinError::Superblock { field: "magic", found, want: MAGIC.to_string() }),
        }
        verify(page, PageKind::Superblock, block)?;
        let mut superblock = Superblock {
            data_map: SpaceMapRoot::unpack(&page[DATA_MAP..DATA_MAP + ROOT_FIELDS]),
            meta_map: SpaceMapRoot::unpack(&page[META_MAP..META_MAP + ROOT_FIELDS]),
            ..Superblock::default()
        };
        superblock.uuid.copy_from_slice(&page[UUID..UUID + 16]);
        superblock.log_boot.copy_from_slice(&page[LOG_BOOT..LOG_BOOT + 16]);
        macro_rules! read { ($($name:ident, $at:literal, $get:ident, $put:ident;)*) => {
            $(superblock.$name = $get(page, $at);)*
        } }
        fields!(read);
        superblock.check()?;
        Ok(superblock)
    }

    fn check(&self) -> Result<(), ThinError> {
        let wrong = |field, found: u64, want: &str| {
            Err(ThinError::Superblock { field, found, want: want.to_owned() })
        };
        let sectors = self.data_block_sectors;
        if !(1..=VERSION).contains(&self.version) {
            return wrong("version", self.version.into(), "1 or 2");
        }
        if self.meta_block_sectors != META_BLOCK_SECTORS {
            return wrong("metadata_block_size", self.meta_block_sectors.into(), "8");
        }
        if !(DATA_BLOCK_SECTORS_MIN..=DATA_BLOCK_SECTORS_MAX).contains(&sectors)
            || !sectors.is_multiple_of(DATA_BLOCK_SECTORS_MIN)
        {
            return wrong("data_block_size", sectors.into(), "a multiple of 128 up to 2097152");
        }
        if self.time > TIME_MAX {
            return wrong("time", self.time.into(), "at most 16777215");
        }
        Ok(())
    }

    /// Whether the pool may be written: no unknown feature, no pending check.
    pub fn check_writable(&self) -> Result<(), ThinError> {
        if self.incompat & !INCOMPAT_LOG != 0 {
            return Err(ThinError::Features { field: "incompat_flags", bits: self.incompat & !INCOMPAT_LOG });
        }
        if self.compat_ro != 0 {
            return Err(ThinError::Features { field: "compat_ro_flags", bits: self.compat_ro });
        }
        if self.flags & FLAG_NEEDS_CHECK != 0 {
            return Err(ThinError::NeedsCheck);
        }
        Ok(())
    }

    /// Block 0 with needs_check set: after an error of which nobody knows what it left (section 8.6). To be made from
    /// what stands on the disk, not from what is in memory; all else stays as it is.
    pub fn set_needs_check(page: &Page) -> Result<Box<Page>, ThinError> {
        Self::with_flags(page, |flags| flags | FLAG_NEEDS_CHECK)
    }

    /// Block 0 with needs_check cleared: after a full check that found nothing.
    pub fn clear_needs_check(page: &Page) -> Result<Box<Page>, ThinError> {
        Self::with_flags(page, |flags| flags & !FLAG_NEEDS_CHECK)
    }

    fn with_flags(page: &Page, change: impl FnOnce(u32) -> u32) -> Result<Box<Page>, ThinError> {
        let found = Superblock::decode(page, 0)?;
        let mut page = Box::new(*page);
        put_u32(&mut page[..], FLAGS, change(found.flags));
        seal(&mut page, PageKind::Superblock, 0);
        Ok(page)
    }

    /// The bytes of block 0.
    pub fn encode(&self) -> Box<Page> {
        self.encode_at(0)
    }

    /// The bytes of a copy at `block`.
    pub(crate) fn encode_at(&self, block: u64) -> Box<Page> {
        let mut page = Box::new([0; META_BLOCK_BYTES]);
        put_u64(&mut page[..], MAGIC_AT, MAGIC);
        page[UUID..UUID + 16].copy_from_slice(&self.uuid);
        page[LOG_BOOT..LOG_BOOT + 16].copy_from_slice(&self.log_boot);
        self.data_map.pack(&mut page[DATA_MAP..DATA_MAP + ROOT_FIELDS]);
        self.meta_map.pack(&mut page[META_MAP..META_MAP + ROOT_FIELDS]);
        macro_rules! write { ($($name:ident, $at:literal, $get:ident, $put:ident;)*) => {
            $($put(&mut page[..], $at, self.$name);)*
        } }
        fields!(write);
        seal(&mut page, PageKind::Superblock, block);
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_reads_back_as_written() {
        let map =
            |n| SpaceMapRoot { nr_blocks: n, nr_allocated: n + 1, bitmap_root: n + 2, ref_count_root: n + 3 };
        let written = Superblock {
            flags: 0,
            uuid: *b"0123456789abcdef",
            version: 2,
            time: 7,
            trans_id: 1 << 40,
            held_root: 9,
            data_map: map(100),
            meta_map: map(200),
            mapping_root: 3,
            details_root: 4,
            data_block_sectors: 128,
            meta_block_sectors: 8,
            nr_meta_blocks: 512,
            compat: 1,
            compat_ro: 2,
            incompat: INCOMPAT_LOG,
            log_boot: *b"fedcba9876543210",
        };
        let page = written.encode();
        assert_eq!(Superblock::decode(&page, 0).unwrap(), written);
        assert!(page[364..368].iter().chain(&page[384..]).all(|byte| *byte == 0));
        assert!(Superblock { log_boot: [0; 16], ..written }.encode()[364..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn needs_check_is_set_and_cleared_and_nothing_else_changes() {
        let page = Superblock { time: 9, trans_id: 77, ..Superblock::new([5; 16], 128, 512) }.encode();
        let set = Superblock::set_needs_check(&page).unwrap();
        let superblock = Superblock::decode(&set, 0).unwrap();
        assert!(matches!(superblock.check_writable(), Err(ThinError::NeedsCheck)));
        assert_eq!(set[8..], page[8..]);
        assert_eq!(Superblock::clear_needs_check(&set).unwrap(), page);
        assert!(Superblock::set_needs_check(&[0; META_BLOCK_BYTES]).is_err());
    }

    #[test]
    fn features_and_pending_checks_forbid_writing() {
        let ok = Superblock::new([0; 16], 128, 512);
        assert!(ok.check_writable().is_ok());
        assert!(Superblock { incompat: INCOMPAT_LOG, ..ok.clone() }.check_writable().is_ok());
        assert!(Superblock { incompat: 1, ..ok.clone() }.check_writable().is_err());
        assert!(Superblock { compat_ro: 1, ..ok.clone() }.check_writable().is_err());
        assert!(matches!(Superblock { flags: 1, ..ok }.check_writable(), Err(ThinError::NeedsCheck)));
    }
}

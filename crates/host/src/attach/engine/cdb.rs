//! The SCSI commands that an attachment sends and the parts of their answers that it reads (SPC-4, SBC-3).

/// Bytes of a logical block; the only size that Umbra's arrays have.
pub(crate) const BLOCK: u64 = 512;

pub(crate) type Cdb = [u8; 16];

pub(crate) fn test_unit_ready() -> Cdb {
    [0; 16]
}

pub(crate) fn read(offset: u64, len: u32) -> Cdb {
    with_range(0x88, 0, offset, u64::from(len))
}

pub(crate) fn write(offset: u64, len: u32) -> Cdb {
    with_range(0x8a, 0, offset, u64::from(len))
}

/// SYNCHRONIZE CACHE (16) of the whole LUN.
pub(crate) fn synchronize_cache() -> Cdb {
    with_range(0x91, 0, 0, 0)
}

/// WRITE SAME (16) with one block of zeroes; `unmap` lets the target drop the blocks instead of writing them.
pub(crate) fn write_zeroes(offset: u64, len: u64, unmap: bool) -> Cdb {
    with_range(0x93, if unmap { 0x08 } else { 0 }, offset, len)
}

/// UNMAP of what [`unmap_list`] names.
pub(crate) fn unmap() -> Cdb {
    let mut cdb = [0; 16];
    cdb[0] = 0x42;
    cdb[7..9].copy_from_slice(&UNMAP_LIST_BYTES.to_be_bytes());
    cdb
}

/// The parameter list of an UNMAP of one range.
pub(crate) fn unmap_list(offset: u64, len: u64) -> [u8; UNMAP_LIST_BYTES as usize] {
    let mut list = [0; UNMAP_LIST_BYTES as usize];
    list[..2].copy_from_slice(&(UNMAP_LIST_BYTES - 2).to_be_bytes());
    list[2..4].copy_from_slice(&(UNMAP_LIST_BYTES - 8).to_be_bytes());
    list[8..16].copy_from_slice(&(offset / BLOCK).to_be_bytes());
    list[16..20].copy_from_slice(&((len / BLOCK) as u32).to_be_bytes());
    list
}
const UNMAP_LIST_BYTES: u16 = 24;

/// READ CAPACITY (16).
pub(crate) fn read_capacity() -> Cdb {
    let mut cdb = [0; 16];
    cdb[0] = 0x9e;
    cdb[1] = 0x10;
    cdb[13] = CAPACITY_BYTES;
    cdb
}
pub(crate) const CAPACITY_BYTES: u8 = 32;

/// INQUIRY of a vital product data page.
pub(crate) fn vital_product_data(page: u8) -> Cdb {
    let mut cdb = [0; 16];
    cdb[0] = 0x12;
    cdb[1] = 1;
    cdb[2] = page;
    cdb[3..5].copy_from_slice(&VPD_BYTES.to_be_bytes());
    cdb
}
pub(crate) const VPD_BYTES: u16 = 1024;

/// REPORT LUNS, all that this initiator sees.
pub(crate) fn report_luns() -> Cdb {
    let mut cdb = [0; 16];
    cdb[0] = 0xa0;
    cdb[6..10].copy_from_slice(&REPORT_BYTES.to_be_bytes());
    cdb
}
/// Room for the 16384 numbers of flat addressing and the header.
pub(crate) const REPORT_BYTES: u32 = 8 + 8 * 16384;

/// MODE SENSE (10) of the caching page, for the write-protect bit of its header.
pub(crate) fn mode_sense() -> Cdb {
    let mut cdb = [0; 16];
    cdb[0] = 0x5a;
    cdb[1] = 0x08;
    cdb[2] = 0x08;
    cdb[7..9].copy_from_slice(&MODE_BYTES.to_be_bytes());
    cdb
}
pub(crate) const MODE_BYTES: u16 = 252;

fn with_range(opcode: u8, flags: u8, offset: u64, len: u64) -> Cdb {
    debug_assert!(offset.is_multiple_of(BLOCK) && len.is_multiple_of(BLOCK));
    let mut cdb = [0; 16];
    cdb[0] = opcode;
    cdb[1] = flags;
    cdb[2..10].copy_from_slice(&(offset / BLOCK).to_be_bytes());
    cdb[10..14].copy_from_slice(&((len / BLOCK) as u32).to_be_bytes());
    cdb
}

fn be<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..at + N)?.try_into().ok()
}

/// Size in bytes and block size of READ CAPACITY (16) data.
pub(crate) fn parse_capacity(data: &[u8]) -> Option<(u64, u32)> {
    let last = u64::from_be_bytes(be(data, 0)?);
    let block = u32::from_be_bytes(be(data, 8)?);
    let size = last.checked_add(1)?.checked_mul(u64::from(block))?;
    (size <= umbra_base::size::MAX_BYTES).then_some((size, block))
}

/// LBPRZ of READ CAPACITY (16) data: blocks that were unmapped read as zeroes.
pub(crate) fn parse_zeroing(data: &[u8]) -> Option<bool> {
    Some(data.get(14)? & 0x40 != 0)
}

/// Whether the REPORT LUNS data has this LUN field (peripheral and flat forms of one number are the same LUN).
pub(crate) fn parse_report(data: &[u8], lun: u64) -> Option<bool> {
    use umbra_iscsi::pdu::Lun;
    let len = u32::from_be_bytes(be(data, 0)?) as usize;
    let list = data.get(8..)?;
    let number = Lun(lun).number();
    let list = &list[..len.min(list.len())];
    let seen = list.chunks_exact(8).filter_map(|entry| Some(u64::from_be_bytes(entry.try_into().ok()?)));
    Some(seen.into_iter().any(|field| Lun(field).number() == number))
}

/// The write-protect bit of MODE SENSE (10) data.
pub(crate) fn parse_write_protect(data: &[u8]) -> Option<bool> {
    Some(data.get(3)? & 0x80 != 0)
}

/// What page B0h (block limits) bounds, in bytes; zero means that the target does not say, and of `unmap` that it has no
/// such command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct BlockLimits {
    pub(crate) transfer: u64,
    pub(crate) write_same: u64,
    pub(crate) unmap: u64,
    /// Of what the target can release: one unit begins at `alignment`.
    pub(crate) granularity: u64,
    pub(crate) alignment: u64,
}

pub(crate) fn parse_block_limits(data: &[u8]) -> Option<BlockLimits> {
    /// The alignment's own field says whether it counts.
    const UGAVALID: u64 = 1 << 31;
    if *data.get(1)? != 0xb0 {
        return None;
    }
    let blocks = |at| u64::from(be(data, at).map_or(0, u32::from_be_bytes));
    let alignment = blocks(32);
    let aligned = alignment & UGAVALID != 0;
    Some(BlockLimits {
        transfer: u64::from(u32::from_be_bytes(be(data, 8)?)) * BLOCK,
        unmap: if blocks(24) > 0 { blocks(20) * BLOCK } else { 0 },
        granularity: blocks(28) * BLOCK,
        alignment: if aligned { (alignment & !UGAVALID) * BLOCK } else { 0 },
        write_same: u64::from_be_bytes(be(data, 36).unwrap_or([0; 8])).saturating_mul(BLOCK),
    })
}

/// Who a LUN is, by page 83h (device identification).
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Designators {
    /// NAA designator of eight bytes.
    #[serde(default)]
    pub naa: Option<u64>,
    /// UUID designator (SPC-5), as 32 hexadecimal digits.
    #[serde(default)]
    pub uuid: Option<String>,
}

impl Designators {
    /// Whether everything that `self` expects is what `found` has; one expectation at least must be checkable.
    pub(crate) fn matches(&self, found: &Designators) -> bool {
        let agrees = |a: bool, expected: bool| !expected || a;
        agrees(self.naa == found.naa, self.naa.is_some())
            && agrees(self.uuid == found.uuid, self.uuid.is_some())
    }
}

/// Reads page 83h; designators of the logical unit only.
pub(crate) fn parse_designators(data: &[u8]) -> Option<Designators> {
    if *data.get(1)? != 0x83 {
        return None;
    }
    let len = usize::from(u16::from_be_bytes(be(data, 2)?));
    let mut rest = data.get(4..)?;
    rest = &rest[..len.min(rest.len())];
    let mut found = Designators::default();
    while let [_, kind, _, len, tail @ ..] = rest {
        let value = tail.get(..usize::from(*len))?;
        rest = &tail[usize::from(*len)..];
        match (kind >> 4 & 3, kind & 0x0f) {
            (0, 3) if value.len() == 8 => found.naa = Some(u64::from_be_bytes(value.try_into().ok()?)),
            (0, 0xa) if value.len() == 18 => {
                found.uuid = Some(value[2..].iter().map(|byte| format!("{byte:02x}")).collect());
            }
            _ => {}
        }
    }
    Some(found)
}

/// Sense key, additional sense code and its qualifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sense {
    pub(crate) key: u8,
    pub(crate) asc: u8,
    pub(crate) ascq: u8,
}

impl Sense {
    /// Reads fixed (70h) and descriptor (72h) sense data; anything else is an unknown hardware error.
    pub(crate) fn parse(data: &[u8]) -> Sense {
        let at = |index: usize| data.get(index).copied().unwrap_or(0);
        match at(0) & 0x7f {
            0x70 | 0x71 => Sense { key: at(2) & 0x0f, asc: at(12), ascq: at(13) },
            0x72 | 0x73 => Sense { key: at(1) & 0x0f, asc: at(2), ascq: at(3) },
            _ => Sense { key: 4, asc: 0, ascq: 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn designators_of_other_kinds_are_passed_over() {
        let mut page = vec![0, 0x83, 0, 0];
        page.extend([0x02, 0x01, 0, 4]);
        page.extend(b"SER1");
        page.extend([0x01, 0x03, 0, 8, 0x30, 0, 0, 0, 0, 0, 0, 9]);
        page.extend([0x01, 0x0a, 0, 18, 0x10, 0]);
        page.extend([0xab; 16]);
        let len = (page.len() - 4) as u16;
        page[2..4].copy_from_slice(&len.to_be_bytes());
        let found = parse_designators(&page).unwrap();
        assert_eq!(found.naa, Some(0x3000_0000_0000_0009));
        assert_eq!(found.uuid.as_deref(), Some("ab".repeat(16).as_str()));
        page.truncate(page.len() - 1);
        assert_eq!(parse_designators(&page), None, "cut off");
    }

    #[test]
    fn an_expectation_that_is_not_met_is_no_match() {
        let found = Designators { naa: Some(1), uuid: None };
        assert!(Designators { naa: Some(1), uuid: None }.matches(&found));
        assert!(!Designators { naa: Some(2), uuid: None }.matches(&found));
        assert!(!Designators { naa: Some(1), uuid: Some("x".into()) }.matches(&found));
    }

    #[test]
    fn a_size_that_overflows_is_refused() {
        let mut data = [0xff; 32];
        assert_eq!(parse_capacity(&data), None);
        data[..8].copy_from_slice(&2047u64.to_be_bytes());
        data[8..12].copy_from_slice(&512u32.to_be_bytes());
        assert_eq!(parse_capacity(&data), Some((1 << 20, 512)));
    }
}

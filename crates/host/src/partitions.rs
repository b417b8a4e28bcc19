//! Where the partitions of a disk lie: GPT (UEFI 2.10 section 5.3) by a crate that checks its checksums and falls back
//! on the backup header, MBR with its chain of logical partitions by hand.

use crate::limits::PARTITIONS;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Seek, SeekFrom};

const SECTOR: u64 = 512;

/// The kind of a partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableKind {
    Gpt,
    Mbr,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// As the kernel counts them: `loop0p1` has 1.
    pub number: u32,
    /// First byte on the disk.
    pub start: u64,
    /// Bytes.
    pub len: u64,
}

/// A disk's partition table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    pub kind: TableKind,
    pub partitions: Vec<Partition>,
}

/// Reads the table of `disk`, which has `size` bytes; `None` where there is none.
pub fn read(disk: &mut (impl Read + Seek), size: u64) -> io::Result<Option<Table>> {
    let mut first = [0; SECTOR as usize];
    if size < 4 * SECTOR {
        return Ok(None);
    }
    read_sector(disk, 0, &mut first)?;
    let Some(entries) = mbr_entries(&first) else { return Ok(None) };
    if entries.iter().any(|entry| entry.kind == GPT_PROTECTIVE) {
        return Ok(read_gpt(disk, size));
    }
    let partitions = read_mbr(disk, size, &entries)?;
    Ok((!partitions.is_empty()).then_some(Table { kind: TableKind::Mbr, partitions }))
}

fn read_gpt(disk: &mut (impl Read + Seek), size: u64) -> Option<Table> {
    disk.seek(SeekFrom::Start(0)).ok()?;
    let gpt = gptman::GPT::read_from(disk, SECTOR).ok()?;
    let used = gpt.iter().filter(|(_, entry)| entry.is_used());
    let partitions = used.filter_map(|(number, entry)| {
        let sectors = entry.ending_lba.checked_sub(entry.starting_lba)?.checked_add(1)?;
        within(number, entry.starting_lba, sectors, size)
    });
    Some(Table { kind: TableKind::Gpt, partitions: partitions.take(PARTITIONS).collect() })
}

/// A partition in sectors as one in bytes, if it lies on the disk.
fn within(number: u32, start: u64, sectors: u64, size: u64) -> Option<Partition> {
    let (start, len) = (start.checked_mul(SECTOR)?, sectors.checked_mul(SECTOR)?);
    let end = start.checked_add(len)?;
    (len > 0 && end <= size).then_some(Partition { number, start, len })
}

const GPT_PROTECTIVE: u8 = 0xee;

#[derive(Debug, Clone, Copy)]
struct MbrEntry {
    kind: u8,
    start: u32,
    sectors: u32,
}

impl MbrEntry {
    fn is_extended(&self) -> bool {
        matches!(self.kind, 0x05 | 0x0f | 0x85)
    }
}

/// The four entries of a boot sector; `None` for what only looks like one (the kernel's test: boot flags 00h or 80h).
fn mbr_entries(sector: &[u8; SECTOR as usize]) -> Option<[MbrEntry; 4]> {
    if sector[510..] != [0x55, 0xaa] {
        return None;
    }
    let mut entries = [MbrEntry { kind: 0, start: 0, sectors: 0 }; 4];
    for (entry, bytes) in entries.iter_mut().zip(sector[446..510].chunks_exact(16)) {
        if bytes[0] & 0x7f != 0 {
            return None;
        }
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        *entry = MbrEntry { kind: bytes[4], start: number(8), sectors: number(12) };
    }
    Some(entries)
}

fn read_mbr(disk: &mut (impl Read + Seek), size: u64, entries: &[MbrEntry; 4]) -> io::Result<Vec<Partition>> {
    let mut list = Vec::new();
    for (number, entry) in (1..).zip(entries) {
        if entry.kind != 0 && !entry.is_extended() {
            list.extend(within(number, u64::from(entry.start), u64::from(entry.sectors), size));
        }
    }
    if let Some(extended) = entries.iter().find(|entry| entry.is_extended()) {
        read_logical(disk, size, u64::from(extended.start), &mut list)?;
    }
    Ok(list)
}

/// The chain of boot sectors in an extended partition: each names one logical partition and the next sector.
fn read_logical(
    disk: &mut (impl Read + Seek),
    size: u64,
    base: u64,
    list: &mut Vec<Partition>,
) -> io::Result<()> {
    let mut at = base;
    for number in 5..=PARTITIONS as u32 {
        let mut sector = [0; SECTOR as usize];
        if at.saturating_add(1).saturating_mul(SECTOR) > size {
            return Ok(());
        }
        read_sector(disk, at, &mut sector)?;
        let Some([logical, link, ..]) = mbr_entries(&sector) else { return Ok(()) };
        if logical.kind != 0 {
            list.extend(within(number, at + u64::from(logical.start), u64::from(logical.sectors), size));
        }
        if !link.is_extended() {
            return Ok(());
        }
        at = base + u64::from(link.start);
    }
    Ok(())
}

fn read_sector(
    disk: &mut (impl Read + Seek),
    sector: u64,
    into: &mut [u8; SECTOR as usize],
) -> io::Result<()> {
    disk.seek(SeekFrom::Start(sector * SECTOR))?;
    disk.read_exact(into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn entry(sector: &mut [u8], index: usize, kind: u8, start: u32, sectors: u32) {
        let at = 446 + 16 * index;
        sector[at + 4] = kind;
        sector[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
        sector[at + 12..at + 16].copy_from_slice(&sectors.to_le_bytes());
        sector[510..512].copy_from_slice(&[0x55, 0xaa]);
    }

    #[test]
    fn primary_and_logical_partitions_are_found_and_loops_end() {
        let mut disk = vec![0u8; 512 * 1000];
        entry(&mut disk[..512], 0, 0x83, 10, 90);
        entry(&mut disk[..512], 1, 0x05, 100, 900);
        entry(&mut disk[512 * 100..512 * 101], 0, 0x83, 1, 9);
        entry(&mut disk[512 * 100..512 * 101], 1, 0x05, 100, 100);
        entry(&mut disk[512 * 200..512 * 201], 0, 0x83, 5, 20);
        // Points back at itself: the bound ends it.
        entry(&mut disk[512 * 200..512 * 201], 1, 0x05, 100, 100);
        let size = disk.len() as u64;
        let table = read(&mut Cursor::new(disk), size).unwrap().unwrap();
        assert_eq!(table.kind, TableKind::Mbr);
        let found: Vec<_> =
            table.partitions.iter().take(3).map(|p| (p.number, p.start / 512, p.len / 512)).collect();
        assert_eq!(found, [(1, 10, 90), (5, 101, 9), (6, 205, 20)]);
        assert!(table.partitions.len() <= PARTITIONS);
    }

    #[test]
    fn a_partition_beyond_the_disk_and_a_file_system_are_no_partitions() {
        let mut disk = vec![0u8; 512 * 100];
        entry(&mut disk[..512], 0, 0x83, 10, 91);
        assert_eq!(read(&mut Cursor::new(disk), 51200).unwrap(), None);
        assert_eq!(read(&mut Cursor::new(vec![0u8; 51200]), 51200).unwrap(), None);
    }
}

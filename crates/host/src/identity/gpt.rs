//! GPT: the GUIDs of the disk and of its partitions, in both headers.

use super::{Edit, Kind, Renew, partition_number};
use gptman::GPT;
use std::{
    fs::{File, OpenOptions},
    io::{self, Seek, SeekFrom},
    path::Path,
};
use umbra_base::{Error, ErrorCode, Result};
use uuid::Uuid;

const SECTOR: u64 = 512;

/// The edits that renew the GPT of `disk`; none where it has none.
pub(super) fn plan(disk: &Path, which: &Renew) -> Result<Vec<Edit>> {
    let Some(gpt) = read(disk)? else { return Ok(Vec::new()) };
    let edit = |place: String, kind, guid: [u8; 16]| {
        let before = text(guid);
        which.wants(&before).then(|| Edit { place, kind, before, after: super::fresh_uuid() })
    };
    let mut edits: Vec<Edit> =
        edit("disk".to_owned(), Kind::GptDiskGuid, gpt.header.disk_guid).into_iter().collect();
    let used = gpt.iter().filter(|(_, entry)| entry.is_used());
    edits.extend(used.filter_map(|(number, entry)| {
        edit(format!("p{number}"), Kind::GptPartitionGuid, entry.unique_partition_guid)
    }));
    Ok(edits)
}

pub(super) fn set_disk_guid(disk: &Path, guid: &str) -> Result<()> {
    let guid = bytes(guid)?;
    change(disk, |gpt| {
        gpt.header.disk_guid = guid;
        Ok(())
    })
}

pub(super) fn set_partition_guid(disk: &Path, place: &str, guid: &str) -> Result<()> {
    let guid = bytes(guid)?;
    let number = partition_number(place).filter(|number| *number > 0);
    change(disk, |gpt| match number {
        Some(number) if number <= gpt.header.number_of_partition_entries && gpt[number].is_used() => {
            gpt[number].unique_partition_guid = guid;
            Ok(())
        }
        _ => {
            Err(Error::new(ErrorCode::IdentityFailed, format!("{} has no partition {place}", disk.display())))
        }
    })
}

/// The GUIDs of the table on a block device, in lower case; none where it cannot be read.
pub(crate) fn table_guids(disk: &Path) -> Vec<String> {
    let Ok(Some(gpt)) = read(disk) else { return Vec::new() };
    let used = gpt.iter().filter(|(_, entry)| entry.is_used());
    let partitions = used.map(|(_, entry)| text(entry.unique_partition_guid));
    std::iter::once(text(gpt.header.disk_guid)).chain(partitions).collect()
}

fn read(disk: &Path) -> Result<Option<GPT>> {
    let mut file = File::open(disk).map_err(|error| Error::io(format!("open {}", disk.display()), error))?;
    // What is no GPT, or one with both copies damaged, is not ours to change.
    Ok(GPT::read_from(&mut file, SECTOR).ok())
}

fn change(disk: &Path, change: impl FnOnce(&mut GPT) -> Result<()>) -> Result<()> {
    let what = |error: io::Error| Error::io(format!("change the GPT of {}", disk.display()), error);
    let damaged = |error: gptman::Error| what(io::Error::other(error));
    let mut file = OpenOptions::new().read(true).write(true).open(disk).map_err(what)?;
    let mut gpt = GPT::read_from(&mut file, SECTOR).map_err(damaged)?;
    change(&mut gpt)?;
    file.seek(SeekFrom::Start(0)).map_err(what)?;
    gpt.write_into(&mut file).map_err(damaged)?;
    file.sync_all().map_err(what)
}

/// A GUID's first three fields stand in little-endian order (UEFI 2.10 appendix A).
fn text(guid: [u8; 16]) -> String {
    Uuid::from_bytes_le(guid).hyphenated().to_string()
}

fn bytes(guid: &str) -> Result<[u8; 16]> {
    let parsed = Uuid::try_parse(guid);
    parsed.map(|uuid| uuid.to_bytes_le()).map_err(|error| {
        Error::new(ErrorCode::InvalidArgument, format!("{guid:?} is no GUID")).because(error)
    })
}

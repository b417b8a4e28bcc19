//! Sets and copies by what people type: an id, or a unique prefix of one.

use crate::{array::Sets, node::Node};
use std::time::{Duration, SystemTime};
use umbra_api::v1;
use umbra_base::{CopyId, Error, ErrorCode, LunId, Result, SetId};

/// A set or one of its copies.
#[derive(Debug)]
pub enum Found {
    /// The set.
    Set(Box<v1::SetRecord>),
    /// A copy and its set.
    Copy(Box<(v1::SetRecord, v1::CopyRecord)>),
}

/// The set that is not broken and has that key; a broken one is not known any more (B4).
pub async fn set(node: &Node, key: &str) -> Result<v1::SetRecord> {
    let record = node.array.set(key).await?;
    if record.state() == v1::SetState::Broken {
        return Err(broken(&record));
    }
    Ok(record)
}

/// The copy with that key, and its set.
pub async fn copy(node: &Node, key: &str) -> Result<(v1::SetRecord, v1::CopyRecord)> {
    let mut found = None;
    for record in node.array.sets(Sets::Live).await? {
        let Some(copy) = record.copies.iter().find(|copy| matches(&copy.copy_id, key)).cloned() else {
            continue;
        };
        if copy.copy_id == key {
            return Ok((record, copy));
        }
        if found.replace((record, copy)).is_some() {
            let text = format!("{key:?} is the beginning of more than one copy's id");
            return Err(Error::new(ErrorCode::InvalidArgument, text).hint("write more of it"));
        }
    }
    match found {
        Some(found) => Ok(found),
        None => Err(missing(node, key).await),
    }
}

/// The set or copy with that key.
pub async fn any(node: &Node, key: &str) -> Result<Found> {
    match node.array.set(key).await {
        Ok(record) if record.state() == v1::SetState::Broken => Err(broken(&record)),
        Ok(record) => Ok(Found::Set(Box::new(record))),
        // The array's own words tell of a set that was deleted lately; a copy's key is never such a one.
        Err(error) if error.code() == ErrorCode::ObjectNotFound => match copy(node, key).await {
            Ok(found) => Ok(Found::Copy(Box::new(found))),
            Err(missing) if missing.code() == ErrorCode::ObjectNotFound => Err(error),
            Err(other) => Err(other),
        },
        Err(error) => Err(error),
    }
}

fn matches(id: &str, key: &str) -> bool {
    !key.is_empty() && id.starts_with(&key.to_ascii_lowercase())
}

/// Why a copy is not there: never heard of, or of a set that is broken.
async fn missing(node: &Node, key: &str) -> Error {
    let sets = node.array.sets(Sets::Broken).await.unwrap_or_default();
    let of = sets.iter().find(|record| record.copies.iter().any(|copy| copy.copy_id == key));
    match of {
        Some(record) => broken(record),
        None => Error::new(ErrorCode::ObjectNotFound, format!("copy {key:?} is not known"))
            .hint("`umbra list` shows the sets and their copies")
            .param("copy", key),
    }
}

fn broken(record: &v1::SetRecord) -> Error {
    let luns: Vec<_> = record.luns.iter().map(|lun| lun.working_lun_id.as_str()).collect();
    let (when, names) = (ago(record.broken_unix_ns), luns.join(", "));
    let text = format!("set {} was broken {when}: its copies are LUNs of their own, {names}", record.id);
    Error::new(ErrorCode::ObjectNotFound, text)
        .hint("`umbra list --broken` shows where they come from, `umbra lun` manages them")
        .param("set", &record.id)
        .param("broken_unix_ns", record.broken_unix_ns)
        .param("luns", luns.join(","))
}

/// How long ago that was, by this machine's clock.
fn ago(unix_ns: u64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = now.saturating_sub(Duration::from_nanos(unix_ns)).as_secs();
    match seconds {
        0..=119 => format!("{seconds} s ago"),
        120..=7199 => format!("{} min ago", seconds / 60),
        7200..=172_799 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// Refuses a set whose copies cannot be used on this host now (B1).
pub fn expect_imported_here(node: &Node, record: &v1::SetRecord) -> Result<()> {
    let why = match record.state() {
        v1::SetState::Imported if record.importer_host == node.config.host_name => return Ok(()),
        v1::SetState::Imported => format!("is imported on host {:?}", record.importer_host),
        v1::SetState::Pending => "is still being created".to_owned(),
        v1::SetState::Created => "is not imported".to_owned(),
        v1::SetState::Breaking => "is being broken".to_owned(),
        v1::SetState::Broken | v1::SetState::Unspecified => "is no set any more".to_owned(),
    };
    Err(Error::new(ErrorCode::BadState, format!("set {} {why}", record.id)).param("set", &record.id))
}

/// The id of a set's record.
pub fn set_id(record: &v1::SetRecord) -> Result<SetId> {
    record.id.parse()
}

/// The id of a copy's record.
pub fn copy_id(copy: &v1::CopyRecord) -> Result<CopyId> {
    copy.copy_id.parse()
}

/// The working LUNs of a set.
pub fn working_luns(record: &v1::SetRecord) -> Result<Vec<LunId>> {
    record.luns.iter().map(|lun| lun.working_lun_id.parse()).collect()
}

/// The LUNs of a set that only this copy lies on.
pub fn luns_of_only(record: &v1::SetRecord, copy: &v1::CopyRecord) -> Result<Vec<LunId>> {
    let lies_on =
        |copy: &v1::CopyRecord, origin: &str| copy.extents.iter().any(|extent| extent.lun_id == origin);
    let others = || record.copies.iter().filter(|other| other.copy_id != copy.copy_id);
    let only = record.luns.iter().filter(|lun| {
        lies_on(copy, &lun.origin_lun_id) && !others().any(|other| lies_on(other, &lun.origin_lun_id))
    });
    only.map(|lun| lun.working_lun_id.parse()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(id: &str, origins: &[&str]) -> v1::CopyRecord {
        let extents =
            origins.iter().map(|lun| v1::Extent { lun_id: (*lun).to_owned(), ..Default::default() });
        v1::CopyRecord { copy_id: id.to_owned(), extents: extents.collect(), ..Default::default() }
    }

    #[test]
    fn a_lun_that_two_copies_share_stays_with_the_other() {
        let lun = |n: u128| uuid::Uuid::from_u128(n).to_string();
        let part = |origin: &str, n| v1::SetLun {
            origin_lun_id: origin.to_owned(),
            working_lun_id: lun(n),
            ..Default::default()
        };
        let record = v1::SetRecord {
            copies: vec![copy("a", &["x", "y"]), copy("b", &["y"])],
            luns: vec![part("x", 1), part("y", 2)],
            ..Default::default()
        };
        let only = luns_of_only(&record, &record.copies[0]).unwrap();
        assert_eq!(only, [LunId(uuid::Uuid::from_u128(1))]);
        assert!(luns_of_only(&record, &record.copies[1]).unwrap().is_empty());
    }
}

//! Records to rows and back. One function for each direction; each edit of a change is one statement.

use super::schema::failed;
use crate::model::{Catalogue, Counters, Edit, Grave, Host, Lun, Mask, SnapshotSet, Thin};
use rusqlite::{Connection, Transaction, params};
use serde::{Serialize, de::DeserializeOwned};
use std::{str::FromStr, sync::Arc};
use umbra_base::{ArrayId, Error, ErrorCode, HostId, LunId, Result};

/// Carries out one edit.
pub fn write(tx: &Transaction<'_>, edit: &Edit) -> Result<()> {
    let done = match edit {
        Edit::PutLun(lun) => tx.execute(
            "INSERT OR REPLACE INTO lun VALUES (?1, ?2, ?3, ?4)",
            params![lun.id.to_string(), lun.name, lun.thin.0, json(lun)?],
        ),
        Edit::DropLun(id) => tx.execute("DELETE FROM lun WHERE id = ?1", [id.to_string()]),
        Edit::PutHost(host) => tx.execute(
            "INSERT OR REPLACE INTO host VALUES (?1, ?2, ?3, ?4)",
            params![host.id.to_string(), host.name, host.initiator, json(host)?],
        ),
        Edit::DropHost(id) => tx.execute("DELETE FROM host WHERE id = ?1", [id.to_string()]),
        Edit::PutMask(mask) => tx.execute(
            "INSERT INTO mask VALUES (?1, ?2, ?3) ON CONFLICT (host, lun) DO UPDATE SET number = excluded.number",
            params![mask.host.to_string(), mask.lun.to_string(), mask.number],
        ),
        Edit::DropMask(host, lun) => tx.execute(
            "DELETE FROM mask WHERE host = ?1 AND lun = ?2",
            [host.to_string(), lun.to_string()],
        ),
        Edit::PutSet(set) => tx.execute(
            "INSERT OR REPLACE INTO snapshot_set VALUES (?1, ?2, ?3)",
            params![set.id.to_string(), set.state.name(), json(set)?],
        ),
        Edit::DropSet(id) => tx.execute("DELETE FROM snapshot_set WHERE id = ?1", [id.to_string()]),
        Edit::Doom(thin) => tx.execute("INSERT OR IGNORE INTO doomed VALUES (?1)", [thin.0]),
        Edit::Undoom(thin) => tx.execute("DELETE FROM doomed WHERE thin = ?1", [thin.0]),
        Edit::Bury(grave) => {
            tx.execute("INSERT OR REPLACE INTO grave VALUES (?1, ?2)", params![grave.id.to_string(), json(grave)?])
        }
        Edit::Exhume(id) => tx.execute("DELETE FROM grave WHERE id = ?1", [id.to_string()]),
        Edit::SetCounters(counters) => tx.execute("UPDATE head SET counters = ?1", [json(counters)?]),
    };
    done.map(drop).map_err(|source| failed(format!("write the catalogue: {}", subject(edit)), source))
}

fn subject(edit: &Edit) -> String {
    match edit {
        Edit::PutLun(lun) => format!("LUN {:?}", lun.name),
        Edit::PutHost(host) => format!("host {:?}", host.name),
        Edit::PutSet(set) => format!("set {}", set.id),
        edit => format!("{edit:?}"),
    }
}

/// Reads everything.
pub fn load(conn: &Connection) -> Result<Catalogue> {
    let read = |source| failed("read the catalogue".into(), source);
    let (array, revision, counters): (String, i64, String) = conn
        .query_row("SELECT array_id, revision, counters FROM head", (), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .map_err(read)?;
    let mut cat = Catalogue::new(parse::<ArrayId>(&array)?);
    cat.revision = revision.cast_unsigned();
    cat.counters = record::<Counters>(&counters)?;
    cat.luns = records::<Lun>(conn, "lun")?.into_iter().map(|lun| (lun.id, Arc::new(lun))).collect();
    cat.hosts = records::<Host>(conn, "host")?.into_iter().map(|host| (host.id, Arc::new(host))).collect();
    cat.sets = records::<SnapshotSet>(conn, "snapshot_set")?
        .into_iter()
        .map(|set| (set.id, Arc::new(set)))
        .collect();
    cat.graves =
        records::<Grave>(conn, "grave")?.into_iter().map(|grave| (grave.id, Arc::new(grave))).collect();
    cat.masks = masks(conn)?.into_iter().map(|mask| ((mask.host, mask.lun), mask)).collect();
    cat.doomed =
        column::<u32>(conn, "SELECT thin FROM doomed").map_err(read)?.into_iter().map(Thin).collect();
    Ok(cat)
}

fn masks(conn: &Connection) -> Result<Vec<Mask>> {
    let read = || -> rusqlite::Result<Vec<(String, String, u16)>> {
        let mut statement = conn.prepare("SELECT host, lun, number FROM mask")?;
        let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        rows.collect()
    };
    let rows = read().map_err(|source| failed("read the masks".into(), source))?;
    let mask = |(host, lun, number): (String, String, u16)| {
        Ok(Mask { host: parse::<HostId>(&host)?, lun: parse::<LunId>(&lun)?, number })
    };
    rows.into_iter().map(mask).collect()
}

fn records<T: DeserializeOwned>(conn: &Connection, table: &str) -> Result<Vec<T>> {
    let texts = column::<String>(conn, &format!("SELECT record FROM {table}"))
        .map_err(|source| failed(format!("read table {table}"), source))?;
    texts.iter().map(|text| record(text)).collect()
}

fn column<T: rusqlite::types::FromSql>(conn: &Connection, sql: &str) -> rusqlite::Result<Vec<T>> {
    let mut statement = conn.prepare(sql)?;
    let rows = statement.query_map((), |row| row.get(0))?;
    rows.collect()
}

fn parse<T: FromStr<Err = Error>>(text: &str) -> Result<T> {
    text.parse().map_err(|source: Error| {
        Error::new(ErrorCode::Corrupt, "read an id of the catalogue").because(source)
    })
}

fn record<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|source| {
        let kind = std::any::type_name::<T>().rsplit(':').next().unwrap_or_default();
        Error::new(ErrorCode::Corrupt, format!("read a {kind} record of the catalogue")).because(source)
    })
}

/// A record as the text that is stored.
pub fn json<T: Serialize>(record: &T) -> Result<String> {
    serde_json::to_string(record)
        .map_err(|source| Error::new(ErrorCode::Internal, "write a record as JSON").because(source))
}

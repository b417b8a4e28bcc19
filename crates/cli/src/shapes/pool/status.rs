//! The array and its pool.

use super::super::{given, rfc3339};
use crate::{output::Shape, table::or_dash};
use serde::Serialize;
use std::io::{self, Write};
use umbra_api::v1;
use umbra_base::size::format_size;

#[derive(Debug, Serialize)]
pub struct ArrayStatus {
    pub array: String,
    pub version: String,
    pub revision: u64,
    pub pid: u32,
    pub directory: String,
    pub iqn: String,
    pub iscsi_socket: String,
    pub portals: Vec<String>,
    pub now: Option<String>,
    pub pool: Pool,
    pub sessions: Vec<Session>,
}

#[derive(Debug, Serialize)]
pub struct Pool {
    pub block_bytes: u64,
    pub data_bytes: u64,
    pub data_used_bytes: u64,
    pub metadata_bytes: u64,
    pub metadata_used_bytes: u64,
    pub mode: String,
    pub reason: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct Session {
    pub initiator: String,
    pub peer: String,
}

impl From<v1::ArrayStatus> for ArrayStatus {
    fn from(status: v1::ArrayStatus) -> Self {
        ArrayStatus {
            array: status.array_id,
            version: status.version,
            revision: status.revision,
            pid: status.pid,
            directory: status.directory,
            iqn: status.iqn,
            iscsi_socket: status.iscsi_socket,
            portals: status.portals,
            now: rfc3339(status.now_unix_ns),
            pool: Pool::from(status.pool.unwrap_or_default()),
            sessions: status.sessions.into_iter().map(Session::from).collect(),
        }
    }
}

impl From<v1::PoolStatus> for Pool {
    fn from(pool: v1::PoolStatus) -> Self {
        Pool {
            block_bytes: pool.block_bytes,
            data_bytes: pool.data_bytes,
            data_used_bytes: pool.data_used_bytes,
            metadata_bytes: pool.metadata_bytes,
            metadata_used_bytes: pool.metadata_used_bytes,
            mode: pool.mode,
            reason: given(pool.reason),
        }
    }
}

impl From<v1::SessionStatus> for Session {
    fn from(session: v1::SessionStatus) -> Self {
        Session { initiator: session.initiator, peer: session.peer }
    }
}

impl Shape for ArrayStatus {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let pool = &self.pool;
        writeln!(out, "array     {} in {} (pid {})", self.array, self.directory, self.pid)?;
        writeln!(out, "target    {}", self.iqn)?;
        writeln!(out, "portals   {}", or_dash(&self.portals.join(" ")))?;
        writeln!(
            out,
            "pool      {}{}",
            pool.mode.replace('_', "-"),
            pool.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default()
        )?;
        writeln!(
            out,
            "data      {} of {} in use, blocks of {}",
            format_size(pool.data_used_bytes),
            format_size(pool.data_bytes),
            format_size(pool.block_bytes)
        )?;
        writeln!(
            out,
            "metadata  {} of {} in use",
            format_size(pool.metadata_used_bytes),
            format_size(pool.metadata_bytes)
        )?;
        self.sessions.iter().try_for_each(|session| {
            writeln!(out, "session   {} from {}", session.initiator, or_dash(&session.peer))
        })
    }
}

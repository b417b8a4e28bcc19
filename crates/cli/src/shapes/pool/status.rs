//! The array and its pool.

use super::super::{given, outcome, rfc3339};
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
    /// `plenty`, `low` or `critical`.
    pub level: String,
    pub low_percent: u32,
    pub critical_percent: u32,
    pub full_wait_ms: u64,
    /// Not in use, and kept for LUNs that reserve it.
    pub reserved_bytes: u64,
    pub mode: String,
    pub reason: Option<String>,
    /// What of the metadata could not be read since the array started.
    pub damage: Vec<String>,
}

/// A pool after a change.
#[derive(Debug, Serialize)]
pub struct PoolDone {
    pub outcome: &'static str,
    pub pool: Pool,
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
            level: pool.level,
            low_percent: pool.low_percent,
            critical_percent: pool.critical_percent,
            full_wait_ms: pool.full_wait_ms,
            reserved_bytes: pool.reserved_bytes,
            mode: pool.mode,
            reason: given(pool.reason),
            damage: pool.damage,
        }
    }
}

impl From<v1::PoolReply> for PoolDone {
    fn from(reply: v1::PoolReply) -> Self {
        PoolDone { outcome: outcome(reply.outcome), pool: Pool::from(reply.pool.unwrap_or_default()) }
    }
}

impl From<v1::SessionStatus> for Session {
    fn from(session: v1::SessionStatus) -> Self {
        Session { initiator: session.initiator, peer: session.peer }
    }
}

impl Shape for ArrayStatus {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "array     {} in {} (pid {})", self.array, self.directory, self.pid)?;
        writeln!(out, "target    {}", self.iqn)?;
        writeln!(out, "portals   {}", or_dash(&self.portals.join(" ")))?;
        self.pool.text(out)?;
        self.sessions.iter().try_for_each(|session| {
            writeln!(out, "session   {} from {}", session.initiator, or_dash(&session.peer))
        })
    }
}

impl Pool {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let why = self.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let of = |used, total| format!("{} of {} in use", format_size(used), format_size(total));
        writeln!(out, "pool      {}{why}", self.mode.replace('_', "-"))?;
        self.damage.iter().try_for_each(|what| writeln!(out, "damaged   {what}"))?;
        let data = of(self.data_used_bytes, self.data_bytes);
        writeln!(out, "data      {data}, blocks of {}", format_size(self.block_bytes))?;
        writeln!(out, "metadata  {}", of(self.metadata_used_bytes, self.metadata_bytes))?;
        let (low, critical) = (self.low_percent, self.critical_percent);
        writeln!(out, "space     {}: low from {low} % on, critical from {critical} % on", self.level)?;
        let wait = self.full_wait_ms as f64 / 1000.0;
        writeln!(out, "reserved  {}; a write waits {wait} s for space", format_size(self.reserved_bytes))
    }
}

impl Shape for PoolDone {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let (data, metadata) = (format_size(self.pool.data_bytes), format_size(self.pool.metadata_bytes));
        writeln!(out, "{}: {data} of data, {metadata} of metadata", self.outcome)
    }
}

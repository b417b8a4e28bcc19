//! LUNs.

use super::{given, outcome, rfc3339};
use crate::{
    output::Shape,
    table::{or_dash, short, table},
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io::{self, Write},
};
use umbra_api::v1;
use umbra_base::size::format_size;

#[derive(Debug, Clone, Serialize)]
pub struct Lun {
    pub id: String,
    pub name: String,
    pub size_bytes: u64,
    pub mapped_bytes: u64,
    pub reserved_bytes: Option<u64>,
    pub quota_bytes: Option<u64>,
    pub access: &'static str,
    pub kind: &'static str,
    pub naa: String,
    pub serial: String,
    pub labels: BTreeMap<String, String>,
    pub created: Option<String>,
    pub expires: Option<String>,
    pub origin_lun: Option<String>,
    pub set: Option<String>,
    pub presentations: Vec<Presentation>,
    pub revision: u64,
}

#[derive(Debug, Clone, Serialize)]
pub struct Presentation {
    pub host: String,
    pub host_id: String,
    pub initiator: String,
    pub number: u32,
    pub urls: Vec<String>,
    pub unix_url: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct LunList {
    pub luns: Vec<Lun>,
}

/// One LUN.
#[derive(Debug, Serialize)]
pub struct OneLun {
    pub lun: Lun,
}

/// A LUN after a change.
#[derive(Debug, Serialize)]
pub struct LunDone {
    pub outcome: &'static str,
    pub lun: Option<Lun>,
}

impl From<v1::Lun> for Lun {
    fn from(lun: v1::Lun) -> Self {
        Lun {
            kind: kind(lun.kind()),
            id: lun.id,
            name: lun.name,
            size_bytes: lun.size_bytes,
            mapped_bytes: lun.mapped_bytes,
            reserved_bytes: (lun.reserved_bytes > 0).then_some(lun.reserved_bytes),
            quota_bytes: (lun.quota_bytes > 0).then_some(lun.quota_bytes),
            access: if lun.read_only { "read_only" } else { "read_write" },
            naa: lun.naa,
            serial: lun.serial,
            labels: lun.labels.into_iter().collect(),
            created: rfc3339(lun.created_unix_ns),
            expires: rfc3339(lun.expires_at_unix_ns),
            origin_lun: given(lun.origin_lun_id),
            set: given(lun.set_id),
            presentations: lun.presentations.into_iter().map(Presentation::from).collect(),
            revision: lun.revision,
        }
    }
}

impl From<v1::Presentation> for Presentation {
    fn from(seen: v1::Presentation) -> Self {
        Presentation {
            host: seen.host_name,
            host_id: seen.host_id,
            initiator: seen.initiator,
            number: seen.number,
            urls: seen.urls,
            unix_url: given(seen.unix_url),
        }
    }
}

impl From<v1::LunReply> for LunDone {
    fn from(reply: v1::LunReply) -> Self {
        LunDone { outcome: outcome(reply.outcome), lun: reply.lun.map(Lun::from) }
    }
}

fn kind(kind: v1::LunKind) -> &'static str {
    match kind {
        v1::LunKind::Ordinary => "ordinary",
        v1::LunKind::Copy => "copy",
        v1::LunKind::Broken => "broken",
        v1::LunKind::Unspecified => "unknown",
    }
}

impl Shape for LunDone {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        match &self.lun {
            Some(lun) => writeln!(out, "{} {} {}", self.outcome, lun.id, lun.name),
            None => writeln!(out, "{}", self.outcome),
        }
    }
}

impl Shape for LunList {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows: Vec<_> = self.luns.iter().map(row).collect();
        table(out, ["ID", "NAME", "SIZE", "IN USE", "ACCESS", "KIND", "HOSTS"], &rows)
    }
}

fn row(lun: &Lun) -> [String; 7] {
    let hosts: Vec<_> =
        lun.presentations.iter().map(|seen| format!("{}:{}", seen.host, seen.number)).collect();
    [
        short(&lun.id),
        lun.name.clone(),
        format_size(lun.size_bytes),
        format_size(lun.mapped_bytes),
        lun.access.replace('_', "-"),
        lun.kind.to_owned(),
        or_dash(&hosts.join(" ")),
    ]
}

impl Shape for OneLun {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.lun.text(out)
    }
}

impl Lun {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{} ({})", self.name, self.id)?;
        writeln!(
            out,
            "  size    {}, {} in use",
            format_size(self.size_bytes),
            format_size(self.mapped_bytes)
        )?;
        if let Some(reserved) = self.reserved_bytes {
            writeln!(out, "  reserve {} of the pool", format_size(reserved))?;
        }
        if let Some(quota) = self.quota_bytes {
            writeln!(out, "  quota   {}", format_size(quota))?;
        }
        writeln!(out, "  access  {}", self.access.replace('_', "-"))?;
        writeln!(out, "  kind    {}", self.kind)?;
        if let Some(origin) = &self.origin_lun {
            writeln!(out, "  from    LUN {origin}")?;
        }
        if let Some(set) = &self.set {
            writeln!(out, "  set     {set}")?;
        }
        writeln!(out, "  naa     {}, serial {}", self.naa, self.serial)?;
        for (name, value) in &self.labels {
            writeln!(out, "  label   {name}={value}")?;
        }
        self.presentations.iter().try_for_each(|seen| seen.text(out))
    }
}

impl Presentation {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "  seen by {} as number {}", self.host, self.number)?;
        self.urls.iter().chain(&self.unix_url).try_for_each(|url| writeln!(out, "          {url}"))
    }
}

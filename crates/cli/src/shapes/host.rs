//! Hosts and their secrets.

use super::{outcome, rfc3339};
use crate::{
    output::Shape,
    table::{or_dash, short, table},
};
use serde::Serialize;
use std::io::{self, Write};
use umbra_api::v1;

#[derive(Debug, Clone, Serialize)]
pub struct Host {
    pub id: String,
    pub name: String,
    pub initiator: String,
    pub lun_numbers: Vec<u32>,
    pub created: Option<String>,
    pub revision: u64,
}

#[derive(Debug, Serialize)]
pub struct HostList {
    pub hosts: Vec<Host>,
}

/// One host.
#[derive(Debug, Serialize)]
pub struct OneHost {
    pub host: Host,
}

/// A host after a change.
#[derive(Debug, Serialize)]
pub struct HostDone {
    pub outcome: &'static str,
    pub host: Option<Host>,
}

/// What a host logs in with (RFC 1994).
#[derive(Serialize)]
pub struct Secret {
    pub user: String,
    pub secret: String,
    /// For mutual CHAP; absent where the array has none for the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub array_user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub array_secret: Option<String>,
    /// Whether the text is about the array's.
    #[serde(skip)]
    pub mutual: bool,
}

impl From<v1::Host> for Host {
    fn from(host: v1::Host) -> Self {
        Host {
            id: host.id,
            name: host.name,
            initiator: host.initiator,
            lun_numbers: host.lun_numbers,
            created: rfc3339(host.created_unix_ns),
            revision: host.revision,
        }
    }
}

impl From<v1::HostReply> for HostDone {
    fn from(reply: v1::HostReply) -> Self {
        HostDone { outcome: outcome(reply.outcome), host: reply.host.map(Host::from) }
    }
}

fn numbers(host: &Host) -> String {
    or_dash(&host.lun_numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(" "))
}

impl Shape for OneHost {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.host.text(out)
    }
}

impl Host {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{} ({})", self.name, self.id)?;
        writeln!(out, "  initiator  {}", self.initiator)?;
        writeln!(out, "  sees LUNs  {}", numbers(self))
    }
}

impl Shape for HostList {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let row = |host: &Host| [short(&host.id), host.name.clone(), host.initiator.clone(), numbers(host)];
        table(out, ["ID", "NAME", "INITIATOR", "LUNS"], &self.hosts.iter().map(row).collect::<Vec<_>>())
    }
}

impl Shape for HostDone {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        match &self.host {
            Some(host) => writeln!(out, "{} {} {}", self.outcome, host.id, host.name),
            None => writeln!(out, "{}", self.outcome),
        }
    }
}

impl Shape for Secret {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        match (&self.array_user, &self.array_secret) {
            (Some(user), Some(secret)) if self.mutual => writeln!(out, "{user}\n{secret}"),
            _ if self.mutual => writeln!(out, "none: add the host anew to give the array a secret for it"),
            _ => writeln!(out, "{}\n{}", self.user, self.secret),
        }
    }
}

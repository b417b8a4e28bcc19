//! Results of commands that did something: exposures, breaks, deletions, attachments, mounts.

use super::{
    given,
    lun::Lun,
    outcome,
    set::{Identity, Set},
};
use crate::output::Shape;
use serde::Serialize;
use std::io::{self, Write};
use umbra_api::v1;

#[derive(Debug, Serialize)]
pub struct Exposed {
    pub outcome: &'static str,
    pub copy: String,
    pub path: Option<String>,
    pub device: Option<String>,
    pub identity: Vec<Identity>,
}

#[derive(Debug, Serialize)]
pub struct Broken {
    pub set: Option<Set>,
    pub luns: Vec<Lun>,
    pub extra_volumes: Vec<String>,
    pub notes: Vec<String>,
    pub transaction_us: u64,
}

#[derive(Debug, Serialize)]
pub struct Deleted {
    pub outcome: &'static str,
    pub set: String,
    pub copies: Vec<String>,
}

/// A LUN's block device on this host.
#[derive(Debug, Serialize)]
pub struct Attached {
    pub outcome: &'static str,
    pub lun: String,
    pub name: String,
    pub device: String,
    pub partitions: Vec<String>,
    pub pid: u32,
    pub state: String,
    pub access: &'static str,
}

/// The same, given up.
#[derive(Debug, Serialize)]
pub struct Detached {
    #[serde(flatten)]
    pub was: Attached,
    /// As the requester named it.
    #[serde(skip)]
    pub key: String,
}

#[derive(Debug, Serialize)]
pub struct Mounted {
    pub outcome: &'static str,
    pub path: String,
    pub device: Option<String>,
    pub fs_type: Option<String>,
    pub access: &'static str,
}

impl From<v1::ExposeReply> for Exposed {
    fn from(reply: v1::ExposeReply) -> Self {
        Exposed {
            outcome: outcome(reply.outcome),
            copy: reply.copy_id,
            path: given(reply.path),
            device: given(reply.device),
            identity: reply.identity.into_iter().map(Identity::from).collect(),
        }
    }
}

impl From<v1::BreakReply> for Broken {
    fn from(reply: v1::BreakReply) -> Self {
        Broken {
            set: reply.set.map(Set::from),
            luns: reply.luns.into_iter().map(Lun::from).collect(),
            extra_volumes: reply.extra_volumes,
            notes: reply.notes,
            transaction_us: reply.transaction_us,
        }
    }
}

impl From<v1::DeleteReply> for Deleted {
    fn from(reply: v1::DeleteReply) -> Self {
        Deleted { outcome: outcome(reply.outcome), set: reply.set_id, copies: reply.copy_ids }
    }
}

impl From<v1::AttachReply> for Attached {
    fn from(reply: v1::AttachReply) -> Self {
        let attachment = reply.attachment.unwrap_or_default();
        Attached {
            outcome: outcome(reply.outcome),
            lun: attachment.lun_id,
            name: attachment.lun_name,
            device: attachment.device,
            partitions: attachment.partitions,
            pid: attachment.pid,
            state: attachment.state,
            access: access(attachment.read_only),
        }
    }
}

impl From<v1::MountReply> for Mounted {
    fn from(reply: v1::MountReply) -> Self {
        Mounted {
            outcome: outcome(reply.outcome),
            path: reply.path,
            device: given(reply.device),
            fs_type: given(reply.fs_type),
            access: access(reply.read_only),
        }
    }
}

/// An outcome in the words of the command.
fn done(outcome: &'static str, made: &'static str, undone: &'static str) -> &'static str {
    match outcome {
        "created" => made,
        "deleted" => undone,
        other => other,
    }
}

fn access(read_only: bool) -> &'static str {
    if read_only { "read_only" } else { "read_write" }
}

impl Shape for Exposed {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let path = self.path.as_deref().unwrap_or_default();
        writeln!(out, "{} {} {path}", done(self.outcome, "exposed", "unexposed"), self.copy)?;
        self.identity.iter().try_for_each(|change| change.text(out))
    }
}

impl Shape for Broken {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for lun in &self.luns {
            writeln!(out, "{} {} {}", lun.id, lun.name, lun.access.replace('_', "-"))?;
        }
        if !self.extra_volumes.is_empty() {
            let extra = self.extra_volumes.join(" ");
            writeln!(out, "also on these LUNs, and not brought to a consistent state: {extra}")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(out, "note: {note}"))
    }
}

impl Shape for Deleted {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{} {}", self.outcome, self.set)
    }
}

impl Shape for Attached {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.device)
    }
}

impl Shape for Detached {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{} {}", done(self.was.outcome, "attached", "detached"), self.key)
    }
}

impl Shape for Mounted {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{} {}", done(self.outcome, "mounted", "unmounted"), self.path)
    }
}

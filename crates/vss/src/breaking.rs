//! Which breaks are legal, and what a break touches (design B2, B3, B5; VSS BreakSnapshotSetEx).
//!
//! [`BreakMode::parse`] is the door: behind it no illegal pair of flags exists. [`decide_break`] takes what the service
//! and the host know and either refuses, with nothing changed, or says LUN by LUN what is to happen. The identities and
//! the masks themselves are changed by others; the array's transaction is the point of no return.

use std::collections::BTreeSet;
use umbra_base::{Error, ErrorCode, LunId, Result, SetId};

/// A flag as a requester gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BreakFlag {
    /// `--mask`: VSS_BREAKEX_FLAG_MASK_LUNS.
    Mask,
    /// `--read-write`: VSS_BREAKEX_FLAG_MAKE_READ_WRITE.
    ReadWrite,
    /// `--revert-identity`: VSS_BREAKEX_FLAG_REVERT_IDENTITY_ALL.
    RevertIdentity,
    /// `--no-revert-identity`: VSS_BREAKEX_FLAG_REVERT_IDENTITY_NONE.
    NoRevertIdentity,
}

impl BreakFlag {
    /// Every flag.
    pub const ALL: [BreakFlag; 4] =
        [BreakFlag::Mask, BreakFlag::ReadWrite, BreakFlag::RevertIdentity, BreakFlag::NoRevertIdentity];

    /// As on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            BreakFlag::Mask => "--mask",
            BreakFlag::ReadWrite => "--read-write",
            BreakFlag::RevertIdentity => "--revert-identity",
            BreakFlag::NoRevertIdentity => "--no-revert-identity",
        }
    }
}

/// How the LUNs can be used afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakAccess {
    /// As before the break.
    ReadOnly,
    /// Writable on this host.
    ReadWrite,
}

/// Which identity the LUNs have afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityRule {
    /// The original's on every LUN, or no break.
    All,
    /// The one that each got at import.
    None,
    /// The original's where that collides with nothing; never a reason to fail.
    WhereFree,
}

/// A legal combination of flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakMode {
    /// Un-import: the LUNs leave this host, the set's document stays good.
    Mask,
    /// The LUNs stay here and live on by themselves.
    Keep(BreakAccess, IdentityRule),
}

impl BreakMode {
    /// The mode that the flags ask for. Repeating a flag changes nothing.
    pub fn parse(flags: &[BreakFlag]) -> Result<BreakMode> {
        let has = |flag| flags.contains(&flag);
        let (mask, write) = (has(BreakFlag::Mask), has(BreakFlag::ReadWrite));
        let (all, none) = (has(BreakFlag::RevertIdentity), has(BreakFlag::NoRevertIdentity));
        if mask && (write || all || none) {
            let other =
                flags.iter().find(|flag| **flag != BreakFlag::Mask).copied().unwrap_or(BreakFlag::ReadWrite);
            return Err(clash(BreakFlag::Mask, other, "masked LUNs leave this host as they are"));
        }
        if all && none {
            return Err(clash(
                BreakFlag::RevertIdentity,
                BreakFlag::NoRevertIdentity,
                "each says the opposite",
            ));
        }
        if mask {
            return Ok(BreakMode::Mask);
        }
        let access = if write { BreakAccess::ReadWrite } else { BreakAccess::ReadOnly };
        let identity = match (all, none) {
            (true, _) => IdentityRule::All,
            (_, true) => IdentityRule::None,
            _ => IdentityRule::WhereFree,
        };
        Ok(BreakMode::Keep(access, identity))
    }
}

fn clash(a: BreakFlag, b: BreakFlag, why: &str) -> Error {
    let text = format!("{} and {} exclude each other: {why}", a.as_str(), b.as_str());
    Error::new(ErrorCode::InvalidArgument, text)
        .hint("--mask stands alone; --read-write goes with at most one of the two identity flags")
}

/// Who made a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MadeBy {
    /// An array: the copy has LUNs of its own.
    Hardware,
    /// The host itself; there is nothing that could live on.
    Software,
}

/// What the service knows of the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Unknown,
    /// It is being created.
    InCreation,
    /// It is there, but not imported on this host.
    NotImported,
    /// It is imported on this host.
    Imported,
    /// A break of it runs already.
    Breaking,
}

/// A copy LUN as the host sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LunFacts {
    /// Which.
    pub lun: LunId,
    /// What was renewed at import, in the words of the host (`GPT disk GUID`, `XFS UUID`); empty: it never changed.
    pub renewed: Vec<String>,
    /// Where on this host an original identity of it is visible now, other than in an attachment of another host.
    pub original_seen: Option<String>,
    /// Names of the set's volumes that lie on it.
    pub volumes: Vec<String>,
    /// Volumes on it that nobody asked for.
    pub extra_volumes: Vec<String>,
}

/// All that a decision needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakFacts {
    /// The set, as the requester named it.
    pub set: SetId,
    /// What the service knows of it.
    pub standing: Standing,
    /// Who made each copy.
    pub made_by: Vec<MadeBy>,
    /// Every LUN of the set.
    pub luns: Vec<LunFacts>,
}

/// What happens to the identity of one LUN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityStep {
    /// The original's comes back.
    Revert,
    /// It stays; why.
    Keep(String),
}

/// What happens to one LUN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LunPlan {
    /// Which.
    pub lun: LunId,
    /// Its identity.
    pub identity: IdentityStep,
}

/// What a break will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakPlan {
    /// How.
    pub mode: BreakMode,
    /// LUN by LUN; all or none.
    pub luns: Vec<LunPlan>,
    /// Volumes of the set that must be unmounted before: all where the LUNs leave or change identity.
    pub unmount: Vec<String>,
    /// Volumes that nobody asked for and that are touched nevertheless. Their contents are not consistent.
    pub extra_volumes: Vec<String>,
}

/// Whether the set may be broken that way, and what that does.
pub fn decide_break(facts: &BreakFacts, mode: BreakMode) -> Result<BreakPlan> {
    refuse_standing(facts)?;
    let rule = match mode {
        BreakMode::Mask => IdentityRule::None,
        BreakMode::Keep(_, rule) => rule,
    };
    if rule == IdentityRule::All {
        refuse_collisions(&facts.luns)?;
    }
    let luns: Vec<_> =
        facts.luns.iter().map(|lun| LunPlan { lun: lun.lun, identity: identity_step(lun, rule) }).collect();
    let leaves = |plan: &LunPlan| mode == BreakMode::Mask || plan.identity == IdentityStep::Revert;
    let touched = facts.luns.iter().zip(&luns).filter(|(_, plan)| leaves(plan));
    let unmount: BTreeSet<_> =
        touched.flat_map(|(lun, _)| lun.volumes.iter().chain(&lun.extra_volumes)).cloned().collect();
    let extra: BTreeSet<_> = facts.luns.iter().flat_map(|lun| &lun.extra_volumes).cloned().collect();
    Ok(BreakPlan {
        mode,
        luns,
        unmount: unmount.into_iter().collect(),
        extra_volumes: extra.into_iter().collect(),
    })
}

/// B2: what is refused before anything else is looked at.
fn refuse_standing(facts: &BreakFacts) -> Result<()> {
    let set = facts.set;
    let refuse = |code, text: String| Err(Error::new(code, text).param("set", set));
    if facts.standing == Standing::Unknown {
        return refuse(ErrorCode::ObjectNotFound, format!("set {set} is not known here"));
    }
    if facts.made_by.contains(&MadeBy::Software) {
        let text =
            format!("set {set} has a copy made by a software provider, which has no LUN that could live on");
        return refuse(ErrorCode::ProviderVeto, text);
    }
    match facts.standing {
        Standing::Imported | Standing::Unknown => Ok(()),
        Standing::InCreation => refuse(ErrorCode::BadState, format!("set {set} is still being created")),
        Standing::Breaking => refuse(ErrorCode::BadState, format!("set {set} is being broken already")),
        Standing::NotImported => {
            Err(Error::new(ErrorCode::BadState, format!("set {set} is not imported on this host"))
                .hint("a set that left this host cannot come back yet; `umbra delete SET` removes it")
                .param("set", set))
        }
    }
}

fn refuse_collisions(luns: &[LunFacts]) -> Result<()> {
    let Some((lun, seen)) = luns.iter().find_map(|lun| Some((lun.lun, lun.original_seen.as_deref()?))) else {
        return Ok(());
    };
    let text = format!("the original identity of LUN {lun} is visible on this host at {seen}");
    Err(Error::new(ErrorCode::BreakRevertIdFailed, text)
        .hint("mask or detach the original first; the set is as it was")
        .param("lun", lun)
        .param("seen", seen))
}

fn identity_step(lun: &LunFacts, rule: IdentityRule) -> IdentityStep {
    match (rule, &lun.original_seen) {
        _ if lun.renewed.is_empty() => IdentityStep::Keep("it was never renewed".to_owned()),
        (IdentityRule::None, _) => IdentityStep::Keep("asked for".to_owned()),
        (IdentityRule::WhereFree, Some(seen)) => {
            IdentityStep::Keep(format!("the original is visible at {seen}"))
        }
        (IdentityRule::All, _) | (IdentityRule::WhereFree, None) => IdentityStep::Revert,
    }
}

#[cfg(test)]
mod tests;

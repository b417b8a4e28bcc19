//! Break: a set's copies become ordinary LUNs (B1-B5; VSS BreakSnapshotSetEx).
//!
//! ```text
//!   flags, standing, identities seen  ->  decide_break (crate vss)  ->  refused, nothing changed
//!        |
//!   BeginBreak (intent)  ->  host steps, each with its undo  ->  CommitBreak: the point of no return  ->  aftermath
//!                                   '-- any failure: undo in reverse, CancelBreak --'
//! ```
//!
//! What always holds: until the array has committed, every host step can be undone and is; after it nothing can fail the
//! break any more: what could not be carried over to the host is a note in the reply. Break with mask is an un-import.

mod aftermath;
mod steps;

use crate::{array::Access, attachments, exposure, identity, lookup, node::Node};
use std::time::{Duration, Instant};
use steps::OnFailure;
use umbra_api::v1::{self, SetState};
use umbra_base::{Error, ErrorCode, LunId, Result};
use umbra_vss::{
    BreakAccess, BreakFacts, BreakFlag, BreakMode, BreakPlan, IdentityRule, IdentityStep, LunFacts, MadeBy,
    Standing,
};

/// How long a restarting array is waited for when only it knows whether the break happened.
const ARRAY_BACK: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_millis(500);

/// Breaks a set.
pub async fn run(node: &Node, request: &v1::BreakRequest) -> Result<v1::BreakReply> {
    // Wrong flags are wrong whatever the set.
    let mode = BreakMode::parse(&flags(request))?;
    node.settle().await?;
    let id = lookup::set(node, &request.set_key).await?.id;
    let _turn = node.locks.lock(&id).await;
    let record = lookup::set(node, &id).await?;
    // What is seen of identities must still hold when the LUNs have theirs back (I1).
    let _alone = node.locks.lock("identities").await;
    let facts = facts(node, &record, mode).await?;
    let plan = umbra_vss::decide_break(&facts, mode)?;
    match mode {
        BreakMode::Mask => mask(node, record).await,
        BreakMode::Keep(access, _) => keep(node, record, plan, access_of(access)).await,
    }
}

fn flags(request: &v1::BreakRequest) -> Vec<BreakFlag> {
    let asked = |flag| match flag {
        BreakFlag::Mask => request.mask,
        BreakFlag::ReadWrite => request.read_write,
        BreakFlag::RevertIdentity => request.revert_identity,
        BreakFlag::NoRevertIdentity => request.no_revert_identity,
    };
    BreakFlag::ALL.into_iter().filter(|flag| asked(*flag)).collect()
}

fn access_of(access: BreakAccess) -> Access {
    match access {
        BreakAccess::ReadOnly => Access::ReadOnly,
        BreakAccess::ReadWrite => Access::ReadWrite,
    }
}

/// What the array records of the set, and what this host sees of its identities.
async fn facts(node: &Node, record: &v1::SetRecord, mode: BreakMode) -> Result<BreakFacts> {
    let standing = standing(node, record);
    let mut luns = Vec::new();
    for part in &record.luns {
        let lun: LunId = part.working_lun_id.parse()?;
        let volumes =
            record.copies.iter().filter(|copy| copy.extents.iter().any(|e| e.lun_id == part.origin_lun_id));
        luns.push(LunFacts {
            lun,
            renewed: part
                .identity
                .iter()
                .map(|change| format!("{} {}", change.r#where, change.kind))
                .collect(),
            original_seen: match (standing, mode) {
                (Standing::Imported, BreakMode::Keep(..)) => identity::original_seen(node, part).await?,
                _ => None,
            },
            volumes: volumes.map(|copy| copy.volume.clone()).collect(),
            extra_volumes: Vec::new(),
        });
    }
    Ok(BreakFacts { set: lookup::set_id(record)?, standing, made_by: vec![MadeBy::Hardware], luns })
}

fn standing(node: &Node, record: &v1::SetRecord) -> Standing {
    match record.state() {
        SetState::Pending => Standing::InCreation,
        SetState::Imported if record.importer_host == node.config.host_name => Standing::Imported,
        SetState::Breaking if record.importer_host == node.config.host_name => Standing::Breaking,
        SetState::Created | SetState::Imported | SetState::Breaking => Standing::NotImported,
        SetState::Broken | SetState::Unspecified => Standing::Unknown,
    }
}

/// B4: the LUNs leave this host, their data stays, the set can be imported again.
async fn mask(node: &Node, record: v1::SetRecord) -> Result<v1::BreakReply> {
    let luns = lookup::working_luns(&record)?;
    let left = steps::leave(node, &record, &luns).await?;
    let started = Instant::now();
    let after = match unimport(node, &record).await {
        Ok(after) => after,
        Err(error) => {
            left.undo(node).await;
            return Err(error);
        }
    };
    let transaction_us = micros(started);
    left.keep();
    tracing::info!(set = record.id, transaction_us, "masked");
    let luns = lun_records(node, &luns).await;
    Ok(v1::BreakReply {
        extra_volumes: after.extra_volumes.clone(),
        set: Some(after),
        luns,
        notes: Vec::new(),
        transaction_us,
    })
}

/// An answer that was lost is asked for again; a set that is not imported any more has left this host.
async fn unimport(node: &Node, record: &v1::SetRecord) -> Result<v1::SetRecord> {
    let until = Instant::now() + ARRAY_BACK;
    loop {
        match node.array.unimport_set(&record.id).await {
            Err(error) if no_answer(&error) && Instant::now() < until => tokio::time::sleep(AGAIN).await,
            Err(error) => {
                let now = node.array.set(&record.id).await;
                return now.ok().filter(|now| now.state() == SetState::Created).ok_or(error);
            }
            done => return done,
        }
    }
}

async fn keep(node: &Node, record: v1::SetRecord, plan: BreakPlan, access: Access) -> Result<v1::BreakReply> {
    let revert = plan.luns.iter().filter(|lun| lun.identity == IdentityStep::Revert).map(|lun| lun.lun);
    let revert: Vec<_> = revert.collect();
    let on_failure = match plan.mode {
        BreakMode::Keep(_, IdentityRule::All) => OnFailure::Fail,
        _ => OnFailure::Keep,
    };
    node.array.begin_break(&record.id, &node.config.host_name, access).await?;
    let reverted = match steps::revert(node, &record, &revert, on_failure).await {
        Ok(reverted) => reverted,
        Err(error) => {
            cancel(node, &record).await;
            return Err(error);
        }
    };
    let started = Instant::now();
    let after = match commit(node, &record, access, reverted.identities).await {
        Committed::Yes(after) => *after,
        Committed::No(error) => {
            reverted.done.undo(node).await;
            cancel(node, &record).await;
            return Err(error);
        }
        // Neither way may be taken now; the recovery of the next start takes the right one.
        Committed::Unknown(error) => return Err(error),
    };
    let transaction_us = micros(started);
    tracing::info!(set = record.id, transaction_us, ?access, reverting = revert.len(), "broken");
    let luns = lookup::working_luns(&after)?;
    let mut notes = identity_notes(&plan);
    notes.extend(reverted.notes);
    notes.extend(aftermath::carry_over(node, &luns, access, reverted.done).await);
    let luns = lun_records(node, &luns).await;
    Ok(v1::BreakReply {
        extra_volumes: after.extra_volumes.clone(),
        set: Some(after),
        luns,
        notes,
        transaction_us,
    })
}

/// What became of the array's transaction.
enum Committed {
    /// It happened.
    Yes(Box<v1::SetRecord>),
    /// It did not.
    No(Error),
    /// The array does not say.
    Unknown(Error),
}

/// The point of no return. An answer that was lost is asked for: the break happened if the array says so.
async fn commit(
    node: &Node,
    record: &v1::SetRecord,
    access: Access,
    identities: Vec<v1::SetLun>,
) -> Committed {
    let until = Instant::now() + ARRAY_BACK;
    loop {
        // Asked again, the call waits in the array behind one whose answer was lost, so its answer is the last word.
        match node.array.commit_break(&record.id, access, identities.clone()).await {
            Ok(after) => return Committed::Yes(Box::new(after)),
            Err(error) if no_answer(&error) && Instant::now() < until => tokio::time::sleep(AGAIN).await,
            Err(error) if no_answer(&error) => return Committed::Unknown(unknown(record, &error)),
            Err(error) => {
                return match node.array.set(&record.id).await {
                    Ok(now) if now.state() == SetState::Broken => Committed::Yes(Box::new(now)),
                    Err(also) if no_answer(&also) => Committed::Unknown(unknown(record, &also)),
                    _ => Committed::No(error),
                };
            }
        }
    }
}

fn no_answer(error: &Error) -> bool {
    matches!(error.code(), ErrorCode::Unreachable | ErrorCode::TimedOut)
}

fn unknown(record: &v1::SetRecord, error: &Error) -> Error {
    Error::new(error.code(), format!("the array does not say whether set {} is broken", record.id))
        .hint("start the array, then this service again: it finishes or undoes what is left")
        .param("set", &record.id)
        .because(error.chain())
}

async fn cancel(node: &Node, record: &v1::SetRecord) {
    if let Err(error) = node.array.cancel_break(&record.id).await {
        tracing::error!(set = record.id, code = %error.code(), error = error.chain(), "break not cancelled");
    }
}

/// A break of an earlier service that did not come to its end: its host steps are rolled back, the set is imported again.
pub async fn undo_leftover(node: &Node, record: &v1::SetRecord) -> Result<()> {
    for part in &record.luns {
        let lun: LunId = part.working_lun_id.parse()?;
        let attached = attachments::find(node, lun).await?;
        // With its device the LUN is untouched: a reverted one has none, and gets none before its identity is settled.
        if attached.is_some_and(|state| state.device.is_none()) {
            exposure::release(node, lun).await;
        }
    }
    node.array.cancel_break(&record.id).await.map(drop)
}

fn identity_notes(plan: &BreakPlan) -> Vec<String> {
    let kept = plan.luns.iter().filter_map(|lun| match &lun.identity {
        IdentityStep::Keep(why) if !why.contains("never renewed") => Some((lun.lun, why)),
        _ => None,
    });
    kept.map(|(lun, why)| format!("LUN {lun} keeps its renewed identity: {why}")).collect()
}

/// The LUNs as they are now; one that cannot be looked up is left out, the break has happened all the same.
async fn lun_records(node: &Node, luns: &[LunId]) -> Vec<v1::Lun> {
    let mut records = Vec::new();
    for lun in luns {
        records.extend(node.array.lun(&lun.to_string()).await.ok());
    }
    records
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

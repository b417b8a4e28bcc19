//! The host steps of a break, each with its undo (B3).
//!
//! What always holds: a step's undo is noted before the step is made; undoing goes in reverse and goes on past a failure,
//! which is told in the log, because the requester gets the error that led to it.

use crate::{
    array::Access,
    attachments, exposure, identity,
    mounting::{self, Wish},
    mounts::Mounted,
    node::Node,
};
use umbra_api::v1;
use umbra_base::{LunId, Result};
use umbra_host::attach::DeviceWish;

/// Steps that were made.
#[derive(Debug, Default)]
pub struct Done {
    undo: Vec<Undo>,
    /// Mounts that were taken away and are owed again after the break.
    pub unmounted: Vec<Mounted>,
    /// LUNs whose device was taken down and is owed again after the break.
    pub without_device: Vec<LunId>,
}

#[derive(Debug)]
enum Undo {
    /// The copy stood mounted here.
    Mount(Mounted),
    /// The LUN was attached.
    Attach(LunId),
    /// The LUN was not attached.
    Detach(LunId),
    /// The LUN had its block device, read-only.
    Device(LunId),
    /// The array protected the LUN.
    Protect(LunId),
    /// The LUN had this identity.
    Renew(LunId, Vec<v1::IdentityChange>),
}

/// Unmounts and detaches LUNs that leave this host.
pub async fn leave(node: &Node, record: &v1::SetRecord, luns: &[LunId]) -> Result<Done> {
    let mut done = Done::default();
    match leave_each(node, luns, &mut done).await {
        Ok(()) => Ok(done),
        Err(error) => {
            tracing::warn!(set = record.id, code = %error.code(), "break: undoing what was done on the host");
            done.undo(node).await;
            Err(error)
        }
    }
}

async fn leave_each(node: &Node, luns: &[LunId], done: &mut Done) -> Result<()> {
    for lun in luns {
        unmount_all(node, *lun, done).await?;
        if attachments::find(node, *lun).await?.is_some() {
            attachments::stop(node, *lun).await?;
            done.undo.push(Undo::Attach(*lun));
        }
    }
    Ok(())
}

async fn unmount_all(node: &Node, lun: LunId, done: &mut Done) -> Result<()> {
    let name = lun.to_string();
    for mounted in mounting::alive(node).await?.into_iter().filter(|mounted| mounted.lun_id == name) {
        mounting::unmount(node, &mounted).await?;
        done.undo.push(Undo::Mount(mounted.clone()));
        done.unmounted.push(mounted);
    }
    Ok(())
}

/// What a failure to revert one LUN means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// All or nothing (revert all).
    Fail,
    /// That LUN keeps its identity (no revert flag).
    Keep,
}

/// LUNs with the identity of their originals.
#[derive(Debug, Default)]
pub struct Reverted {
    /// The steps that were made.
    pub done: Done,
    /// What the array is to record.
    pub identities: Vec<v1::SetLun>,
    /// Which LUN kept its identity, and why.
    pub notes: Vec<String>,
}

/// Gives LUNs the identity of their originals again.
pub async fn revert(
    node: &Node,
    record: &v1::SetRecord,
    luns: &[LunId],
    on_failure: OnFailure,
) -> Result<Reverted> {
    let mut reverted = Reverted::default();
    for part in &record.luns {
        let lun: LunId = part.working_lun_id.parse()?;
        if !luns.contains(&lun) {
            continue;
        }
        let mut done = Done::default();
        match revert_one(node, lun, part, &mut done).await {
            Ok(()) => {
                reverted.done.append(done);
                reverted.identities.push(v1::SetLun { identity: Vec::new(), ..part.clone() });
            }
            Err(error) => {
                tracing::warn!(set = record.id, %lun, code = %error.code(), error = error.chain(), "not reverted");
                done.undo(node).await;
                if on_failure == OnFailure::Fail {
                    reverted.done.undo(node).await;
                    return Err(error);
                }
                reverted.notes.push(format!("LUN {lun} keeps its renewed identity: {}", error.chain()));
            }
        }
    }
    Ok(reverted)
}

async fn revert_one(node: &Node, lun: LunId, part: &v1::SetLun, done: &mut Done) -> Result<()> {
    unmount_all(node, lun, done).await?;
    let _turn = node.locks.lock(&lun.to_string()).await;
    match attachments::find(node, lun).await? {
        Some(state) if state.device.is_some() => {
            attachments::remove_device(node, lun).await?;
            done.undo.push(Undo::Device(lun));
            done.without_device.push(lun);
        }
        Some(_) => {}
        None => {
            let shown = node.array.lun(&lun.to_string()).await?;
            attachments::start(node, &shown, DeviceWish::None).await?;
            done.undo.push(Undo::Detach(lun));
        }
    }
    done.undo.push(Undo::Protect(lun));
    node.array.set_lun_access(&lun.to_string(), Access::ReadWrite).await?;
    attachments::refresh(node, lun).await?;
    done.undo.push(Undo::Renew(lun, part.identity.clone()));
    identity::revert(node, lun, &part.identity).await?;
    attachments::flush(node, lun).await.map(drop)
}

impl Done {
    fn append(&mut self, later: Done) {
        self.undo.extend(later.undo);
        self.unmounted.extend(later.unmounted);
        self.without_device.extend(later.without_device);
    }

    /// Nothing is to be undone any more.
    pub fn keep(mut self) {
        self.undo.clear();
    }

    /// Undoes every step, the last first.
    pub async fn undo(mut self, node: &Node) {
        while let Some(step) = self.undo.pop() {
            if let Err(error) = step.undo(node).await {
                tracing::error!(?step, code = %error.code(), error = error.chain(), "could not undo a host step");
            }
        }
    }
}

impl Undo {
    async fn undo(&self, node: &Node) -> Result<()> {
        match self {
            Undo::Mount(mounted) => {
                super::aftermath::mount_again(node, mounted, Access::ReadOnly, mounted.copy).await.map(drop)
            }
            Undo::Attach(lun) => {
                let shown = node.array.lun(&lun.to_string()).await?;
                attachments::start(node, &shown, DeviceWish::ReadOnly).await.map(drop)
            }
            Undo::Detach(lun) => attachments::stop(node, *lun).await.map(drop),
            Undo::Device(lun) => attachments::make_device(node, *lun, Access::ReadOnly).await.map(drop),
            Undo::Protect(lun) => {
                node.array.set_lun_access(&lun.to_string(), Access::ReadOnly).await?;
                attachments::refresh(node, *lun).await.map(drop)
            }
            Undo::Renew(lun, changes) => identity::renew_again(node, *lun, changes).await,
        }
    }
}

/// The same mount once more.
pub fn wish(mounted: &Mounted, access: Access) -> Wish {
    Wish {
        device: mounted.device.clone(),
        path: mounted.path.clone(),
        lun_id: mounted.lun_id.clone(),
        copy: mounted.copy,
        access,
    }
}

/// Detaches what was attached only for the break.
pub async fn release_unused(node: &Node, done: &Done, luns: &[LunId]) {
    for lun in luns.iter().filter(|lun| !done.without_device.contains(lun)) {
        let state = attachments::find(node, *lun).await.ok().flatten();
        if state.is_some_and(|state| state.device.is_none()) {
            exposure::release(node, *lun).await;
        }
    }
}

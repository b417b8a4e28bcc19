//! After the point of no return: devices and mounts follow the LUNs' new life as far as they can; what cannot is a note.

use super::steps::{self, Done};
use crate::{
    array::Access,
    attachments, mounting,
    mounts::{Copy, Mounted},
    node::Node,
};
use std::path::PathBuf;
use umbra_base::{LunId, Result};

/// Carries the break over to this host's devices and mounts; sentences about what stayed as it was.
pub async fn carry_over(node: &Node, luns: &[LunId], access: Access, done: Done) -> Vec<String> {
    let mut notes = Vec::new();
    for lun in luns {
        if let Err(error) = devices(node, *lun, access, &done).await {
            notes.push(format!("device of LUN {lun}: {}", error.chain()));
        }
    }
    steps::release_unused(node, &done, luns).await;
    for mounted in &done.unmounted {
        if let Err(error) = mount_again(node, mounted, access, None).await {
            notes.push(format!("{} is not mounted any more: {}", mounted.path.display(), error.chain()));
        }
    }
    match mounting::alive(node).await {
        Ok(mounts) => {
            for mounted in
                mounts.iter().filter(|mounted| luns.iter().any(|lun| lun.to_string() == mounted.lun_id))
            {
                if let Err(error) = own_life(node, mounted, access).await {
                    notes.push(format!("{} stays as it was: {}", mounted.path.display(), error.chain()));
                }
            }
        }
        Err(error) => notes.push(format!("mounts stay as they were: {}", error.chain())),
    }
    done.keep();
    notes
}

/// The block devices take the array's protection over, or its end.
async fn devices(node: &Node, lun: LunId, access: Access, done: &Done) -> Result<()> {
    let Some(state) = attachments::find(node, lun).await? else { return Ok(()) };
    attachments::refresh(node, lun).await?;
    if state.device.is_some() || done.without_device.contains(&lun) {
        attachments::make_device(node, lun, access).await?;
    }
    Ok(())
}

/// Mounts once more what was mounted, on the device that the LUN has now: it may have another number than before.
pub(super) async fn mount_again(
    node: &Node,
    mounted: &Mounted,
    access: Access,
    copy: Option<Copy>,
) -> Result<()> {
    let lun: LunId = mounted.lun_id.parse()?;
    let state = attachments::find(node, lun).await?.and_then(|state| state.device);
    let device = state.map_or_else(|| mounted.device.clone(), |device| moved(&mounted.device, device));
    let wish = mounting::Wish { device, copy, ..steps::wish(mounted, access) };
    mounting::mount(node, wish).await.map(drop)
}

/// The same partition of the device that the LUN has now.
fn moved(before: &std::path::Path, device: PathBuf) -> PathBuf {
    let name = before.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    match name.rsplit_once('p') {
        Some((stem, number)) if digits(number) && stem.ends_with(|c: char| c.is_ascii_digit()) => {
            PathBuf::from(format!("{}p{number}", device.display()))
        }
        _ => device,
    }
}

/// A mount of a broken LUN is no copy's any more; writable if the LUN is.
async fn own_life(node: &Node, mounted: &Mounted, access: Access) -> Result<()> {
    if mounted.copy.is_some() {
        node.mounts.put(&Mounted { copy: None, ..mounted.clone() })?;
    }
    if access == Access::ReadWrite {
        mounting::remount(mounted, access).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_partition_is_found_again_on_a_device_of_another_name() {
        let moved = |before: &str| moved(Path::new(before), "/dev/loop9".into());
        assert_eq!(moved("/dev/loop3"), Path::new("/dev/loop9"));
        assert_eq!(moved("/dev/loop3p2"), Path::new("/dev/loop9p2"));
    }
}

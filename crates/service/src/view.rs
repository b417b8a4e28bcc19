//! Sets as this host knows them: the array's record, where each copy is mounted, which devices it has.

use crate::{attachments, mounting, mounts::Mounted, node::Node};
use umbra_api::v1;
use umbra_base::Result;
use umbra_host::attach::State;

/// One set.
pub async fn service_set(node: &Node, record: v1::SetRecord) -> Result<v1::ServiceSet> {
    Ok(service_sets(node, vec![record]).await?.pop().unwrap_or_default())
}

/// Several sets, with one look at the host.
pub async fn service_sets(node: &Node, records: Vec<v1::SetRecord>) -> Result<Vec<v1::ServiceSet>> {
    let attached = attachments::list(node).await?;
    let mounted = mounting::alive(node).await?;
    Ok(records.into_iter().map(|record| assemble(record, &attached, &mounted)).collect())
}

fn assemble(record: v1::SetRecord, attached: &[State], mounted: &[Mounted]) -> v1::ServiceSet {
    let copies = record.copies.iter().map(|copy| copy_state(&record, copy, attached, mounted)).collect();
    v1::ServiceSet { record: Some(record), copies }
}

fn copy_state(
    record: &v1::SetRecord,
    copy: &v1::CopyRecord,
    attached: &[State],
    mounted: &[Mounted],
) -> v1::CopyState {
    let mount = mounted.iter().find(|mount| mount.copy.is_some_and(|of| of.id.to_string() == copy.copy_id));
    let devices = copy.extents.iter().filter_map(|extent| {
        let lun = working_lun(record, &extent.lun_id)?;
        let state = attached.iter().find(|state| state.lun.to_string() == lun)?;
        let number = attachments::partition_at(state, extent).ok()?;
        attachments::partition_device(state, number).ok()
    });
    v1::CopyState {
        copy_id: copy.copy_id.clone(),
        exposed_at: mount.map(|mount| mount.path.display().to_string()).unwrap_or_default(),
        devices: devices.map(|device| device.display().to_string()).collect(),
    }
}

/// The working LUN of an original in a set.
pub fn working_lun<'a>(record: &'a v1::SetRecord, origin: &str) -> Option<&'a str> {
    record.luns.iter().find(|lun| lun.origin_lun_id == origin).map(|lun| lun.working_lun_id.as_str())
}

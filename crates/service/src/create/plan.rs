//! From an order to a plan: what the volumes lie on, who has data on them, who copies them; and what is refused.

use super::{Order, Writers};
use crate::{
    node::Node,
    provider::{Provider, SetSpec},
    resolve::{self, Resolved},
    writers::{self, Affected, Joined},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};
use umbra_api::v1;
use umbra_base::{Error, ErrorCode, Result};
use umbra_vss::{Ground, Plan, ProviderPlan, VolumePlan, WriterPlan};
use umbra_writers::Writer;

/// All that a creation needs to know.
pub struct Planned {
    /// For the machine.
    pub plan: Plan,
    /// For the provider.
    pub spec: SetSpec,
    /// Mount points to be frozen.
    pub mounts: Vec<PathBuf>,
    /// Providers by name.
    pub providers: BTreeMap<String, Arc<dyn Provider>>,
    /// Writers by name.
    pub writers: BTreeMap<String, Arc<dyn Writer>>,
    /// Why somebody does not take part.
    pub remarks: Vec<String>,
}

/// Plans the set of `order`.
pub async fn make(node: &Node, order: &Order) -> Result<Planned> {
    let provider = provider(node, order)?;
    let found = resolve::volumes(node, &order.volumes).await?;
    refuse_twice(&found.volumes)?;
    resolve::refuse_under_umbra(node, &found.volumes).await?;
    let joined = match order.writers {
        Writers::None => Joined::default(),
        Writers::Affected => writers::join(node, order.set, &found.volumes).await?,
    };
    let plan = Plan {
        set: order.set,
        volumes: found.volumes.iter().map(|volume| volume_plan(volume, provider.name())).collect(),
        writers: joined.affected.iter().map(|joined| writer_plan(&joined.writer)).collect(),
        providers: vec![ProviderPlan { name: provider.name().to_owned() }],
    };
    plan.check()?;
    Ok(Planned {
        spec: spec(order, &found, &joined.affected),
        mounts: found.volumes.iter().filter_map(|volume| volume.mount_points.first().cloned()).collect(),
        providers: BTreeMap::from([(provider.name().to_owned(), provider)]),
        writers: joined
            .affected
            .into_iter()
            .map(|joined| (joined.writer.name().to_owned(), joined.writer))
            .collect(),
        remarks: joined.remarks,
        plan,
    })
}

fn provider(node: &Node, order: &Order) -> Result<Arc<dyn Provider>> {
    let mut known = node.providers().into_iter();
    match &order.provider {
        None => known.next().ok_or_else(|| Error::new(ErrorCode::VolumeNotSupported, "there is no provider")),
        Some(name) => known.find(|provider| provider.name() == name).ok_or_else(|| {
            Error::new(ErrorCode::ObjectNotFound, format!("provider {name:?} is not known"))
                .hint("`umbra providers` shows those that are")
        }),
    }
}

/// The same volume under two names is one volume: a set with it twice would be one with two copies of it.
fn refuse_twice(volumes: &[Resolved]) -> Result<()> {
    let mut seen: BTreeMap<_, &str> = BTreeMap::new();
    for volume in volumes {
        if let Some(first) = seen.insert(&volume.device, &volume.name) {
            let text =
                format!("{:?} and {first:?} are the same volume, {}", volume.name, volume.device.display());
            return Err(Error::new(ErrorCode::VolumeNotSupported, text).hint("name each volume once"));
        }
    }
    Ok(())
}

fn volume_plan(volume: &Resolved, provider: &str) -> VolumePlan {
    let ground = if volume.mount_points.is_empty() { Ground::Raw } else { Ground::Mounted };
    VolumePlan { name: volume.name.clone(), provider: provider.to_owned(), ground }
}

fn writer_plan(writer: &Arc<dyn Writer>) -> WriterPlan {
    WriterPlan { name: writer.name().to_owned(), level: writer.level() }
}

fn spec(order: &Order, found: &resolve::Found, writers: &[Affected]) -> SetSpec {
    let luns: BTreeSet<_> =
        found.volumes.iter().flat_map(|volume| &volume.extents).map(|extent| &extent.lun_id).collect();
    SetSpec {
        set: order.set,
        luns: luns.into_iter().cloned().collect(),
        copies: found.volumes.iter().map(|volume| copy(volume, writers)).collect(),
        extra_volumes: found.extra.clone(),
        labels: order.labels.clone(),
        expires_at_unix_ns: order.expires_at_unix_ns,
        import: order.import,
        life: order.life,
    }
}

fn copy(volume: &Resolved, writers: &[Affected]) -> v1::CopyRecord {
    let mount_point = volume.mount_points.first().map(|path| path.display().to_string());
    v1::CopyRecord {
        copy_id: uuid::Uuid::new_v4().to_string(),
        volume: volume.name.clone(),
        volume_device: volume.device.display().to_string(),
        fs_type: volume.fs_type.clone(),
        fs_uuid: volume.fs_uuid.clone(),
        mount_point: mount_point.unwrap_or_default(),
        extents: volume.extents.clone(),
        consistency: v1::Consistency::Unspecified.into(),
        consistency_reason: String::new(),
        writers: writers
            .iter()
            .filter(|joined| joined.volumes.contains(&volume.name))
            .map(|joined| joined.writer.name().to_owned())
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_volume_under_two_names_is_refused() {
        let volume =
            |name: &str| Resolved { name: name.into(), device: "/dev/loop1".into(), ..Resolved::default() };
        let error = refuse_twice(&[volume("/a"), volume("/dev/loop1")]).unwrap_err();
        assert_eq!(error.code(), ErrorCode::VolumeNotSupported);
        assert!(refuse_twice(&[volume("/a")]).is_ok());
    }
}

//! Writers of this host: who they are, how they do, and which of them have data on the volumes of a set.
//!
//! Their configuration is read whenever it is needed, so that a change needs no restart. What always holds: a path belongs to
//! the volume whose file system it lies on by device number, however it is spelt; a writer that cannot be asked takes no
//! part, and the set's record says so.

use crate::{
    node::{Node, blocking},
    resolve::{self, Resolved},
};
use std::{
    collections::BTreeMap,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
    sync::Arc,
    time::Duration,
};
use umbra_api::v1;
use umbra_base::{Error, ErrorCode, Result, SetId};
use umbra_vss::Level;
use umbra_writers::{Identity, SetContext, VolumeOf, Writer, WriterConfig};

/// How long a writer may take to say who it is.
const IDENTIFY: Duration = Duration::from_secs(15);

/// A writer that takes part in a set.
#[derive(Debug, Clone)]
pub struct Affected {
    /// It.
    pub writer: Arc<dyn Writer>,
    /// Names of the volumes that have its data.
    pub volumes: Vec<String>,
}

/// Who takes part, and why somebody does not.
#[derive(Debug, Default)]
pub struct Joined {
    /// Those with data in the set.
    pub affected: Vec<Affected>,
    /// Sentences about those that could not be asked.
    pub remarks: Vec<String>,
}

/// The writers with data on any of `volumes`.
pub async fn join(node: &Node, set: SetId, volumes: &[Resolved]) -> Result<Joined> {
    let context = SetContext { set, volume_of: volume_of(volumes) };
    let mut joined = Joined::default();
    for (config, identity) in identified(node).await? {
        match identity {
            Ok(identity) => joined.affected.extend(affected(&config, &identity, &context)),
            Err(error) => {
                tracing::warn!(writer = config.name, code = %error.code(), error = error.chain(), "not asked");
                joined.remarks.push(format!(
                    "writer {:?} could not be asked: {}",
                    config.name,
                    error.chain()
                ));
            }
        }
    }
    Ok(joined)
}

fn affected(config: &WriterConfig, identity: &Identity, context: &SetContext) -> Option<Affected> {
    let writer = config.join(identity, context)?;
    let mut volumes: Vec<_> =
        identity.places.iter().filter_map(|place| (context.volume_of)(&place.path)).collect();
    volumes.sort();
    volumes.dedup();
    Some(Affected { writer, volumes })
}

/// Every configured writer, asked who it is; all at once.
async fn identified(node: &Node) -> Result<Vec<(WriterConfig, Result<Identity>)>> {
    let folder = node.config.writers_dir.clone();
    let configs = blocking(move || umbra_writers::load(&folder)).await?;
    let asking: Vec<_> = configs.into_iter().map(|config| tokio::spawn(identify(config))).collect();
    let mut all = Vec::new();
    for answer in asking {
        all.push(
            answer.await.map_err(|panic| Error::new(ErrorCode::Internal, "ask a writer").because(panic))?,
        );
    }
    Ok(all)
}

async fn identify(config: WriterConfig) -> (WriterConfig, Result<Identity>) {
    let identity = match tokio::time::timeout(IDENTIFY, config.identify()).await {
        Ok(identity) => identity,
        Err(_) => {
            let text = format!("writer {:?} did not answer within {} s", config.name, IDENTIFY.as_secs());
            Err(Error::new(ErrorCode::WriterTimeout, text).param("writer", &config.name))
        }
    };
    (config, identity)
}

/// Finds the volume of a path by the device number of its file system; of a block device by its own.
fn volume_of(volumes: &[Resolved]) -> VolumeOf {
    let mut known = BTreeMap::new();
    for volume in volumes {
        let device = std::fs::metadata(&volume.device).ok().map(|meta| meta.rdev());
        let mounts =
            volume.mount_points.iter().filter_map(|path| std::fs::metadata(path).ok()).map(|meta| meta.dev());
        for number in mounts.chain(device) {
            known.insert(number, volume.name.clone());
        }
    }
    Arc::new(move |path: &Path| {
        let meta = std::fs::metadata(path).ok()?;
        let number = if meta.file_type().is_block_device() { meta.rdev() } else { meta.dev() };
        known.get(&number).cloned()
    })
}

/// The writers as they are now.
pub async fn describe(node: &Node) -> Result<Vec<v1::Writer>> {
    let everything = resolve::mounted(node).await?;
    let volume_of = volume_of(&everything);
    let identified = identified(node).await?;
    Ok(identified.iter().map(|(config, identity)| shape(config, identity, &volume_of)).collect())
}

fn shape(config: &WriterConfig, identity: &Result<Identity>, volume_of: &VolumeOf) -> v1::Writer {
    let mut writer = v1::Writer {
        name: config.name.clone(),
        kind: config.kind().to_owned(),
        level: level(config.level).to_owned(),
        ..Default::default()
    };
    match identity {
        Ok(identity) => {
            writer.state = "stable".to_owned();
            writer.paths = identity.places.iter().map(|place| place.path.display().to_string()).collect();
            writer.volumes = identity.places.iter().filter_map(|place| volume_of(&place.path)).collect();
            writer.volumes.sort();
            writer.volumes.dedup();
            writer.facts = facts(identity);
        }
        Err(error) => {
            writer.state = "unreachable".to_owned();
            writer.last_error = error.chain();
        }
    }
    writer
}

fn facts(identity: &Identity) -> std::collections::HashMap<String, String> {
    let product = Some(identity.product.clone()).filter(|product| !product.is_empty());
    let remarks = Some(identity.remarks.join("; ")).filter(|remarks| !remarks.is_empty());
    let named = [("product", product), ("remarks", remarks)];
    named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn level(level: Level) -> &'static str {
    match level {
        Level::FrontEnd => "front_end",
        Level::Application => "application",
        Level::System => "system",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_belongs_to_the_volume_of_its_file_system_however_it_is_spelt() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/proc/self", &link).unwrap();
        let volume = |name: &str| Resolved {
            name: name.into(),
            device: "/nonexistent".into(),
            mount_points: vec![name.into()],
            ..Default::default()
        };
        let volume_of = volume_of(&[volume("/proc"), volume("/sys")]);
        assert_eq!(volume_of(&link), Some("/proc".into()));
        assert_eq!(volume_of(Path::new("/sys/../proc/self")), Some("/proc".into()));
        assert_eq!(volume_of(folder.path()), None);
    }
}

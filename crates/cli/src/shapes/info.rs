//! Writers, providers and volumes.

use super::given;
use crate::{
    output::Shape,
    table::{or_dash, table},
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io::{self, Write},
};
use umbra_api::v1;
use umbra_base::size::format_size;

#[derive(Debug, Serialize)]
pub struct WriterList {
    pub writers: Vec<Writer>,
}

#[derive(Debug, Serialize)]
pub struct Writer {
    pub name: String,
    pub kind: String,
    pub level: String,
    pub state: String,
    pub last_error: Option<String>,
    pub paths: Vec<String>,
    pub volumes: Vec<String>,
    pub facts: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
pub struct ProviderList {
    pub providers: Vec<Provider>,
}

#[derive(Debug, Serialize)]
pub struct Provider {
    pub name: String,
    pub kind: String,
    pub version: String,
    pub state: String,
    pub detail: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct VolumeList {
    pub volumes: Vec<Volume>,
}

#[derive(Debug, Serialize)]
pub struct Volume {
    pub device: String,
    pub size_bytes: u64,
    pub fs_type: Option<String>,
    pub fs_uuid: Option<String>,
    pub fs_label: Option<String>,
    pub mount_points: Vec<String>,
    pub extents: Vec<Extent>,
    pub provider: Option<String>,
    pub extra_volumes: Vec<String>,
}

/// A run of bytes of a LUN.
#[derive(Debug, Serialize)]
pub struct Extent {
    pub lun: String,
    pub offset_bytes: u64,
    pub length_bytes: u64,
}

impl From<v1::ListWritersReply> for WriterList {
    fn from(reply: v1::ListWritersReply) -> Self {
        WriterList { writers: reply.writers.into_iter().map(Writer::from).collect() }
    }
}

impl From<v1::Writer> for Writer {
    fn from(writer: v1::Writer) -> Self {
        Writer {
            name: writer.name,
            kind: writer.kind,
            level: writer.level,
            state: writer.state,
            last_error: given(writer.last_error),
            paths: writer.paths,
            volumes: writer.volumes,
            facts: writer.facts.into_iter().collect(),
        }
    }
}

impl From<v1::ListProvidersReply> for ProviderList {
    fn from(reply: v1::ListProvidersReply) -> Self {
        let one = |provider: v1::Provider| Provider {
            name: provider.name,
            kind: provider.kind,
            version: provider.version,
            state: provider.state,
            detail: given(provider.detail),
        };
        ProviderList { providers: reply.providers.into_iter().map(one).collect() }
    }
}

impl From<v1::ListVolumesReply> for VolumeList {
    fn from(reply: v1::ListVolumesReply) -> Self {
        VolumeList { volumes: reply.volumes.into_iter().map(Volume::from).collect() }
    }
}

impl From<v1::Volume> for Volume {
    fn from(volume: v1::Volume) -> Self {
        Volume {
            device: volume.device,
            size_bytes: volume.size_bytes,
            fs_type: given(volume.fs_type),
            fs_uuid: given(volume.fs_uuid),
            fs_label: given(volume.fs_label),
            mount_points: volume.mount_points,
            extents: volume.extents.into_iter().map(Extent::from).collect(),
            provider: given(volume.provider),
            extra_volumes: volume.extra_volumes,
        }
    }
}

impl From<v1::Extent> for Extent {
    fn from(extent: v1::Extent) -> Self {
        Extent { lun: extent.lun_id, offset_bytes: extent.offset_bytes, length_bytes: extent.length_bytes }
    }
}

impl Shape for WriterList {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let row = |writer: &Writer| {
            [
                writer.name.clone(),
                writer.kind.clone(),
                writer.level.replace('_', "-"),
                writer.state.clone(),
                or_dash(&writer.volumes.join(" ")),
                or_dash(writer.last_error.as_deref().unwrap_or_default()),
            ]
        };
        let rows: Vec<_> = self.writers.iter().map(row).collect();
        table(out, ["WRITER", "KIND", "LEVEL", "STATE", "VOLUMES", "LAST ERROR"], &rows)
    }
}

impl Shape for ProviderList {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let row = |provider: &Provider| {
            let detail = or_dash(provider.detail.as_deref().unwrap_or_default());
            [provider.name.clone(), provider.kind.clone(), provider.state.clone(), detail]
        };
        table(
            out,
            ["PROVIDER", "KIND", "STATE", "DETAIL"],
            &self.providers.iter().map(row).collect::<Vec<_>>(),
        )
    }
}

impl Shape for VolumeList {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let row = |volume: &Volume| {
            [
                volume.device.clone(),
                format_size(volume.size_bytes),
                or_dash(volume.fs_type.as_deref().unwrap_or_default()),
                or_dash(&volume.mount_points.join(" ")),
                or_dash(volume.provider.as_deref().unwrap_or_default()),
            ]
        };
        let rows: Vec<_> = self.volumes.iter().map(row).collect();
        table(out, ["DEVICE", "SIZE", "FILE SYSTEM", "MOUNTED AT", "PROVIDER"], &rows)
    }
}

//! Attachments as the service uses them: a LUN that the array shows to this host becomes a process of its own with a
//! file view and, when wanted, a block device (crate `host`). The service only starts, finds and asks them.
//!
//! What always holds: nothing about an attachment is remembered here; who wants to know asks its folder and process.

use crate::{
    array::Access,
    limits::{IN_USE_PAUSE, IN_USE_TRIES},
    node::{Node, blocking},
};
use std::path::{Path, PathBuf};
use umbra_api::v1;
use umbra_base::{Error, ErrorCode, LunId, Result};
use umbra_host::attach::{
    self, Attachment, Credentials, Designators, DeviceWish, Endpoint, Launcher, Spec, State,
};

/// Every attachment of this host.
pub async fn list(node: &Node) -> Result<Vec<State>> {
    let runtime = node.config.runtime.clone();
    blocking(move || {
        let found = attach::list(&runtime)?;
        Ok(found.into_iter().map(asked).collect())
    })
    .await
}

/// What the attachment says now; one that does not answer is told as it last was.
fn asked(mut attachment: Attachment) -> State {
    let last = attachment.state().clone();
    attachment.refresh_state().cloned().unwrap_or(last)
}

/// The attachment of a LUN, if it is attached.
pub async fn find(node: &Node, lun: LunId) -> Result<Option<State>> {
    let runtime = node.config.runtime.clone();
    blocking(move || Ok(attach::find(&runtime, lun)?.map(asked))).await
}

/// Asks the attachment of a LUN for something.
async fn ask(
    node: &Node,
    lun: LunId,
    what: impl FnOnce(&mut Attachment) -> Result<&State> + Send + 'static,
) -> Result<State> {
    let runtime = node.config.runtime.clone();
    blocking(move || {
        let mut attachment = attach::find(&runtime, lun)?.ok_or_else(|| not_attached(lun))?;
        what(&mut attachment).cloned()
    })
    .await
}

/// Attaches a LUN as the array presents it to this host now. Attached already, it is left as it is.
pub async fn start(node: &Node, lun: &v1::Lun, device: DeviceWish) -> Result<(v1::Outcome, State)> {
    let id: LunId = lun.id.parse()?;
    if let Some(state) = find(node, id).await? {
        return Ok((v1::Outcome::Unchanged, state));
    }
    let spec = spec(node, lun, id, device).await?;
    let launcher = Launcher::new(&node.config.program);
    let state = blocking(move || Ok(attach::start(&launcher, &spec)?.state().clone())).await?;
    Ok((v1::Outcome::Created, state))
}

async fn spec(node: &Node, lun: &v1::Lun, id: LunId, device: DeviceWish) -> Result<Spec> {
    let status = node.array.status().await?;
    let host = &node.config.host_name;
    let shown = lun.presentations.iter().find(|p| p.host_name == *host).ok_or_else(|| {
        Error::new(ErrorCode::AccessDenied, format!("LUN {:?} is not shown to this host, {host:?}", lun.name))
            .hint(format!("umbra lun unmask {} --to {host}", lun.name))
            .param("lun", &lun.id)
    })?;
    let (endpoint, credentials) = endpoint(node, &status).await?;
    let number = u16::try_from(shown.number)
        .map_err(|_| Error::new(ErrorCode::ProtocolError, format!("{} is not a LUN number", shown.number)))?;
    Ok(Spec {
        runtime: node.config.runtime.clone(),
        lun: id,
        endpoint,
        target: status.iqn,
        initiator: node.config.initiator.clone(),
        credentials,
        number,
        expect: Designators { naa: u64::from_str_radix(&lun.naa, 16).ok(), uuid: None },
        device,
    })
}

/// The local portal where it is on this machine, else the first TCP portal with this host's secret.
async fn endpoint(node: &Node, status: &v1::ArrayStatus) -> Result<(Endpoint, Credentials)> {
    let socket = PathBuf::from(&status.iscsi_socket);
    if !status.iscsi_socket.is_empty() && socket.exists() {
        return Ok((Endpoint::Unix(socket), Credentials::None));
    }
    let portal = status.portals.first().ok_or_else(|| {
        Error::new(
            ErrorCode::Unreachable,
            format!("the array's iSCSI socket {} is not here", socket.display()),
        )
        .hint("start the array on this machine, or with --listen ADDR:PORT")
    })?;
    let secret = node.array.host_secret(&node.config.host_name).await?;
    let file = node.config.runtime.join("chap.secret");
    write_secret(&file, &secret.secret)?;
    Ok((Endpoint::Tcp(portal.clone()), Credentials::Chap { user: secret.user, secret_file: file }))
}

fn write_secret(path: &Path, secret: &str) -> Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let what = |source: std::io::Error| Error::io(format!("write {}", path.display()), source);
    let fresh = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&fresh).map_err(what)?;
    file.write_all(secret.as_bytes()).map_err(what)?;
    std::fs::rename(&fresh, path).map_err(what)
}

/// Makes the block device of an attached LUN; there already, only its read-only mark may change.
pub async fn make_device(node: &Node, lun: LunId, access: Access) -> Result<State> {
    let wish = match access {
        Access::ReadOnly => DeviceWish::ReadOnly,
        Access::ReadWrite => DeviceWish::ReadWrite,
    };
    ask(node, lun, move |attachment| attachment.make_device(wish)).await
}

/// Takes the block device of an attached LUN down, and keeps its file view.
pub async fn remove_device(node: &Node, lun: LunId) -> Result<State> {
    patiently(|| ask(node, lun, |attachment| attachment.make_device(DeviceWish::None))).await
}

/// Does what needs a device that nobody has open, a few times: whoever lists volumes (udev, another service on this
/// machine) has each device open for a moment.
async fn patiently<T, F: Future<Output = Result<T>>>(work: impl Fn() -> F) -> Result<T> {
    for _ in 0..IN_USE_TRIES {
        match work().await {
            Err(error) if error.code() == ErrorCode::VolumeInUse => tokio::time::sleep(IN_USE_PAUSE).await,
            other => return other,
        }
    }
    work().await
}

/// Makes everything acknowledged on an attached LUN durable.
pub async fn flush(node: &Node, lun: LunId) -> Result<State> {
    ask(node, lun, Attachment::flush).await
}

/// Makes an attachment look at its LUN again: size, write protection, partitions.
pub async fn refresh(node: &Node, lun: LunId) -> Result<State> {
    ask(node, lun, Attachment::refresh).await
}

/// Ends the attachment of a LUN, unless it is in use.
pub async fn stop(node: &Node, lun: LunId) -> Result<v1::Outcome> {
    patiently(|| {
        let runtime = node.config.runtime.clone();
        blocking(move || match attach::find(&runtime, lun)? {
            Some(attachment) => attachment.detach().map(|()| v1::Outcome::Deleted),
            // What a killed one left is cleared away.
            None => attach::stop(&runtime, lun).map(|()| v1::Outcome::Unchanged),
        })
    })
    .await
}

fn not_attached(lun: LunId) -> Error {
    Error::new(ErrorCode::BadState, format!("LUN {lun} is not attached")).param("lun", lun)
}

/// The block device of a partition; number 0 is the whole LUN.
pub fn partition_device(state: &State, number: u32) -> Result<PathBuf> {
    let device = state
        .device
        .as_ref()
        .ok_or_else(|| Error::new(ErrorCode::BadState, format!("LUN {} has no block device", state.lun)))?;
    if number == 0 {
        return Ok(device.clone());
    }
    if !state.partitions.iter().any(|partition| partition.number == number) {
        let text = format!("LUN {} has no partition {number}", state.lun);
        return Err(Error::new(ErrorCode::ObjectNotFound, text));
    }
    Ok(PathBuf::from(format!("{}p{number}", device.display())))
}

/// The number of the partition that lies where `extent` says; 0 for the whole LUN.
pub fn partition_at(state: &State, extent: &v1::Extent) -> Result<u32> {
    if let Some(partition) = state.partitions.iter().find(|partition| partition.start == extent.offset_bytes)
    {
        return Ok(partition.number);
    }
    if extent.offset_bytes == 0 {
        return Ok(0);
    }
    let text = format!("LUN {} has no partition at byte {}", state.lun, extent.offset_bytes);
    Err(Error::new(ErrorCode::Corrupt, text).hint("the partition table changed since the copy was recorded"))
}

/// As on the wire.
pub fn shape(state: &State, name: &str) -> v1::Attachment {
    let device = state.device.as_ref().map(|device| device.display().to_string()).unwrap_or_default();
    let partitions = match device.is_empty() {
        true => Vec::new(),
        false => state.partitions.iter().map(|partition| format!("{device}p{}", partition.number)).collect(),
    };
    let link = match state.link.link.as_str() {
        "up" => "connected",
        "failed" => "failed",
        _ => "reconnecting",
    };
    v1::Attachment {
        lun_id: state.lun.to_string(),
        lun_name: name.to_owned(),
        device,
        partitions,
        pid: state.pid,
        state: link.to_owned(),
        read_only: state.access == DeviceWish::ReadOnly || state.link.write_protected,
    }
}

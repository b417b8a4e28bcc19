//! `umbra lun`: the LUNs of the array, and this host's devices and mounts of them.

use super::{Context, new_id, page};
use crate::{
    args::{LunCommand, LunCreate, LunList as ListArgs, LunMount, Reserve},
    client::{array, reply, service},
    shapes::{
        done::{Attached, Detached, Mounted},
        lun::{Lun, LunDone, LunList, OneLun},
    },
};
use std::path::Path;
use umbra_api::{ArrayClient, ServiceClient, v1};
use umbra_base::{Error, ErrorCode, Result};

pub async fn run(context: &Context, command: LunCommand) -> Result<()> {
    match command {
        command @ (LunCommand::Attach(_)
        | LunCommand::Detach(_)
        | LunCommand::Mount(_)
        | LunCommand::Unmount(_)) => on_this_host(context, service(&context.global).await?, command).await,
        command => in_the_array(context, array(&context.global).await?, command).await,
    }
}

async fn on_this_host(context: &Context, mut client: ServiceClient, command: LunCommand) -> Result<()> {
    let output = context.output;
    match command {
        LunCommand::Attach(args) => {
            let request = v1::AttachLunRequest { key: args.lun };
            output.print(&Attached::from(reply(client.attach_lun(request).await)?))
        }
        LunCommand::Detach(args) => {
            let request = v1::DetachLunRequest { key: args.lun.clone() };
            let was = Attached::from(reply(client.detach_lun(request).await)?);
            output.print(&Detached { was, key: args.lun })
        }
        LunCommand::Mount(args) => {
            output.print(&Mounted::from(reply(client.mount_lun(mount_request(args)?).await)?))
        }
        LunCommand::Unmount(args) => {
            let request = v1::UnmountRequest { path: whole_path(&args.path)? };
            output.print(&Mounted::from(reply(client.unmount(request).await)?))
        }
        _ => Err(Error::new(ErrorCode::Internal, "a command of the array came to the service")),
    }
}

fn mount_request(args: LunMount) -> Result<v1::MountLunRequest> {
    Ok(v1::MountLunRequest {
        key: args.lun,
        path: whole_path(&args.path)?,
        read_only: args.read_only,
        partition: args.partition.unwrap_or(0),
    })
}

/// `path` as a server with another working folder reads it.
pub fn whole_path(path: &Path) -> Result<String> {
    let refuse =
        || Error::new(ErrorCode::InvalidArgument, format!("{:?} is not a path that can be sent", path));
    let whole = std::path::absolute(path).map_err(|source| refuse().because(source))?;
    whole.into_os_string().into_string().map_err(|_| refuse().hint("paths are UTF-8 on this interface"))
}

async fn in_the_array(context: &Context, mut client: ArrayClient, command: LunCommand) -> Result<()> {
    let output = context.output;
    let changed = match command {
        LunCommand::List(args) => return output.print(&list(&mut client, args).await?),
        LunCommand::Show(args) => {
            let lun = reply(client.get_lun(v1::GetLunRequest { key: args.lun }).await)?;
            return output.print(&OneLun { lun: Lun::from(lun) });
        }
        command => change(&mut client, command).await?,
    };
    output.print(&LunDone::from(changed))
}

async fn change(client: &mut ArrayClient, command: LunCommand) -> Result<v1::LunReply> {
    let if_revision = 0; // a person means the LUN as it is now
    reply(match command {
        LunCommand::Create(args) => client.create_lun(create_request(args)).await,
        LunCommand::Delete(args) => {
            client.delete_lun(v1::DeleteLunRequest { key: args.lun, if_revision }).await
        }
        LunCommand::Extend(args) => {
            let request = v1::ExtendLunRequest { key: args.lun, size_bytes: args.size, if_revision };
            client.extend_lun(request).await
        }
        LunCommand::Rename(args) => {
            client.rename_lun(v1::RenameLunRequest { key: args.lun, name: args.name, if_revision }).await
        }
        LunCommand::ReadOnly(args) => {
            let request = v1::SetLunAccessRequest { key: args.lun, read_only: true, if_revision };
            client.set_lun_access(request).await
        }
        LunCommand::ReadWrite(args) => {
            let request = v1::SetLunAccessRequest { key: args.lun, read_only: false, if_revision };
            client.set_lun_access(request).await
        }
        LunCommand::Unmask(args) => {
            client.unmask_lun(v1::UnmaskLunRequest { key: args.lun, host_key: args.to, if_revision }).await
        }
        LunCommand::Mask(args) => {
            let host_key = args.from.unwrap_or_default();
            client.mask_lun(v1::MaskLunRequest { key: args.lun, host_key, if_revision }).await
        }
        _ => return Err(Error::new(ErrorCode::Internal, "a command of the service came to the array")),
    })
}

fn create_request(args: LunCreate) -> v1::CreateLunRequest {
    v1::CreateLunRequest {
        id: new_id(),
        name: args.name,
        size_bytes: args.size,
        labels: args.labels.into_iter().collect(),
        expires_at_unix_ns: 0,
        reserve_bytes: match args.reserve {
            Some(Reserve::Bytes(bytes)) => bytes,
            _ => 0,
        },
        reserve_all: args.reserve == Some(Reserve::All),
        quota_bytes: args.quota.unwrap_or(0),
    }
}

async fn list(client: &mut ArrayClient, args: ListArgs) -> Result<LunList> {
    let host_key = args.host.unwrap_or_default();
    let mut luns = Vec::new();
    let mut token = String::new();
    loop {
        let request = v1::ListLunsRequest { page: page(token), host_key: host_key.clone() };
        let part = reply(client.list_luns(request).await)?;
        luns.extend(part.luns.into_iter().map(Lun::from));
        token = part.next_token;
        if token.is_empty() {
            return Ok(LunList { luns });
        }
    }
}

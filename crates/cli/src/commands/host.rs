//! `umbra host`.

use super::{Context, new_id, page};
use crate::{
    args::{HostAdd, HostCommand},
    client::{array, reply},
    shapes::host::{Host, HostDone, HostList, OneHost, Secret},
};
use umbra_api::{
    ArrayClient,
    v1::{AddHostRequest, DeleteHostRequest, GetHostRequest, ListHostsRequest},
};
use umbra_base::Result;

pub async fn run(context: &Context, command: HostCommand) -> Result<()> {
    let mut client = array(&context.global).await?;
    let output = context.output;
    match command {
        HostCommand::Add(args) => output.print(&add(&mut client, args).await?),
        HostCommand::List => output.print(&list(&mut client).await?),
        HostCommand::Show(args) => {
            let host = reply(client.get_host(GetHostRequest { key: args.host }).await)?;
            output.print(&OneHost { host: Host::from(host) })
        }
        HostCommand::Delete(args) => {
            let request = DeleteHostRequest { key: args.host, if_revision: 0 };
            output.print(&HostDone::from(reply(client.delete_host(request).await)?))
        }
        HostCommand::Secret(args) => {
            let secret = reply(client.get_host_secret(GetHostRequest { key: args.host }).await)?;
            let some = |text: String| (!text.is_empty()).then_some(text);
            let (array_user, array_secret) = (some(secret.array_user), some(secret.array_secret));
            let (user, secret) = (secret.user, secret.secret);
            output.print(&Secret { user, secret, array_user, array_secret, mutual: args.mutual })
        }
    }
}

async fn add(client: &mut ArrayClient, args: HostAdd) -> Result<HostDone> {
    let request = AddHostRequest { id: new_id(), name: args.name, initiator: args.initiator };
    Ok(HostDone::from(reply(client.add_host(request).await)?))
}

async fn list(client: &mut ArrayClient) -> Result<HostList> {
    let mut hosts = Vec::new();
    let mut token = String::new();
    loop {
        let part = reply(client.list_hosts(ListHostsRequest { page: page(token) }).await)?;
        hosts.extend(part.hosts.into_iter().map(Host::from));
        token = part.next_token;
        if token.is_empty() {
            return Ok(HostList { hosts });
        }
    }
}

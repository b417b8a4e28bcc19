//! `umbra list`, `show`, `expose`, `unexpose`, `delete`.

use super::{Context, lun::whole_path, page};
use crate::{
    args::{DeleteArgs, ExposeArgs, ListArgs, ShowArgs, UnexposeArgs},
    client::{reply, service},
    shapes::{
        done::{Deleted, Exposed},
        set::{OneSet, Set, SetList, WithTimeline},
    },
};
use umbra_api::{ServiceClient, v1};
use umbra_base::Result;

pub async fn list(context: &Context, args: ListArgs) -> Result<()> {
    let mut client = service(&context.global).await?;
    context.output.print(&sets(&mut client, args).await?)
}

async fn sets(client: &mut ServiceClient, args: ListArgs) -> Result<SetList> {
    let set_key = args.set.unwrap_or_default();
    let mut sets = Vec::new();
    let mut token = String::new();
    loop {
        let request =
            v1::ListServiceSetsRequest { broken: args.broken, set_key: set_key.clone(), page: page(token) };
        let part = reply(client.list_sets(request).await)?;
        sets.extend(part.sets.into_iter().map(Set::from));
        token = part.next_token;
        if token.is_empty() {
            return Ok(SetList { sets });
        }
    }
}

pub async fn show(context: &Context, args: ShowArgs) -> Result<()> {
    let mut client = service(&context.global).await?;
    let set = reply(client.get_set(v1::SetKey { key: args.id, if_revision: 0 }).await)?;
    let set = OneSet { set: Set::from(set) };
    if args.timeline { context.output.print(&WithTimeline(set)) } else { context.output.print(&set) }
}

pub async fn expose(context: &Context, args: ExposeArgs) -> Result<()> {
    let request = v1::ExposeRequest { copy_key: args.copy, path: whole_path(&args.path)? };
    let mut client = service(&context.global).await?;
    context.output.print(&Exposed::from(reply(client.expose(request).await)?))
}

pub async fn unexpose(context: &Context, args: UnexposeArgs) -> Result<()> {
    let mut client = service(&context.global).await?;
    let done = reply(client.unexpose(v1::UnexposeRequest { copy_key: args.copy }).await)?;
    context.output.print(&Exposed::from(done))
}

pub async fn delete(context: &Context, args: DeleteArgs) -> Result<()> {
    let mut client = service(&context.global).await?;
    let done = reply(client.delete(v1::DeleteRequest { key: args.key }).await)?;
    context.output.print(&Deleted::from(done))
}

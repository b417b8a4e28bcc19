//! `umbra writers`, `providers`, `volumes`.

use super::Context;
use crate::{
    client::{reply, service},
    shapes::info::{ProviderList, VolumeList, WriterList},
};
use umbra_api::v1::{ListProvidersRequest, ListVolumesRequest, ListWritersRequest};
use umbra_base::Result;

pub async fn writers(context: &Context) -> Result<()> {
    let mut client = service(&context.global).await?;
    let writers = reply(client.list_writers(ListWritersRequest {}).await)?;
    context.output.print(&WriterList::from(writers))
}

pub async fn providers(context: &Context) -> Result<()> {
    let mut client = service(&context.global).await?;
    let providers = reply(client.list_providers(ListProvidersRequest {}).await)?;
    context.output.print(&ProviderList::from(providers))
}

pub async fn volumes(context: &Context) -> Result<()> {
    let mut client = service(&context.global).await?;
    let volumes = reply(client.list_volumes(ListVolumesRequest {}).await)?;
    context.output.print(&VolumeList::from(volumes))
}

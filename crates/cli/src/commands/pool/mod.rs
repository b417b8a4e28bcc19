//! `umbra pool`: status and size of the array's pool, and the offline commands on metadata in files.

mod check;
mod image;
mod listing;
mod usage;

use super::Context;
use crate::{
    args::{PoolCommand, PoolExtend},
    client::{array, reply},
    shapes::pool::{ArrayStatus, PoolDone},
};
use umbra_api::v1::{ExtendPoolRequest, GetArrayStatusRequest};
use umbra_base::{ExitCode, Result};

pub async fn run(context: &Context, command: PoolCommand) -> Result<ExitCode> {
    let output = context.output;
    match command {
        PoolCommand::Status => status(context).await.map(|()| ExitCode::Done),
        PoolCommand::Extend(args) => extend(context, &args).await.map(|()| ExitCode::Done),
        PoolCommand::Check(args) => check::run(output, &args),
        PoolCommand::Dump(args) => listing::dump(output, &args),
        PoolCommand::Delta(args) => listing::delta(output, &args),
        PoolCommand::Usage(args) => usage::run(output, &args).map(|()| ExitCode::Done),
    }
}

async fn status(context: &Context) -> Result<()> {
    let mut client = array(&context.global).await?;
    let status = reply(client.get_status(GetArrayStatusRequest {}).await)?;
    context.output.print(&ArrayStatus::from(status))
}

async fn extend(context: &Context, args: &PoolExtend) -> Result<()> {
    let mut client = array(&context.global).await?;
    let (data_bytes, metadata_bytes) = (args.data.unwrap_or(0), args.metadata.unwrap_or(0));
    let done = reply(client.extend_pool(ExtendPoolRequest { data_bytes, metadata_bytes }).await)?;
    context.output.print(&PoolDone::from(done))
}

//! `umbra pool`.

use super::Context;
use crate::{
    args::PoolCommand,
    client::{array, reply},
    shapes::pool::ArrayStatus,
};
use umbra_api::v1::GetArrayStatusRequest;
use umbra_base::Result;

pub async fn run(context: &Context, command: PoolCommand) -> Result<()> {
    let PoolCommand::Status = command;
    let mut client = array(&context.global).await?;
    let status = reply(client.get_status(GetArrayStatusRequest {}).await)?;
    context.output.print(&ArrayStatus::from(status))
}

//! `umbra break`. Which flags go together is said twice: by the command line, before any call, and by the service.

use super::Context;
use crate::{
    args::BreakArgs,
    client::{reply, service},
    shapes::done::Broken,
};
use umbra_api::v1::BreakRequest;
use umbra_base::Result;

pub async fn run(context: &Context, args: BreakArgs) -> Result<()> {
    let mut client = service(&context.global).await?;
    let done = reply(client.r#break(request(args)).await)?;
    context.output.print(&Broken::from(done))
}

fn request(args: BreakArgs) -> BreakRequest {
    BreakRequest {
        set_key: args.set,
        read_write: args.read_write,
        mask: args.mask,
        revert_identity: args.revert_identity,
        no_revert_identity: args.no_revert_identity,
    }
}

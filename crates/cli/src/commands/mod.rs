//! The commands: each parses nothing, makes one client call (or reads one pool), and hands a value to [`Output`].

mod breaking;
mod create;
mod diff;
mod host;
mod info;
mod lun;
mod pool;
mod set;

use crate::{
    args::{Command, Global},
    output::Output,
};
use umbra_api::v1;
use umbra_base::{Error, ErrorCode, ExitCode, Result};

/// Objects that one call of a list asks for.
const PAGE: u32 = 500;

/// What every command is given.
#[derive(Debug)]
pub struct Context {
    pub global: Global,
    pub output: Output,
}

/// Runs a command that is a client of the service or the array, or reads a pool in files.
pub async fn run(context: &Context, command: Command) -> Result<ExitCode> {
    match command {
        Command::Pool(command) => pool::run(context, command).await,
        Command::Diff(args) => diff::run(context, args).await,
        command => client(context, command).await.map(|()| ExitCode::Done),
    }
}

async fn client(context: &Context, command: Command) -> Result<()> {
    match command {
        Command::Writers => info::writers(context).await,
        Command::Providers => info::providers(context).await,
        Command::Volumes => info::volumes(context).await,
        Command::Create(args) => create::run(context, args).await,
        Command::List(args) => set::list(context, args).await,
        Command::Show(args) => set::show(context, args).await,
        Command::Expose(args) => set::expose(context, args).await,
        Command::Unexpose(args) => set::unexpose(context, args).await,
        Command::Break(args) => breaking::run(context, args).await,
        Command::Delete(args) => set::delete(context, args).await,
        Command::Lun(command) => lun::run(context, command).await,
        Command::Host(command) => host::run(context, command).await,
        Command::Pool(_) | Command::Diff(_) | Command::Demo(_) | Command::Serve(_) | Command::Array(_) => {
            Err(Error::new(ErrorCode::Internal, "a command came to the clients that is none"))
        }
    }
}

/// The page of a list that `token` names.
fn page(token: String) -> Option<v1::PageRequest> {
    Some(v1::PageRequest { size: PAGE, token })
}

/// An id for a thing that we make: also the idempotency key of its request (P2).
fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

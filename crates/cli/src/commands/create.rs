//! `umbra create`: the phases as they go, then the set; for a volatile one, the command that it lives for.

use super::{Context, new_id};
use crate::{
    args::CreateArgs,
    client::{reply, service},
    output::Output,
    progress::Progress,
    shapes::set::{OneSet, Set},
};
use std::{path::Path, process::Stdio};
use tonic::Streaming;
use umbra_api::{ServiceClient, convert, v1};
use umbra_base::{Error, ErrorCode, Result};

pub async fn run(context: &Context, mut args: CreateArgs) -> Result<()> {
    let mut client = service(&context.global).await?;
    let exec = args.exec.take();
    // The stream is a volatile set's session (B6): it is held until the command has ended.
    let mut events = reply(client.create(request(args)).await)?;
    let set = Set::from(created(&mut events, context.output).await?);
    match exec {
        None => context.output.print(&OneSet { set }),
        Some(command) => with_volatile(client, &set, &command).await,
    }
}

fn request(args: CreateArgs) -> v1::CreateRequest {
    v1::CreateRequest {
        operation_id: new_id(),
        set_id: new_id(),
        volumes: args.volumes.iter().map(|volume| whole_volume(volume)).collect(),
        volatile: args.volatile,
        transportable: false,
        no_writers: args.no_writers,
        provider: args.provider.unwrap_or_default(),
        wait: args.wait,
        labels: args.labels.into_iter().collect(),
        expires_at_unix_ns: 0,
    }
}

/// A volume as the service reads it: relative paths mean something only here.
fn whole_volume(volume: &str) -> String {
    match std::path::absolute(Path::new(volume)) {
        Ok(path) => path.to_str().map_or_else(|| volume.to_owned(), str::to_owned),
        Err(_) => volume.to_owned(),
    }
}

async fn created(events: &mut Streaming<v1::CreateEvent>, output: Output) -> Result<v1::ServiceSet> {
    let progress = Progress::start(output, "creating");
    loop {
        let event = events.message().await.map_err(|status| convert::from_status(&status))?;
        match event.map(|event| event.event) {
            Some(Some(v1::create_event::Event::Phase(phase))) => progress.phase(&phase),
            Some(Some(v1::create_event::Event::Created(set))) => return Ok(set),
            Some(Some(v1::create_event::Event::Failed(detail))) => return Err(convert::error(detail)),
            Some(None) => {} // an event of a newer service
            None => {
                return Err(Error::new(
                    ErrorCode::Unreachable,
                    "the service ended the creation without a result",
                )
                .hint("`umbra list` tells whether the set is there"));
            }
        }
    }
}

async fn with_volatile(mut client: ServiceClient, set: &Set, command: &str) -> Result<()> {
    let ended = execute(set, command).await;
    let gone = match reply(client.delete(v1::DeleteRequest { key: set.id.clone() }).await) {
        // The command broke it or deleted it: a broken set never dies with its requester (B6).
        Err(error) if error.code() == ErrorCode::ObjectNotFound => Ok(()),
        gone => gone.map(drop),
    };
    ended.and(gone)
}

async fn execute(set: &Set, command: &str) -> Result<()> {
    let mut process = tokio::process::Command::new("/bin/sh");
    process.arg("-c").arg(command).stdin(Stdio::inherit()).env("UMBRA_SET", &set.id);
    for (number, copy) in set.copies.iter().enumerate() {
        process.env(format!("UMBRA_COPY_{}", number + 1), &copy.id);
    }
    let status = process.status().await.map_err(|source| Error::io("start /bin/sh for --exec", source))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::new(ErrorCode::CommandFailed, format!("the command of --exec ended with {status}"))
        .hint("the set was made and is deleted again")
        .param("set", &set.id))
}

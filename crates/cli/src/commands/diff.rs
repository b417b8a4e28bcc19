//! `umbra diff`: printed page by page as the array tells it, however much there is.

use super::{Context, page};
use crate::{
    args::DiffArgs,
    client::{array, reply},
    output::Format,
    shapes::diff::{DiffHead, Difference},
    stream::JsonStream,
};
use std::io::Write;
use tokio::{runtime::Handle, task::block_in_place};
use umbra_api::{ArrayClient, v1};
use umbra_base::{Error, ExitCode, Result};

pub async fn run(context: &Context, args: DiffArgs) -> Result<ExitCode> {
    let mut pages = Pages { client: array(&context.global).await?, args, token: String::new() };
    // What is refused is refused before anything is printed.
    let first = pages.next().await?;
    // Output is written where it may wait for its reader.
    block_in_place(|| {
        context.output.stream(|out| match context.output.format {
            Format::Text => text(out, pages, first),
            Format::Json => JsonStream::write(out, |json| object(json, pages, first)),
        })
    })
}

/// The pages of one comparison.
struct Pages {
    client: ArrayClient,
    args: DiffArgs,
    token: String,
}

impl Pages {
    async fn next(&mut self) -> Result<v1::ListDifferencesReply> {
        let (copy_key, old_copy_key) = match &self.args.newer {
            Some(newer) => (newer.clone(), self.args.copy.clone()),
            None => (self.args.copy.clone(), String::new()),
        };
        let page = page(self.token.clone());
        let part = reply(
            self.client.list_differences(v1::ListDifferencesRequest { copy_key, old_copy_key, page }).await,
        )?;
        self.token.clone_from(&part.next_token);
        Ok(part)
    }

    /// Hands out every run, that of `first` before all others.
    fn each(
        mut self,
        first: v1::ListDifferencesReply,
        mut tell: impl FnMut(Difference) -> Result<()>,
    ) -> Result<()> {
        let mut part = first;
        loop {
            part.differences.iter().try_for_each(|run| tell(Difference::from(run)))?;
            if self.token.is_empty() {
                return Ok(());
            }
            part = Handle::current().block_on(self.next())?;
        }
    }
}

fn text(out: &mut dyn Write, pages: Pages, first: v1::ListDifferencesReply) -> Result<ExitCode> {
    let failed = |source| Error::io("write to stdout", source);
    pages.each(first, |run| {
        writeln!(out, "{} {} {}", run.offset_bytes, run.length_bytes, run.kind).map_err(failed)
    })?;
    Ok(ExitCode::Done)
}

fn object(json: &mut JsonStream<'_>, pages: Pages, first: v1::ListDifferencesReply) -> Result<()> {
    json.fields(&DiffHead {
        copy: pages.args.copy.clone(),
        newer: pages.args.newer.clone(),
        block_bytes: first.block_bytes,
        volume_bytes: first.volume_bytes,
    })?;
    json.list("differences")?;
    pages.each(first, |run| json.item(&run))
}

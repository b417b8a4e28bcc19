//! `umbra pool usage`: counted by a whole check, so that numbers come from a sound pool or not at all.

use super::image::PoolImage;
use crate::{args::PoolUsage, output::Output, progress::Bar, shapes::pool::Usage};
use umbra_base::{Error, ErrorCode, Result};
use umbra_thin_check::{Expect, LOG_FEATURE, Report, Severity, check_watched};

pub fn run(output: Output, args: &PoolUsage) -> Result<()> {
    let pool = PoolImage::open(&args.pool)?;
    let expect = Expect { known_features: LOG_FEATURE, ..Expect::default() };
    let bar = Bar::start(output, "counting");
    let report = check_watched(&pool.image, expect, &|progress| bar.at(progress.done, progress.expected));
    drop(bar);
    match report {
        Report { summary: Some(summary), findings } if findings.verdict() < Severity::Error => {
            output.print(&Usage::new(&pool.meta, &summary, args.blocks))
        }
        report => Err(damaged(&pool, &report)),
    }
}

fn damaged(pool: &PoolImage, report: &Report) -> Error {
    let path = pool.meta.display();
    let worst = report.findings.iter().find(|finding| finding.severity() == Severity::Error);
    let why = worst.map(|finding| format!(": {finding}")).unwrap_or_default();
    Error::new(ErrorCode::Corrupt, format!("count what the devices of {path} map: the pool is damaged{why}"))
        .hint(format!("`umbra pool check {path}` tells all that is damaged and what it costs"))
}

//! `umbra pool check`: a report, and an exit status that says whether there is damage.

use super::image::PoolImage;
use crate::{args::PoolCheck, output::Output, progress::Bar, shapes::pool::CheckReport};
use umbra_base::{ExitCode, Result};
use umbra_thin_check::{Expect, LOG_FEATURE, Severity, check_watched};

pub fn run(output: Output, args: &PoolCheck) -> Result<ExitCode> {
    let pool = PoolImage::open(&args.pool)?;
    let data_blocks = match args.data.as_ref().or(pool.data.as_ref()) {
        Some(data) => pool.data_blocks(data)?,
        None => None,
    };
    // That a log stands beside the pool is no damage; the report says so.
    let expect = Expect { data_blocks, known_features: LOG_FEATURE };
    let bar = Bar::start(output, "checking");
    let report = check_watched(&pool.image, expect, &|progress| bar.at(progress.done, progress.expected));
    drop(bar);
    output.print(&CheckReport::new(&pool.meta, &report))?;
    Ok(if report.verdict() == Severity::Ok { ExitCode::Done } else { ExitCode::Damage })
}

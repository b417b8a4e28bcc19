//! placeholder while the chapters are being written
use crate::{args::DemoArgs, output::Output};
use umbra_base::{ExitCode, Result};
pub async fn run(_: Output, _: DemoArgs) -> Result<ExitCode> {
    Ok(ExitCode::Failed)
}

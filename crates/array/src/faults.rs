//! A fault on purpose, for the test that must be able to fail: the environment variable `UMBRA_FAULT`, read only in builds
//! with the feature `faults`. Without the feature no fault can be switched on.
//!
//! `cut_apart=MS`: the first LUN of a set is cut so long before the others, which breaks S1 on purpose.

use umbra_base::Result;
use umbra_store::{LunStore, Snapshot, ThinId};

/// Cuts the first origin alone and rests, where the fault is switched on, and says what is left to cut.
#[cfg(feature = "faults")]
pub(crate) fn cut_one_apart(
    store: &dyn LunStore,
    origins: &[ThinId],
    pairs: Vec<Snapshot>,
) -> Result<Vec<Snapshot>> {
    let Ok(text) = std::env::var("UMBRA_FAULT") else { return Ok(pairs) };
    let Some(ms) = text.strip_prefix("cut_apart=").and_then(|ms| ms.parse().ok()) else { return Ok(pairs) };
    let (Some(first), true) = (origins.first().copied(), origins.len() > 1) else { return Ok(pairs) };
    let (alone, rest): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|pair| pair.origin == first);
    let hold = store.hold(&[first], umbra_base::limits::HOLD_MAX)?;
    store.cut(&hold, &alone)?;
    drop(hold);
    std::thread::sleep(std::time::Duration::from_millis(ms));
    Ok(rest)
}

/// No faults.
#[cfg(not(feature = "faults"))]
pub(crate) fn cut_one_apart(_: &dyn LunStore, _: &[ThinId], pairs: Vec<Snapshot>) -> Result<Vec<Snapshot>> {
    Ok(pairs)
}

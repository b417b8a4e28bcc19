//! Leases of pending sets (S6): who must give a sign of life until when. Pure: time is handed in.
//!
//! A lease is in memory only. A restarted array has none, and so every pending set that it finds has lapsed: the cut
//! of a set that was not committed was in memory too. What always holds: an entry exists from the set's beginning
//! until its commit, abort or expiry, and only an entry can carry a cut.

use std::{collections::BTreeMap, time::Duration};
use umbra_base::{Deadline, Error, ErrorCode, Instant, Result, SetId};

/// The leases; `C` is what a cut leaves behind until it is committed.
#[derive(Debug)]
pub struct Leases<C> {
    all: BTreeMap<SetId, Lease<C>>,
}

#[derive(Debug)]
struct Lease<C> {
    until: Deadline,
    length: Duration,
    cut: Option<C>,
}

impl<C> Default for Leases<C> {
    fn default() -> Self {
        Leases { all: BTreeMap::new() }
    }
}

impl<C: Clone> Leases<C> {
    /// Starts a lease.
    pub fn begin(&mut self, set: SetId, now: Instant, length: Duration) {
        self.all.insert(set, Lease { until: now + length, length, cut: None });
    }

    /// Starts the lease anew; `None` keeps its length. A lease that has run out stays so, even if nobody has acted on
    /// it yet.
    pub fn renew(&mut self, set: SetId, now: Instant, length: Option<Duration>) -> Result<()> {
        let lease = self.live(set, now)?;
        lease.length = length.unwrap_or(lease.length);
        lease.until = now + lease.length;
        Ok(())
    }

    /// Keeps the cut of a set.
    pub fn set_cut(&mut self, set: SetId, cut: C) -> Result<()> {
        self.all.get_mut(&set).map(|lease| lease.cut = Some(cut)).ok_or_else(|| lapsed(set))
    }

    /// The cut of a set, if it was made.
    pub fn cut(&self, set: SetId) -> Option<C> {
        self.all.get(&set)?.cut.clone()
    }

    /// Ends a lease: the set is committed, aborted or expired.
    pub fn end(&mut self, set: SetId) {
        self.all.remove(&set);
    }

    /// How much is left.
    pub fn left(&self, set: SetId, now: Instant) -> Duration {
        self.all.get(&set).map_or(Duration::ZERO, |lease| lease.until.since(now))
    }

    /// Whether the lease has run out (or never was).
    pub fn has_lapsed(&self, set: SetId, now: Instant) -> bool {
        self.all.get(&set).is_none_or(|lease| lease.until <= now)
    }

    /// The sets whose lease has run out.
    pub fn lapsed(&self, now: Instant) -> Vec<SetId> {
        self.all.iter().filter(|(_, lease)| lease.until <= now).map(|(set, _)| *set).collect()
    }

    /// When the next lease runs out.
    pub fn next_deadline(&self) -> Option<Deadline> {
        self.all.values().map(|lease| lease.until).min()
    }

    fn live(&mut self, set: SetId, now: Instant) -> Result<&mut Lease<C>> {
        self.all.get_mut(&set).filter(|lease| lease.until > now).ok_or_else(|| lapsed(set))
    }
}

/// The set's time is over.
pub fn lapsed(set: SetId) -> Error {
    Error::new(ErrorCode::LeaseExpired, format!("the lease of set {set} has run out"))
        .hint("create a new set")
        .param("set", set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const SECOND: Duration = Duration::from_secs(1);

    fn set(n: u128) -> SetId {
        SetId(Uuid::from_u128(n))
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_lease_ends_at_its_tick_and_not_before() {
        let mut leases = Leases::<()>::default();
        leases.begin(set(1), at(0), 10 * SECOND);
        leases.begin(set(2), at(0), 5 * SECOND);
        assert_eq!(leases.next_deadline(), Some(at(5)));
        let before = Instant::from_nanos(at(5).as_nanos() - 1);
        assert!(leases.lapsed(before).is_empty());
        assert_eq!(leases.lapsed(at(5)), [set(2)]);
        assert_eq!(leases.left(set(1), at(4)), 6 * SECOND);
    }

    #[test]
    fn a_sign_of_life_starts_it_anew_but_never_wakes_a_dead_one() {
        let mut leases = Leases::<()>::default();
        leases.begin(set(1), at(0), 10 * SECOND);
        leases.renew(set(1), at(9), None).unwrap();
        assert!(leases.lapsed(at(18)).is_empty());
        leases.renew(set(1), at(18), Some(SECOND)).unwrap();
        assert_eq!(leases.renew(set(1), at(19), None).unwrap_err().code(), ErrorCode::LeaseExpired);
        assert_eq!(leases.renew(set(7), at(0), None).unwrap_err().code(), ErrorCode::LeaseExpired);
    }

    #[test]
    fn a_cut_lives_as_long_as_its_lease() {
        let mut leases = Leases::default();
        leases.begin(set(1), at(0), SECOND);
        assert_eq!(leases.cut(set(1)), None);
        leases.set_cut(set(1), 77).unwrap();
        assert_eq!(leases.cut(set(1)), Some(77));
        leases.end(set(1));
        assert!(leases.set_cut(set(1), 77).is_err());
        assert_eq!(leases.next_deadline(), None);
    }
}

//! Our initiator against our target, without a network between them.

use super::*;
use crate::initiator::{self, Auth, Config, Outcome, Session, Transfer};

/// An initiator's session with the target of `pair`, which completes each write and answers each read with a pattern.
struct Wire {
    pair: Pair,
    session: Session,
    events: Vec<initiator::Event>,
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 3) as u8).collect()
}

impl Wire {
    fn new(pair: Pair, change: impl FnOnce(&mut Config)) -> Self {
        let auth = Auth::Chap { user: "me".to_owned(), secret: b"correct horse".to_vec() };
        let mut config = Config::new(INITIATOR.to_owned(), TARGET.to_owned(), auth, [0x80, 1, 2, 3, 0, 0]);
        change(&mut config);
        let session = Session::start(pair.now, config);
        Wire { pair, session, events: Vec::new() }
    }

    /// Carries bytes both ways until there are none.
    fn run(&mut self) -> Result<(), initiator::SessionError> {
        loop {
            let out = self.session.unsent().to_vec();
            self.session.sent(out.len());
            self.pair.feed(&out);
            for command in std::mem::take(&mut self.pair.commands) {
                let data = pattern(command.read_length as usize);
                assert_eq!(command.data, pattern(command.write_length as usize));
                self.pair.good(command.tag, &data);
            }
            if self.pair.logouts > 0 {
                self.pair.target.logout_done();
            }
            let back = self.pair.output();
            if out.is_empty() && back.is_empty() {
                return Ok(());
            }
            let mut rest = back.as_slice();
            while !rest.is_empty() {
                let space = self.session.space();
                let n = space.len().min(rest.len());
                space[..n].copy_from_slice(&rest[..n]);
                rest = &rest[n..];
                self.session.received(self.pair.now, n)?;
                self.events.extend(std::iter::from_fn(|| self.session.next_event()));
            }
        }
    }
}

fn chap_pair(mutual: Option<&'static str>) -> Pair {
    let mut pair = Pair::new(Authentication::Chap);
    (pair.secret, pair.mutual) = (Some("correct horse"), mutual);
    pair
}

fn demand(secret: &'static str) -> Option<initiator::Mutual> {
    Some(initiator::Mutual { secret: Secret::new(secret), challenge: Challenge { id: 9, bytes: [3; 16] } })
}

#[test]
fn every_mix_of_digests_carries_data_of_every_size_both_ways() {
    for (header, data) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut wire = Wire::new(chap_pair(None), |config| config.digests = Digests { header, data });
        wire.run().unwrap();
        assert!(matches!(&wire.events[..], [initiator::Event::LoggedIn(agreed)]
            if agreed.digests == Digests { header, data }));
        let sizes = [0, 1, 511, 512, 4096, 65_536, 65_537, 300_001, 2_500_000];
        for len in sizes {
            let transfer = if len == 0 { Transfer::None } else { Transfer::Out(pattern(len).into()) };
            wire.session.submit(initiator::Command { lun: 0, cdb: [0x2a; 16], transfer });
            let transfer = Transfer::In(len as u32);
            wire.session.submit(initiator::Command { lun: 0, cdb: [0x28; 16], transfer });
        }
        wire.run().unwrap();
        let completed = wire.events.drain(1..).map(|event| match event {
            initiator::Event::Completed(done) => done,
            other => panic!("{other:?}"),
        });
        let completed: Vec<_> = completed.collect();
        assert_eq!(completed.len(), 2 * sizes.len());
        assert!(
            completed.iter().all(|done| done.outcome == Outcome::Status { status: 0, sense: Vec::new() })
        );
        let mut read: Vec<usize> =
            completed.iter().map(|done| done.data.len()).filter(|len| *len > 0).collect();
        read.sort_unstable();
        assert_eq!(read, sizes[1..]);
        assert!(completed.iter().all(|done| done.data == pattern(done.data.len())));
        wire.session.logout(wire.pair.now);
        wire.run().unwrap();
        assert_eq!(wire.pair.closed(), "logged out");
        assert_eq!(wire.events.last(), Some(&initiator::Event::LoggedOut));
    }
}

#[test]
fn both_prove_themselves_or_neither_gets_anything() {
    for (theirs, demanded, gets_in) in [
        (Some("battery staple"), "battery staple", true),
        (Some("other"), "battery staple", false),
        (None, "battery staple", false),
        (Some("correct horse"), "correct horse", false),
    ] {
        let mut wire = Wire::new(chap_pair(theirs), |config| config.mutual = demand(demanded));
        assert_eq!(wire.run().is_ok(), gets_in, "{theirs:?} {demanded}");
        assert_eq!(wire.events.is_empty(), !gets_in);
    }
}

#[test]
fn an_initiator_that_demands_proof_leaves_a_target_that_asks_for_nothing() {
    let mut wire =
        Wire::new(Pair::new(Authentication::None), |config| config.mutual = demand("battery staple"));
    assert!(wire.run().is_err());
}

//! Calls that may block: they complete on the shard that made them, whatever becomes of them.

use crate::lab::{Lab, backends, config, with_both};
use std::{
    io::ErrorKind,
    sync::{Arc, mpsc},
};
use umbra_ring::{Config, Workers};

#[test]
fn what_calls_return_arrives_under_their_tokens() {
    with_both(|lab| {
        for token in 0..50 {
            lab.shard.call(token, move || token * token);
        }
        for done in lab.take(50) {
            assert_eq!(done.payload.message(), Some(done.token * done.token));
        }
    });
}

#[test]
fn a_call_that_panics_is_an_error_and_the_workers_go_on() {
    with_both(|lab| {
        for token in 0..4 {
            lab.shard.call(token, move || panic!("call number {token}"));
        }
        for done in lab.take(4) {
            let why = done.result.unwrap_err().to_string();
            assert_eq!(why, format!("the call panicked in its worker: call number {}", done.token));
            assert!(done.payload.message().is_none());
        }
        lab.shard.call(9, || 9);
        assert_eq!(lab.next().payload.message(), Some(9));
    });
}

#[test]
fn more_calls_than_may_wait_are_refused() {
    for backend in backends() {
        let workers = Arc::new(Workers::start(1, 2).unwrap());
        let mut lab = Lab::with(&Config { workers, ..config(backend) });
        // The first call runs until `open` is dropped, also by a failure of this test.
        let ((run, runs), (open, opens)) = (mpsc::channel(), mpsc::channel::<()>());
        lab.shard.call(0, move || {
            run.send(()).unwrap();
            opens.recv().map_or(0, |()| 1)
        });
        runs.recv().unwrap();
        for token in 1..4 {
            lab.shard.call(token, || 0);
        }
        let done = lab.next();
        assert_eq!(done.token, 3);
        let why = done.result.unwrap_err();
        assert_eq!(why.kind(), ErrorKind::ResourceBusy);
        assert!(why.to_string().starts_with("2 calls wait for a worker already"), "{why}");
        drop(open);
        assert_eq!(lab.take(3).len(), 3);
    }
}

#[test]
fn results_for_a_shard_that_has_ended_hold_nobody_up() {
    for backend in backends() {
        let workers = Arc::new(Workers::start(1, 64).unwrap());
        let mut lab = Lab::with(&Config { workers: workers.clone(), ..config(backend) });
        let (ran, runs) = mpsc::channel();
        for token in 0..20 {
            let ran = ran.clone();
            lab.shard.call(token, move || ran.send(token).map_or(0, |()| token));
        }
        drop(lab);
        drop(workers);
        drop(ran);
        assert_eq!(runs.iter().count(), 20, "{backend}: every call that was accepted has run");
    }
}

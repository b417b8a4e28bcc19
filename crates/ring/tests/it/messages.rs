//! Messages between threads: each arrives once, in its sender's order; a shard that sleeps wakes.

use crate::lab::{Lab, backends, config, with_both};
use std::thread;
use umbra_ring::{Gone, Shard};

#[test]
fn messages_of_many_threads_all_arrive_in_the_order_of_each() {
    const SENDERS: u64 = 4;
    const EACH: u64 = 5000;
    with_both(|lab| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let remote = lab.shard.remote();
                thread::spawn(move || {
                    for number in 0..EACH {
                        remote.post(sender, number).unwrap();
                    }
                })
            })
            .collect();
        let mut next = [0; SENDERS as usize];
        for _ in 0..SENDERS * EACH {
            let done = lab.next();
            let expected = &mut next[done.token as usize];
            assert_eq!(done.payload.message().unwrap(), *expected);
            *expected += 1;
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        assert!(lab.is_quiet());
    });
}

#[test]
fn a_message_wakes_a_shard_that_sleeps_every_time() {
    for backend in backends() {
        let (mut here, config) = (Lab::new(backend), config(backend));
        let back = here.shard.remote();
        let (tell, there) = std::sync::mpsc::channel();
        let echo = thread::spawn(move || {
            let mut lab = Lab::with(&config);
            tell.send(lab.shard.remote()).unwrap();
            for _ in 0..2000 {
                let message = lab.next().payload.message().unwrap();
                back.post(0, message + 1).unwrap();
            }
        });
        let there = there.recv().unwrap();
        for number in 0..2000 {
            there.post(0, number).unwrap();
            assert_eq!(here.next().payload.message(), Some(number + 1), "{backend}");
        }
        echo.join().unwrap();
    }
}

/// Something may depend on every one: a shard that is busy must not make its senders give up.
#[test]
fn messages_wait_for_a_shard_that_is_busy_however_many_they_are() {
    const MANY: u64 = 5_000;
    with_both(|lab| {
        let remote = lab.shard.remote();
        (0..MANY).for_each(|number| remote.post(1, number).unwrap());
        let numbers = (0..MANY).map(|_| lab.next().payload.message().unwrap());
        assert!(numbers.eq(0..MANY));
    });
}

#[test]
fn a_message_to_a_shard_that_has_ended_is_refused() {
    for backend in backends() {
        let shard: Shard<u64> = Shard::new(&config(backend)).unwrap();
        let remote = shard.remote();
        remote.post(1, 1).unwrap();
        drop(shard);
        assert_eq!(remote.post(1, 2), Err(Gone));
    }
}

//! Messages between threads: each arrives once, in its sender's order; a shard that sleeps wakes.

use crate::lab::{Lab, backends, config, with_both};
use std::thread;
use umbra_ring::{Config, Shard};

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
                        let mut message = number;
                        while let Err(refused) = remote.post(sender, message) {
                            assert!(!refused.is_gone());
                            message = refused.into_message().unwrap();
                            thread::yield_now();
                        }
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

#[test]
fn more_messages_than_may_wait_are_given_back() {
    with_both(|lab| {
        let remote = lab.shard.remote();
        for number in 0..16 {
            remote.post(1, number).unwrap();
        }
        let refused = remote.post(1, 16).unwrap_err();
        assert!(refused.to_string().contains("too many messages wait"), "{refused}");
        assert_eq!(refused.into_message(), Some(16));
        assert_eq!(lab.take(16).len(), 16);
        remote.post(1, 17).unwrap();
        assert_eq!(lab.next().payload.message(), Some(17));
    });
}

#[test]
fn a_message_to_a_shard_that_has_ended_is_given_back() {
    for backend in backends() {
        let shard: Shard<u64> = Shard::new(&Config { inbox: 4, ..config(backend) }).unwrap();
        let remote = shard.remote();
        remote.post(1, 1).unwrap();
        drop(shard);
        let refused = remote.post(1, 2).unwrap_err();
        assert!(refused.is_gone());
        assert_eq!(refused.into_message(), Some(2));
    }
}

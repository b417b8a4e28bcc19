//! Calls handed to a worker, and messages between shards.

use crate::{
    ENGINES, config,
    table::{self, Row, repeat},
};
use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};
use umbra_ring::{Backend, Remote, Shard, Workers};

/// The message that ends an echo.
const END: u64 = u64::MAX;

pub fn measure() {
    let workers = &Arc::new(Workers::start(2, 1024).unwrap());
    let mut rows: Vec<Row<'_>> = Vec::new();
    for depth in [1, 32] {
        for backend in ENGINES {
            rows.push((
                format!("empty call, {backend}, QD {depth}"),
                Box::new(move |time| calls(backend, workers, depth, time)),
            ));
            rows.push((
                format!("message there and back, {backend}, QD {depth}"),
                Box::new(move |time| messages(backend, workers, depth, time)),
            ));
        }
    }
    table::measure("hand-over", &mut rows);
}

fn calls(backend: Backend, workers: &Arc<Workers>, depth: u64, time: Duration) -> (u64, Duration) {
    let mut shard: Shard<()> = Shard::new(&config(backend, workers)).unwrap();
    (0..depth).for_each(|token| shard.call(token, || ()));
    let mut done = Vec::new();
    repeat(time, || {
        shard.wait(None, &mut done).unwrap();
        let count = done.len() as u64;
        done.drain(..).for_each(|completion| shard.call(completion.token, || ()));
        count
    })
}

fn messages(backend: Backend, workers: &Arc<Workers>, depth: u64, time: Duration) -> (u64, Duration) {
    let mut shard: Shard<u64> = Shard::new(&config(backend, workers)).unwrap();
    let (back, setup) = (shard.remote(), config(backend, workers));
    let (told, there) = mpsc::channel();
    let echo = thread::spawn(move || {
        let mut shard = Shard::new(&setup).unwrap();
        told.send(shard.remote()).unwrap();
        echo(&mut shard, &back);
    });
    let there: Remote<u64> = there.recv().unwrap();
    (0..depth).for_each(|token| there.post(token, token).unwrap());
    let mut done = Vec::new();
    let result = repeat(time, || {
        shard.wait(None, &mut done).unwrap();
        let count = done.len() as u64;
        done.drain(..).for_each(|completion| there.post(completion.token, completion.token).unwrap());
        count
    });
    there.post(0, END).unwrap();
    echo.join().unwrap();
    result
}

fn echo(shard: &mut Shard<u64>, back: &Remote<u64>) {
    let mut done = Vec::new();
    loop {
        shard.wait(None, &mut done).unwrap();
        for completion in done.drain(..) {
            if completion.payload.message() == Some(END) {
                return;
            }
            back.post(completion.token, 0).unwrap();
        }
    }
}

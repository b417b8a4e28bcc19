//! 4 KiB at random places of a file in the page cache.

use crate::{
    ENGINES, config,
    table::{self, Row, repeat},
};
use std::{
    fs::{File, OpenOptions},
    os::{fd::OwnedFd, unix::fs::FileExt},
    path::Path,
    sync::{Arc, Barrier},
    time::Duration,
};
use umbra_ring::{Backend, Buf, BufPool, Completion, PAGE, Parts, Payload, Shard, Workers};
use umbra_sys::uring::{Descriptor, Op, Ring};

const BYTES: u64 = 1 << 30;

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Read,
    Write,
}

/// Places in no order that a cache would guess.
struct Places(u64);

impl Places {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % (BYTES / PAGE as u64) * PAGE as u64
    }
}

pub fn measure(folder: &Path) {
    let file = cached_file(folder);
    let workers = Arc::new(Workers::start(4, 1024).unwrap());
    for (way, name) in [(Way::Read, "read"), (Way::Write, "write")] {
        for threads in [1, 2] {
            let mut rows: Vec<Row<'_>> = Vec::new();
            let (file, workers) = (&file, &workers);
            rows.push((
                "p{read,write} loop".to_owned(),
                Box::new(move |time| on_threads(threads, |seed| bare(file, way, seed, time))),
            ));
            for depth in [1, 32] {
                for backend in ENGINES {
                    rows.push((
                        format!("shard, {backend}, QD {depth}"),
                        Box::new(move |time| {
                            on_threads(threads, |seed| shard(file, way, backend, workers, depth, seed, time))
                        }),
                    ));
                }
                for registered in [false, true] {
                    let kind = if registered { "registered" } else { "descriptor" };
                    rows.push((
                        format!("ring alone, {kind}, QD {depth}"),
                        Box::new(move |time| {
                            on_threads(threads, |seed| ring(file, way, registered, depth, seed, time))
                        }),
                    ));
                }
            }
            table::measure(&format!("4 KiB random {name}, {threads} thread(s)"), &mut rows);
        }
    }
}

fn cached_file(folder: &Path) -> File {
    let path = folder.join(format!("umbra-spike-{}", std::process::id()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    // As a pool writes its blocks: the pages of larger writes lie in larger folios, and small writes into those are slower.
    let chunk = vec![7; 64 << 10];
    for offset in (0..BYTES).step_by(chunk.len()) {
        file.write_all_at(&chunk, offset).unwrap();
    }
    file.sync_all().unwrap();
    file
}

/// All threads' operations in the time of the slowest; what they set up before `Run::go` is not counted.
fn on_threads(threads: u64, run: impl Fn(&Run<'_>) -> (u64, Duration) + Sync) -> (u64, Duration) {
    let barrier = Barrier::new(threads as usize);
    std::thread::scope(|scope| {
        let (run, barrier) = (&run, &barrier);
        let handles: Vec<_> = (1..=threads)
            .map(|number| scope.spawn(move || run(&Run { seed: number * 0x9e37_79b9, barrier })))
            .collect();
        let results = handles.into_iter().map(|handle| handle.join().unwrap());
        results.fold((0, Duration::ZERO), |(sum, longest), (count, time)| (sum + count, longest.max(time)))
    })
}

struct Run<'a> {
    seed: u64,
    barrier: &'a Barrier,
}

impl Run<'_> {
    fn go(&self) -> Places {
        self.barrier.wait();
        Places(self.seed)
    }
}

fn bare(file: &File, way: Way, run: &Run<'_>, time: Duration) -> (u64, Duration) {
    let mut bytes = vec![0; PAGE];
    let mut places = run.go();
    repeat(time, || {
        for _ in 0..32 {
            match way {
                Way::Read => file.read_exact_at(&mut bytes, places.next()).unwrap(),
                Way::Write => file.write_all_at(&bytes, places.next()).unwrap(),
            }
        }
        32
    })
}

fn filled(mut buf: Buf) -> Buf {
    buf.fill_zero();
    buf
}

fn shard(
    file: &File,
    way: Way,
    backend: Backend,
    workers: &Arc<Workers>,
    depth: u64,
    run: &Run<'_>,
    time: Duration,
) -> (u64, Duration) {
    let mut shard: Shard<()> = Shard::new(&config(backend, workers)).unwrap();
    let file = shard.file(file.try_clone().unwrap());
    let mut places = run.go();
    for token in 0..depth {
        let buf = filled(shard.buffer(PAGE).unwrap());
        submit(&mut shard, &file, way, token, places.next(), Payload::Buf(buf));
    }
    let mut done: Vec<Completion<()>> = Vec::new();
    repeat(time, || {
        shard.wait(None, &mut done).unwrap();
        let count = done.len() as u64;
        for completion in done.drain(..) {
            completion.result.unwrap();
            submit(&mut shard, &file, way, completion.token, places.next(), completion.payload);
        }
        count
    })
}

fn submit(
    shard: &mut Shard<()>,
    file: &umbra_ring::File,
    way: Way,
    token: u64,
    place: u64,
    payload: Payload<()>,
) {
    match (way, payload) {
        (Way::Read, Payload::Buf(mut buf)) => {
            buf.clear();
            shard.read(token, file, place, buf);
        }
        (Way::Write, Payload::Buf(buf)) => shard.write(token, file, place, buf),
        (_, payload) => shard.write(token, file, place, payload.parts().unwrap()),
    }
}

/// The ring without a shard around it.
fn ring(
    file: &File,
    way: Way,
    registered: bool,
    depth: u64,
    run: &Run<'_>,
    time: Duration,
) -> (u64, Duration) {
    let mut ring = Ring::new(128).unwrap();
    let mut pool = BufPool::new(1 << 20);
    let fd = OwnedFd::from(file.try_clone().unwrap());
    let file = Arc::new(if registered { ring.register(fd) } else { Descriptor::new(fd) });
    let mut places = run.go();
    for user in 0..depth {
        let (file, offset) = (file.clone(), places.next());
        let buf = filled(pool.take(PAGE).unwrap());
        ring.push(user, operation(way, file, offset, buf)).unwrap();
    }
    repeat(time, || {
        ring.enter(None).unwrap();
        let mut count = 0;
        while let Some(reaped) = ring.reap() {
            reaped.result.unwrap();
            let buf = match reaped.op {
                Some(Op::Read { buf, .. }) => buf,
                Some(Op::Write { mut parts, .. }) => parts.drain().next().unwrap(),
                _ => unreachable!("nothing else was pushed"),
            };
            ring.push(reaped.user, operation(way, file.clone(), places.next(), buf)).unwrap();
            count += 1;
        }
        count
    })
}

fn operation(way: Way, file: Arc<Descriptor>, offset: u64, mut buf: Buf) -> Op {
    match way {
        Way::Read => {
            buf.clear();
            Op::Read { file, offset, buf, done: 0 }
        }
        Way::Write => Op::Write { file, offset, parts: Parts::from(buf), done: 0 },
    }
}

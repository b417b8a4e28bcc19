//! S1: a set is one instant. A writer counts alternately on two volumes, each write acknowledged before the next; no
//! copy may hold a later number without the earlier. The negative control cuts the volumes one after the other.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use umbra_store::{Background, LunStore, PoolParams, Snapshot, ThinId, ThinPoolStore, Volume};

const SIZE: u64 = 1 << 20;
const SECOND: Duration = Duration::from_secs(1);

fn count(volumes: &[Arc<dyn Volume>; 2], stop: &AtomicBool) {
    for number in 1u64.. {
        for volume in volumes {
            if stop.load(SeqCst) {
                return;
            }
            volume.write(0, &number.to_le_bytes().repeat(64)).unwrap();
        }
    }
}

fn number(store: &ThinPoolStore, id: u32) -> u64 {
    let mut sector = [0; 512];
    store.open(ThinId(id), SIZE).unwrap().read(0, &mut sector).unwrap();
    assert!(sector.chunks(8).all(|word| word == &sector[..8]), "torn");
    u64::from_le_bytes(sector[..8].try_into().unwrap())
}

fn cut(store: &ThinPoolStore, pairs: &[(u32, u32)]) {
    let ids: Vec<_> = pairs.iter().map(|(origin, _)| ThinId(*origin)).collect();
    let pairs: Vec<_> =
        pairs.iter().map(|(o, c)| Snapshot { origin: ThinId(*o), copy: ThinId(*c) }).collect();
    let hold = store.hold(&ids, SECOND).unwrap();
    store.cut(&hold, &pairs).unwrap();
}

/// Takes copies of volumes 1 and 2 under the counting writer and shows each pair of numbers.
fn observe(
    rounds: u32,
    take: impl Fn(&ThinPoolStore, u32, u32),
    mut see: impl FnMut(u64, u64) -> ControlFlow<()>,
) {
    let dir = tempfile::tempdir().unwrap();
    let params =
        PoolParams { background: Background::Every(Duration::from_millis(5)), ..PoolParams::new(64 << 20) };
    let store = ThinPoolStore::create_or_open(dir.path(), params).unwrap();
    [1, 2].iter().for_each(|id| store.create(ThinId(*id)).unwrap());
    let volumes = [1, 2].map(|id| store.open(ThinId(id), SIZE).unwrap());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| count(&volumes, &stop));
        for round in 0..rounds {
            let (a, b) = (100 + 2 * round, 101 + 2 * round);
            take(&store, a, b);
            let numbers = (number(&store, a), number(&store, b));
            [a, b].iter().for_each(|id| store.delete(ThinId(*id)).unwrap());
            if see(numbers.0, numbers.1).is_break() {
                break;
            }
        }
        stop.store(true, SeqCst);
    });
    drop(volumes);
    store.close().unwrap();
    crate::judge::check_closed(dir.path());
}

fn is_one_instant(first: u64, second: u64) -> bool {
    second <= first && first <= second + 1
}

#[test]
fn a_cut_of_two_volumes_is_one_instant() {
    let mut last = 0;
    observe(
        150,
        |store, a, b| cut(store, &[(1, a), (2, b)]),
        |first, second| {
            assert!(is_one_instant(first, second), "the copies hold {first} and {second}");
            last = last.max(second);
            ControlFlow::Continue(())
        },
    );
    assert!(last > 0, "nothing was written meanwhile");
}

/// The negative control.
#[test]
fn two_cuts_one_after_the_other_are_found_out() {
    let mut found = false;
    observe(
        500,
        |store, a, b| {
            cut(store, &[(1, a)]);
            std::thread::yield_now();
            cut(store, &[(2, b)]);
        },
        |first, second| {
            found = !is_one_instant(first, second);
            if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        },
    );
    assert!(found, "two instants looked like one 500 times");
}

#[test]
fn writers_on_many_threads_each_read_what_they_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let params =
        PoolParams { background: Background::Every(Duration::from_millis(3)), ..PoolParams::new(64 << 20) };
    let store = ThinPoolStore::create_or_open(dir.path(), params).unwrap();
    store.create(ThinId(1)).unwrap();
    let volume = store.open(ThinId(1), 8 << 20).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..6u64 {
            let volume = &volume;
            // Neighbouring sectors of the same blocks: transitions of one block meet.
            scope.spawn(move || {
                for round in 1..120u64 {
                    let offset = (round * 7 % 100) * (64 << 10) + thread * 512;
                    let token = thread * 1000 + round;
                    volume.write(offset, &token.to_le_bytes().repeat(64)).unwrap();
                    let mut sector = [0; 512];
                    volume.read(offset, &mut sector).unwrap();
                    assert_eq!(sector[..8], token.to_le_bytes());
                    if round % 20 == 0 {
                        volume.flush().unwrap();
                    }
                }
            });
        }
        for round in 0..20 {
            cut(&store, &[(1, 10 + round)]);
            if round % 2 == 0 {
                store.delete(ThinId(10 + round)).unwrap();
            }
        }
    });
    for thread in 0..6u64 {
        for place in 0..100u64 {
            let last = (1..120u64).rev().find(|round| round * 7 % 100 == place);
            let token = last.map_or(0, |round| thread * 1000 + round);
            let mut sector = [0; 512];
            volume.read(place * (64 << 10) + thread * 512, &mut sector).unwrap();
            assert_eq!(sector[..8], token.to_le_bytes(), "thread {thread} place {place}");
        }
    }
    store.close().unwrap();
    crate::judge::check_closed(dir.path());
}

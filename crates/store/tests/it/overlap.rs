//! Losses while writers, commits and failures meet.

use crate::{
    recorded::{BLOCK, PER_BLOCK, Run, SIZE, Span, Version, density, open},
    sim::{DATA, Failure, Faults, How, LOG, Loss, META, Operation, SECTOR, Sim},
};
use std::{
    io::ErrorKind,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::Duration,
};
use umbra_store::{LunStore, Mode, ThinId, Volume};

/// Writes and discards, and notes what was when: sector, version.
fn write_and_note(sim: &Sim, volume: &Arc<dyn Volume>, salt: u64) -> Vec<(usize, Version)> {
    let mut done = Vec::new();
    for i in 1..60 {
        let first = ((i * 37 + salt) % 6) as usize * PER_BLOCK + (i % 5) as usize;
        let token = salt * 1000 + i;
        let begun = sim.moment();
        if i % 7 == 0 {
            volume.discard((first / PER_BLOCK) as u64 * BLOCK, BLOCK).unwrap();
            let version = Version { token: 0, begun, acknowledged: sim.moment() };
            let first = first / PER_BLOCK * PER_BLOCK;
            done.extend((first..first + PER_BLOCK).map(|at| (at, version)));
        } else {
            write(volume, first, token).unwrap();
            done.push((first, Version { token, begun, acknowledged: sim.moment() }));
        }
    }
    done
}

/// Writes one sector.
fn write(volume: &Arc<dyn Volume>, sector: usize, token: u64) -> umbra_base::Result<()> {
    volume.write((sector * SECTOR) as u64, &token.to_le_bytes().repeat(SECTOR / 8))
}

/// Two writers, each with a device of its own, while a third thread commits: records are logged while a commit is being
/// written, so that both segments of the log are needed after a loss.
#[test]
fn losses_while_writers_and_commits_overlap_keep_what_was_promised() {
    let mut run = Run::new(3, Faults::default());
    run.create(1);
    run.create(2);
    let stop = AtomicBool::new(false);
    let store = run.store.take().unwrap();
    let volumes = [1, 2].map(|id| store.open(ThinId(id), SIZE).unwrap());
    let sim = run.sim.clone();
    let (store, stop) = (&store, &stop);
    let changes: Vec<Vec<(usize, Version)>> = thread::scope(|scope| {
        let committer = scope.spawn(move || {
            while !stop.load(SeqCst) {
                store.flush().unwrap();
            }
        });
        let writers = [0, 1]
            .map(|i| (i, sim.clone(), volumes[i].clone()))
            .map(|(i, sim, volume)| scope.spawn(move || write_and_note(&sim, &volume, 1 + i as u64)));
        let changes = writers.map(|writer| writer.join().unwrap());
        stop.store(true, SeqCst);
        committer.join().unwrap();
        changes.into()
    });
    for (id, changes) in [1, 2].into_iter().zip(changes) {
        let device = run.device(id);
        changes.into_iter().for_each(|(at, version)| device.sectors[at].push(version));
    }
    run.sweep(run.sim.moment() / (150 * density()) + 1);
}

/// What is written while a commit is on its way stands in the log's next segment; after a loss of the process in
/// that time both segments are needed.
#[test]
fn writes_during_a_commit_survive_the_death_of_the_process() {
    let mut run = Run::new(5, Faults::default());
    run.create(1);
    run.create(2);
    let notes = Arc::new(Mutex::new(Vec::new()));
    let (volume, sim, noted) = (run.volume(2).unwrap(), run.sim.clone(), notes.clone());
    run.sim.set_hook(Some(Arc::new(move |file, what| {
        if (file, what) == (META, Operation::Flush) {
            let mut noted = noted.lock().unwrap();
            let (sector, token) = (noted.len() * 70, 500 + noted.len() as u64);
            let begun = sim.moment();
            write(&volume, sector, token).unwrap();
            noted.push((sector, Version { token, begun, acknowledged: sim.moment() }));
        }
    })));
    for round in 0..4 {
        run.change(1, round * 130, 20, 10 + round as u64);
        run.flush(1);
    }
    run.sim.set_hook(None);
    let device = run.device(2);
    notes.lock().unwrap().iter().for_each(|(at, version)| device.sectors[*at].push(*version));
    run.sweep(1);
    for moment in run.devices[&2].made.1..=run.sim.moment() {
        die_again_after_recovery(&run.sim.after(moment, Loss::Process), moment);
    }
}

/// Segments that a recovery entered must not stand in the way of the next one.
fn die_again_after_recovery(sim: &Sim, moment: usize) {
    let last = SIZE - SECTOR as u64;
    for round in 1..3u8 {
        let store = open(sim, 1);
        let volume = store.open(ThinId(2), SIZE).unwrap();
        volume.discard(last / BLOCK * BLOCK, BLOCK).unwrap();
        volume.write(last, &[round; SECTOR]).unwrap();
        drop((volume, store));
        let mut sector = [0; SECTOR];
        let store = open(sim, 1);
        store.open(ThinId(2), SIZE).unwrap().read(last, &mut sector).unwrap();
        assert_eq!(sector, [round; SECTOR], "after the loss at moment {moment}");
    }
}

/// A block is mapped in memory and its record is not in the log yet: a write beside it, to the same block, would be in
/// place; if it were acknowledged now, the death of the process would take the block, and it with the block.
#[test]
fn a_write_in_place_waits_for_the_record_of_the_block_it_is_in() {
    let mut run = Run::new(6, Faults::default());
    run.create(1);
    let (volume, sim) = (run.volume(1).unwrap(), run.sim.clone());
    let (tell, neighbour) = mpsc::channel::<Span>();
    run.sim.at_next(LOG, Operation::Change, {
        let volume = volume.clone();
        move || {
            // Reading is right, and does not open the direct door.
            let mut sector = [0; SECTOR];
            volume.read(0, &mut sector).unwrap();
            assert_eq!(sector[..8], 1u64.to_le_bytes());
            assert!(volume.direct_write(0, SECTOR as u64, &mut Vec::new()).is_none(), "the door is open");
            let (done, is_done) = mpsc::channel();
            thread::spawn(move || {
                let begun = sim.moment();
                write(&volume, 5, 2).unwrap();
                let span = (begun, sim.moment());
                tell.send(span).unwrap();
                // Nobody may be waiting any more.
                let _heard = done.send(());
            });
            // It should not come to an end; if it does, the sweep below sees what that costs.
            let _done = is_done.recv_timeout(Duration::from_millis(100));
        }
    });
    run.change(1, 0, 1, 1);
    let (begun, acknowledged) = neighbour.recv().unwrap();
    run.sim.set_hook(None);
    run.device(1).sectors[5].push(Version { token: 2, begun, acknowledged });
    let ticket = volume.direct_write(0, SECTOR as u64, &mut Vec::new()).unwrap();
    volume.finish(ticket, true).unwrap();
    run.sweep(1);
}

/// A commit fails at its operation number `at` while a write is on its way: the write is refused, or it is there after
/// the death of the process.
fn a_write_over_a_failed_commit(at: usize) {
    let sim = Sim::with_pool(160, 60, BLOCK);
    let store = Arc::new(open(&sim, 1));
    store.create(ThinId(1)).unwrap();
    let volume = store.open(ThinId(1), SIZE).unwrap();
    write(&volume, 0, 1).unwrap();
    sim.at_next(DATA, Operation::Change, {
        let (sim, store) = (sim.clone(), store.clone());
        move || {
            let failure = Some(Failure { at, how: How::Once(ErrorKind::Other) });
            sim.set_faults(Faults { failure, ..Faults::default() });
            store.flush().unwrap_err();
        }
    });
    let written = write(&volume, 3 * PER_BLOCK, 2);
    sim.set_hook(None);
    sim.set_faults(Faults::default());
    drop((volume, store));
    let mut sector = [0; SECTOR];
    open(&sim, 1).open(ThinId(1), SIZE).unwrap().read(3 * BLOCK, &mut sector).unwrap();
    assert!(written.is_err() || sector[..8] == 2u64.to_le_bytes(), "what was acknowledged is lost");
}

#[test]
fn a_write_over_a_commit_whose_log_cannot_be_started_is_refused_or_kept() {
    a_write_over_a_failed_commit(0);
}

#[test]
fn a_write_over_a_flush_of_the_data_that_fails_is_refused_or_kept() {
    a_write_over_a_failed_commit(1);
}

/// The log has the block, and is emptied when the data cannot be flushed.
#[test]
fn a_write_in_place_over_a_flush_of_the_data_that_fails_is_refused_or_kept() {
    for by_direct_door in [true, false] {
        let sim = Sim::with_pool(160, 60, BLOCK);
        let store = Arc::new(open(&sim, 1));
        store.create(ThinId(1)).unwrap();
        let volume = store.open(ThinId(1), 8 * BLOCK).unwrap();
        volume.write(0, &[1; 512]).unwrap();
        let fail = {
            let (sim, store) = (sim.clone(), store.clone());
            move || {
                let failure = Some(Failure { at: 1, how: How::Once(ErrorKind::Other) });
                sim.set_faults(Faults { failure, ..Faults::default() });
                store.flush().unwrap_err();
            }
        };
        let written = match by_direct_door {
            true => {
                let mut extents = Vec::new();
                let ticket = volume.direct_write(512, 512, &mut extents).unwrap();
                sim.backing(1).data.write_at(&[2; 512], extents[0].at.unwrap()).unwrap();
                fail();
                volume.finish(ticket, true)
            }
            false => {
                sim.at_next(DATA, Operation::Change, fail);
                volume.write(512, &[2; 512])
            }
        };
        assert_eq!(store.usage().mode, Mode::ReadOnly);
        sim.set_hook(None);
        sim.set_faults(Faults::default());
        drop((volume, store));
        let mut sector = [0; 512];
        open(&sim, 1).open(ThinId(1), 8 * BLOCK).unwrap().read(512, &mut sector).unwrap();
        assert!(written.is_err() || sector == [2; 512], "direct: {by_direct_door}: acknowledged and lost");
    }
}

//! The direct door: I/O that shards carry out themselves.

use crate::filed::FiledUnit;
use crate::lab::{HOST_A, HOST_B, Lab, TARGET, eventually};
use crate::raw::Raw;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use umbra_target::{Access, Backend, TargetConfig, limits::WORKERS};

const BLOCKS: u32 = 4096;

fn lab(backend: Backend, shards: usize) -> (Lab<FiledUnit>, Arc<FiledUnit>) {
    let lab = Lab::with(TargetConfig { backend, shards, ..TargetConfig::new(TARGET) });
    (lab, Arc::new(FiledUnit::new(u64::from(BLOCKS) * 512)))
}

fn cdb(opcode: u8, lba: u32, blocks: u16) -> [u8; 10] {
    let ([a, b, c, d], [high, low]) = (lba.to_be_bytes(), blocks.to_be_bytes());
    [opcode, 0, a, b, c, d, 0, high, low, 0]
}

/// A stream of pseudo-random numbers (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % u64::from(limit)) as u32
    }
}

/// Writes and reads ranges of all lengths in a part of the unit that is its own, several at a time.
fn keep_a_book(mut raw: Raw, lun: u16, part: std::ops::Range<u32>, seed: u64) {
    let (mut dice, len) = (Dice(seed | 1), part.end - part.start);
    let mut book = vec![0_u8; len as usize * 512];
    for round in 0..60_u8 {
        let writes: Vec<(u32, u16)> = (0..4)
            .map(|quarter| {
                let first = quarter * (len / 4) + dice.below(len / 8);
                (first, 1 + dice.below(len / 8 - 1) as u16)
            })
            .collect();
        let tags: Vec<u32> = writes
            .iter()
            .map(|(first, blocks)| {
                let data = vec![round + 1; usize::from(*blocks) * 512];
                let at = *first as usize * 512;
                book[at..at + data.len()].copy_from_slice(&data);
                raw.start(lun, &cdb(0x2a, part.start + first, *blocks), Some(&data), 0)
            })
            .collect();
        tags.iter().for_each(|tag| assert!(raw.finish(*tag).is_good()));
        let (first, blocks) = (dice.below(len / 2), 1 + dice.below(len / 2 - 1) as u16);
        let done = raw.run(lun, &cdb(0x28, part.start + first, blocks), None, u32::from(blocks) * 512);
        assert!(done.is_good());
        assert!(done.data == book[first as usize * 512..][..done.data.len()], "{first} {blocks}");
    }
}

fn several_hosts_on_several_shards(backend: Backend) {
    let (lab, unit) = lab(backend, 2);
    lab.set(HOST_A, &[(1, &unit, Access::ReadWrite)]);
    lab.set(HOST_B, &[(2, &unit, Access::ReadWrite)]);
    let keys = [
        ("X-io.umbra.Resend", "Yes"),
        ("ImmediateData", "Yes"),
        ("InitialR2T", "No"),
        ("FirstBurstLength", "65536"),
        ("MaxRecvDataSegmentLength", "8192"),
    ];
    thread::scope(|scope| {
        for n in 0..4 {
            let mut raw = Raw::connect(lab.addr);
            let (host, lun) = if n % 2 == 0 { (HOST_A, 1) } else { (HOST_B, 2) };
            raw.login(host, &keys);
            raw.clear_attentions();
            let part = n * (BLOCKS / 4)..(n + 1) * (BLOCKS / 4);
            // No write is longer than the first burst, so that all of it may come at once.
            scope.spawn(move || keep_a_book(raw, lun, part.start..part.start + 512, u64::from(n) + 77));
        }
    });
    assert_eq!(unit.out.load(SeqCst), 0);
    assert_eq!(unit.called.load(SeqCst), 0, "everything went through the direct door");
    assert!(unit.planned.load(SeqCst) > 1000);
    assert_eq!(unit.flushes.load(SeqCst), 0);
}

#[test]
fn several_hosts_find_what_they_wrote_on_io_uring() {
    several_hosts_on_several_shards(Backend::Auto);
}

#[test]
fn several_hosts_find_what_they_wrote_on_plain_calls() {
    several_hosts_on_several_shards(Backend::Plain);
}

/// A host whose writes wait for a flush, and one whose writes need none.
fn through_and_back(lab: &Lab<FiledUnit>, unit: &Arc<FiledUnit>) -> [Raw; 2] {
    lab.set(HOST_A, &[(0, unit, Access::ReadWrite)]);
    [lab.login(HOST_A), lab.login_with(HOST_A, &[("X-io.umbra.Resend", "Yes")])]
}

#[test]
fn a_write_that_the_direct_door_loses_is_done_at_the_other() {
    let (lab, unit) = lab(Backend::Auto, 1);
    let hosts = through_and_back(&lab, &unit);
    unit.unlucky.store(true, SeqCst);
    let mut called = 0;
    for mut raw in hosts {
        // In one piece, which is written here and now, and in several.
        for blocks in [1, 40] {
            called += 1;
            let data: Vec<u8> = (0..blocks * 512).map(|i| (i / 7 + called) as u8).collect();
            assert!(raw.write(0, 3, &data).is_good());
            assert_eq!((unit.called.load(SeqCst), unit.out.load(SeqCst)), (called, 0));
            assert!(raw.read(0, 3, blocks as u8).data == data);
        }
    }
}

#[test]
fn what_is_planned_nowhere_reads_as_zeroes_and_is_written_at_the_other_door() {
    for backend in [Backend::Auto, Backend::Plain] {
        let (lab, unit) = lab(backend, 1);
        for mut raw in through_and_back(&lab, &unit) {
            for blocks in [1, 40] {
                let data = vec![blocks; usize::from(blocks) * 512];
                unit.placeless.store(true, SeqCst);
                let called = unit.called.load(SeqCst);
                assert!(raw.write(0, 3, &data).is_good());
                assert_eq!((unit.called.load(SeqCst), unit.out.load(SeqCst)), (called + 1, 0));
                assert!(raw.read(0, 3, blocks).data.iter().all(|byte| *byte == 0));
                unit.placeless.store(false, SeqCst);
                assert!(raw.read(0, 3, blocks).data == data);
                assert!(raw.read(0, 3 + blocks, 1).data == [0; 512], "nothing went anywhere else");
            }
            assert!(raw.write(0, 3, &[0; 40 * 512]).is_good());
        }
    }
}

#[test]
fn writes_here_and_now_leave_the_way_free_for_compare_and_write() {
    let (lab, unit) = lab(Backend::Auto, 1);
    for mut raw in through_and_back(&lab, &unit) {
        let tags: Vec<u32> = (0..100).map(|lba| raw.start_write(0, lba, &[7; 512])).collect();
        let compare = [0x89, 0, 0, 0, 0, 0, 0, 0, 0, 99, 0, 0, 0, 1, 0, 0];
        let done = raw.run(0, &compare, Some(&[[7; 512], [0; 512]].concat()), 0);
        assert!(done.is_good(), "it finds what was written before it");
        tags.iter().for_each(|tag| assert!(raw.finish(*tag).is_good()));
        assert!(raw.read(0, 99, 1).data == [0; 512]);
    }
}

#[test]
fn durable_writes_that_come_together_share_flushes() {
    let (lab, unit) = lab(Backend::Auto, 1);
    lab.set(HOST_A, &[(0, &unit, Access::ReadWrite)]);
    let mut raw = lab.login(HOST_A);
    unit.hold_flushes(true);
    let tags: Vec<u32> = (0..100).map(|lba| raw.start_write(0, lba, &[7; 512])).collect();
    eventually("all writes, but for their flush", || unit.planned.load(SeqCst) == 100);
    raw.give_others_time();
    assert_eq!((unit.flushes.load(SeqCst), unit.out.load(SeqCst)), (1, 0));
    unit.hold_flushes(false);
    tags.iter().for_each(|tag| assert!(raw.finish(*tag).is_good()));
    assert_eq!(unit.flushes.load(SeqCst), 2, "the one that ran, and one for all that came meanwhile");
}

#[test]
fn no_planned_io_is_under_way_when_a_view_has_changed() {
    let (lab, unit) = lab(Backend::Auto, 2);
    let both = [(0, &unit, Access::ReadWrite)];
    lab.set(HOST_A, &both);
    let stop = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        for n in 0..2_u8 {
            let mut raw = lab.login(HOST_A);
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(SeqCst) {
                    let tags: Vec<u32> = (0..16).map(|i| raw.start_write(0, 16 * n + i, &[n; 512])).collect();
                    // Refused while the LUN is gone, and told about it.
                    tags.iter().for_each(|tag| drop(raw.finish(*tag)));
                }
            });
        }
        for _ in 0..100 {
            lab.set(HOST_A, &[]);
            assert_eq!(unit.out.load(SeqCst), 0, "I/O of a LUN that is gone");
            let planned = unit.planned.load(SeqCst);
            thread::yield_now();
            assert_eq!(unit.planned.load(SeqCst), planned, "a command reached a LUN that is gone");
            lab.set(HOST_A, &both);
        }
        stop.store(true, SeqCst);
    });
}

#[test]
fn planned_io_stands_behind_no_flush_that_may_wait_for_it() {
    let lab = Lab::with(TargetConfig { backend: Backend::Plain, shards: 1, ..TargetConfig::new(TARGET) });
    // More than is written here and now.
    let data = vec![7; 128 << 10];
    let unit = || Arc::new(FiledUnit::with_pieces(u64::from(BLOCKS) * 512, data.len() as u64));
    let units: Vec<Arc<FiledUnit>> = (0..=WORKERS).map(|_| unit()).collect();
    let luns = units.iter().enumerate().map(|(n, unit)| (n as u16, unit, Access::ReadWrite));
    lab.set(HOST_A, &luns.collect::<Vec<_>>());
    let mut raw = lab.login(HOST_A);
    let flushed = &units[..WORKERS];
    flushed.iter().for_each(|unit| unit.hold_flushes(true));
    let flushes: Vec<u32> =
        (0..WORKERS as u16).map(|lun| raw.start(lun, &cdb(0x35, 0, 0), None, 0)).collect();
    eventually("all workers flush", || flushed.iter().all(|unit| unit.flushes.load(SeqCst) == 1));
    let write = raw.start_solicited(WORKERS as u16, 0, data.len());
    let r2t = raw.asked(write);
    raw.send_data(&r2t, &data, 8192);
    let written = &units[WORKERS];
    eventually("the write is done", || written.planned.load(SeqCst) == 1 && written.out.load(SeqCst) == 0);
    flushed.iter().for_each(|unit| unit.hold_flushes(false));
    flushes.iter().chain([&write]).for_each(|tag| assert!(raw.finish(*tag).is_good()));
}

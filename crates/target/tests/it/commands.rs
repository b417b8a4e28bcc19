//! Commands that need a real unit: durability, errors, atomicity, long transfers.

use crate::lab::{HOST_A, HOST_B, Lab, unit};
use crate::memory::{Failure, MemoryUnit};
use crate::raw::Raw;
use std::sync::Arc;
use std::thread;
use umbra_target::{Access, LogicalUnit, Resend};

fn wce(raw: &mut Raw) -> bool {
    raw.run(0, &[0x1a, 0x08, 0x08, 0, 255, 0], None, 255).data[4 + 2] & 0x04 != 0
}

#[test]
fn writes_of_an_ordinary_initiator_are_flushed_before_their_status() {
    let lab = Lab::new();
    let unit = unit();
    lab.set(HOST_A, &[(0, &unit, Access::ReadWrite)]);
    let mut raw = lab.login(HOST_A);
    assert!(!wce(&mut raw));
    let changes: [(&[u8], &[u8]); 4] = [
        (&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[1; 512]),
        (&[0x41, 0, 0, 0, 0, 0, 0, 0, 8, 0], &[1; 512]),
        (
            &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0],
            &[0, 22, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0],
        ),
        (&[0x89, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], &[0; 1024]),
    ];
    for (n, (cdb, data)) in changes.iter().enumerate() {
        assert!(raw.run(0, cdb, Some(data), 0).is_good(), "{cdb:x?}");
        assert_eq!(unit.flushes(), n + 1, "{cdb:x?}");
    }
}

#[test]
fn an_initiator_that_resends_has_a_write_cache_and_flushes_itself() {
    let lab = Lab::new();
    let unit = unit();
    lab.set(HOST_A, &[(0, &unit, Access::ReadWrite)]);
    let mut raw = Raw::connect(lab.addr);
    raw.login(HOST_A, &[("X-io.umbra.Resend", "Yes")]);
    raw.clear_attentions();
    assert_eq!(lab.target.sessions()[0].resend, Resend::Promised);
    assert!(wce(&mut raw));
    assert!(raw.write(0, 0, &[1; 512]).is_good());
    assert_eq!(unit.flushes(), 0);
    assert!(raw.run(0, &[0x2a, 0x08, 0, 0, 0, 0, 0, 0, 1, 0], Some(&[1; 512]), 0).is_good());
    assert_eq!(unit.flushes(), 1, "FUA");
    assert!(raw.run(0, &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], None, 0).is_good());
    assert_eq!(unit.flushes(), 2, "SYNCHRONIZE CACHE");
}

#[test]
fn a_read_from_the_medium_flushes_what_was_cached_first() {
    let lab = Lab::new();
    let unit = unit();
    lab.set(HOST_A, &[(0, &unit, Access::ReadWrite)]);
    lab.set(HOST_B, &[(0, &unit, Access::ReadWrite)]);
    let mut writer = lab.login_with(HOST_A, &[("X-io.umbra.Resend", "Yes")]);
    // That it has no cache itself says nothing of the other.
    let mut reader = lab.login(HOST_B);
    let reads: [&[u8]; 3] = [
        &[0x28, 0x08, 0, 0, 0, 0, 0, 0, 2, 0],
        &[0xa8, 0x08, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0],
        &[0x88, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0],
    ];
    for (n, fua) in reads.iter().enumerate() {
        let data = [n as u8 + 1; 1024];
        assert!(writer.write(0, 0, &data).is_good());
        assert_eq!(reader.read(0, 0, 2).data, data);
        assert_eq!(unit.flushes(), n, "without FUA");
        assert_eq!(reader.run(0, fua, None, 1024).data, data);
        assert_eq!(unit.flushes(), n + 1, "FUA {fua:x?}");
    }
    unit.fail(Some(Failure::Io));
    assert_eq!(reader.run(0, reads[0], None, 1024).sense, [3, 0x0c, 0], "the medium has not all of it");
    assert!(reader.read(0, 0, 2).is_good());
}

#[test]
fn failures_of_a_unit_have_their_sense_and_harm_nothing_else() {
    let lab = Lab::new();
    let unit = unit();
    lab.set(HOST_A, &[(0, &unit, Access::ReadWrite)]);
    let mut raw = lab.login(HOST_A);
    for (failure, sense) in
        [(Failure::NoSpace, [7, 0x27, 0x07]), (Failure::Io, [3, 0x0c, 0]), (Failure::Panic, [4, 0x44, 0])]
    {
        unit.fail(Some(failure));
        assert_eq!(raw.write(0, 0, &[1; 512]).sense, sense, "{failure:?}");
        unit.fail(None);
        assert!(raw.write(0, 0, &[1; 512]).is_good());
    }
    // A flush that fails fails the write that it belongs to.
    lab.set(HOST_A, &[]);
}

#[test]
fn long_writes_come_by_r2t_and_read_back() {
    let lab = Lab::new();
    let unit = Arc::new(MemoryUnit::new(16 << 20));
    lab.set(HOST_A, &[(0, &unit, Access::ReadWrite)]);
    let mut raw = Raw::connect(lab.addr);
    raw.login(
        HOST_A,
        &[("MaxRecvDataSegmentLength", "65536"), ("MaxBurstLength", "1048576"), ("MaxOutstandingR2T", "4")],
    );
    raw.clear_attentions();
    let data: Vec<u8> = (0..4u32 << 20).map(|i| (i / 512 + i) as u8).collect();
    assert!(raw.write_solicited(0, 8, &data, 100_000).is_good());
    let read = raw.run(0, &[0x88, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0x20, 0, 0, 0], None, 4 << 20);
    assert!(read.is_good() && read.data == data);
    let mut below = vec![0; 4096 + 512];
    unit.read(0, &mut below).unwrap();
    assert_eq!((&below[..4096], below[4096]), (&[0; 4096][..], data[0]));
}

/// Counters in a block, raised by COMPARE AND WRITE from two hosts at once: none may be lost.
#[test]
fn compare_and_write_is_atomic_between_hosts() {
    const ROUNDS: u32 = 300;
    let lab = Lab::new();
    let unit = unit();
    lab.set(HOST_A, &[(0, &unit, Access::ReadWrite)]);
    lab.set(HOST_B, &[(3, &unit, Access::ReadWrite)]);
    thread::scope(|scope| {
        for (host, lun) in [(HOST_A, 0), (HOST_B, 3)] {
            let mut raw = lab.login(host);
            scope.spawn(move || {
                let mut raised = 0;
                while raised < ROUNDS {
                    let old = raw.read(lun, 0, 1).data;
                    let count = u32::from_be_bytes(old[..4].try_into().unwrap()) + 1;
                    let mut both = old.repeat(2);
                    both[512..516].copy_from_slice(&count.to_be_bytes());
                    let cdb = [0x89, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0];
                    let done = raw.run(lun, &cdb, Some(&both), 0);
                    assert!(done.is_good() || done.sense == [0x0e, 0x1d, 0], "{done:?}");
                    raised += u32::from(done.is_good());
                }
            });
        }
    });
    assert_eq!(unit.contents()[..4], (2 * ROUNDS).to_be_bytes());
}

/// The rest of each burst is so short that it goes along with a header.
#[test]
fn a_burst_that_ends_in_a_short_piece_is_followed_by_the_next() {
    let lab = Lab::new();
    lab.set(HOST_A, &[(0, &unit(), Access::ReadWrite)]);
    let mut raw = Raw::connect(lab.addr);
    raw.login(HOST_A, &[("MaxBurstLength", "8292")]);
    raw.clear_attentions();
    let data: Vec<u8> = (0..40 * 512).map(|at| (at / 100) as u8).collect();
    assert!(raw.write_solicited(0, 0, &data, 4096).is_good());
    assert_eq!(raw.read(0, 0, 40).data, data);
}

/// SBC-3 section 5.10 lets a target whose medium is never removed take both, which then change nothing: no host keeps
/// anything from another by it.
#[test]
fn preventing_the_removal_of_a_medium_that_cannot_be_removed_is_taken_and_changes_nothing() {
    const ALLOW: [u8; 6] = [0x1e, 0, 0, 0, 0, 0];
    const PREVENT: [u8; 6] = [0x1e, 0, 0, 0, 1, 0];
    let lab = Lab::new();
    let unit = unit();
    lab.set(HOST_A, &[(0, &unit, Access::ReadWrite)]);
    lab.set(HOST_B, &[(0, &unit, Access::ReadWrite)]);
    let (mut a, mut b) = (lab.login(HOST_A), lab.login(HOST_B));
    assert_eq!(a.run(0, &[0x12, 0, 0, 0, 36, 0], None, 36).data[1] & 0x80, 0, "RMB: not removable");
    for cdb in [PREVENT, PREVENT, ALLOW, ALLOW, PREVENT] {
        assert!(a.run(0, &cdb, None, 0).is_good(), "{cdb:x?}");
    }
    assert!(b.write(0, 0, &[1; 512]).is_good() && b.run(0, &ALLOW, None, 0).is_good());
    // An eject is refused whether it is prevented or not; a stop is a flush.
    assert_eq!(b.run(0, &[0x1b, 0, 0, 0, 2, 0], None, 0).sense, [5, 0x24, 0]);
    assert!(b.run(0, &[0x1b, 0, 0, 0, 0, 0], None, 0).is_good());
    // Its LUN can be taken away all the same.
    lab.set(HOST_A, &[]);
    assert_eq!(a.test_unit_ready(0).sense, [6, 0x3f, 0x0e]);
    assert_eq!(a.test_unit_ready(0).sense, [5, 0x25, 0]);
}

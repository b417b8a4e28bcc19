//! Memory for commands' data: a command that was asked for its data has room for it, and gives it back, however it ends.

use crate::filed::FiledUnit;
use crate::lab::{HOST_A, HOST_B, Lab, TARGET, eventually};
use crate::memory::MemoryUnit;
use crate::raw::Raw;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use umbra_iscsi::pdu::request::{DataOut, task_function};
use umbra_iscsi::pdu::response::task_response;
use umbra_iscsi::pdu::{Digests, Response, write_pdu};
use umbra_target::{Access, TargetConfig};

/// The most that one command may carry; a target that has little memory has that much.
const LARGEST: usize = umbra_ring::LARGEST;
const PIECE: usize = 64 << 10;

/// A target with room for one command of the largest size.
fn cramped() -> (Lab<MemoryUnit>, Raw, Raw) {
    let lab = Lab::with(TargetConfig { shards: 1, memory: 1, ..TargetConfig::new(TARGET) });
    let unit = Arc::new(MemoryUnit::new(2 * LARGEST as u64));
    lab.set(HOST_A, &[(0, &unit, Access::ReadWrite)]);
    lab.set(HOST_B, &[(0, &unit, Access::ReadWrite)]);
    let (a, b) = (lab.login(HOST_A), lab.login(HOST_B));
    (lab, a, b)
}

#[test]
fn the_largest_command_fits_into_the_least_memory() {
    let (_lab, mut raw, _) = cramped();
    let data: Vec<u8> = (0..LARGEST).map(|at| (at / 512) as u8).collect();
    assert!(raw.write_solicited(0, 0, &data, PIECE).is_good());
    let [high, low] = ((LARGEST / 512) as u16).to_be_bytes();
    let read = raw.run(0, &[0x28, 0, 0, 0, 0, 0, 0, high, low, 0], None, LARGEST as u32);
    assert!(read.is_good() && read.data == data);
}

/// Others' resets come at any time, in the middle of a PDU too.
#[test]
fn a_command_that_is_reset_while_its_data_is_received_gives_its_memory_back() {
    let (_lab, mut raw, mut other) = cramped();
    let tag = raw.start_solicited(0, 0, LARGEST);
    let Some((Response::R2t(r2t), _)) = raw.receive() else { panic!("no R2T") };
    let pdu = DataOut { task_tag: tag, transfer_tag: r2t.transfer_tag, ..DataOut::default() };
    let mut bytes = Vec::new();
    write_pdu(&mut bytes, pdu.build(), &[0xaa; PIECE], Digests::default());
    let (first, rest) = bytes.split_at(bytes.len() / 4);
    raw.send_bytes(first);
    other.give_others_time();
    assert_eq!(other.manage(task_function::LOGICAL_UNIT_RESET, 0, 0), task_response::COMPLETE);
    raw.send_bytes(rest);
    other.clear_attentions();
    assert!(other.write_solicited(0, 0, &vec![1; LARGEST], PIECE).is_good());
    raw.clear_attentions();
    assert!(raw.write_solicited(0, 0, &vec![2; LARGEST], PIECE).is_good());
}

/// However much one host asks for, there is room for what another asks for later.
#[test]
fn a_host_that_takes_all_it_gets_leaves_room_for_the_next() {
    const SIZE: usize = 1 << 20;
    // The ring has a page for itself.
    let memory = 16 * SIZE + umbra_ring::PAGE;
    let lab = Lab::with(TargetConfig { shards: 1, memory, ..TargetConfig::new(TARGET) });
    let unit = Arc::new(MemoryUnit::new(2 * SIZE as u64));
    let hosts = [HOST_A, HOST_B];
    hosts.iter().for_each(|host| lab.set(host, &[(0, &unit, Access::ReadWrite)]));
    // Two sessions of one host are no two hosts.
    let mut greedy = [lab.login(HOST_A), lab.login(HOST_A)];
    let promised = greedy.each_mut().map(|raw| {
        (0..16).for_each(|_| {
            raw.start_solicited(0, 0, SIZE);
        });
        raw.requests_until_ping()
    });
    assert_eq!(promised, [8, 0], "half of the memory is for who takes all, the rest for who comes next");
    // What may be told only once is told nonetheless.
    let inquiry = lab.login(HOST_A).run(0, &[0x12, 0, 0, 0, 36, 0], None, 36);
    assert!(inquiry.is_good() && inquiry.data.len() == 36);
    let mut modest = lab.login(HOST_B);
    for _ in 0..3 {
        assert!(modest.write_solicited(0, 0, &vec![7; SIZE], PIECE).is_good());
        assert!(modest.read(0, 0, 1).is_good());
    }
}

/// The one that waits for memory must not hold up those that have it.
#[test]
fn a_session_with_more_writes_than_there_is_memory_for_ends_them_all() {
    const WRITES: usize = 5;
    let (_lab, mut raw, _) = cramped();
    let data = vec![0xaa; LARGEST / 2];
    for _ in 0..WRITES {
        raw.start_solicited(0, 0, data.len());
    }
    let mut done = 0;
    while done < WRITES {
        match raw.receive().expect("the target closed the connection") {
            (Response::R2t(r2t), _) => {
                let (from, len) = (r2t.buffer_offset as usize, r2t.desired_length as usize);
                let pieces = data[from..from + len].chunks(PIECE);
                let count = pieces.len();
                for (n, piece) in pieces.enumerate() {
                    let pdu = DataOut {
                        final_bit: n + 1 == count,
                        task_tag: r2t.task_tag,
                        transfer_tag: r2t.transfer_tag,
                        data_sn: n as u32,
                        buffer_offset: (from + n * PIECE) as u32,
                        ..DataOut::default()
                    };
                    raw.send(pdu.build(), piece);
                }
            }
            (Response::ScsiResponse(pdu), _) => {
                assert_eq!(pdu.status, 0);
                done += 1;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A host that takes nothing of what it asks for is not served on: beside what the kernel keeps for it, 4 MiB wait.
#[test]
fn replies_that_a_host_does_not_take_have_a_bound() {
    const SIZE: usize = 1 << 20;
    const READS: usize = 64;
    let lab = Lab::with(TargetConfig { shards: 1, ..TargetConfig::new(TARGET) });
    let unit = Arc::new(FiledUnit::new(SIZE as u64));
    lab.set(HOST_A, &[(0, &unit, Access::ReadWrite)]);
    lab.set(HOST_B, &[(0, &unit, Access::ReadWrite)]);
    let (mut idle, mut other) = (lab.login(HOST_A), lab.login(HOST_B));
    let [high, low] = ((SIZE / 512) as u16).to_be_bytes();
    let read = [0x28, 0, 0, 0, 0, 0, 0, high, low, 0];
    let mut ask = || (0..READS / 2).map(|_| idle.start(0, &read, None, SIZE as u32)).collect::<Vec<u32>>();
    let mut tags = ask();
    eventually("replies wait", || unit.planned.load(SeqCst) > 4 && unit.out.load(SeqCst) == 0);
    (0..50).for_each(|_| other.give_others_time());
    tags.extend(ask());
    (0..50).for_each(|_| other.give_others_time());
    let begun = unit.planned.load(SeqCst);
    assert!(begun <= READS / 2, "{begun} reads of 1 MiB were begun");
    tags.iter().for_each(|tag| assert_eq!(idle.finish(*tag).data.len(), SIZE));
    assert_eq!(unit.planned.load(SeqCst), READS);
}

//! Copy offload by ROD tokens, as initiators see it.

use crate::filed::FiledUnit;
use crate::lab::{HOST_A, HOST_B, Lab, TARGET, eventually, unit};
use crate::memory::{Failure, MemoryUnit};
use crate::raw::{Done, Raw};
use std::sync::Arc;
use std::thread;
use umbra_iscsi::pdu::request::task_function;
use umbra_iscsi::pdu::response::task_response;
use umbra_target::{Access, TargetConfig, limits};

const UNSUPPORTED: [u8; 3] = [5, 0x23, 0x01];
const UNKNOWN: [u8; 3] = [5, 0x23, 0x04];
const REVOKED: [u8; 3] = [5, 0x23, 0x06];
const EXPIRED: [u8; 3] = [5, 0x23, 0x07];
const DELETED: [u8; 3] = [5, 0x23, 0x09];
const WRONG_LENGTH: [u8; 3] = [5, 0x23, 0x0a];
/// Seconds that a token lives without use; none that a test waits for.
const LONG: u32 = 600;

type Range = (u64, u32);
type Token = [u8; 512];

/// A parameter list: what stands before the ranges, and the ranges.
fn list(mut header: Vec<u8>, ranges: &[Range]) -> Vec<u8> {
    let (start, length) = (header.len(), ranges.len() * 16);
    header[..2].copy_from_slice(&((start + length - 2) as u16).to_be_bytes());
    header[start - 2..].copy_from_slice(&(length as u16).to_be_bytes());
    for (lba, blocks) in ranges {
        header.extend_from_slice(&lba.to_be_bytes());
        header.extend_from_slice(&blocks.to_be_bytes());
        header.extend_from_slice(&[0; 4]);
    }
    header
}

fn cdb(action: u8, id: u32, length: usize) -> [u8; 16] {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1]) = (0x83, action);
    cdb[6..10].copy_from_slice(&id.to_be_bytes());
    cdb[10..14].copy_from_slice(&(length as u32).to_be_bytes());
    cdb
}

fn start_populate(raw: &mut Raw, lun: u16, id: u32, seconds: u32, ranges: &[Range]) -> u32 {
    let mut header = vec![0; 16];
    header[4..8].copy_from_slice(&seconds.to_be_bytes());
    let list = list(header, ranges);
    raw.start(lun, &cdb(0x10, id, list.len()), Some(&list), 0)
}

fn populate(raw: &mut Raw, lun: u16, id: u32, seconds: u32, ranges: &[Range]) -> Done {
    let tag = start_populate(raw, lun, id, seconds, ranges);
    raw.finish(tag)
}

/// RECEIVE ROD TOKEN INFORMATION.
fn information(raw: &mut Raw, lun: u16, id: u32) -> Done {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1], cdb[12]) = (0x84, 0x07, 0x04);
    cdb[2..6].copy_from_slice(&id.to_be_bytes());
    raw.run(lun, &cdb, None, 1024)
}

/// The blocks that a copy says it has done.
fn transferred(information: &Done) -> u64 {
    assert_eq!(information.data[15], 0xf1, "in blocks");
    u64::from_be_bytes(information.data[16..24].try_into().unwrap())
}

fn token(raw: &mut Raw, lun: u16, ranges: &[Range]) -> Token {
    token_for(raw, lun, LONG, ranges)
}

fn token_for(raw: &mut Raw, lun: u16, seconds: u32, ranges: &[Range]) -> Token {
    let made = populate(raw, lun, 1, seconds, ranges);
    assert!(made.is_good(), "{made:?}");
    let told = information(raw, lun, 1);
    assert!(told.is_good() && told.data[5] == 0x01, "{told:?}");
    let blocks: u32 = ranges.iter().map(|range| range.1).sum();
    assert_eq!(transferred(&told), u64::from(blocks));
    told.data[38..550].try_into().unwrap()
}

fn use_list(token: &Token, offset: u64, flags: u8, ranges: &[Range]) -> Vec<u8> {
    let mut header = vec![0; 536];
    header[2] = flags;
    header[8..16].copy_from_slice(&offset.to_be_bytes());
    header[16..528].copy_from_slice(token);
    list(header, ranges)
}

fn start_use(raw: &mut Raw, lun: u16, token: &Token, ranges: &[Range]) -> u32 {
    let list = use_list(token, 0, 0, ranges);
    raw.start(lun, &cdb(0x11, 2, list.len()), Some(&list), 0)
}

fn write_with(raw: &mut Raw, lun: u16, token: &Token, offset: u64, flags: u8, ranges: &[Range]) -> Done {
    let list = use_list(token, offset, flags, ranges);
    raw.run(lun, &cdb(0x11, 2, list.len()), Some(&list), 0)
}

fn use_it(raw: &mut Raw, lun: u16, token: &Token, ranges: &[Range]) -> Done {
    write_with(raw, lun, token, 0, 0, ranges)
}

/// Every block its own number, and a mark.
fn pattern(blocks: usize, mark: u8) -> Vec<u8> {
    (0..blocks * 512).map(|at| (at / 512) as u8 ^ mark).collect()
}

fn blocks(bytes: &[u8], from: usize, count: usize) -> &[u8] {
    &bytes[from * 512..(from + count) * 512]
}

struct Two {
    lab: Lab,
    source: Arc<MemoryUnit>,
    destination: Arc<MemoryUnit>,
}

/// LUN 0 holds a pattern, LUN 1 nothing; host A sees both.
fn two() -> (Two, Raw, Vec<u8>) {
    let (lab, source, destination) = (Lab::new(), unit(), unit());
    lab.set(HOST_A, &[(0, &source, Access::ReadWrite), (1, &destination, Access::ReadWrite)]);
    let mut raw = lab.login(HOST_A);
    let data = pattern(128, 0x5a);
    assert!(raw.write(0, 0, &data).is_good());
    (Two { lab, source, destination }, raw, data)
}

#[test]
fn a_token_shows_the_instant_of_its_making_whatever_is_written_later() {
    let (two, mut raw, data) = two();
    let token = token(&mut raw, 0, &[(0, 128)]);
    assert!(raw.write(0, 0, &pattern(128, 0xff)).is_good());
    let later = token_for(&mut raw, 0, LONG, &[(0, 128)]);
    assert!(use_it(&mut raw, 1, &token, &[(256, 128)]).is_good());
    assert_eq!(transferred(&information(&mut raw, 1, 2)), 128);
    assert_eq!(blocks(&two.destination.contents(), 256, 128), data);
    assert_eq!(two.destination.shared(), 128 * 512, "nothing was copied");
    assert!(use_it(&mut raw, 1, &later, &[(256, 128)]).is_good());
    assert_eq!(blocks(&two.destination.contents(), 256, 128), pattern(128, 0xff));
    assert!(use_it(&mut raw, 0, &token, &[(0, 128)]).is_good(), "back onto the unit itself");
    assert_eq!(blocks(&two.source.contents(), 0, 128), data);
}

#[test]
fn blocks_are_shared_where_both_ends_lie_alike_and_copied_where_not() {
    let (two, mut raw, data) = two();
    let token = token(&mut raw, 0, &[(1, 30)]);
    assert!(use_it(&mut raw, 1, &token, &[(9, 30)]).is_good());
    assert_eq!(two.destination.shared(), 2 * 4096, "7 blocks, two times 8, and 7");
    assert!(use_it(&mut raw, 1, &token, &[(100, 30)]).is_good());
    assert_eq!(two.destination.shared(), 2 * 4096);
    let found = two.destination.contents();
    assert_eq!(
        (blocks(&found, 9, 30), blocks(&found, 100, 30)),
        (&data[512..31 * 512], &data[512..31 * 512])
    );
    let around = [0, 8, 39, 99, 130].map(|block| found[block * 512]);
    assert_eq!(around, [0; 5], "nothing else was written");
}

#[test]
fn ranges_and_offset_say_what_goes_where() {
    let (two, mut raw, data) = two();
    let token = token(&mut raw, 0, &[(0, 8), (100, 4)]);
    assert!(write_with(&mut raw, 1, &token, 6, 0, &[(50, 2), (60, 4)]).is_good());
    let found = two.destination.contents();
    assert_eq!(blocks(&found, 50, 2), blocks(&data, 6, 2));
    assert_eq!(blocks(&found, 60, 4), blocks(&data, 100, 4));
    let beyond = write_with(&mut raw, 1, &token, 6, 0, &[(50, 7)]);
    assert_eq!(beyond.sense, [5, 0x26, 0], "the token has six more");
    assert!(two.destination.contents() == found);
}

#[test]
fn the_zero_token_needs_no_maker() {
    let (two, mut raw, data) = two();
    let mut zeroes = [0; 512];
    zeroes[..8].copy_from_slice(&[0xff, 0xff, 0, 1, 0, 0, 0x01, 0xf8]);
    assert!(use_it(&mut raw, 0, &zeroes, &[(3, 20), (40, 1)]).is_good());
    assert_eq!(transferred(&information(&mut raw, 0, 2)), 21);
    let found = two.source.contents();
    assert_eq!(blocks(&found, 3, 20), [0; 20 * 512]);
    assert_eq!((blocks(&found, 0, 3), blocks(&found, 23, 17)), (blocks(&data, 0, 3), blocks(&data, 23, 17)));
}

#[test]
fn what_is_no_token_of_ours_is_refused_with_its_reason() {
    let (two, mut raw, _) = two();
    let token = token(&mut raw, 0, &[(0, 8)]);
    let (other, mut there, _) = self::two();
    let foreign = self::token(&mut there, 0, &[(0, 8)]);
    drop(other);
    let changed = |at: usize| {
        let mut changed = token;
        changed[at] ^= 1;
        changed
    };
    let refused = [
        (foreign, UNKNOWN),
        (changed(511), UNKNOWN),
        (changed(15), UNKNOWN),
        (changed(0), UNSUPPORTED),
        (changed(7), WRONG_LENGTH),
    ];
    for (token, sense) in refused {
        assert_eq!(use_it(&mut raw, 1, &token, &[(0, 8)]).sense, sense);
    }
    assert!(write_with(&mut raw, 1, &token, 0, 0x02, &[(0, 8)]).is_good(), "DEL_TKN");
    assert_eq!(two.source.points(), 0, "nothing is kept for a token that was deleted");
    assert_eq!(use_it(&mut raw, 1, &token, &[(0, 8)]).sense, DELETED);
    let told = information(&mut raw, 1, 2);
    assert_eq!((told.data[5], &told.data[34..35]), (0x02, &[5][..]), "and why is told again");
}

#[test]
fn a_token_that_is_not_used_for_its_time_expires_and_keeps_nothing() {
    let (two, mut raw, _) = two();
    let short = token_for(&mut raw, 0, 1, &[(0, 8)]);
    let long = token(&mut raw, 0, &[(0, 8)]);
    eventually("the point in time is dropped", || two.source.points() == 1);
    assert_eq!(use_it(&mut raw, 1, &short, &[(0, 8)]).sense, EXPIRED);
    assert!(use_it(&mut raw, 1, &long, &[(0, 8)]).is_good());
}

#[test]
fn a_token_may_be_passed_on_and_ends_where_its_maker_loses_the_lun() {
    let (two, mut raw, data) = two();
    let elsewhere = unit();
    two.lab.set(HOST_B, &[(5, &elsewhere, Access::ReadWrite)]);
    let mut other = two.lab.login(HOST_B);
    let token = token(&mut raw, 0, &[(0, 128)]);
    assert!(use_it(&mut other, 5, &token, &[(0, 128)]).is_good(), "the token is the right");
    assert_eq!(blocks(&elsewhere.contents(), 0, 128), data);

    two.lab.set(HOST_A, &[(7, &two.source, Access::ReadOnly)]);
    assert!(use_it(&mut other, 5, &token, &[(0, 128)]).is_good(), "its maker may read the LUN still");
    two.lab.set(HOST_A, &[]);
    assert_eq!(two.source.points(), 0, "masked: nothing is kept from here on");
    assert_eq!(use_it(&mut other, 5, &token, &[(0, 128)]).sense, REVOKED);
    two.lab.set(HOST_A, &[(0, &two.source, Access::ReadWrite)]);
    assert_eq!(use_it(&mut other, 5, &token, &[(0, 128)]).sense, REVOKED, "it does not come back");
}

#[test]
fn a_token_that_is_being_made_while_its_lun_is_masked_ends_with_the_others() {
    let (two, mut raw, _) = two();
    two.source.hold_writes();
    let tag = start_populate(&mut raw, 0, 1, LONG, &[(0, 8)]);
    two.source.wait_for_held(1);
    thread::scope(|scope| {
        let fence = scope.spawn(|| {
            two.lab.set(HOST_A, &[(1, &two.destination, Access::ReadWrite)]);
            two.source.points()
        });
        two.lab.login(HOST_B).give_others_time();
        assert!(!fence.is_finished(), "the fence did not wait for what makes a token");
        two.source.release_writes();
        assert!(raw.finish(tag).is_good());
        assert_eq!(fence.join().unwrap(), 0, "the token outlived the LUN");
    });
}

#[test]
fn a_use_under_way_ends_when_its_token_is_revoked() {
    let (two, mut raw, _) = two();
    let elsewhere = unit();
    two.lab.set(HOST_B, &[(5, &elsewhere, Access::ReadWrite)]);
    let mut other = two.lab.login(HOST_B);
    let token = token(&mut raw, 0, &[(0, 128)]);
    elsewhere.hold_writes();
    let tag = start_use(&mut other, 5, &token, &[(0, 8), (64, 8)]);
    elsewhere.wait_for_held(1);
    two.lab.set(HOST_A, &[]);
    elsewhere.release_writes();
    assert_eq!(other.finish(tag).sense, REVOKED);
    assert_eq!(blocks(&elsewhere.contents(), 64, 8), [0; 8 * 512], "the second range was not begun");
    eventually("the use lets go", || two.source.points() == 0);
}

#[test]
fn masking_the_destination_waits_for_the_use_of_a_token() {
    let (two, mut raw, _) = two();
    let token = token(&mut raw, 0, &[(0, 128)]);
    two.destination.hold_writes();
    let tag = start_use(&mut raw, 1, &token, &[(0, 128)]);
    two.destination.wait_for_held(1);
    thread::scope(|scope| {
        let fence = scope.spawn(|| {
            two.lab.set(HOST_A, &[(0, &two.source, Access::ReadWrite)]);
            two.destination.contents()
        });
        two.lab.login(HOST_B).give_others_time();
        assert!(!fence.is_finished(), "the fence returned with a write inside the unit");
        two.destination.release_writes();
        let at_return = fence.join().unwrap();
        assert!(raw.finish(tag).is_good());
        assert!(at_return == two.destination.contents(), "it changed after the fence had returned");
    });
}

#[test]
fn a_copy_is_aborted_and_says_how_far_it_came() {
    let (two, mut raw, _) = two();
    let token = token(&mut raw, 0, &[(0, 128)]);
    two.destination.hold_writes();
    let tag = start_use(&mut raw, 1, &token, &[(0, 8), (64, 8)]);
    two.destination.wait_for_held(1);
    let abort = [0x83, 0x1c, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert!(raw.run(1, &abort, None, 0).is_good());
    two.destination.release_writes();
    assert_eq!(raw.finish(tag).sense, [0x0a, 0, 0]);
    let told = information(&mut raw, 1, 2);
    assert_eq!((told.data[5], transferred(&told)), (0x60, 8));
    assert_eq!(blocks(&two.destination.contents(), 64, 8), [0; 8 * 512]);
    assert_eq!(raw.run(1, &abort, None, 0).sense, [5, 0x24, 0], "there is no such copy any more");
}

#[test]
fn tokens_outlive_sessions_and_resets() {
    let (two, mut raw, _) = two();
    let token = token(&mut raw, 0, &[(0, 8)]);
    assert_eq!(raw.manage(task_function::LOGICAL_UNIT_RESET, 0, 0), task_response::COMPLETE);
    raw.logout();
    let mut again = two.lab.login(HOST_A);
    assert!(use_it(&mut again, 1, &token, &[(0, 8)]).is_good());
}

#[test]
fn a_write_protected_or_reserved_unit_takes_no_token() {
    let (two, mut raw, _) = two();
    let token = token(&mut raw, 0, &[(0, 8)]);
    two.lab.set(HOST_B, &[(5, &two.destination, Access::ReadOnly), (6, &two.source, Access::ReadWrite)]);
    let mut other = two.lab.login(HOST_B);
    assert_eq!(use_it(&mut other, 5, &token, &[(0, 8)]).sense, [7, 0x27, 0]);
    assert!(raw.run(0, &[0x16, 0, 0, 0, 0, 0], None, 0).is_good(), "RESERVE (6)");
    const RESERVATION_CONFLICT: u8 = 0x18;
    assert_eq!(populate(&mut other, 6, 9, LONG, &[(0, 8)]).status, RESERVATION_CONFLICT);
    assert_eq!(use_it(&mut other, 6, &token, &[(0, 8)]).status, RESERVATION_CONFLICT);
}

#[test]
fn a_host_makes_so_many_tokens_and_others_can_still() {
    let (two, mut raw, _) = two();
    let many: Vec<Token> = (0..limits::TOKENS_PER_HOST).map(|_| token(&mut raw, 0, &[(0, 8)])).collect();
    assert_eq!(populate(&mut raw, 0, 9, LONG, &[(0, 8)]).sense, [0x0a, 0x55, 0x0d]);
    assert_eq!(two.source.points(), many.len());
    two.lab.set(HOST_B, &[(5, &two.source, Access::ReadWrite)]);
    token(&mut two.lab.login(HOST_B), 5, &[(0, 8)]);
    assert!(use_it(&mut raw, 1, &many[3], &[(0, 8)]).is_good());
    token(&mut raw, 0, &[(0, 8)]);
    assert_eq!(use_it(&mut raw, 1, &many[3], &[(0, 8)]).sense, REVOKED, "the one that was used made room");
    assert!(use_it(&mut raw, 1, &many[4], &[(0, 8)]).is_good());
}

#[test]
fn a_unit_that_cannot_keep_an_instant_says_so_and_its_failures_are_told() {
    let (two, mut raw, _) = two();
    two.source.fail(Some(Failure::NoSpace));
    let insufficient = [0x0a, 0x55, 0x0c];
    assert_eq!(populate(&mut raw, 0, 9, LONG, &[(0, 8)]).sense, insufficient);
    let told = information(&mut raw, 0, 9);
    assert_eq!([told.data[34], told.data[44], told.data[45]], insufficient);
    two.source.fail(None);
    let token = token(&mut raw, 0, &[(0, 8)]);
    two.destination.fail(Some(Failure::NoSpace));
    assert_eq!(use_it(&mut raw, 1, &token, &[(0, 8)]).sense, [7, 0x27, 0x07]);
    two.destination.fail(None);
    assert!(use_it(&mut raw, 1, &token, &[(0, 8)]).is_good());
}

#[test]
fn tokens_are_given_up_when_space_is_needed_and_with_the_target() {
    let (two, mut raw, _) = two();
    assert!(!two.lab.target.give_up_tokens(), "there are none");
    let token = token(&mut raw, 0, &[(0, 8)]);
    assert!(two.lab.target.give_up_tokens());
    assert_eq!(two.source.points(), 0);
    assert_eq!(use_it(&mut raw, 1, &token, &[(0, 8)]).sense, REVOKED);
    self::token(&mut raw, 0, &[(0, 8)]);
    two.lab.target.shutdown();
    assert_eq!(two.source.points(), 0);
}

#[test]
fn tokens_are_listed_to_those_who_see_their_unit_without_what_makes_them_valid() {
    let (two, mut raw, _) = two();
    two.lab.set(HOST_B, &[(1, &two.destination, Access::ReadWrite)]);
    let mut other = two.lab.login(HOST_B);
    let token = token(&mut raw, 0, &[(0, 8)]);
    let list = [0x84, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0];
    let seen = raw.run(1, &list, None, 1024).data;
    assert_eq!((seen.len(), &seen[8..]), (8 + 96, &token[..96]));
    assert_eq!(other.run(1, &list, None, 1024).data.len(), 8);
}

/// The third-party copy page of LUN 0: the types of its descriptors.
fn announced(raw: &mut Raw) -> Vec<u16> {
    let page = raw.run(0, &[0x12, 1, 0x8f, 4, 0, 0], None, 1024).data;
    let (mut rest, mut found) = (&page[4..], Vec::new());
    while let [high, low, long, short, left @ ..] = rest {
        found.push(u16::from_be_bytes([*high, *low]));
        rest = &left[usize::from(u16::from_be_bytes([*long, *short]))..];
    }
    found
}

#[test]
fn only_a_unit_with_points_in_time_announces_tokens_and_takes_them() {
    const OF_TOKENS: [u16; 3] = [0x0000, 0x0106, 0x0108];
    let (_two, mut raw, _) = two();
    let said = announced(&mut raw);
    assert!(OF_TOKENS.iter().all(|kind| said.contains(kind)), "{said:x?}");

    let lab = Lab::<FiledUnit>::with(TargetConfig::new(TARGET));
    lab.set(HOST_A, &[(0, &Arc::new(FiledUnit::new(1 << 20)), Access::ReadWrite)]);
    let mut raw = lab.login(HOST_A);
    let said = announced(&mut raw);
    assert!(said.contains(&0x0004) && !OF_TOKENS.iter().any(|kind| said.contains(kind)), "{said:x?}");
    assert_eq!(populate(&mut raw, 0, 1, LONG, &[(0, 8)]).sense, [5, 0x24, 0]);
    assert_eq!(use_it(&mut raw, 0, &[0; 512], &[(0, 8)]).sense, [5, 0x24, 0]);
}

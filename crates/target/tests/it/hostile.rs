//! Peers that mean harm, or are broken: cut off with a reason in the log, while others are served.

use crate::lab::{HOST_A, Lab, eventually, unit};
use crate::raw::Raw;
use std::io::{self, Write};
use std::sync::{Mutex, OnceLock};
use umbra_iscsi::pdu::request::{Login, ScsiCommand, stage};
use umbra_iscsi::pdu::{Bhs, opcode};
use umbra_target::{Access, limits};

/// Everything that was logged in this process.
fn log() -> &'static Mutex<Vec<u8>> {
    static LOG: OnceLock<Mutex<Vec<u8>>> = OnceLock::new();
    LOG.get_or_init(|| {
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(|| LogWriter);
        let _set_by_another_test = subscriber.try_init();
        Mutex::default()
    })
}

struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        log().lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn wait_for_log(text: &str) {
    eventually(text, || String::from_utf8_lossy(&log().lock().unwrap()).contains(text));
}

/// A target with a decent initiator on it.
fn served() -> (Lab, Raw) {
    log();
    let lab = Lab::new();
    lab.set(HOST_A, &[(0, &unit(), Access::ReadWrite)]);
    let raw = lab.login(HOST_A);
    (lab, raw)
}

/// Bytes that look like nothing in particular, the same in every run.
fn noise(len: usize, mut seed: u64) -> Vec<u8> {
    let mut step = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as u8
    };
    (0..len).map(|_| step()).collect()
}

#[test]
fn random_bytes_are_cut_off() {
    let (lab, mut decent) = served();
    for seed in 1..40 {
        let mut raw = Raw::connect(lab.addr);
        let mut bytes = noise(4096, seed);
        // A first byte that is no login, so that the end does not depend on chance lengths.
        bytes[0] = 0x3b;
        bytes[4..8].fill(0);
        raw.try_send_bytes(&bytes);
        raw.expect_closed();
        assert!(decent.write(0, seed as u8, &[1; 512]).is_good());
    }
    wait_for_log("before the login was complete");
}

#[test]
fn huge_lengths_are_cut_off_before_and_after_login() {
    let (lab, mut decent) = served();
    let mut before = Raw::connect(lab.addr);
    let mut header = Login { immediate: true, ..Login::default() }.build();
    header.set_data_len(0xff_ffff);
    before.send_bytes(&header.0);
    before.expect_closed();
    wait_for_log("data segment of 16777215 bytes in a PDU with opcode 0x03, at most 8192 are allowed");
    let mut after = lab.login(HOST_A);
    let mut header = ScsiCommand { write: true, cmd_sn: 9, ..ScsiCommand::default() }.build();
    header.set_data_len(0xff_ffff);
    after.send_bytes(&header.0);
    after.expect_closed();
    wait_for_log("in a PDU with opcode 0x01, at most 262144 are allowed");
    assert!(decent.test_unit_ready(0).is_good());
}

#[test]
fn half_a_login_is_cut_off_when_its_time_is_over() {
    let (lab, mut decent) = served();
    let mut silent = Raw::connect(lab.addr);
    let mut half = Raw::connect(lab.addr);
    half.send_bytes(&[opcode::LOGIN | opcode::IMMEDIATE, 0x87, 0, 0, 0, 0]);
    let mut stuck = Raw::connect(lab.addr);
    stuck.login_step(stage::SECURITY, None, &[("InitiatorName", HOST_A), ("TargetName", crate::lab::TARGET)]);
    assert!(decent.test_unit_ready(0).is_good());
    silent.expect_closed();
    half.expect_closed();
    stuck.expect_closed();
    wait_for_log("no complete login within 15 s");
    assert!(decent.test_unit_ready(0).is_good());
    assert_eq!(lab.target.sessions().len(), 1);
}

#[test]
fn garbage_in_full_feature_phase_ends_only_its_own_session() {
    let (lab, mut decent) = served();
    for seed in 100..130 {
        let mut raw = lab.login(HOST_A);
        raw.try_send_bytes(&noise(64 << 10, seed));
        // A length that chance made too long for what came would make it wait: this ends it.
        for _ in 0..limits::CONNECTIONS {
            raw.try_send_bytes(&Bhs::new(0x3b).0);
        }
        drop(raw);
        assert!(decent.write(0, 0, &[seed as u8; 512]).is_good());
    }
    eventually("the end of the other sessions", || lab.target.sessions().len() == 1);
    assert!(decent.test_unit_ready(0).is_good());
}

#[test]
fn connections_that_do_not_log_in_are_turned_away_above_their_limit_and_there_is_room_again() {
    let (lab, mut decent) = served();
    let crowd: Vec<Raw> = (0..limits::LOGINS_PER_PEER).map(|_| Raw::connect(lab.addr)).collect();
    let mut one_more = Raw::connect(lab.addr);
    one_more.expect_closed();
    wait_for_log("too many connections from this address that do not log in");
    assert!(decent.test_unit_ready(0).is_good());
    drop(crowd);
    eventually("room", || {
        let mut raw = Raw::connect(lab.addr);
        raw.try_send_bytes(&[0; 1]);
        let isid = raw.isid;
        drop(raw);
        let mut raw = Raw::connect(lab.addr);
        raw.isid = isid;
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| raw.try_login(HOST_A, &[]))).is_ok()
    });
}

#[test]
fn sessions_of_one_host_are_limited() {
    let (lab, _decent) = served();
    let more: Vec<Raw> = (1..limits::SESSIONS_PER_HOST).map(|_| lab.login(HOST_A)).collect();
    assert_eq!(Raw::connect(lab.addr).try_login(HOST_A, &[]), 0x0302);
    drop(more);
    eventually("room", || Raw::connect(lab.addr).try_login(HOST_A, &[]) == 0);
}

/// A peer that asks for much and takes nothing holds up itself.
#[test]
fn a_peer_that_does_not_read_harms_nobody_else() {
    let (lab, mut decent) = served();
    let mut deaf = lab.login(HOST_A);
    for _ in 0..100 {
        deaf.start(0, &[0x28, 0, 0, 0, 0, 0, 0, 0x08, 0, 0], None, 1 << 20);
    }
    for n in 0..50 {
        assert!(decent.write(0, n, &[n; 512]).is_good());
    }
    drop(deaf);
    eventually("its end", || lab.target.sessions().len() == 1);
}

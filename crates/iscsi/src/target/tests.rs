//! Scripts of whole sessions: what an initiator sends against what the target answers, in simulated time.

use super::*;
use crate::chap::{self, Secret};
use crate::limits::*;
use crate::pdu::request::*;
use crate::pdu::response::*;
use crate::pdu::{Bhs, FrameReader, RESERVED_TAG, Response, write_pdu};
use proptest::prelude::*;
use std::time::Duration;

const TARGET: &str = "iqn.2026-01.test:target";
const INITIATOR: &str = "iqn.2026-01.test:host-a";
const WRITE_10: u8 = 0x2a;
const READ_10: u8 = 0x28;

/// A target connection and the initiator's view of it. The driver's part is played in [`Pair::drive`].
struct Pair {
    now: Instant,
    target: Connection,
    to_target: FrameReader,
    from_target: FrameReader,
    /// Digests of what we send.
    digests: Digests,
    cmd_sn: u32,
    secret: Option<&'static str>,
    known: bool,
    commands: Vec<Command>,
    management: Vec<TaskManagementRequest>,
    logouts: usize,
    /// Everything sent, for recordings.
    sent: Vec<u8>,
}

fn params(authentication: Authentication) -> Params {
    Params {
        target_name: TARGET.to_owned(),
        authentication,
        portal_group_tag: 1,
        addresses: vec!["192.0.2.1:3260".to_owned(), "[2001:db8::1]:3260".to_owned()],
        queue_depth: 4,
    }
}

impl Pair {
    fn new(authentication: Authentication) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        Pair {
            now,
            target: Connection::new(params(authentication), now),
            to_target: FrameReader::new(LOGIN_DATA_SEGMENT),
            from_target: FrameReader::new(1 << 20),
            digests: Digests::default(),
            cmd_sn: 1,
            secret: None,
            known: true,
            commands: Vec::new(),
            management: Vec::new(),
            logouts: 0,
            sent: Vec::new(),
        }
    }

    /// Logged in with these operational keys.
    fn logged_in(keys: &[(&str, &str)]) -> Self {
        let mut pair = Pair::new(Authentication::None);
        let mut all = vec![("InitiatorName", INITIATOR), ("TargetName", TARGET), ("SessionType", "Normal")];
        all.extend_from_slice(keys);
        let (answer, _) = pair.login(stage::OPERATIONAL, Some(stage::FULL_FEATURE), &all);
        assert_eq!((answer.status, answer.tsih, answer.transit), (login_status::SUCCESS, 7, true));
        pair.after_login(keys);
        pair
    }

    fn after_login(&mut self, keys: &[(&str, &str)]) {
        self.digests.header = keys.contains(&("HeaderDigest", "CRC32C"));
        self.digests.data = keys.contains(&("DataDigest", "CRC32C"));
        self.from_target.set_mode(self.digests, 1 << 20);
    }

    fn send(&mut self, header: Bhs, data: &[u8]) {
        let mut bytes = Vec::new();
        write_pdu(&mut bytes, header, data, self.digests);
        self.sent.extend_from_slice(&bytes);
        self.feed(&bytes);
    }

    /// Bytes as the driver would hand them in.
    fn feed(&mut self, bytes: &[u8]) {
        self.to_target.receive(bytes);
        loop {
            let (digests, max_data) = self.target.framing();
            self.to_target.set_mode(digests, max_data);
            match self.to_target.next_frame() {
                Ok(Some(frame)) => self.target.handle(self.now, &frame),
                Ok(None) => return,
                Err(error) => self.target.broken(error),
            }
            self.drive();
            if self.target.closed().is_some() {
                return;
            }
        }
    }

    fn drive(&mut self) {
        while let Some(event) = self.target.next_event() {
            match event {
                Event::Identify { .. } => {
                    let who = match self.known {
                        true => Initiator::Known { secret: self.secret.map(Secret::new) },
                        false => Initiator::Unknown,
                    };
                    self.target.admit(who, Challenge { id: 5, bytes: [9; 16] });
                }
                Event::SessionReady(_) => self.target.accept(self.now, 7),
                Event::Command(command) => self.commands.push(command),
                Event::TaskManagement(request) => self.management.push(request),
                Event::Logout => self.logouts += 1,
            }
        }
    }

    /// Everything that the target has sent since.
    fn answers(&mut self) -> Vec<(Response, Vec<u8>)> {
        let mut bytes = Vec::new();
        self.target.transmit(&mut bytes);
        self.from_target.receive(&bytes);
        let mut answers = Vec::new();
        while let Some(frame) = self.from_target.next_frame().unwrap() {
            answers.push((Response::parse(&frame.header).unwrap(), frame.data.to_vec()));
        }
        answers
    }

    fn answer(&mut self) -> (Response, Vec<u8>) {
        let mut answers = self.answers();
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers.remove(0)
    }

    fn login(&mut self, current: u8, next: Option<u8>, keys: &[(&str, &str)]) -> (LoginResponse, TextList) {
        let list: TextList = keys.iter().copied().collect();
        self.login_raw(current, next, &list.encode())
    }

    fn login_raw(&mut self, current: u8, next: Option<u8>, text: &[u8]) -> (LoginResponse, TextList) {
        self.send(login(current, next, self.cmd_sn).build(), text);
        match self.answer() {
            (Response::LoginResponse(pdu), data) => (pdu, TextList::parse(&data).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    fn command(&mut self, tag: u32, cdb: u8, expected: u32) -> ScsiCommand {
        let mut bytes = [0; 16];
        bytes[0] = cdb;
        let header = ScsiCommand {
            final_bit: true,
            read: cdb == READ_10,
            write: cdb == WRITE_10,
            attribute: 1,
            task_tag: tag,
            expected_data_length: expected,
            cmd_sn: self.cmd_sn,
            cdb: bytes,
            ..ScsiCommand::default()
        };
        self.cmd_sn += 1;
        header
    }

    fn data_out(&mut self, tag: u32, transfer_tag: u32, data_sn: u32, offset: u32, data: &[u8], last: bool) {
        let pdu = DataOut {
            final_bit: last,
            task_tag: tag,
            transfer_tag,
            data_sn,
            buffer_offset: offset,
            ..DataOut::default()
        };
        self.send(pdu.build(), data);
    }

    fn good(&mut self, tag: u32, data: &[u8]) {
        self.target.complete(tag, &Completion { data_in: data, ..Completion::default() });
    }

    fn closed(&self) -> String {
        self.target.closed().map(ToString::to_string).unwrap_or_default()
    }

    /// The status and sense (key, code, qualifier) that a command got.
    fn status(&mut self, tag: u32) -> (u8, [u8; 3]) {
        match self.answer() {
            (Response::ScsiResponse(pdu), data) => {
                assert_eq!(pdu.task_tag, tag);
                let sense = if data.is_empty() { [0; 3] } else { [data[4], data[14], data[15]] };
                (pdu.status, sense)
            }
            other => panic!("{other:?}"),
        }
    }
}

fn login(current: u8, next: Option<u8>, cmd_sn: u32) -> Login {
    Login {
        immediate: true,
        transit: next.is_some(),
        current_stage: current,
        next_stage: next.unwrap_or(0),
        isid: [0x40, 0, 0, 1, 0, 0],
        task_tag: 1,
        cmd_sn,
        exp_stat_sn: 100,
        ..Login::default()
    }
}

// Login.

#[test]
fn login_answers_each_key_and_declares_its_own() {
    let mut pair = Pair::new(Authentication::None);
    let keys = [
        ("InitiatorName", INITIATOR),
        ("TargetName", TARGET),
        ("MaxBurstLength", "65536"),
        ("MaxRecvDataSegmentLength", "65536"),
        (RESEND_KEY, "Yes"),
        ("X-com.example", "1"),
    ];
    let (pdu, answers) = pair.login(stage::OPERATIONAL, Some(stage::FULL_FEATURE), &keys);
    assert_eq!((pdu.status, pdu.tsih, pdu.stat_sn, pdu.exp_cmd_sn, pdu.max_cmd_sn), (0, 7, 100, 1, 4));
    let expected = [
        ("TargetPortalGroupTag", "1"),
        ("MaxRecvDataSegmentLength", "262144"),
        ("MaxBurstLength", "65536"),
        (RESEND_KEY, "Yes"),
        ("X-com.example", "NotUnderstood"),
    ];
    assert_eq!(answers, expected.into_iter().collect());
}

#[test]
fn security_without_a_method_passes_where_none_is_demanded() {
    let mut pair = Pair::new(Authentication::None);
    let keys = [("InitiatorName", INITIATOR), ("TargetName", TARGET), ("AuthMethod", "CHAP,None")];
    let (pdu, answers) = pair.login(stage::SECURITY, Some(stage::OPERATIONAL), &keys);
    assert!(pdu.transit);
    assert_eq!(answers.get("AuthMethod"), Some("None"));
    let (pdu, _) = pair.login(stage::OPERATIONAL, Some(stage::FULL_FEATURE), &[("ErrorRecoveryLevel", "0")]);
    assert_eq!((pdu.status, pdu.tsih), (0, 7));
}

#[test]
fn text_may_be_split_over_login_pdus() {
    let mut pair = Pair::new(Authentication::None);
    let text = format!("InitiatorName={INITIATOR}\0TargetName={TARGET}\0");
    let (first, second) = text.as_bytes().split_at(20);
    let header = Login { continues: true, ..login(stage::OPERATIONAL, None, 1) };
    pair.send(header.build(), first);
    let (answer, data) = pair.answer();
    assert!(matches!(answer, Response::LoginResponse(pdu) if !pdu.transit && pdu.status == 0));
    assert!(data.is_empty());
    let (pdu, _) = pair.login_raw(stage::OPERATIONAL, Some(stage::FULL_FEATURE), second);
    assert_eq!((pdu.status, pdu.tsih), (0, 7));
}

/// CHAP up to the response; returns the last answer.
fn chap(secret: Option<&'static str>, known: bool, used: &str) -> (Pair, LoginResponse) {
    let mut pair = Pair::new(Authentication::Chap);
    (pair.secret, pair.known) = (secret, known);
    let keys = [("InitiatorName", INITIATOR), ("TargetName", TARGET), ("AuthMethod", "CHAP,None")];
    let (pdu, answers) = pair.login(stage::SECURITY, Some(stage::OPERATIONAL), &keys);
    assert_eq!((pdu.transit, answers.get("AuthMethod")), (false, Some("CHAP")));
    let (_, answers) = pair.login(stage::SECURITY, None, &[("CHAP_A", "5")]);
    assert_eq!((answers.get("CHAP_A"), answers.get("CHAP_I")), (Some("5"), Some("5")));
    let challenge = chap::decode_binary(answers.get("CHAP_C").unwrap(), 64).unwrap();
    let response = chap::encode_binary(&chap::response(5, &Secret::new(used), &challenge));
    let keys = [("CHAP_N", "anyone"), ("CHAP_R", response.as_str())];
    let (pdu, _) = pair.login(stage::SECURITY, Some(stage::FULL_FEATURE), &keys);
    (pair, pdu)
}

#[test]
fn chap_lets_in_who_knows_the_secret() {
    let (pair, pdu) = chap(Some("correct horse"), true, "correct horse");
    assert_eq!((pdu.status, pdu.tsih), (0, 7));
    assert!(pair.target.closed().is_none());
}

#[test]
fn chap_refuses_a_wrong_secret_no_secret_and_unknown_names_alike() {
    for (secret, known) in
        [(Some("correct horse"), true), (None, true), (Some("battery"), false), (None, false)]
    {
        let (pair, pdu) = chap(secret, known, "battery");
        assert_eq!(pdu.status, login_status::AUTHENTICATION_FAILURE, "{secret:?} {known}");
        assert!(pair.closed().contains("wrong CHAP response, or no such initiator"));
    }
}

#[test]
fn a_portal_that_demands_chap_cannot_be_entered_around_it() {
    let names = [("InitiatorName", INITIATOR), ("TargetName", TARGET)];
    let none = [("InitiatorName", INITIATOR), ("TargetName", TARGET), ("AuthMethod", "None")];
    for (current, next, keys) in [
        (stage::OPERATIONAL, stage::FULL_FEATURE, &names[..]),
        (stage::SECURITY, stage::FULL_FEATURE, &names[..]),
        (stage::SECURITY, stage::OPERATIONAL, &none[..]),
    ] {
        let mut pair = Pair::new(Authentication::Chap);
        pair.secret = Some("correct horse");
        let (pdu, _) = pair.login(current, Some(next), keys);
        assert_eq!(pdu.status, login_status::AUTHENTICATION_FAILURE, "{current} to {next}");
    }
    // Not by leaving security halfway either.
    let mut pair = Pair::new(Authentication::Chap);
    pair.secret = Some("correct horse");
    pair.login(
        stage::SECURITY,
        None,
        &[("InitiatorName", INITIATOR), ("TargetName", TARGET), ("AuthMethod", "CHAP")],
    );
    let (pdu, _) = pair.login(stage::OPERATIONAL, Some(stage::FULL_FEATURE), &[]);
    assert_ne!(pdu.status, login_status::SUCCESS);
}

#[test]
fn illegal_logins_are_refused_with_their_status() {
    let names = [("InitiatorName", INITIATOR), ("TargetName", TARGET)];
    let status = |keys: &[(&str, &str)]| {
        let mut pair = Pair::new(Authentication::None);
        let (pdu, _) = pair.login(stage::OPERATIONAL, Some(stage::FULL_FEATURE), keys);
        assert!(pair.target.closed().is_some());
        pdu.status
    };
    assert_eq!(status(&names[..1]), login_status::MISSING_PARAMETER);
    assert_eq!(status(&names[1..]), login_status::MISSING_PARAMETER);
    assert_eq!(status(&[names[0], ("TargetName", "iqn.2026-01.test:other")]), login_status::NOT_FOUND);
    assert_eq!(status(&[names[0], ("SessionType", "Strange")]), login_status::SESSION_TYPE_NOT_SUPPORTED);
    let twice = [names[0], names[1], ("MaxBurstLength", "512"), ("MaxBurstLength", "1024")];
    assert_eq!(status(&twice), login_status::INITIATOR_ERROR);
    let mut unknown = Pair::new(Authentication::None);
    unknown.known = false;
    let (pdu, _) = unknown.login(stage::OPERATIONAL, Some(stage::FULL_FEATURE), &names);
    assert_eq!(pdu.status, login_status::AUTHORIZATION_FAILURE);
    let mut illegal_stage = Pair::new(Authentication::None);
    assert_eq!(illegal_stage.login(2, Some(3), &names).0.status, login_status::INITIATOR_ERROR);
    let mut backwards = Pair::new(Authentication::None);
    assert_eq!(
        backwards.login(stage::OPERATIONAL, Some(stage::SECURITY), &names).0.status,
        login_status::INITIATOR_ERROR
    );
    let mut version = Pair::new(Authentication::None);
    version.send(Login { version_min: 1, ..login(1, Some(3), 1) }.build(), b"");
    assert!(matches!(version.answer().0, Response::LoginResponse(pdu)
        if pdu.status == login_status::UNSUPPORTED_VERSION && pdu.task_tag == 1));
}

#[test]
fn anything_but_a_login_before_login_ends_the_connection() {
    let mut pair = Pair::new(Authentication::None);
    pair.send(NopOut::default().build(), b"");
    assert_eq!(pair.closed(), "PDU with opcode 0x00 before the login was complete");
    let mut huge = Pair::new(Authentication::None);
    let mut header = login(1, Some(3), 1).build();
    header.set_data_len(0xff_ffff);
    huge.feed(&header.0);
    assert!(huge.closed().contains("16777215 bytes"), "{}", huge.closed());
}

#[test]
fn half_a_login_is_cut_at_its_limit() {
    let mut pair = Pair::new(Authentication::None);
    let limit = pair.target.next_deadline().unwrap();
    assert_eq!(limit, pair.now + LOGIN_TIME);
    pair.target.tick(Instant::from_nanos(limit.as_nanos() - 1));
    assert!(pair.target.closed().is_none());
    pair.target.tick(limit);
    assert_eq!(pair.closed(), "no complete login within 15 s");
    assert_eq!(pair.target.next_deadline(), None);
}

// Full feature phase.

#[test]
fn a_silent_initiator_is_pinged_and_then_cut() {
    let mut pair = Pair::logged_in(&[]);
    let ping_at = pair.now + PING_AFTER;
    pair.target.tick(Instant::from_nanos(ping_at.as_nanos() - 1));
    assert!(pair.answers().is_empty());
    pair.target.tick(ping_at);
    let (Response::NopIn(ping), _) = pair.answer() else { panic!("no ping") };
    assert_eq!(ping.task_tag, RESERVED_TAG);
    let cut_at = ping_at + PING_ANSWER;
    pair.target.tick(Instant::from_nanos(cut_at.as_nanos() - 1));
    assert!(pair.target.closed().is_none());
    pair.target.tick(cut_at);
    assert_eq!(pair.closed(), "no answer to a ping within 15 s");
}

#[test]
fn a_ping_that_is_answered_starts_the_silence_anew() {
    let mut pair = Pair::logged_in(&[]);
    pair.now = pair.now + PING_AFTER;
    pair.target.tick(pair.now);
    let (Response::NopIn(ping), _) = pair.answer() else { panic!("no ping") };
    pair.now = pair.now + Duration::from_secs(1);
    let answer = NopOut {
        immediate: true,
        final_bit: true,
        task_tag: RESERVED_TAG,
        transfer_tag: ping.transfer_tag,
        cmd_sn: pair.cmd_sn,
        ..NopOut::default()
    };
    pair.send(answer.build(), b"");
    assert!(pair.answers().is_empty());
    assert_eq!(pair.target.next_deadline(), Some(pair.now + PING_AFTER));
}

#[test]
fn an_initiators_ping_is_echoed() {
    let mut pair = Pair::logged_in(&[]);
    let ping = NopOut {
        immediate: true,
        final_bit: true,
        task_tag: 9,
        transfer_tag: RESERVED_TAG,
        cmd_sn: 1,
        ..NopOut::default()
    };
    pair.send(ping.build(), b"are you there");
    let (answer, data) = pair.answer();
    assert!(matches!(answer, Response::NopIn(pdu) if pdu.task_tag == 9 && pdu.exp_cmd_sn == 1));
    assert_eq!(data, b"are you there");
}

#[test]
fn immediate_data_makes_a_command_complete() {
    let mut pair = Pair::logged_in(&[]);
    let header = pair.command(3, WRITE_10, 512);
    pair.send(header.build(), &[7; 512]);
    assert_eq!(pair.commands[0].data, [7; 512]);
    assert_eq!(pair.commands[0].read_length, 0);
    pair.good(3, &[]);
    assert_eq!(pair.status(3).0, 0);
    pair.good(3, &[]);
    assert!(pair.answers().is_empty(), "a task gets one response");
}

#[test]
fn solicited_data_comes_by_r2ts_of_one_burst_each() {
    let keys = [("MaxBurstLength", "1024"), ("ImmediateData", "No"), ("MaxOutstandingR2T", "2")];
    let mut pair = Pair::logged_in(&keys);
    let header = pair.command(3, WRITE_10, 2560);
    pair.send(header.build(), b"");
    let r2ts = |answers: Vec<(Response, Vec<u8>)>| -> Vec<R2t> {
        answers
            .into_iter()
            .map(|(answer, _)| match answer {
                Response::R2t(pdu) => pdu,
                other => panic!("{other:?}"),
            })
            .collect()
    };
    let open = r2ts(pair.answers());
    let ranges: Vec<_> = open.iter().map(|r2t| (r2t.r2t_sn, r2t.buffer_offset, r2t.desired_length)).collect();
    assert_eq!(ranges, [(0, 0, 1024), (1, 1024, 1024)]);
    pair.data_out(3, open[0].transfer_tag, 0, 0, &[1; 512], false);
    assert!(pair.answers().is_empty());
    pair.data_out(3, open[0].transfer_tag, 1, 512, &[1; 512], true);
    let next = r2ts(pair.answers());
    assert_eq!((next[0].r2t_sn, next[0].buffer_offset, next[0].desired_length), (2, 2048, 512));
    pair.data_out(3, open[1].transfer_tag, 0, 1024, &[2; 1024], true);
    pair.data_out(3, next[0].transfer_tag, 0, 2048, &[3; 512], true);
    assert_eq!(pair.commands[0].data, [[1; 1024].as_slice(), &[2; 1024], &[3; 512]].concat());
    pair.good(3, &[]);
    let (Response::ScsiResponse(pdu), _) = pair.answer() else { panic!("no response") };
    assert_eq!((pdu.exp_data_sn, pdu.residual), (3, 0));
}

#[test]
fn unsolicited_data_fills_the_first_burst_and_r2ts_the_rest() {
    let keys = [("InitialR2T", "No"), ("FirstBurstLength", "1024")];
    let mut pair = Pair::logged_in(&keys);
    let header = ScsiCommand { final_bit: false, ..pair.command(3, WRITE_10, 2048) };
    pair.send(header.build(), &[1; 512]);
    pair.data_out(3, RESERVED_TAG, 0, 512, &[2; 256], false);
    pair.data_out(3, RESERVED_TAG, 1, 768, &[2; 256], true);
    let (Response::R2t(r2t), _) = pair.answer() else { panic!("no R2T") };
    assert_eq!((r2t.buffer_offset, r2t.desired_length), (1024, 1024));
    pair.data_out(3, r2t.transfer_tag, 0, 1024, &[3; 1024], true);
    assert_eq!(pair.commands[0].data, [[1; 512].as_slice(), &[2; 512], &[3; 1024]].concat());
}

const CHECK: u8 = 0x02;

#[test]
fn data_that_breaks_the_rules_ends_the_command_with_its_condition() {
    const UNEXPECTED: [u8; 3] = [0x0b, 0x0c, 0x0c];
    const AMOUNT: [u8; 3] = [0x0b, 0x0c, 0x0d];
    const SEQUENCE: [u8; 3] = [0x0b, 0x47, 0x05];
    let unsolicited: &'static [_] = &[("InitialR2T", "No"), ("FirstBurstLength", "1024")];
    type Script = fn(&mut Pair);
    type Case = (&'static str, &'static [(&'static str, &'static str)], Script, [u8; 3]);
    let scripts: [Case; 7] = [
        (
            "immediate data where there may be none",
            &[("ImmediateData", "No")],
            |pair| {
                let header = pair.command(3, WRITE_10, 512);
                pair.send(header.build(), &[0; 512]);
            },
            UNEXPECTED,
        ),
        (
            "unsolicited data where there may be none",
            &[],
            |pair| {
                let header = ScsiCommand { final_bit: false, ..pair.command(3, WRITE_10, 1024) };
                pair.send(header.build(), &[0; 512]);
            },
            UNEXPECTED,
        ),
        (
            "more than was announced",
            &[],
            |pair| {
                let header = pair.command(3, WRITE_10, 256);
                pair.send(header.build(), &[0; 512]);
            },
            AMOUNT,
        ),
        (
            "more than the first burst",
            unsolicited,
            |pair| {
                let header = ScsiCommand { final_bit: false, ..pair.command(3, WRITE_10, 2048) };
                pair.send(header.build(), &[0; 512]);
                pair.data_out(3, RESERVED_TAG, 0, 512, &[0; 1024], false);
            },
            AMOUNT,
        ),
        (
            "a data number twice",
            unsolicited,
            |pair| {
                let header = ScsiCommand { final_bit: false, ..pair.command(3, WRITE_10, 1024) };
                pair.send(header.build(), b"");
                pair.data_out(3, RESERVED_TAG, 0, 0, &[0; 512], false);
                pair.data_out(3, RESERVED_TAG, 0, 512, &[0; 512], true);
            },
            SEQUENCE,
        ),
        (
            "an offset out of order",
            unsolicited,
            |pair| {
                let header = ScsiCommand { final_bit: false, ..pair.command(3, WRITE_10, 1024) };
                pair.send(header.build(), b"");
                pair.data_out(3, RESERVED_TAG, 0, 512, &[0; 512], false);
            },
            SEQUENCE,
        ),
        (
            "more than we take",
            &[],
            |pair| {
                let header = pair.command(3, WRITE_10, COMMAND_DATA + 1);
                pair.send(header.build(), b"");
            },
            [0x05, 0x24, 0x00],
        ),
    ];
    for (what, keys, script, sense) in scripts {
        let mut pair = Pair::logged_in(keys);
        script(&mut pair);
        assert_eq!(pair.status(3), (CHECK, sense), "{what}");
        assert!(pair.commands.is_empty(), "{what}");
        // What is still on its way is dropped, and the session goes on.
        pair.data_out(3, RESERVED_TAG, 5, 0, &[0; 512], true);
        assert!(pair.answers().is_empty(), "{what}");
        let header = pair.command(4, WRITE_10, 0);
        pair.send(header.build(), b"");
        assert_eq!(pair.commands.len(), 1, "{what}");
    }
}

#[test]
fn a_solicited_burst_that_ends_early_or_runs_over_is_refused() {
    for (len, last) in [(256, true), (1024, true)] {
        let mut pair = Pair::logged_in(&[("ImmediateData", "No"), ("MaxBurstLength", "512")]);
        let header = pair.command(3, WRITE_10, 2048);
        pair.send(header.build(), b"");
        let (Response::R2t(r2t), _) = pair.answer() else { panic!("no R2T") };
        pair.data_out(3, r2t.transfer_tag, 0, 0, &vec![0; len], last);
        assert_eq!(pair.status(3), (CHECK, [0x0b, 0x0c, 0x0d]));
    }
}

#[test]
fn solicited_memory_of_a_session_is_bounded() {
    let mut pair = Pair::logged_in(&[("ImmediateData", "No")]);
    for tag in 1..=3 {
        let header = pair.command(tag, WRITE_10, COMMAND_DATA);
        pair.send(header.build(), b"");
    }
    let asked = |answers: &[(Response, Vec<u8>)]| -> Vec<u32> {
        let tags = answers.iter().filter_map(|(answer, _)| match answer {
            Response::R2t(pdu) => Some(pdu.task_tag),
            _ => None,
        });
        tags.collect()
    };
    assert_eq!(asked(&pair.answers()), [1, 2], "two commands of 8 MiB fit");
    assert_eq!(pair.target.abort(1), Aborted::Dropped);
    assert_eq!(asked(&pair.answers()), [3], "the third had to wait for one to end");
}

#[test]
fn data_in_is_cut_into_segments_and_bursts_and_carries_the_status() {
    let keys = [("MaxRecvDataSegmentLength", "1024"), ("MaxBurstLength", "1536")];
    let mut pair = Pair::logged_in(&keys);
    let header = pair.command(3, READ_10, 4096);
    pair.send(header.build(), b"");
    assert_eq!(pair.commands[0].read_length, 4096);
    let data: Vec<u8> = (0..3000u32).map(|i| i as u8).collect();
    pair.good(3, &data);
    let answers = pair.answers();
    let pdus: Vec<_> = answers
        .iter()
        .map(|(answer, data)| match answer {
            Response::DataIn(pdu) => {
                (pdu.data_sn, pdu.buffer_offset, data.len(), pdu.final_bit, pdu.has_status)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        pdus,
        [
            (0, 0, 1024, false, false),
            (1, 1024, 512, true, false),
            (2, 1536, 1024, false, false),
            (3, 2560, 440, true, true)
        ]
    );
    assert_eq!(answers.iter().flat_map(|(_, data)| data.clone()).collect::<Vec<_>>(), data);
    let (Response::DataIn(last), _) = &answers[3] else { panic!("not data") };
    assert_eq!((last.underflow, last.overflow, last.residual), (true, false, 1096));
}

#[test]
fn residuals_count_what_did_not_fit() {
    let mut pair = Pair::logged_in(&[]);
    let header = pair.command(3, READ_10, 100);
    pair.send(header.build(), b"");
    pair.good(3, &[1; 512]);
    let (Response::DataIn(pdu), data) = pair.answer() else { panic!("not data") };
    assert_eq!((data.len(), pdu.overflow, pdu.residual), (100, true, 412));
    let header = pair.command(5, READ_10, 512);
    pair.send(header.build(), b"");
    pair.target.complete(5, &Completion { data_in: &[1; 512], has: Some(2048), ..Completion::default() });
    let (Response::DataIn(pdu), _) = pair.answer() else { panic!("not data") };
    assert_eq!((pdu.overflow, pdu.residual), (true, 1536));
    let header = pair.command(4, WRITE_10, 1000);
    pair.send(header.build(), &[0; 1000]);
    pair.target.complete(4, &Completion { takes: Some(512), ..Completion::default() });
    let (Response::ScsiResponse(pdu), _) = pair.answer() else { panic!("not a response") };
    assert_eq!((pdu.underflow, pdu.residual), (true, 488));
}

#[test]
fn sense_goes_with_the_response() {
    let mut pair = Pair::logged_in(&[]);
    let header = pair.command(3, READ_10, 512);
    pair.send(header.build(), b"");
    pair.target.complete(3, &Completion { status: CHECK, sense: &[0x70, 0, 5], ..Completion::default() });
    let (Response::ScsiResponse(pdu), data) = pair.answer() else { panic!("not a response") };
    assert_eq!((pdu.status, data.as_slice()), (CHECK, &[0, 3, 0x70, 0, 5][..]));
}

#[test]
fn commands_outside_the_window_are_dropped_in_silence() {
    let mut pair = Pair::logged_in(&[]);
    let header = ScsiCommand { cmd_sn: 5, ..pair.command(3, WRITE_10, 0) };
    pair.send(header.build(), b"");
    let header = ScsiCommand { cmd_sn: 0, ..header };
    pair.send(header.build(), b"");
    assert!(pair.commands.is_empty() && pair.answers().is_empty() && pair.target.closed().is_none());
    let header = ScsiCommand { cmd_sn: 1, ..header };
    pair.send(header.build(), b"");
    assert_eq!(pair.commands.len(), 1);
}

#[test]
fn a_gap_in_command_numbers_ends_the_connection() {
    let mut pair = Pair::logged_in(&[]);
    let header = ScsiCommand { cmd_sn: 3, ..pair.command(3, WRITE_10, 0) };
    pair.send(header.build(), b"");
    assert_eq!(pair.closed(), "command number 3 where 1 was next on the only connection");
}

#[test]
fn the_window_closes_when_the_queue_is_full_and_opens_again() {
    let mut pair = Pair::logged_in(&[]);
    for tag in 1..=5 {
        let header = pair.command(tag, WRITE_10, 0);
        pair.send(header.build(), b"");
    }
    assert_eq!(pair.commands.len(), 4, "the fifth is outside the window of four");
    pair.good(2, &[]);
    let (Response::ScsiResponse(pdu), _) = pair.answer() else { panic!("not a response") };
    assert_eq!((pdu.exp_cmd_sn, pdu.max_cmd_sn), (5, 5));
}

#[test]
fn what_is_no_request_is_rejected_with_its_header_until_it_is_too_much() {
    let mut pair = Pair::logged_in(&[]);
    let strange = Bhs::new(0x1d);
    pair.send(strange, b"data");
    let (Response::Reject(pdu), data) = pair.answer() else { panic!("not rejected") };
    assert_eq!(pdu.reason, reject_reason::COMMAND_NOT_SUPPORTED);
    assert_eq!(data[..5], [0x1d, 0, 0, 0, 0]);
    let header = pair.command(1, WRITE_10, 0);
    pair.send(header.build(), b"");
    pair.answers();
    let again = ScsiCommand { cmd_sn: pair.cmd_sn, ..header };
    pair.send(again.build(), b"");
    assert!(
        matches!(pair.answer().0, Response::Reject(pdu) if pdu.reason == reject_reason::TASK_IN_PROGRESS)
    );
    for _ in 0..REJECTS {
        pair.send(strange, b"");
    }
    assert_eq!(pair.closed(), "more than 64 rejected PDUs");
}

#[test]
fn aborted_tasks_get_no_response() {
    let mut pair = Pair::logged_in(&[]);
    let waiting = ScsiCommand { lun: 1 << 48, ..pair.command(1, WRITE_10, 1024) };
    pair.send(waiting.build(), b"");
    let running = pair.command(2, WRITE_10, 0);
    pair.send(running.build(), b"");
    pair.answers();
    let mut open = pair.target.open_tasks();
    open.sort_by_key(|(tag, _)| *tag);
    assert_eq!(open, [(1, Lun(1 << 48)), (2, Lun(0))]);
    assert_eq!(pair.target.abort(1), Aborted::Dropped);
    assert_eq!(pair.target.abort(2), Aborted::WithDriver);
    assert_eq!(pair.target.abort(2), Aborted::Unknown);
    pair.good(2, &[]);
    assert!(pair.answers().is_empty());
}

#[test]
fn task_management_and_logout_wait_for_the_driver() {
    let mut pair = Pair::logged_in(&[]);
    let request = TaskManagement {
        immediate: true,
        final_bit: true,
        function: task_function::LOGICAL_UNIT_RESET,
        lun: 3 << 48,
        task_tag: 77,
        referenced_task_tag: RESERVED_TAG,
        cmd_sn: 1,
        ..TaskManagement::default()
    };
    pair.send(request.build(), b"");
    assert_eq!(pair.management[0].lun.number(), Some(3));
    assert!(pair.answers().is_empty());
    pair.target.task_management_done(77, task_response::COMPLETE);
    pair.target.task_management_done(77, task_response::COMPLETE);
    assert!(matches!(pair.answer().0, Response::TaskManagementResponse(pdu) if pdu.task_tag == 77));
    let logout = Logout { immediate: true, final_bit: true, task_tag: 78, cmd_sn: 1, ..Logout::default() };
    pair.send(logout.build(), b"");
    assert_eq!(pair.logouts, 1);
    pair.target.logout_done();
    assert!(matches!(pair.answer().0, Response::LogoutResponse(pdu) if pdu.response == 0));
    assert_eq!(pair.closed(), "logged out");
}

#[test]
fn discovery_names_the_target_and_its_portals_and_does_nothing_else() {
    let mut pair = Pair::new(Authentication::None);
    let keys =
        [("InitiatorName", INITIATOR), ("SessionType", "Discovery"), ("MaxRecvDataSegmentLength", "512")];
    let (pdu, _) = pair.login(stage::OPERATIONAL, Some(stage::FULL_FEATURE), &keys);
    assert_eq!(pdu.status, 0);
    let text =
        Text { final_bit: true, task_tag: 5, transfer_tag: RESERVED_TAG, cmd_sn: 1, ..Text::default() };
    pair.send(text.build(), b"SendTargets=All\0");
    let (Response::TextResponse(pdu), data) = pair.answer() else { panic!("no text") };
    assert!(pdu.final_bit && pdu.transfer_tag == RESERVED_TAG);
    let expected = [
        ("TargetName", TARGET),
        ("TargetAddress", "192.0.2.1:3260,1"),
        ("TargetAddress", "[2001:db8::1]:3260,1"),
    ];
    assert_eq!(TextList::parse(&data).unwrap(), expected.into_iter().collect());
    let header = ScsiCommand { cmd_sn: 2, ..pair.command(3, READ_10, 512) };
    pair.send(header.build(), b"");
    assert!(matches!(pair.answer().0, Response::Reject(pdu) if pdu.reason == reject_reason::PROTOCOL_ERROR));
}

#[test]
fn a_long_text_comes_in_pieces() {
    let mut pair = Pair::new(Authentication::None);
    let mut params = params(Authentication::None);
    params.addresses = (0..40).map(|i| format!("192.0.2.{i}:3260")).collect();
    pair.target = Connection::new(params, pair.now);
    let keys =
        [("InitiatorName", INITIATOR), ("SessionType", "Discovery"), ("MaxRecvDataSegmentLength", "512")];
    pair.login(stage::OPERATIONAL, Some(stage::FULL_FEATURE), &keys);
    let mut text =
        Text { final_bit: true, task_tag: 5, transfer_tag: RESERVED_TAG, cmd_sn: 1, ..Text::default() };
    let mut all = Vec::new();
    let mut question = &b"SendTargets=All\0"[..];
    loop {
        pair.send(text.build(), question);
        let (Response::TextResponse(pdu), data) = pair.answer() else { panic!("no text") };
        assert!(data.len() <= 512);
        all.extend_from_slice(&data);
        if pdu.final_bit {
            break;
        }
        assert!(pdu.continues);
        (text.transfer_tag, text.cmd_sn, question) = (pdu.transfer_tag, text.cmd_sn + 1, b"");
    }
    assert_eq!(TextList::parse(&all).unwrap().len(), 41);
}

#[test]
fn digests_are_in_force_after_login_and_damage_ends_the_connection() {
    let keys = [("HeaderDigest", "CRC32C,None"), ("DataDigest", "CRC32C,None")];
    let mut pair = Pair::logged_in(&keys);
    pair.after_login(&[("HeaderDigest", "CRC32C"), ("DataDigest", "CRC32C")]);
    let header = pair.command(3, WRITE_10, 512);
    pair.send(header.build(), &[7; 512]);
    assert_eq!(pair.commands[0].data, [7; 512]);
    pair.good(3, &[]);
    assert_eq!(pair.status(3).0, 0);
    let header = pair.command(4, WRITE_10, 512);
    let mut bytes = Vec::new();
    write_pdu(&mut bytes, header.build(), &[7; 512], pair.digests);
    bytes[60] ^= 1;
    pair.feed(&bytes);
    assert!(pair.closed().starts_with("data digest"), "{}", pair.closed());
}

// Hostile streams.

/// A session with a bit of everything, as bytes.
fn recording() -> Vec<u8> {
    let mut pair = Pair::new(Authentication::None);
    let keys = [("InitiatorName", INITIATOR), ("TargetName", TARGET), ("AuthMethod", "None")];
    pair.login(stage::SECURITY, Some(stage::OPERATIONAL), &keys);
    let keys = [("InitialR2T", "No"), ("MaxBurstLength", "1024"), ("FirstBurstLength", "512")];
    pair.login(stage::OPERATIONAL, Some(stage::FULL_FEATURE), &keys);
    let write = pair.command(3, WRITE_10, 1536);
    pair.send(write.build(), &[1; 256]);
    let (Response::R2t(r2t), _) = pair.answer() else { panic!("no R2T") };
    pair.data_out(3, r2t.transfer_tag, 0, 256, &[2; 1024], true);
    let (Response::R2t(r2t), _) = pair.answer() else { panic!("no R2T") };
    pair.data_out(3, r2t.transfer_tag, 0, 1280, &[2; 256], true);
    pair.good(3, &[]);
    let read = pair.command(4, READ_10, 512);
    pair.send(read.build(), b"");
    let ping =
        NopOut { immediate: true, task_tag: 9, transfer_tag: RESERVED_TAG, cmd_sn: 3, ..NopOut::default() };
    pair.send(ping.build(), b"ping");
    let logout = Logout { immediate: true, final_bit: true, task_tag: 10, cmd_sn: 3, ..Logout::default() };
    pair.send(logout.build(), b"");
    assert_eq!((pair.commands.len(), pair.logouts), (2, 1));
    pair.sent
}

#[test]
fn a_session_cut_at_any_byte_leaves_nothing_but_whole_commands() {
    let recording = recording();
    for cut in 0..=recording.len() {
        let mut pair = Pair::new(Authentication::None);
        pair.feed(&recording[..cut]);
        assert!(pair.commands.iter().all(|command| command.data.is_empty() || command.data.len() == 1536));
        let due = pair.now + Duration::from_secs(60);
        if let Some(deadline) = pair.target.next_deadline() {
            assert!(deadline <= due);
            pair.target.tick(deadline);
            pair.target.tick(due);
            assert!(pair.target.closed().is_some(), "cut at {cut}: a mute peer is not kept");
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        Pair::new(Authentication::None).feed(&bytes);
        Pair::logged_in(&[]).feed(&bytes);
    }

    #[test]
    fn a_damaged_session_never_panics_and_stays_bounded(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = recording();
        for (at, value) in &damage {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        bytes.drain(..cut.index(4) * 8);
        let mut pair = Pair::new(Authentication::None);
        pair.feed(&bytes);
        prop_assert!(pair.commands.len() <= 4 + IMMEDIATE_COMMANDS);
        prop_assert!(pair.commands.iter().all(|command| command.data.len() <= COMMAND_DATA as usize));
    }

    #[test]
    fn random_pdus_after_login_never_panic(
        pdus in prop::collection::vec((0u8..0x40, prop::array::uniform32(0u8..4), prop::collection::vec(any::<u8>(), 0..64)), 1..40),
    ) {
        let mut pair = Pair::logged_in(&[("InitialR2T", "No")]);
        for (opcode, fields, data) in pdus {
            let mut header = Bhs::new(opcode | if fields[0] == 0 { 0x40 } else { 0 });
            header.0[1] = fields[1] << 6 | fields[2] << 4 | fields[3];
            header.0[16..40].copy_from_slice(&fields[8..]);
            pair.send(header, &data);
            for command in std::mem::take(&mut pair.commands) {
                pair.good(command.tag, &data);
            }
            pair.answers();
        }
    }
}

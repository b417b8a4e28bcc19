//! The session machine against a scripted target, in simulated time.

use super::*;
use crate::pdu::{
    Digests, FrameReader, RESERVED_TAG, Request, Response, TextList,
    request::stage,
    response::{DataIn, LoginResponse, NopIn, R2t, ScsiResponse},
    write_pdu,
};
use std::{sync::Arc, time::Duration};
use umbra_base::Instant;

const ISID: [u8; 6] = [0x80, 1, 2, 3, 0, 0];

fn start(auth: Auth) -> (Session, Script) {
    let config = Config::new("iqn.i".into(), "iqn.t".into(), auth, ISID);
    (Session::start(at(0), config), Script::default())
}

fn at(seconds: u64) -> Instant {
    Instant::default() + Duration::from_secs(seconds)
}

/// The target's side: what was sent to it, and the numbers of what it sends.
#[derive(Debug)]
struct Script {
    reader: FrameReader,
    stat_sn: u32,
    exp_cmd_sn: u32,
    window: u32,
}

impl Default for Script {
    fn default() -> Self {
        Script { reader: FrameReader::new(1 << 20), stat_sn: 10, exp_cmd_sn: 1, window: 32 }
    }
}

impl Script {
    fn sent(&mut self, session: &mut Session) -> Vec<(Request, Vec<u8>)> {
        self.reader.receive(session.unsent());
        let n = session.unsent().len();
        session.sent(n);
        let mut list = Vec::new();
        while let Some(frame) = self.reader.next_frame().unwrap() {
            let request = Request::parse(&frame.header).unwrap();
            if let Some((cmd_sn, false)) = request.cmd_sn() {
                assert_eq!(cmd_sn, self.exp_cmd_sn);
                self.exp_cmd_sn += 1;
            }
            list.push((request, frame.data.to_vec()));
        }
        list
    }

    fn say(&mut self, session: &mut Session, response: Response, data: &[u8]) -> Result<(), SessionError> {
        let mut bytes = Vec::new();
        write_pdu(&mut bytes, response.build(), data, Digests::default());
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let space = session.space();
            // A byte at a time is how the worst network does it.
            space[0] = rest[0];
            rest = &rest[1..];
            session.received(at(1), 1)?;
        }
        Ok(())
    }

    fn numbers(&mut self) -> (u32, u32, u32) {
        self.stat_sn += 1;
        (self.stat_sn - 1, self.exp_cmd_sn, self.exp_cmd_sn + self.window - 1)
    }

    fn login(
        &mut self,
        session: &mut Session,
        from: u8,
        to: Option<u8>,
        text: &[(&str, &str)],
    ) -> Result<(), SessionError> {
        let (stat_sn, exp_cmd_sn, max_cmd_sn) = self.numbers();
        let response = LoginResponse {
            transit: to.is_some(),
            current_stage: from,
            next_stage: to.unwrap_or(0),
            isid: ISID,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            ..LoginResponse::default()
        };
        let text: TextList = text.iter().copied().collect();
        self.say(session, response.into(), &text.encode())
    }

    /// Through the login without authentication.
    fn log_in(&mut self, session: &mut Session, keys: &[(&str, &str)]) {
        self.sent(session);
        self.login(session, stage::SECURITY, Some(stage::OPERATIONAL), &[]).unwrap();
        let sent = self.sent(session);
        let text = TextList::parse(&sent[0].1).unwrap();
        assert_eq!(text.get(RESEND_KEY), Some("Yes"));
        self.login(session, stage::OPERATIONAL, Some(stage::FULL_FEATURE), keys).unwrap();
        assert!(matches!(session.next_event(), Some(Event::LoggedIn(_))));
    }

    fn good(&mut self, session: &mut Session, tag: Tag) -> Result<(), SessionError> {
        let (stat_sn, exp_cmd_sn, max_cmd_sn) = self.numbers();
        let task_tag = tag.0;
        let response =
            ScsiResponse { final_bit: true, task_tag, stat_sn, exp_cmd_sn, max_cmd_sn, ..Default::default() };
        self.say(session, response.into(), &[])
    }

    fn data_in(
        &mut self,
        session: &mut Session,
        tag: Tag,
        offset: u32,
        data: &[u8],
        last: bool,
    ) -> Result<(), SessionError> {
        let (stat_sn, exp_cmd_sn, max_cmd_sn) =
            if last { self.numbers() } else { (0, self.exp_cmd_sn, self.exp_cmd_sn + self.window - 1) };
        let response = DataIn {
            final_bit: last,
            has_status: last,
            task_tag: tag.0,
            transfer_tag: RESERVED_TAG,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            buffer_offset: offset,
            ..Default::default()
        };
        self.say(session, response.into(), data)
    }
}

fn write(len: usize) -> Command {
    let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
    Command { lun: 0, cdb: [0x8a; 16], transfer: Transfer::Out(data.into()) }
}

fn read(len: u32) -> Command {
    Command { lun: 0, cdb: [0x88; 16], transfer: Transfer::In(len) }
}

#[test]
fn a_chap_login_answers_the_challenge() {
    let auth = Auth::Chap { user: "me".into(), secret: b"secret".to_vec() };
    let (mut session, mut script) = start(auth);
    let first = TextList::parse(&script.sent(&mut session)[0].1).unwrap();
    assert_eq!((first.get("AuthMethod"), first.get("InitiatorName")), (Some("CHAP"), Some("iqn.i")));
    script.login(&mut session, stage::SECURITY, None, &[("AuthMethod", "CHAP")]).unwrap();
    assert_eq!(script.sent(&mut session)[0].1, b"CHAP_A=7,5\0");
    let challenge = [("CHAP_A", "5"), ("CHAP_I", "7"), ("CHAP_C", "0x0102")];
    script.login(&mut session, stage::SECURITY, None, &challenge).unwrap();
    let answer = TextList::parse(&script.sent(&mut session)[0].1).unwrap();
    let hash = crate::chap::response(7, &crate::chap::Secret::new("secret"), &[1, 2]);
    assert_eq!(answer.get("CHAP_R"), Some(crate::chap::encode_binary(&hash).as_str()));
    script.login(&mut session, stage::SECURITY, Some(stage::OPERATIONAL), &[]).unwrap();
    script.sent(&mut session);
    script
        .login(&mut session, stage::OPERATIONAL, Some(stage::FULL_FEATURE), &[(RESEND_KEY, "Yes")])
        .unwrap();
    assert!(matches!(session.next_event(), Some(Event::LoggedIn(agreed)) if agreed.resend));
}

#[test]
fn a_target_that_does_not_prove_itself_is_left() {
    let mutual = Mutual {
        secret: crate::chap::Secret::new("theirs"),
        challenge: crate::chap::Challenge { id: 9, bytes: [3; 16] },
    };
    let right = crate::chap::encode_binary(&crate::chap::response(9, &mutual.secret, &[3; 16]));
    let start_with = |secret: &str| {
        let auth = Auth::Chap { user: "me".into(), secret: secret.into() };
        let mut config = Config::new("iqn.i".into(), "iqn.t".into(), auth, ISID);
        config.mutual = Some(mutual.clone());
        let (mut session, mut script) = (Session::start(at(0), config), Script::default());
        script.sent(&mut session);
        (session, script)
    };
    let start = || start_with("secret");
    // By asking for nothing.
    for keys in [&[("AuthMethod", "None")][..], &[]] {
        let (mut session, mut script) = start();
        assert!(script.login(&mut session, stage::SECURITY, Some(stage::OPERATIONAL), keys).is_err());
    }
    // By answering nothing, or something else.
    for (answer, stays) in [(Some(right.as_str()), true), (Some("0x00"), false), (None, false)] {
        let (mut session, mut script) = start();
        script.login(&mut session, stage::SECURITY, None, &[("AuthMethod", "CHAP")]).unwrap();
        script.sent(&mut session);
        let challenge = [("CHAP_A", "5"), ("CHAP_I", "7"), ("CHAP_C", "0x0102")];
        script.login(&mut session, stage::SECURITY, None, &challenge).unwrap();
        let sent = TextList::parse(&script.sent(&mut session)[0].1).unwrap();
        assert_eq!((sent.get("CHAP_I"), sent.get("CHAP_C").is_some()), (Some("9"), true));
        let keys: Vec<_> = answer.iter().map(|answer| ("CHAP_R", *answer)).collect();
        let moved = script.login(&mut session, stage::SECURITY, Some(stage::OPERATIONAL), &keys);
        assert_eq!(moved.is_ok(), stays, "{answer:?}");
    }
    // Or where it could not: by our own challenge, by one secret for both.
    let ours = crate::chap::encode_binary(&[3; 16]);
    for (secret, challenge) in [("secret", ours.as_str()), ("theirs", "0x0102")] {
        let (mut session, mut script) = start_with(secret);
        script.login(&mut session, stage::SECURITY, None, &[("AuthMethod", "CHAP")]).unwrap();
        let challenge = [("CHAP_A", "5"), ("CHAP_I", "7"), ("CHAP_C", challenge)];
        assert!(script.login(&mut session, stage::SECURITY, None, &challenge).is_err(), "{secret}");
    }
}

#[test]
fn a_refused_login_says_whether_to_try_again() {
    for (status, retry) in [(0x0201, false), (0x0203, false), (0x0301, true)] {
        let (mut session, mut script) = start(Auth::None);
        script.sent(&mut session);
        let response = LoginResponse { status, ..LoginResponse::default() };
        let error = script.say(&mut session, response.into(), &[]).unwrap_err();
        assert_eq!(error.worth_a_retry(), retry, "{error}");
    }
}

#[test]
fn a_target_that_insists_on_digests_or_absurd_lengths_is_left() {
    for key in [
        ("HeaderDigest", "CRC32C"),
        ("MaxBurstLength", "99999999"),
        ("FirstBurstLength", "x"),
        ("MaxRecvDataSegmentLength", "1"),
    ] {
        let (mut session, mut script) = start(Auth::None);
        script.sent(&mut session);
        script.login(&mut session, stage::SECURITY, Some(stage::OPERATIONAL), &[]).unwrap();
        script.sent(&mut session);
        assert!(
            script.login(&mut session, stage::OPERATIONAL, Some(stage::FULL_FEATURE), &[key]).is_err(),
            "{key:?}"
        );
    }
}

#[test]
fn a_login_that_never_ends_is_ended() {
    let (mut session, mut script) = start(Auth::None);
    script.sent(&mut session);
    let rounds =
        (0..100).take_while(|_| script.login(&mut session, stage::SECURITY, None, &[]).is_ok()).count();
    assert!(rounds < 50);
    let (mut session, _) = start(Auth::None);
    assert_eq!(session.tick(at(14)), Ok(()));
    assert!(matches!(session.tick(at(15)), Err(SessionError::Timeout { .. })));
}

#[test]
fn write_data_goes_immediate_unsolicited_and_as_asked_for() {
    let (mut session, mut script) = start(Auth::None);
    let keys = [
        ("InitialR2T", "No"),
        ("ImmediateData", "Yes"),
        ("FirstBurstLength", "3072"),
        ("MaxBurstLength", "2048"),
        ("MaxRecvDataSegmentLength", "1024"),
    ];
    script.log_in(&mut session, &keys);
    let tag = session.submit(write(6000));
    let sent = script.sent(&mut session);
    assert!(matches!(sent[0].0, Request::ScsiCommand(c) if !c.final_bit && c.expected_data_length == 6000));
    let sizes: Vec<usize> = sent.iter().map(|(_, data)| data.len()).collect();
    assert_eq!(sizes, [1024, 1024, 1024]);
    let r2t = |offset, len| R2t {
        task_tag: tag.0,
        transfer_tag: 5,
        exp_cmd_sn: 2,
        max_cmd_sn: 33,
        buffer_offset: offset,
        desired_length: len,
        ..R2t::default()
    };
    script.say(&mut session, r2t(3072, 2048).into(), &[]).unwrap();
    script.say(&mut session, r2t(5120, 880).into(), &[]).unwrap();
    let sent = script.sent(&mut session);
    let mut all: Vec<u8> = Vec::new();
    for (request, data) in &sent {
        let Request::DataOut(out) = request else { panic!("{request:?}") };
        assert_eq!((out.transfer_tag, out.buffer_offset as usize), (5, 3072 + all.len()));
        all.extend(data);
    }
    let expected: Vec<u8> = (3072..6000).map(|i: usize| i as u8).collect();
    assert_eq!(all, expected);
    script.good(&mut session, tag).unwrap();
    assert!(matches!(session.next_event(), Some(Event::Completed(done)) if done.tag == tag));
}

#[test]
fn an_r2t_outside_its_command_ends_the_session() {
    for (offset, len) in [(0, 512), (4096, 1), (1024, 5000), (1024, 0), (u32::MAX, 2)] {
        let (mut session, mut script) = start(Auth::None);
        script.log_in(&mut session, &[("MaxRecvDataSegmentLength", "1024"), ("InitialR2T", "Yes")]);
        let tag = session.submit(write(4096));
        script.sent(&mut session);
        let r2t = R2t { task_tag: tag.0, buffer_offset: offset, desired_length: len, ..R2t::default() };
        assert!(script.say(&mut session, r2t.into(), &[]).is_err(), "{offset} {len}");
    }
}

#[test]
fn read_data_is_put_together_and_never_more_than_asked_for() {
    let (mut session, mut script) = start(Auth::None);
    script.log_in(&mut session, &[]);
    let tag = session.submit(read(1024));
    script.sent(&mut session);
    script.data_in(&mut session, tag, 0, &[1; 512], false).unwrap();
    script.data_in(&mut session, tag, 512, &[2; 512], true).unwrap();
    let Some(Event::Completed(done)) = session.next_event() else { panic!() };
    assert_eq!(done.data, [[1; 512], [2; 512]].concat());
    for (offset, len) in [(4, 512), (0, 1028)] {
        let (mut session, mut script) = start(Auth::None);
        script.log_in(&mut session, &[]);
        let tag = session.submit(read(1024));
        script.sent(&mut session);
        assert!(script.data_in(&mut session, tag, offset, &vec![0; len], true).is_err());
    }
}

#[test]
fn commands_wait_for_the_window() {
    let (mut session, mut script) = start(Auth::None);
    script.window = 2;
    script.log_in(&mut session, &[]);
    let tags: Vec<Tag> = (0..5).map(|_| session.submit(read(512))).collect();
    assert_eq!(script.sent(&mut session).len(), 2);
    script.data_in(&mut session, tags[0], 0, &[0; 512], true).unwrap();
    assert_eq!(script.sent(&mut session).len(), 2, "the window counts from what the target expects next");
    assert_eq!(session.outstanding(), 4);
}

#[test]
fn a_response_to_nothing_and_a_lost_response_end_the_session() {
    let (mut session, mut script) = start(Auth::None);
    script.log_in(&mut session, &[]);
    assert!(script.good(&mut session, Tag(99)).is_err());
    let (mut session, mut script) = start(Auth::None);
    script.log_in(&mut session, &[]);
    let tag = session.submit(read(512));
    script.sent(&mut session);
    script.stat_sn += 1;
    assert!(matches!(script.good(&mut session, tag), Err(SessionError::StatSn { .. })));
    assert_eq!(session.next_deadline(), None, "nothing more comes of it");
}

#[test]
fn a_silent_target_is_pinged_and_then_left() {
    let (mut session, mut script) = start(Auth::None);
    script.log_in(&mut session, &[]);
    session.submit(read(512));
    script.sent(&mut session);
    let deadline = session.next_deadline().unwrap();
    session.tick(deadline).unwrap();
    let sent = script.sent(&mut session);
    let Request::NopOut(ping) = sent[0].0 else { panic!("{sent:?}") };
    let (stat_sn, exp_cmd_sn, max_cmd_sn) = script.numbers();
    let pong = NopIn {
        task_tag: ping.task_tag,
        transfer_tag: RESERVED_TAG,
        stat_sn,
        exp_cmd_sn,
        max_cmd_sn,
        ..NopIn::default()
    };
    script.say(&mut session, pong.into(), &[]).unwrap();
    let deadline = session.next_deadline().unwrap();
    session.tick(deadline).unwrap();
    let deadline = session.next_deadline().unwrap();
    assert_eq!(session.tick(deadline), Err(SessionError::Timeout { what: "a ping" }));
}

#[test]
fn the_targets_ping_is_answered() {
    let (mut session, mut script) = start(Auth::None);
    script.log_in(&mut session, &[]);
    let ping =
        NopIn { task_tag: RESERVED_TAG, transfer_tag: 77, stat_sn: script.stat_sn, ..NopIn::default() };
    script.say(&mut session, ping.into(), &[]).unwrap();
    let sent = script.sent(&mut session);
    assert!(
        matches!(sent[0].0, Request::NopOut(pong) if pong.transfer_tag == 77 && pong.task_tag == RESERVED_TAG)
    );
}

#[test]
fn random_bytes_never_panic() {
    let mut seed = 1u64;
    for _ in 0..2000 {
        let (mut session, mut script) = start(Auth::None);
        if seed & 1 == 0 {
            script.log_in(&mut session, &[]);
            session.submit(read(512));
            session.submit(Command { lun: 0, cdb: [0; 16], transfer: Transfer::Out(Arc::new([0; 70_000])) });
        }
        for _ in 0..20 {
            let mut pdu = [0u8; 64];
            for byte in &mut pdu {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *byte = (seed >> 33) as u8;
            }
            // Plausible opcodes, short data, small tags: the interesting places.
            pdu[0] = [0x20, 0x21, 0x23, 0x24, 0x25, 0x26, 0x31, 0x32, 0x3f][pdu[0] as usize % 9];
            (pdu[4], pdu[5], pdu[6], pdu[7]) = (0, 0, 0, pdu[7] % 17);
            (pdu[16], pdu[17], pdu[18], pdu[19]) = (0, 0, 0, pdu[19] % 3);
            session.space()[..64].copy_from_slice(&pdu);
            if session.received(at(1), 64).is_err() {
                break;
            }
        }
    }
}

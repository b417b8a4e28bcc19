//! Logins of any kind against the target's protocol machine, without sockets: requests of any shape in any order, then, if it
//! let somebody in, PDUs of any kind.
//!
//! What always holds: nobody gets in where CHAP is demanded unless he has answered the challenge with the right secret,
//! and the target proves itself to nobody else; a login ends, by count or by time; what is said is within its bounds; data
//! of a command lies inside the command; after the end nothing is heard any more.

use super::words::Word;
use arbitrary::Arbitrary;
use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;
use umbra_base::Instant;
use umbra_iscsi::chap::{Algorithm, CHALLENGE_BYTES, Secret, decode_binary, encode_binary};
use umbra_iscsi::limits::{COMMAND_DATA, LOGIN_DATA_SEGMENT, LOGIN_PDUS, LOGIN_TIME, SEND_DATA_SEGMENT};
use umbra_iscsi::pdu::request::{Login, stage};
use umbra_iscsi::pdu::response::LoginResponse;
use umbra_iscsi::pdu::{Bhs, Expects, FrameReader, HeaderStep, Receiver, Response, TextList, write_pdu};
use umbra_iscsi::target::{
    Authentication, Challenge, CloseReason, Completion, Connection, DataTo, Event, Initiator, Mutual, Params,
    Portal, Transmit,
};

const TARGET: &str = "iqn.2026-01.test:target";
const HOST: &str = "iqn.2026-01.test:host";
const SECRET: &str = "the-hosts-own-secret";
const OUR_SECRET: &str = "the-targets-own-one";
const QUEUE_DEPTH: u32 = 8;
/// Bytes of what a read has.
const READ: usize = 3000;

/// A connection, and all that is said on it.
#[derive(Debug, Arbitrary)]
pub struct Input<'a> {
    chap: bool,
    known: Known,
    challenge: [u8; CHALLENGE_BYTES],
    requests: Vec<Request<'a>>,
    after: Vec<After<'a>>,
}

/// What is known of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
enum Known {
    Nothing,
    Name,
    Secret,
    SecretAndOurs,
}

/// A login request.
#[derive(Debug, Arbitrary)]
struct Request<'a> {
    transit: bool,
    continues: bool,
    current: u8,
    next: u8,
    /// A byte of the header changed.
    header: Option<(u8, u8)>,
    pairs: Vec<Pair<'a>>,
    /// Instead of the pairs.
    text: Option<&'a [u8]>,
    pause: u8,
}

#[derive(Debug, Arbitrary)]
enum Pair<'a> {
    /// What a decent initiator begins with.
    Names,
    Pair(Word<'a>, Word<'a>),
    /// The right answer to the challenge.
    Response,
    /// One with a wrong secret.
    WrongResponse,
    /// A challenge to the target, or its own sent back.
    Challenge {
        own: bool,
    },
}

/// What comes after the login: PDUs, and what the driver makes of what it was told.
#[derive(Debug, Arbitrary)]
enum After<'a> {
    Pdu {
        header: [u8; Bhs::LEN],
        data: &'a [u8],
    },
    /// The header of the last PDU again, with a byte changed.
    Again {
        at: u8,
        to: u8,
        data: &'a [u8],
    },
    Solicit(u8),
    /// There is no room for the data of a command.
    Refuse(u8),
    Complete {
        which: u8,
        status: u8,
        length: u16,
    },
    Abort(u8),
    Wait(u8),
}

/// Says it all.
pub fn run(input: Input<'_>) {
    let mut world = World::new(&input);
    for request in &input.requests {
        world.now = world.now + Duration::from_secs(u64::from(request.pause) % 8);
        world.connection.tick(world.now);
        world.request(request);
        if world.is_over() || world.logged_in {
            break;
        }
    }
    if world.logged_in {
        input.after.iter().for_each(|act| world.act(act));
    }
    world.end();
}

/// The machine, a driver around it, and an initiator's ear.
struct World {
    now: Instant,
    began: Instant,
    connection: Connection,
    receiver: Receiver,
    known: Known,
    chap: bool,
    challenge: Challenge,
    /// A right response was sent.
    proven: bool,
    requests: u32,
    logged_in: bool,
    ear: FrameReader,
    stat_sn: Option<u32>,
    /// The last challenge that was heard: algorithm, identifier, bytes.
    heard: Option<(Algorithm, u8, Vec<u8>)>,
    last: Bhs,
    /// What the driver holds: data of commands by tag, of how many bytes each.
    held: HashMap<u32, u32>,
    commands: Vec<u32>,
    soliciting: Vec<u32>,
    given: HashMap<u32, Vec<u8>>,
}

impl World {
    fn new(input: &Input<'_>) -> World {
        let now = Instant::from_nanos(1_000_000_000);
        let authentication = if input.chap { Authentication::Chap } else { Authentication::None };
        let params = Params {
            target_name: TARGET.to_owned(),
            target_alias: Some("fuzzed".to_owned()),
            authentication,
            portal_group_tag: 1,
            portals: vec![Portal { address: "192.0.2.1:3260".to_owned(), group: 1 }],
            queue_depth: QUEUE_DEPTH,
        };
        World {
            now,
            began: now,
            connection: Connection::new(params, now),
            receiver: Receiver::new(LOGIN_DATA_SEGMENT),
            known: input.known,
            chap: input.chap,
            challenge: Challenge { id: input.challenge[0], bytes: input.challenge },
            proven: false,
            requests: 0,
            logged_in: false,
            ear: FrameReader::new(LOGIN_DATA_SEGMENT),
            stat_sn: None,
            heard: None,
            last: Bhs::new(0),
            held: HashMap::new(),
            commands: Vec::new(),
            soliciting: Vec::new(),
            given: HashMap::new(),
        }
    }

    fn is_over(&self) -> bool {
        self.connection.closed().is_some()
    }

    fn request(&mut self, request: &Request<'_>) {
        let pdu = Login {
            immediate: true,
            transit: request.transit,
            continues: request.continues,
            current_stage: request.current % 4,
            next_stage: request.next % 4,
            isid: [0x80, 0, 0, 0, 0, 1],
            task_tag: 7,
            cmd_sn: 1,
            ..Login::default()
        };
        let mut header = pdu.build();
        if let Some((at, change)) = request.header {
            header.0[usize::from(at) % Bhs::LEN] ^= change;
        }
        let mut text = match request.text {
            Some(text) => text.to_vec(),
            None => self.text(&request.pairs),
        };
        text.truncate(LOGIN_DATA_SEGMENT);
        self.requests += 1;
        self.send(header, &text);
        assert!(self.requests <= LOGIN_PDUS || self.is_over() || self.logged_in, "it goes on for ever");
    }

    fn text(&mut self, pairs: &[Pair<'_>]) -> Vec<u8> {
        let mut list = TextList::new();
        for pair in pairs {
            match pair {
                Pair::Names => {
                    list.push("InitiatorName", HOST);
                    list.push("TargetName", TARGET);
                }
                Pair::Pair(key, value) => list.push(key.key(), value.value()),
                Pair::Response => {
                    self.proven |= self.respond(SECRET, &mut list)
                        && matches!(self.known, Known::Secret | Known::SecretAndOurs);
                }
                Pair::WrongResponse => {
                    self.respond("something-else-altogether", &mut list);
                }
                Pair::Challenge { own } => {
                    let bytes = if *own { self.challenge.bytes } else { [0x5a; CHALLENGE_BYTES] };
                    list.push("CHAP_I", "9");
                    list.push("CHAP_C", encode_binary(&bytes));
                }
            }
        }
        list.encode()
    }

    /// Answers the last challenge with this secret; whether there was one.
    fn respond(&self, secret: &str, list: &mut TextList) -> bool {
        let Some((algorithm, id, challenge)) = &self.heard else { return false };
        list.push("CHAP_N", HOST);
        list.push("CHAP_R", encode_binary(&algorithm.response(*id, &Secret::new(secret), challenge)));
        true
    }

    /// Hands a PDU in, in the mode that is in force.
    fn send(&mut self, header: Bhs, data: &[u8]) {
        let (digests, most) = self.connection.framing();
        self.last = header;
        let (mut header, data) = (header, &data[..data.len().min(most)]);
        header.0[4] = 0;
        let mut bytes = Vec::new();
        write_pdu(&mut bytes, header, data, digests);
        self.feed(&bytes);
    }

    fn feed(&mut self, mut bytes: &[u8]) {
        let (mut to, mut here) = (DataTo::Skip, Vec::new());
        while !bytes.is_empty() && !self.is_over() {
            let (digests, most) = self.connection.framing();
            self.receiver.set_mode(digests, most);
            let used = match self.receiver.expects() {
                Expects::Header { len } => match self.receiver.header(&bytes[..len]) {
                    Ok(HeaderStep::Longer) => continue,
                    Ok(HeaderStep::Whole { bhs, ahs }) => {
                        to = self.connection.header(self.now, &bhs, ahs);
                        self.check_place(to, bhs.data_len());
                        len
                    }
                    Err(error) => {
                        self.connection.broken(error);
                        len
                    }
                },
                Expects::Data { left } => {
                    self.receiver.data(&bytes[..left]);
                    if to == DataTo::Here {
                        here.extend_from_slice(&bytes[..left]);
                    }
                    left
                }
                Expects::Trailer { len } => {
                    self.receiver.trailer(&bytes[..len]).expect("the digest was made by us");
                    len
                }
            };
            bytes = &bytes[used..];
            if matches!(self.receiver.expects(), Expects::Header { .. }) {
                self.connection.arrived(self.now, &here);
                here.clear();
                self.drive();
            }
        }
        self.listen();
    }

    /// Data goes inside the command that it is for.
    fn check_place(&mut self, to: DataTo, len: usize) {
        let DataTo::Task { tag, offset, total } = to else { return };
        assert!(self.logged_in && total <= COMMAND_DATA);
        assert!(offset as usize + len <= total as usize, "{len} bytes at {offset} of {total}");
        assert!(*self.held.entry(tag).or_insert(total) == total, "a command has changed its size");
    }

    fn drive(&mut self) {
        while let Some(event) = self.connection.next_event() {
            assert!(!self.is_over(), "an event after the end");
            match event {
                Event::Identify { initiator, .. } => {
                    let who = self.who(&initiator);
                    self.connection.admit(who, self.challenge);
                }
                Event::SessionReady(request) => {
                    assert!(!self.chap || self.proven, "{} got in and proved nothing", request.initiator);
                    assert!(self.known != Known::Nothing && request.initiator == HOST);
                    match request.tsih {
                        0 => self.let_in(),
                        _ => self.connection.refuse(0x020a, "no such session"),
                    }
                }
                Event::Solicit { tag, total } => {
                    assert!(total <= COMMAND_DATA && *self.held.entry(tag).or_insert(total) == total);
                    self.soliciting.push(tag);
                }
                Event::Command(command) => {
                    assert!(self.held.remove(&command.tag).is_none_or(|held| held >= command.write_length));
                    self.commands.push(command.tag);
                    assert!(self.commands.len() <= self.connection.open_tasks().len());
                }
                Event::Discard { tag } => {
                    assert!(self.held.remove(&tag).is_some(), "nothing was held for {tag:#x}");
                    self.soliciting.retain(|other| *other != tag);
                }
                Event::TaskManagement(request) => {
                    for (tag, _) in self.connection.open_tasks() {
                        self.abort(tag);
                    }
                    self.connection.task_management_done(request.tag, 0);
                }
                Event::Logout => {
                    for (tag, _) in self.connection.open_tasks() {
                        self.abort(tag);
                    }
                    self.connection.logout_done();
                }
            }
        }
    }

    fn who(&self, initiator: &str) -> Initiator {
        if initiator != HOST || self.known == Known::Nothing {
            return Initiator::Unknown;
        }
        let ours = Mutual { name: "target".to_owned(), secret: Secret::new(OUR_SECRET) };
        Initiator::Known {
            secret: matches!(self.known, Known::Secret | Known::SecretAndOurs).then(|| Secret::new(SECRET)),
            mutual: (self.known == Known::SecretAndOurs).then_some(ours),
        }
    }

    fn let_in(&mut self) {
        self.connection.accept(self.now, 1);
        self.logged_in = !self.is_over();
        // Its last answer is of the login still: no digests there.
        self.listen();
        self.ear.set_mode(self.connection.framing().0, SEND_DATA_SEGMENT);
    }

    fn abort(&mut self, tag: u32) {
        self.connection.abort(tag);
        self.held.remove(&tag);
        self.commands.retain(|other| *other != tag);
        self.soliciting.retain(|other| *other != tag);
    }

    fn act(&mut self, act: &After<'_>) {
        match act {
            After::Pdu { header, data } => self.send(Bhs(*header), data),
            After::Again { at, to, data } => {
                let mut header = self.last;
                header.0[usize::from(*at) % Bhs::LEN] = *to;
                self.send(header, data);
            }
            After::Solicit(which) => {
                if let Some(tag) = pick(&mut self.soliciting, *which) {
                    self.connection.solicit(tag);
                }
            }
            After::Refuse(which) => {
                let mut held: Vec<u32> = self.held.keys().copied().collect();
                held.sort_unstable();
                if let Some(tag) = pick(&mut held, *which) {
                    self.connection.complete(tag, &Completion { status: 0x28, ..Completion::default() });
                    self.held.remove(&tag);
                    self.soliciting.retain(|other| *other != tag);
                }
            }
            After::Complete { which, status, length } => {
                if let Some(tag) = pick(&mut self.commands, *which) {
                    let data = vec![tag as u8; usize::from(*length).min(READ)];
                    let done = Completion { status: *status, data_in: &data, ..Completion::default() };
                    self.connection.complete(tag, &done);
                    self.given.insert(tag, data);
                }
            }
            After::Abort(which) => {
                if let Some((tag, _)) = self.connection.open_tasks().get(usize::from(*which)).copied() {
                    self.abort(tag);
                }
            }
            After::Wait(seconds) => {
                self.now = self.now + Duration::from_secs((*seconds).into());
                self.connection.tick(self.now);
            }
        }
        self.drive();
        self.listen();
    }

    /// What the machine has said since.
    fn listen(&mut self) {
        let mut mouth = Mouth { bytes: Vec::new(), given: &self.given };
        self.connection.transmit(&mut mouth);
        let bytes = mouth.bytes;
        self.given.clear();
        self.ear.receive(&bytes);
        let mut heard = Vec::new();
        while let Some(frame) = self.ear.next_frame().expect("the target keeps to the framing") {
            let response = Response::parse(&frame.header).expect("the target says what targets say");
            heard.push((frame.header, response, frame.data.to_vec()));
        }
        for (header, response, data) in heard {
            self.check_number(&header, &response);
            if let Response::LoginResponse(response) = response {
                self.hear(&response, &data);
            }
        }
        assert_eq!(self.ear.pending(), 0, "half a PDU");
    }

    /// StatSN counts responses with status (section 4.2.2.2).
    fn check_number(&mut self, header: &Bhs, response: &Response) {
        let number = u32::from_be_bytes(header.0[24..28].try_into().expect("four bytes"));
        let counts = match response {
            Response::R2t(_) => return,
            Response::DataIn(data) => data.has_status,
            Response::NopIn(ping) => ping.task_tag != u32::MAX,
            _ => true,
        };
        if counts {
            assert_eq!(number, *self.stat_sn.get_or_insert(number), "{response:?}");
            self.stat_sn = Some(number.wrapping_add(1));
        }
    }

    fn hear(&mut self, response: &LoginResponse, data: &[u8]) {
        let list = TextList::parse(data);
        let list = match (response.continues, list) {
            (false, list) => list.unwrap_or_default(),
            (true, _) => return,
        };
        assert!(response.status == 0 || self.is_over(), "it goes on after a refusal");
        let proof = list.get("CHAP_R").filter(|value| *value != "Reject");
        assert!(proof.is_none() || self.proven, "the target proved itself to a stranger");
        assert!(response.current_stage != stage::FULL_FEATURE || response.status != 0);
        let algorithm = list.get("CHAP_A").and_then(Algorithm::of);
        let id = list.get("CHAP_I").and_then(|id| id.parse().ok());
        let challenge = list.get("CHAP_C").and_then(|bytes| decode_binary(bytes, CHALLENGE_BYTES));
        if let (Some(algorithm), Some(id), Some(challenge)) = (algorithm, id, challenge) {
            self.heard = Some((algorithm, id, challenge));
        }
    }

    /// Time ends what nothing else has ended, and then all is silent.
    fn end(mut self) {
        if !self.logged_in {
            self.now = self.began + LOGIN_TIME;
            self.connection.tick(self.now);
            assert!(self.is_over(), "a login has no end");
        }
        self.connection.close(CloseReason::PeerClosed);
        self.listen();
        assert_eq!(self.connection.header(self.now, &self.last, &[]), DataTo::Skip);
        self.connection.arrived(self.now, &[]);
        self.connection.tick(self.now + Duration::from_secs(3600));
        assert!(self.connection.next_event().is_none() && !self.connection.has_output());
        assert!(self.connection.next_deadline().is_none());
    }
}

/// Takes one of a list out.
fn pick(list: &mut Vec<u32>, which: u8) -> Option<u32> {
    match list.len() {
        0 => None,
        len => Some(list.remove(usize::from(which) % len)),
    }
}

/// Takes what is said as bytes.
struct Mouth<'a> {
    bytes: Vec<u8>,
    given: &'a HashMap<u32, Vec<u8>>,
}

impl Transmit for Mouth<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn data(&mut self, tag: u32, range: Range<usize>) {
        self.bytes.extend_from_slice(&self.given[&tag][range]);
    }
}

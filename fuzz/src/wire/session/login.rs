//! A peer's login: decent ones must succeed, others must end.

use super::lab::{Host, TARGET, Way};
use super::peer::{Agreed, Peer, State};
use crate::wire::words::Word;
use arbitrary::Arbitrary;
use umbra_iscsi::chap::{Algorithm, Secret, decode_binary, encode_binary};
use umbra_iscsi::limits::RECV_DATA_SEGMENT;
use umbra_iscsi::pdu::request::{self, stage};
use umbra_iscsi::pdu::response::LoginResponse;
use umbra_iscsi::pdu::{Digests, Response, TextList};

/// How a peer logs in.
#[derive(Debug, Arbitrary)]
pub(super) struct Login<'a> {
    pub(super) isid: u8,
    /// It asks for unit attentions at once.
    pub(super) attentive: bool,
    header_digest: bool,
    data_digest: bool,
    initial_r2t: bool,
    immediate_data: bool,
    resend: bool,
    first_burst: Option<u16>,
    max_burst: Option<u16>,
    segment: Option<u16>,
    outstanding: u8,
    wrong_secret: bool,
    /// Whatever else is said.
    extra: Vec<(Word<'a>, Word<'a>)>,
}

impl Login<'_> {
    /// Whether there is nothing in it that the target may refuse.
    fn is_decent(&self, way: Way) -> bool {
        self.extra.is_empty() && !(self.wrong_secret && way == Way::Chap)
    }

    fn keys(&self) -> TextList {
        let digest = |on| if on { "CRC32C" } else { "None" };
        let yes = |on| if on { "Yes" } else { "No" };
        let mut list = TextList::new();
        list.push("HeaderDigest", digest(self.header_digest));
        list.push("DataDigest", digest(self.data_digest));
        list.push("InitialR2T", yes(self.initial_r2t));
        list.push("ImmediateData", yes(self.immediate_data));
        list.push("MaxOutstandingR2T", (u16::from(self.outstanding) % 8 + 1).to_string());
        if self.resend {
            list.push("X-io.umbra.Resend", "Yes");
        }
        let lengths = [
            ("MaxBurstLength", self.max_burst),
            ("FirstBurstLength", self.first_burst),
            ("MaxRecvDataSegmentLength", self.segment),
        ];
        for (key, length) in lengths {
            if let Some(length) = length {
                list.push(key, (u32::from(length) + 512).to_string());
            }
        }
        self.extra.iter().take(32).for_each(|(key, value)| list.push(key.key(), value.value()));
        list
    }
}

/// Logs in, as far as the target lets it.
pub(super) fn log_in(peer: &mut Peer, host: Host, way: Way, login: &Login<'_>) {
    let names = [("InitiatorName", host.name()), ("TargetName", TARGET), ("SessionType", "Normal")];
    let mut text: TextList = names.into_iter().collect();
    if way == Way::Chap && !prove(peer, host, login, &mut text) {
        return check_refused(peer, login, way);
    }
    login.keys().iter().for_each(|(key, value)| text.push(key, value));
    match step(peer, login.isid, (stage::OPERATIONAL, stage::FULL_FEATURE), &text) {
        Some((answer, text)) if answer.status == 0 && answer.transit => {
            assert!(way != Way::Chap || !login.wrong_secret, "in without the secret");
            peer.log_in(agreed(&text), login.is_decent(way));
        }
        _ => check_refused(peer, login, way),
    }
}

/// With a name, and nothing else.
pub(super) fn log_in_simply(peer: &mut Peer, name: &str, isid: u8) {
    let names = [("InitiatorName", name), ("TargetName", TARGET)];
    let names: TextList = names.into_iter().collect();
    let answer = step(peer, isid, (stage::OPERATIONAL, stage::FULL_FEATURE), &names);
    let (answer, text) = answer.expect("whoever is known is let in");
    assert_eq!(answer.status, 0, "a decent login is refused");
    peer.log_in(agreed(&text), true);
}

fn check_refused(peer: &mut Peer, login: &Login<'_>, way: Way) {
    assert!(!login.is_decent(way), "a decent login is refused");
    peer.state = State::Lost;
}

/// CHAP; whether the target was content.
fn prove(peer: &mut Peer, host: Host, login: &Login<'_>, names: &mut TextList) -> bool {
    let mut text = std::mem::take(names);
    text.push("AuthMethod", "CHAP");
    let security = (stage::SECURITY, stage::SECURITY);
    let Some((LoginResponse { status: 0, .. }, _)) = step(peer, login.isid, security, &text) else {
        return false;
    };
    let offer: TextList = [("CHAP_A", if login.resend { "7,5" } else { "5" })].into_iter().collect();
    let Some((LoginResponse { status: 0, .. }, text)) = step(peer, login.isid, security, &offer) else {
        return false;
    };
    let Some(answer) = respond(&text, host, login.wrong_secret) else { return false };
    let next = (stage::SECURITY, stage::OPERATIONAL);
    matches!(step(peer, login.isid, next, &answer), Some((LoginResponse { status: 0, .. }, _)))
}

fn respond(text: &TextList, host: Host, wrong: bool) -> Option<TextList> {
    let algorithm = Algorithm::of(text.get("CHAP_A")?)?;
    let id = text.get("CHAP_I")?.parse().ok()?;
    let challenge = decode_binary(text.get("CHAP_C")?, 1024)?;
    let secret = Secret::new(if wrong { "not-the-secret-at-all" } else { host.secret() });
    let response = encode_binary(&algorithm.response(id, &secret, &challenge));
    Some([("CHAP_N", host.name()), ("CHAP_R", &response)].into_iter().collect())
}

/// One request and its answer.
fn step(
    peer: &mut Peer,
    isid: u8,
    (current, next): (u8, u8),
    text: &TextList,
) -> Option<(LoginResponse, TextList)> {
    let pdu = request::Login {
        immediate: true,
        transit: next > current,
        current_stage: current,
        next_stage: if next > current { next } else { 0 },
        isid: [0x80, 0, 0, 0, 0, isid % 4],
        task_tag: 1,
        cmd_sn: peer.cmd_sn,
        ..request::Login::default()
    };
    peer.send(pdu.build(), &text.encode());
    match peer.next("answer to a login")? {
        (Response::LoginResponse(answer), data) => Some((answer, TextList::parse(&data).unwrap_or_default())),
        (other, _) => panic!("in answer to a login: {other:?}"),
    }
}

/// What was agreed on, by the target's answers.
fn agreed(text: &TextList) -> Agreed {
    let is = |key, value| text.get(key) == Some(value);
    let number = |key, default| text.get(key).and_then(|value| value.parse().ok()).unwrap_or(default);
    Agreed {
        digests: Digests { header: is("HeaderDigest", "CRC32C"), data: is("DataDigest", "CRC32C") },
        immediate_data: !is("ImmediateData", "No"),
        initial_r2t: !is("InitialR2T", "No"),
        first_burst: number("FirstBurstLength", 65_536),
        max_burst: number("MaxBurstLength", 262_144),
        segment: number("MaxRecvDataSegmentLength", 8192).min(RECV_DATA_SEGMENT as u32) as usize,
    }
}

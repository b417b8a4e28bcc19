//! The login phase: RFC 7143 sections 6.3 and 11.12.
//!
//! ```text
//!   first request complete -> Event::Identify -> admit -> [ security: AuthMethod, CHAP_A, CHAP_N + CHAP_R ] -> operational
//!                          -> transit to full feature -> Event::SessionReady -> accept / refuse
//! ```
//! What always holds: an initiator without CHAP done never leaves security negotiation of a portal that demands CHAP; an
//! unknown initiator is challenged like a known one there, so that names cannot be probed; each key is negotiated once;
//! text may come and go in pieces (C bit), of which the last alone moves to another stage.

use super::event::{Initiator, SessionKind, SessionRequest};
use super::negotiate::Negotiated;
use super::params::Params;
use super::security::Security;
use crate::chap::Challenge;
use crate::limits::{LOGIN_DATA_SEGMENT, LOGIN_KEYS, LOGIN_PDUS, RECV_DATA_SEGMENT, TEXT_BYTES};
use crate::pdu::request::{Login, stage};
use crate::pdu::response::{LoginResponse, login_status};
use crate::pdu::{TextError, TextList};
use std::collections::BTreeMap;
use umbra_base::limits::ISCSI_NAME_BYTES;

/// A login that cannot go on: the status to answer and why.
#[derive(Debug)]
pub(super) struct Refusal {
    pub status: u16,
    pub why: String,
}

pub(super) fn refuse<T>(status: u16, why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { status, why: why.into() })
}

/// What the connection does next.
#[derive(Debug)]
pub(super) enum Step {
    /// Send this and wait for the next request.
    Answer(LoginResponse, Vec<u8>),
    /// Ask the driver who this is.
    Identify { initiator: String, kind: SessionKind },
    /// Ask the driver for the session.
    Ready(SessionRequest),
}

/// What the login waits for.
#[derive(Debug)]
enum Waiting {
    Request,
    /// For `admit`; the request's text is kept.
    Admission(TextList),
    /// For `accept`.
    Session,
}

/// A login under way.
#[derive(Debug)]
pub(super) struct LoginState {
    waiting: Waiting,
    /// The request being answered, and one whose data is on its way.
    request: Login,
    arriving: Option<Login>,
    pdus: u32,
    /// Text of a request that has not come to its end, and of an answer that was not sent to its end.
    text: Vec<u8>,
    unsent: Vec<u8>,
    /// Keys that came, with the values of those that may come again.
    seen: BTreeMap<String, Option<String>>,
    who: Option<Who>,
    /// Once the driver has said who this is.
    security: Option<Security>,
    /// Whether we have said who we are, and what we take.
    introduced: bool,
    declared: bool,
    pub negotiated: Negotiated,
}

#[derive(Debug, Clone)]
struct Who {
    initiator: String,
    kind: SessionKind,
}

impl LoginState {
    pub fn new() -> Self {
        LoginState {
            waiting: Waiting::Request,
            request: Login::default(),
            arriving: None,
            pdus: 0,
            text: Vec::new(),
            unsent: Vec::new(),
            seen: BTreeMap::new(),
            who: None,
            security: None,
            introduced: false,
            declared: false,
            negotiated: Negotiated::default(),
        }
    }

    /// The request that is being answered.
    pub fn request(&self) -> &Login {
        &self.request
    }

    /// Whether no request came yet.
    pub fn is_new(&self) -> bool {
        self.pdus == 0
    }

    /// The header of a request; `false` if it is not its turn.
    pub fn header(&mut self, request: Login) -> bool {
        self.arriving = Some(request);
        matches!(self.waiting, Waiting::Request)
    }

    /// The request all of which has come.
    pub fn take_arrived(&mut self) -> Option<Login> {
        self.arriving.take()
    }

    /// The kind of session, once known.
    pub fn kind(&self) -> SessionKind {
        self.who.as_ref().map_or(SessionKind::Normal, |who| who.kind)
    }

    /// A login PDU.
    pub fn handle(&mut self, params: &Params, request: Login, data: &[u8]) -> Result<Step, Refusal> {
        let legal = self.check_header(&request);
        self.request = request;
        self.pdus += 1;
        legal?;
        if !self.unsent.is_empty() {
            return self.next_piece(data);
        }
        self.text.extend_from_slice(data);
        if self.text.len() > TEXT_BYTES {
            return bad_text(TextError::TooLong { len: self.text.len() });
        }
        if request.continues {
            return Ok(Step::Answer(self.response(), Vec::new()));
        }
        let list = TextList::parse(&std::mem::take(&mut self.text)).or_else(bad_text)?;
        self.note_keys(&list)?;
        if self.who.is_some() {
            return self.negotiate(params, list);
        }
        let who = identify(params, &list)?;
        let step = Step::Identify { initiator: who.initiator.clone(), kind: who.kind };
        self.who = Some(who);
        self.waiting = Waiting::Admission(list);
        Ok(step)
    }

    fn check_header(&self, request: &Login) -> Result<(), Refusal> {
        if request.version_min > 0 {
            return refuse(
                login_status::UNSUPPORTED_VERSION,
                format!("version {} at least", request.version_min),
            );
        }
        let stages = (request.current_stage, request.next_stage);
        let legal = match (request.transit, stages.0) {
            (false, stage::SECURITY | stage::OPERATIONAL) => true,
            (true, stage::SECURITY) => matches!(stages.1, stage::OPERATIONAL | stage::FULL_FEATURE),
            (true, stage::OPERATIONAL) => stages.1 == stage::FULL_FEATURE,
            _ => false,
        };
        if !legal || (request.transit && request.continues) {
            return refuse(login_status::INITIATOR_ERROR, format!("stage {} to {}", stages.0, stages.1));
        }
        if self.pdus == 0 {
            return Ok(());
        }
        if self.pdus >= LOGIN_PDUS {
            return refuse(login_status::INITIATOR_ERROR, format!("more than {LOGIN_PDUS} login PDUs"));
        }
        if request.isid != self.request.isid
            || request.tsih != self.request.tsih
            || request.cid != self.request.cid
        {
            return refuse(login_status::INITIATOR_ERROR, "session or connection id changed during login");
        }
        if request.current_stage != self.stage() {
            return refuse(login_status::INITIATOR_ERROR, format!("stage {} came out of turn", stages.0));
        }
        Ok(())
    }

    /// The stage that the next request must be in: what the last one moved to, if it was let.
    fn stage(&self) -> u8 {
        if self.request.transit { self.request.next_stage } else { self.request.current_stage }
    }

    /// A key that comes twice is a violation (section 6.2). Names alone may be repeated: some initiators name themselves
    /// again in each stage.
    fn note_keys(&mut self, list: &TextList) -> Result<(), Refusal> {
        for (key, value) in list.iter() {
            let again = is_name(key).then(|| value.to_owned());
            match self.seen.insert(key.to_owned(), again.clone()) {
                None => {}
                Some(before) if before.is_some() && before == again => {}
                Some(_) => return refuse(login_status::INITIATOR_ERROR, format!("key {key} came twice")),
            }
        }
        if self.seen.len() > LOGIN_KEYS {
            return refuse(login_status::INITIATOR_ERROR, format!("more than {LOGIN_KEYS} keys"));
        }
        Ok(())
    }

    /// The driver's answer to [`Step::Identify`].
    pub fn admit(&mut self, params: &Params, who: Initiator, challenge: Challenge) -> Result<Step, Refusal> {
        let Waiting::Admission(list) = std::mem::replace(&mut self.waiting, Waiting::Request) else {
            return refuse(login_status::TARGET_ERROR, "the driver admitted out of turn");
        };
        self.security = Some(Security::new(params.authentication, who, challenge)?);
        self.negotiate(params, list)
    }

    /// Answers the keys of a whole request and moves on where that is asked for and allowed.
    fn negotiate(&mut self, params: &Params, list: TextList) -> Result<Step, Refusal> {
        let mut answers = TextList::new();
        let Some(security) = &mut self.security else {
            return refuse(login_status::TARGET_ERROR, "negotiation before admission");
        };
        let in_security = self.request.current_stage == stage::SECURITY;
        if in_security {
            security.negotiate(&list, &mut answers)?;
        }
        self.check_security()?;
        self.declare(params, &mut answers);
        let operational = list.iter().filter(|(key, _)| !(in_security && is_security_key(key)));
        self.negotiated.take(&operational.collect(), &mut answers);
        self.unsent = answers.encode();
        self.advance()
    }

    /// Authentication comes before all else. While it is under way the wish to leave its stage is not granted; an initiator
    /// that begins none where one is demanded is refused.
    fn check_security(&mut self) -> Result<(), Refusal> {
        let Some(security) = self.security.as_ref().filter(|security| !security.is_satisfied()) else {
            return Ok(());
        };
        let in_stage = self.request.current_stage == stage::SECURITY;
        if !in_stage || (self.request.transit && !security.has_begun()) {
            return refuse(
                login_status::AUTHENTICATION_FAILURE,
                "the initiator does not authenticate itself",
            );
        }
        self.request.transit = false;
        Ok(())
    }

    /// A request that can only ask for the rest of our answer (section 6.2).
    fn next_piece(&mut self, data: &[u8]) -> Result<Step, Refusal> {
        if !data.is_empty() || self.request.continues {
            return refuse(login_status::INITIATOR_ERROR, "text came while our answer was not at its end");
        }
        self.check_security()?;
        self.advance()
    }

    /// Sends what is unsent, as much as a PDU holds; its end goes where the request wants to go.
    fn advance(&mut self) -> Result<Step, Refusal> {
        if self.unsent.len() > LOGIN_DATA_SEGMENT {
            self.request.transit = false;
            let piece = self.unsent.drain(..LOGIN_DATA_SEGMENT).collect();
            return Ok(Step::Answer(LoginResponse { continues: true, ..self.response() }, piece));
        }
        if !self.request.transit || self.request.next_stage != stage::FULL_FEATURE {
            return Ok(Step::Answer(self.response(), std::mem::take(&mut self.unsent)));
        }
        let Some(Who { initiator, kind }) = self.who.clone() else {
            return refuse(login_status::MISSING_PARAMETER, "no InitiatorName");
        };
        self.waiting = Waiting::Session;
        let (isid, tsih, resend) = (self.request.isid, self.request.tsih, self.negotiated.resend);
        Ok(Step::Ready(SessionRequest { initiator, kind, isid, tsih, resend }))
    }

    /// The driver's session: the last response, with its keys.
    pub fn accept(&mut self, tsih: u16) -> Option<(LoginResponse, Vec<u8>)> {
        if !matches!(self.waiting, Waiting::Session) {
            return None;
        }
        self.waiting = Waiting::Request;
        Some((LoginResponse { tsih, ..self.response() }, std::mem::take(&mut self.unsent)))
    }

    fn response(&self) -> LoginResponse {
        let request = &self.request;
        LoginResponse {
            transit: request.transit,
            current_stage: request.current_stage,
            next_stage: if request.transit { request.next_stage } else { 0 },
            isid: request.isid,
            tsih: request.tsih,
            task_tag: request.task_tag,
            ..LoginResponse::default()
        }
    }

    /// What the target says of itself: portal group and alias with its first answer, its segment with the first operational
    /// one (sections 13.6, 13.9, 13.12).
    fn declare(&mut self, params: &Params, answers: &mut TextList) {
        if !std::mem::replace(&mut self.introduced, true) && self.kind() == SessionKind::Normal {
            answers.push("TargetPortalGroupTag", params.portal_group_tag.to_string());
            if let Some(alias) = &params.target_alias {
                answers.push("TargetAlias", alias.clone());
            }
        }
        let operational = self.request.current_stage == stage::OPERATIONAL;
        if operational && !std::mem::replace(&mut self.declared, true) {
            answers.push("MaxRecvDataSegmentLength", RECV_DATA_SEGMENT.to_string());
        }
    }
}

fn bad_text<T>(error: TextError) -> Result<T, Refusal> {
    refuse(login_status::INITIATOR_ERROR, error.to_string())
}

fn is_security_key(key: &str) -> bool {
    key == "AuthMethod" || key.starts_with("CHAP_")
}

fn is_name(key: &str) -> bool {
    matches!(key, "InitiatorName" | "InitiatorAlias" | "TargetName" | "SessionType")
}

/// The leading keys (section 6.3.1).
fn identify(params: &Params, list: &TextList) -> Result<Who, Refusal> {
    let kind = match list.get("SessionType") {
        None | Some("Normal") => SessionKind::Normal,
        Some("Discovery") => SessionKind::Discovery,
        Some(_) => return refuse(login_status::SESSION_TYPE_NOT_SUPPORTED, "unknown SessionType"),
    };
    let initiator = match list.get("InitiatorName") {
        Some(name) if (1..=ISCSI_NAME_BYTES).contains(&name.len()) => name.to_ascii_lowercase(),
        Some(_) => return refuse(login_status::INITIATOR_ERROR, "InitiatorName of an illegal length"),
        None => return refuse(login_status::MISSING_PARAMETER, "no InitiatorName"),
    };
    match (kind, list.get("TargetName")) {
        (SessionKind::Discovery, _) => {}
        (SessionKind::Normal, None) => return refuse(login_status::MISSING_PARAMETER, "no TargetName"),
        (SessionKind::Normal, Some(name)) if name.eq_ignore_ascii_case(&params.target_name) => {}
        (SessionKind::Normal, Some(_)) => return refuse(login_status::NOT_FOUND, "no such target here"),
    }
    Ok(Who { initiator, kind })
}

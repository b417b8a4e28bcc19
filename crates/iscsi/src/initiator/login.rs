//! The login phase as a machine of its own: which text is sent next, what the answers agree on (RFC 7143 section 6.3).
//!
//! ```text
//!   Offer --AuthMethod=None--> Operational
//!   Offer --AuthMethod=CHAP--> Algorithm --CHAP_A,I,C--> Answer --> Operational --> done
//! ```

use super::{
    chap,
    config::{Auth, Config, Parameters, RESEND_KEY},
    error::SessionError,
};
use crate::{
    chap::{Algorithm, encode_binary},
    limits,
    pdu::{
        TextList,
        request::{Login, stage},
        response::{LoginResponse, login_status},
    },
};

/// Requests in one login; more means that the target plays with us.
const ROUNDS: u32 = 32;
const FIRST_BURST: usize = 256 << 10;
const MAX_BURST: usize = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Offer,
    Algorithm,
    Answer,
    Operational,
}

/// A login on its way.
#[derive(Debug)]
pub(super) struct LoginMachine {
    step: Step,
    rounds: u32,
    /// Text of responses whose C bit said that more follows.
    partial: Vec<u8>,
    parameters: Parameters,
    /// Chosen by the target.
    algorithm: Algorithm,
    /// Whether the target has still to prove itself.
    unproven: bool,
}

/// What to do after a response.
#[derive(Debug)]
pub(super) enum Next {
    Send(Login, Vec<u8>),
    Done(Parameters),
}

impl LoginMachine {
    pub(super) fn start(config: &Config) -> (Self, Login, Vec<u8>) {
        let machine = LoginMachine {
            step: Step::Offer,
            rounds: 0,
            partial: Vec::new(),
            parameters: Parameters::default(),
            algorithm: Algorithm::Md5,
            unproven: config.mutual.is_some(),
        };
        let mut text = TextList::new();
        text.push("InitiatorName", config.initiator_name.as_str());
        text.push("TargetName", config.target_name.as_str());
        text.push("SessionType", "Normal");
        let (method, transit) = match config.auth {
            Auth::None => ("None", true),
            Auth::Chap { .. } => ("CHAP", false),
        };
        text.push("AuthMethod", method);
        let login = request(config, stage::SECURITY, transit.then_some(stage::OPERATIONAL));
        (machine, login, text.encode())
    }

    pub(super) fn handle(
        &mut self,
        config: &Config,
        response: &LoginResponse,
        data: &[u8],
    ) -> Result<Next, SessionError> {
        if response.status != login_status::SUCCESS {
            return Err(SessionError::LoginRefused {
                status: response.status,
                meaning: meaning(response.status),
            });
        }
        self.rounds += 1;
        if self.rounds > ROUNDS {
            return Err(SessionError::Login("the target does not come to an end"));
        }
        if self.partial.len() + data.len() > limits::TEXT_BYTES {
            return Err(SessionError::Login("the target's text is too long"));
        }
        self.partial.extend_from_slice(data);
        if response.continues {
            return Ok(Next::Send(request(config, self.stage(), None), Vec::new()));
        }
        let text = TextList::parse(&std::mem::take(&mut self.partial))?;
        self.answer(config, response, &text)
    }

    fn stage(&self) -> u8 {
        if self.step == Step::Operational { stage::OPERATIONAL } else { stage::SECURITY }
    }

    fn answer(
        &mut self,
        config: &Config,
        response: &LoginResponse,
        text: &TextList,
    ) -> Result<Next, SessionError> {
        let moved = response.transit.then_some(response.next_stage);
        self.check_target(config, text)?;
        if moved.is_some() && self.unproven {
            return Err(SessionError::Login("the target has not proven itself"));
        }
        match (self.step, &config.auth) {
            (Step::Offer, Auth::None) | (Step::Answer, _) => match moved {
                Some(stage::OPERATIONAL) => Ok(self.operational(config)),
                Some(_) => Err(SessionError::Login("the target skips the operational stage")),
                None if self.step == Step::Offer
                    && text.get("AuthMethod").is_some_and(|method| method != "None") =>
                {
                    Err(SessionError::LoginRefused {
                        status: login_status::AUTHENTICATION_FAILURE,
                        meaning: "the portal demands CHAP and no secret was given",
                    })
                }
                None => {
                    Ok(Next::Send(request(config, stage::SECURITY, Some(stage::OPERATIONAL)), Vec::new()))
                }
            },
            (Step::Offer, Auth::Chap { .. }) => match (text.get("AuthMethod"), moved) {
                (Some("CHAP"), None) => {
                    self.step = Step::Algorithm;
                    let text: TextList = [("CHAP_A", Algorithm::OFFER)].into_iter().collect();
                    Ok(Next::Send(request(config, stage::SECURITY, None), text.encode()))
                }
                // A portal that asks for nothing may pass over the offer; the connection is as good without.
                (Some("None"), _) | (None, Some(stage::OPERATIONAL)) => self.unasked(config, moved),
                _ => Err(SessionError::Login("the target does not know CHAP")),
            },
            (Step::Algorithm, Auth::Chap { user, secret }) => self.challenge(config, text, user, secret),
            (Step::Operational, _) => self.agree(config, moved, text),
            (Step::Algorithm, Auth::None) => Err(SessionError::Login("a challenge that nobody asked for")),
        }
    }

    fn unasked(&mut self, config: &Config, moved: Option<u8>) -> Result<Next, SessionError> {
        match moved {
            Some(stage::OPERATIONAL) => Ok(self.operational(config)),
            _ => {
                self.step = Step::Answer;
                Ok(Next::Send(request(config, stage::SECURITY, Some(stage::OPERATIONAL)), Vec::new()))
            }
        }
    }

    fn challenge(
        &mut self,
        config: &Config,
        text: &TextList,
        user: &str,
        secret: &[u8],
    ) -> Result<Next, SessionError> {
        let (Some(algorithm), Some(identifier), Some(challenge)) =
            (text.get("CHAP_A").and_then(Algorithm::of), text.get("CHAP_I"), text.get("CHAP_C"))
        else {
            return Err(SessionError::Login("no challenge that we know in the target's answer"));
        };
        self.algorithm = algorithm;
        let mutual = config.mutual.as_ref();
        if mutual.is_some_and(|mutual| mutual.secret.expose() == secret) {
            return Err(SessionError::Login("mutual CHAP with the same secret in both directions"));
        }
        let response = chap::answer(algorithm, identifier, challenge, secret, mutual)
            .ok_or(SessionError::Login("the target's challenge is malformed"))?;
        self.step = Step::Answer;
        let mut text: TextList = [("CHAP_N", user), ("CHAP_R", response.as_str())].into_iter().collect();
        if let Some(mutual) = mutual {
            text.push("CHAP_I", mutual.challenge.id.to_string());
            text.push("CHAP_C", encode_binary(&mutual.challenge.bytes));
        }
        Ok(Next::Send(request(config, stage::SECURITY, Some(stage::OPERATIONAL)), text.encode()))
    }

    /// The target's answer to our challenge, if it is here.
    fn check_target(&mut self, config: &Config, text: &TextList) -> Result<(), SessionError> {
        let (Some(mutual), Some(answer), Step::Answer) = (&config.mutual, text.get("CHAP_R"), self.step)
        else {
            return Ok(());
        };
        if !chap::is_right(self.algorithm, mutual, answer) {
            return Err(SessionError::Login("the target does not know its secret"));
        }
        self.unproven = false;
        Ok(())
    }

    fn operational(&mut self, config: &Config) -> Next {
        self.step = Step::Operational;
        let segment = limits::RECV_DATA_SEGMENT.to_string();
        let (first, max) = (FIRST_BURST.to_string(), MAX_BURST.to_string());
        let text: TextList = [
            ("HeaderDigest", digest(config.digests.header)),
            ("DataDigest", digest(config.digests.data)),
            ("ErrorRecoveryLevel", "0"),
            ("MaxConnections", "1"),
            ("InitialR2T", "No"),
            ("ImmediateData", "Yes"),
            ("MaxRecvDataSegmentLength", segment.as_str()),
            ("FirstBurstLength", first.as_str()),
            ("MaxBurstLength", max.as_str()),
            ("MaxOutstandingR2T", "1"),
            ("DataPDUInOrder", "Yes"),
            ("DataSequenceInOrder", "Yes"),
            ("DefaultTime2Wait", "0"),
            ("DefaultTime2Retain", "0"),
            (RESEND_KEY, "Yes"),
        ]
        .into_iter()
        .collect();
        Next::Send(request(config, stage::OPERATIONAL, Some(stage::FULL_FEATURE)), text.encode())
    }

    fn agree(&mut self, config: &Config, moved: Option<u8>, text: &TextList) -> Result<Next, SessionError> {
        for (key, value) in text.iter() {
            self.take(config, key, value)?;
        }
        match moved {
            Some(stage::FULL_FEATURE) if self.parameters.digests != config.digests => {
                Err(SessionError::Login("the target does not answer for digests"))
            }
            Some(stage::FULL_FEATURE) => Ok(Next::Done(self.parameters.clone())),
            Some(_) => Err(SessionError::Login("the target moves to a stage that we did not ask for")),
            None => {
                Ok(Next::Send(request(config, stage::OPERATIONAL, Some(stage::FULL_FEATURE)), Vec::new()))
            }
        }
    }

    /// Takes over one agreed value; the target's answers never exceed what was offered, or the login fails.
    fn take(&mut self, config: &Config, key: &str, value: &str) -> Result<(), SessionError> {
        let yes = value == "Yes";
        let number = |least: usize, most: usize| {
            let value = chap::parse_number(value).and_then(|value| usize::try_from(value).ok());
            value
                .filter(|value| (least..=most).contains(value))
                .ok_or(SessionError::Login("a length is out of bounds"))
        };
        let p = &mut self.parameters;
        match key {
            "InitialR2T" => p.initial_r2t = yes,
            "ImmediateData" => p.immediate_data = yes,
            "FirstBurstLength" => p.first_burst = number(512, FIRST_BURST)?,
            "MaxBurstLength" => p.max_burst = number(512, MAX_BURST)?,
            "MaxRecvDataSegmentLength" => {
                p.send_segment = number(512, 0xff_ffff)?.min(limits::SEND_DATA_SEGMENT)
            }
            "HeaderDigest" | "DataDigest" => {
                let (wanted, place) = match key {
                    "HeaderDigest" => (config.digests.header, &mut p.digests.header),
                    _ => (config.digests.data, &mut p.digests.data),
                };
                if value != digest(wanted) {
                    return Err(SessionError::Login("the target insists on other digests"));
                }
                *place = wanted;
            }
            "ErrorRecoveryLevel" if value != "0" => {
                return Err(SessionError::Login("the target insists on error recovery"));
            }
            RESEND_KEY => p.resend = yes,
            _ => {}
        }
        Ok(())
    }
}

fn digest(wanted: bool) -> &'static str {
    if wanted { "CRC32C" } else { "None" }
}

fn request(config: &Config, current: u8, next: Option<u8>) -> Login {
    Login {
        immediate: true,
        transit: next.is_some(),
        current_stage: current,
        next_stage: next.unwrap_or(0),
        isid: config.isid,
        ..Login::default()
    }
}

/// What a status says (section 11.13.5).
fn meaning(status: u16) -> &'static str {
    match status {
        login_status::AUTHENTICATION_FAILURE => "authentication failed",
        login_status::AUTHORIZATION_FAILURE => "this initiator may not log in",
        login_status::NOT_FOUND => "no such target",
        login_status::TARGET_REMOVED => "the target was removed",
        login_status::TOO_MANY_CONNECTIONS => "too many connections",
        login_status::SERVICE_UNAVAILABLE => "the target is not ready",
        login_status::OUT_OF_RESOURCES => "the target has no resources left",
        _ if status >> 8 == 1 => "the target has moved",
        _ if status >> 8 == 3 => "an error of the target",
        _ => "an error of the initiator",
    }
}

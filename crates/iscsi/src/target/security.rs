//! Security negotiation: RFC 7143 sections 9.2 and 12.1, with CHAP as the one method beside None.
//!
//! ```text
//!   Start --AuthMethod=CHAP--> Chosen --CHAP_A--> Challenged --CHAP_N, CHAP_R: right--> Done  (CHAP_I, CHAP_C: answered)
//!      \-----AuthMethod=None, where nothing is demanded---------------------------------^
//! ```
//! What always holds: the target proves itself only to an initiator that has proven itself; it never answers a challenge of
//! its own, nor with the secret that it checks the initiator by.

use super::event::{Initiator, Mutual};
use super::login::{Refusal, refuse};
use super::negotiate::{choose, parse_number};
use super::params::Authentication;
use crate::chap::{self, Algorithm, CHALLENGE_MAX, Challenge, Secret};
use crate::pdu::TextList;
use crate::pdu::response::login_status;

/// How far authentication is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// No method was chosen yet.
    Start,
    /// CHAP was chosen; the algorithm comes next.
    Chosen,
    /// The challenge is out.
    Challenged(Algorithm),
    /// Nothing (more) is to be proven.
    Done,
}

/// The authentication of one initiator.
#[derive(Debug)]
pub(super) struct Security {
    demands: Authentication,
    step: Step,
    /// `None` also for an unknown initiator: it is challenged all the same, and fails.
    secret: Option<Secret>,
    mutual: Option<Mutual>,
    /// Taken by the first response: one try.
    challenge: Option<Challenge>,
}

impl Security {
    /// What an initiator has to prove on a portal that demands this.
    pub fn new(demands: Authentication, who: Initiator, challenge: Challenge) -> Result<Self, Refusal> {
        let (secret, mutual) = match (who, demands) {
            (Initiator::Known { secret, mutual }, _) => (secret, mutual),
            (Initiator::Unknown, Authentication::Chap) => (None, None),
            (Initiator::Unknown, Authentication::None) => {
                return refuse(login_status::AUTHORIZATION_FAILURE, "this initiator is not known here");
            }
        };
        Ok(Security { demands, step: Step::Start, secret, mutual, challenge: Some(challenge) })
    }

    /// Whether the security stage may be left, or passed over.
    pub fn is_satisfied(&self) -> bool {
        match self.step {
            Step::Done => true,
            Step::Start => self.demands == Authentication::None,
            Step::Chosen | Step::Challenged(_) => false,
        }
    }

    /// Whether a method was chosen.
    pub fn has_begun(&self) -> bool {
        self.step != Step::Start
    }

    /// One request of the security stage.
    pub fn negotiate(&mut self, list: &TextList, answers: &mut TextList) -> Result<(), Refusal> {
        match self.step {
            Step::Start => self.choose_method(list, answers),
            Step::Chosen => self.send_challenge(list, answers),
            Step::Challenged(algorithm) => self.check_response(algorithm, list, answers),
            Step::Done => Ok(()),
        }
    }

    /// Without an offer nothing is chosen: whoever wants to leave the stage then is told that it may not.
    fn choose_method(&mut self, list: &TextList, answers: &mut TextList) -> Result<(), Refusal> {
        let Some(offer) = list.get("AuthMethod") else { return Ok(()) };
        let acceptable: &[&str] = match self.demands {
            Authentication::Chap => &["CHAP"],
            Authentication::None if self.secret.is_some() => &["None", "CHAP"],
            Authentication::None => &["None"],
        };
        let Some(method) = choose(offer, acceptable) else {
            return refuse_authentication("no acceptable AuthMethod in the initiator's offer");
        };
        answers.push("AuthMethod", method);
        self.step = if method == "CHAP" { Step::Chosen } else { Step::Done };
        // An initiator in a hurry sends the next step along.
        let hurry = self.step == Step::Chosen && list.get("CHAP_A").is_some();
        if hurry { self.send_challenge(list, answers) } else { Ok(()) }
    }

    fn send_challenge(&mut self, list: &TextList, answers: &mut TextList) -> Result<(), Refusal> {
        let Some(challenge) = self.challenge else {
            return refuse(login_status::TARGET_ERROR, "the challenge was used already");
        };
        let offer = required(list, "CHAP_A")?;
        let Some(algorithm) = choose(offer, &["7", "5"]).and_then(Algorithm::of) else {
            return refuse_authentication("no acceptable CHAP_A in the initiator's offer");
        };
        answers.push("CHAP_A", algorithm.number());
        answers.push("CHAP_I", challenge.id.to_string());
        answers.push("CHAP_C", chap::encode_binary(&challenge.bytes));
        self.step = Step::Challenged(algorithm);
        Ok(())
    }

    /// The name in CHAP_N is free: what is proven is knowledge of the secret of this InitiatorName.
    fn check_response(
        &mut self,
        algorithm: Algorithm,
        list: &TextList,
        answers: &mut TextList,
    ) -> Result<(), Refusal> {
        let Some(challenge) = self.challenge.take() else {
            return refuse(login_status::TARGET_ERROR, "the challenge was used already");
        };
        required(list, "CHAP_N")?;
        let len = algorithm.response_len();
        let given = chap::decode_binary(required(list, "CHAP_R")?, len).filter(|given| given.len() == len);
        let Some(given) = given else { return malformed("CHAP_R") };
        // A name without a secret is measured against some bytes all the same, so that it takes as long to refuse.
        let nobody = Secret::new(challenge.bytes);
        let secret = self.secret.as_ref().unwrap_or(&nobody);
        let expected = algorithm.response(challenge.id, secret, &challenge.bytes);
        let equal = chap::equal_in_constant_time(&expected, &given);
        if !equal || self.secret.is_none() {
            return refuse_authentication("wrong CHAP response, or no such initiator");
        }
        self.prove_target(algorithm, &challenge, list, answers)?;
        self.step = Step::Done;
        (self.secret, self.mutual) = (None, None);
        Ok(())
    }

    /// Mutual CHAP: answers the initiator's challenge, if it sent one.
    fn prove_target(
        &self,
        algorithm: Algorithm,
        ours: &Challenge,
        list: &TextList,
        answers: &mut TextList,
    ) -> Result<(), Refusal> {
        if list.get("CHAP_I").is_none() && list.get("CHAP_C").is_none() {
            return Ok(());
        }
        let id = parse_number(required(list, "CHAP_I")?).and_then(|id| u8::try_from(id).ok());
        let Some(id) = id else { return malformed("CHAP_I") };
        let theirs = chap::decode_binary(required(list, "CHAP_C")?, CHALLENGE_MAX);
        let Some(theirs) = theirs.filter(|theirs| !theirs.is_empty()) else { return malformed("CHAP_C") };
        let Some(Mutual { name, secret }) = &self.mutual else {
            return refuse_authentication("the initiator demands mutual CHAP, for which it has no secret");
        };
        if theirs == ours.bytes {
            return refuse_authentication("the initiator sent our own challenge back");
        }
        let checked = self.secret.as_ref().map_or(&[][..], Secret::expose);
        if chap::equal_in_constant_time(secret.expose(), checked) {
            return refuse_authentication("mutual CHAP with the same secret in both directions");
        }
        answers.push("CHAP_N", name.clone());
        answers.push("CHAP_R", chap::encode_binary(&algorithm.response(id, secret, &theirs)));
        Ok(())
    }
}

/// A key that this step must have (section 9.2).
fn required<'a>(list: &'a TextList, key: &str) -> Result<&'a str, Refusal> {
    match list.get(key) {
        Some(value) => Ok(value),
        None => refuse(login_status::MISSING_PARAMETER, format!("no {key} where it was due")),
    }
}

fn malformed<T>(key: &str) -> Result<T, Refusal> {
    refuse(login_status::INITIATOR_ERROR, format!("{key} is malformed or has an illegal length"))
}

fn refuse_authentication<T>(why: &str) -> Result<T, Refusal> {
    refuse(login_status::AUTHENTICATION_FAILURE, why)
}

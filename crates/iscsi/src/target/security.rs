//! Security negotiation: RFC 7143 section 12.1, with CHAP as the one method beside None.
//!
//! ```text
//!   Start --AuthMethod=CHAP--> Chosen --CHAP_A--> Challenged --CHAP_N, CHAP_R: right--> Done
//!      \-----AuthMethod=None, where nothing is demanded---------------------------------^
//! ```

use super::event::{Challenge, Initiator};
use super::login::{Refusal, refuse};
use super::negotiate::choose;
use super::params::Authentication;
use crate::chap::{self, Secret};
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
    Challenged,
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
    /// Taken by the first response: one try.
    challenge: Option<Challenge>,
}

impl Security {
    /// What an initiator has to prove on a portal that demands this.
    pub fn new(demands: Authentication, who: Initiator, challenge: Challenge) -> Result<Self, Refusal> {
        let secret = match (who, demands) {
            (Initiator::Known { secret, .. }, _) => secret,
            (Initiator::Unknown, Authentication::Chap) => None,
            (Initiator::Unknown, Authentication::None) => {
                return refuse(login_status::AUTHORIZATION_FAILURE, "this initiator is not known here");
            }
        };
        Ok(Security { demands, step: Step::Start, secret, challenge: Some(challenge) })
    }

    /// Whether the security stage may be left, or passed over.
    pub fn is_satisfied(&self) -> bool {
        match self.step {
            Step::Done => true,
            Step::Start => self.demands == Authentication::None,
            Step::Chosen | Step::Challenged => false,
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
            Step::Challenged => self.check_response(list),
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
        Ok(())
    }

    /// CHAP_A=5 is MD5, the one algorithm that RFC 7143 demands.
    fn send_challenge(&mut self, list: &TextList, answers: &mut TextList) -> Result<(), Refusal> {
        let Some(challenge) = self.challenge else {
            return refuse(login_status::TARGET_ERROR, "the challenge was used already");
        };
        if list.get("CHAP_A").and_then(|offer| choose(offer, &["5"])).is_none() {
            return refuse_authentication("CHAP without MD5 in the initiator's offer");
        }
        answers.push("CHAP_A", "5");
        answers.push("CHAP_I", challenge.id.to_string());
        answers.push("CHAP_C", chap::encode_binary(&challenge.bytes));
        self.step = Step::Challenged;
        Ok(())
    }

    /// The name in CHAP_N is free: what is proven is knowledge of the secret of this InitiatorName.
    fn check_response(&mut self, list: &TextList) -> Result<(), Refusal> {
        if list.get("CHAP_I").is_some() || list.get("CHAP_C").is_some() {
            return refuse_authentication("the initiator demands mutual CHAP, which has no secret");
        }
        let given = list.get("CHAP_R").and_then(|value| chap::decode_binary(value, 16));
        let (Some(given), Some(_), Some(challenge)) = (given, list.get("CHAP_N"), self.challenge.take())
        else {
            return refuse_authentication("CHAP_N or CHAP_R is missing or malformed");
        };
        // A name without a secret is measured against some bytes all the same, so that it takes as long to refuse.
        let secret = self.secret.take();
        let nobody = Secret::new(challenge.bytes);
        let expected = chap::response(challenge.id, secret.as_ref().unwrap_or(&nobody), &challenge.bytes);
        let equal = chap::equal_in_constant_time(&expected, &given);
        if !equal || secret.is_none() {
            return refuse_authentication("wrong CHAP response, or no such initiator");
        }
        self.step = Step::Done;
        Ok(())
    }
}

fn refuse_authentication<T>(why: &str) -> Result<T, Refusal> {
    refuse(login_status::AUTHENTICATION_FAILURE, why)
}

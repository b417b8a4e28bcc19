//! Operational negotiation: RFC 7143 sections 6.2 and 13, the target's side.
//!
//! Each key is one row of [`Negotiated::answer`]: how our value and theirs make the result. What always holds: a value that
//! is malformed or out of its range is answered `Reject` and leaves the default in force; what the initiator answers to
//! us is not answered again; a key that is not known is `NotUnderstood`, private ones too.

use super::event::Resend;
use crate::limits::{FIRST_BURST, MAX_BURST, OUTSTANDING_R2T, SEND_DATA_SEGMENT};
use crate::pdu::{Digests, TextList};

/// The private key by which an initiator promises to resend unflushed writes (design A2).
pub const RESEND_KEY: &str = "X-io.umbra.Resend";

/// What both sides agreed on; starts with the standard's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    pub digests: Digests,
    pub initial_r2t: bool,
    pub immediate_data: bool,
    /// Longest data segment that the initiator takes.
    pub peer_data_segment: usize,
    pub max_burst: u32,
    pub first_burst: u32,
    pub outstanding_r2t: u32,
    pub resend: Resend,
}

impl Default for Negotiated {
    fn default() -> Self {
        Negotiated {
            digests: Digests::default(),
            initial_r2t: true,
            immediate_data: true,
            peer_data_segment: 8192,
            max_burst: 262_144,
            first_burst: 65_536,
            outstanding_r2t: 1,
            resend: Resend::No,
        }
    }
}

const REJECT: &str = "Reject";
const NOT_UNDERSTOOD: &str = "NotUnderstood";
/// What a data segment or a burst can be at most (sections 13.12 to 13.14).
const SEGMENT_MAX: u32 = 0xff_ffff;
/// RFC 7143 itself (section 13.24).
const PROTOCOL_LEVEL: u32 = 1;

impl Negotiated {
    /// Takes all pairs of one request of the login; what is to be answered is added to `answers`.
    pub fn take(&mut self, list: &TextList, answers: &mut TextList) {
        // The unsolicited part must not exceed a burst (section 13.14), wherever in the list that stands.
        if let Some(theirs) = list.get("MaxBurstLength") {
            self.answer("MaxBurstLength", theirs);
        }
        for (key, value) in list.iter() {
            if let Some(answer) = self.answer(key, value) {
                answers.push(key, answer);
            }
        }
    }

    /// The answer to one pair, or `None` for one that needs none.
    fn answer(&mut self, key: &str, value: &str) -> Option<String> {
        if is_answer(value) {
            return None;
        }
        let answer = match key {
            "HeaderDigest" => digest(value, &mut self.digests.header),
            "DataDigest" => digest(value, &mut self.digests.data),
            "MaxConnections" => number(value, 1, 65_535, |theirs| theirs.min(1)),
            "InitialR2T" => boolean(value, |theirs| set(&mut self.initial_r2t, theirs)),
            "ImmediateData" => boolean(value, |theirs| set(&mut self.immediate_data, theirs)),
            "MaxRecvDataSegmentLength" => return self.peer_segment(value),
            "MaxBurstLength" => {
                number(value, 512, SEGMENT_MAX, |theirs| set(&mut self.max_burst, theirs.min(MAX_BURST)))
            }
            "FirstBurstLength" => number(value, 512, SEGMENT_MAX, |theirs| {
                set(&mut self.first_burst, theirs.min(FIRST_BURST).min(self.max_burst))
            }),
            "DefaultTime2Wait" => number(value, 0, 3600, |theirs| theirs),
            // We keep nothing of a session whose connection is gone.
            "DefaultTime2Retain" => number(value, 0, 3600, |_| 0),
            "MaxOutstandingR2T" => {
                let most = OUTSTANDING_R2T as u32;
                number(value, 1, 65_535, |theirs| set(&mut self.outstanding_r2t, theirs.min(most)))
            }
            "DataPDUInOrder" | "DataSequenceInOrder" => boolean(value, |_| true),
            "ErrorRecoveryLevel" => number(value, 0, 2, |_| 0),
            "iSCSIProtocolLevel" => number(value, 0, 31, |theirs| theirs.min(PROTOCOL_LEVEL)),
            "TaskReporting" => choose(value, &["RFC3720"]).unwrap_or(REJECT).to_owned(),
            // Obsolete, but understood (section 13.25).
            "IFMarker" | "OFMarker" | "IFMarkInt" | "OFMarkInt" => REJECT.to_owned(),
            RESEND_KEY => self.resend(value),
            "InitiatorName" | "InitiatorAlias" | "TargetName" | "SessionType" => return None,
            _ if belongs_elsewhere(key) => REJECT.to_owned(),
            _ => NOT_UNDERSTOOD.to_owned(),
        };
        Some(answer)
    }

    /// The same in full feature phase, where little can still be said: section 13 marks most keys for the login alone.
    pub fn answer_late(&mut self, key: &str, value: &str) -> Option<String> {
        match key {
            "MaxRecvDataSegmentLength" | "InitiatorAlias" => self.answer(key, value),
            _ if is_answer(value) => None,
            _ => match Negotiated::default().answer(key, value) {
                Some(answer) if answer == NOT_UNDERSTOOD => Some(answer),
                _ => Some(REJECT.to_owned()),
            },
        }
    }

    /// R2Ts that one command may have open.
    pub fn outstanding_r2t(&self) -> usize {
        self.outstanding_r2t as usize
    }

    /// A declaration: in force at once, not answered unless refused.
    fn peer_segment(&mut self, value: &str) -> Option<String> {
        match parse_number(value).filter(|theirs| (512..=SEGMENT_MAX).contains(theirs)) {
            Some(theirs) => {
                self.peer_data_segment = (theirs as usize).min(SEND_DATA_SEGMENT);
                None
            }
            None => Some(REJECT.to_owned()),
        }
    }

    fn resend(&mut self, value: &str) -> String {
        boolean(value, |theirs| {
            self.resend = if theirs { Resend::Promised } else { Resend::No };
            theirs
        })
    }
}

/// Whether a value ends a negotiation rather than begin one (section 6.2).
fn is_answer(value: &str) -> bool {
    matches!(value, REJECT | NOT_UNDERSTOOD | "Irrelevant")
}

/// Keys that have their place elsewhere: what only a target says, what belongs to security or to full feature phase.
fn belongs_elsewhere(key: &str) -> bool {
    const ELSEWHERE: [&str; 5] =
        ["AuthMethod", "SendTargets", "TargetAddress", "TargetAlias", "TargetPortalGroupTag"];
    ELSEWHERE.contains(&key) || key.starts_with("CHAP_")
}

fn set<T: Copy>(place: &mut T, value: T) -> T {
    *place = value;
    value
}

/// The first of the initiator's list that we know, its order being its preference (section 6.2.1).
pub fn choose<'a>(list: &str, known: &[&'a str]) -> Option<&'a str> {
    list.split(',').find_map(|item| known.iter().find(|name| **name == item)).copied()
}

fn digest(list: &str, place: &mut bool) -> String {
    match choose(list, &["CRC32C", "None"]) {
        Some(chosen) => {
            *place = chosen == "CRC32C";
            chosen.to_owned()
        }
        None => REJECT.to_owned(),
    }
}

fn boolean(value: &str, decide: impl FnOnce(bool) -> bool) -> String {
    let theirs = match value {
        "Yes" => true,
        "No" => false,
        _ => return REJECT.to_owned(),
    };
    if decide(theirs) { "Yes" } else { "No" }.to_owned()
}

fn number(value: &str, low: u32, high: u32, decide: impl FnOnce(u32) -> u32) -> String {
    match parse_number(value).filter(|theirs| (low..=high).contains(theirs)) {
        Some(theirs) => decide(theirs).to_string(),
        None => REJECT.to_owned(),
    }
}

/// A decimal or hex constant (section 6.1).
pub fn parse_number(value: &str) -> Option<u32> {
    match value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")) {
        // Of itself it takes a sign too.
        Some(digits) if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
            u32::from_str_radix(digits, 16).ok()
        }
        Some(_) => None,
        None if value.starts_with(|c: char| c.is_ascii_digit()) => value.parse().ok(),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(pairs: &[(&str, &str)]) -> (Negotiated, Vec<Option<String>>) {
        let mut negotiated = Negotiated::default();
        let answers = pairs.iter().map(|(key, value)| negotiated.answer(key, value)).collect();
        (negotiated, answers)
    }

    #[test]
    fn every_key_is_answered_by_its_rule() {
        for (key, offer, answer) in [
            ("HeaderDigest", "CRC32C,None", "CRC32C"),
            ("DataDigest", "None,CRC32C", "None"),
            ("DataDigest", "MD5", "Reject"),
            ("MaxConnections", "8", "1"),
            ("InitialR2T", "No", "No"),
            ("InitialR2T", "maybe", "Reject"),
            ("ImmediateData", "Yes", "Yes"),
            ("MaxBurstLength", "0xffffff", "1048576"),
            ("MaxBurstLength", "511", "Reject"),
            ("FirstBurstLength", "4096", "4096"),
            ("DefaultTime2Wait", "2", "2"),
            ("DefaultTime2Retain", "20", "0"),
            ("MaxOutstandingR2T", "1", "1"),
            ("MaxOutstandingR2T", "-1", "Reject"),
            ("MaxOutstandingR2T", "99999999999999999999", "Reject"),
            ("DataPDUInOrder", "No", "Yes"),
            ("ErrorRecoveryLevel", "2", "0"),
            ("TaskReporting", "FastAbort,RFC3720", "RFC3720"),
            ("TaskReporting", "FastAbort", "Reject"),
            ("iSCSIProtocolLevel", "2", "1"),
            ("IFMarker", "No", "Reject"),
            ("OFMarker", "Yes", "Reject"),
            ("OFMarkInt", "2048~8192", "Reject"),
            ("SendTargets", "All", "Reject"),
            ("TargetAlias", "mine", "Reject"),
            ("AuthMethod", "CHAP", "Reject"),
            ("X-com.example.Unknown", "1", "NotUnderstood"),
            (RESEND_KEY, "Yes", "Yes"),
        ] {
            assert_eq!(Negotiated::default().answer(key, offer).as_deref(), Some(answer), "{key}={offer}");
        }
    }

    #[test]
    fn results_are_remembered_and_refusals_change_nothing() {
        let (negotiated, _) = answers(&[
            ("HeaderDigest", "CRC32C"),
            ("InitialR2T", "No"),
            ("MaxBurstLength", "32768"),
            ("MaxRecvDataSegmentLength", "65536"),
            (RESEND_KEY, "Yes"),
        ]);
        assert!(negotiated.digests.header && !negotiated.digests.data && !negotiated.initial_r2t);
        assert_eq!((negotiated.max_burst, negotiated.first_burst), (32_768, 65_536));
        assert_eq!((negotiated.peer_data_segment, negotiated.resend), (65_536, Resend::Promised));
        let (refused, answers) = answers(&[("MaxRecvDataSegmentLength", "1"), ("MaxBurstLength", "x")]);
        assert_eq!(refused, Negotiated::default());
        assert!(answers.iter().all(|answer| answer.as_deref() == Some("Reject")));
    }

    #[test]
    fn each_range_is_taken_to_its_ends_and_no_further() {
        for (key, low, high) in [
            ("MaxConnections", 1, 65_535),
            ("MaxRecvDataSegmentLength", 512, 0xff_ffff),
            ("MaxBurstLength", 512, 0xff_ffff),
            ("FirstBurstLength", 512, 0xff_ffff),
            ("DefaultTime2Wait", 0, 3600),
            ("DefaultTime2Retain", 0, 3600),
            ("MaxOutstandingR2T", 1, 65_535),
            ("ErrorRecoveryLevel", 0, 2),
            ("iSCSIProtocolLevel", 0, 31),
        ] {
            let is_taken = |value: i64| {
                let answer = Negotiated::default().answer(key, &value.to_string());
                answer.as_deref() != Some("Reject")
            };
            assert!(is_taken(low) && is_taken(high), "{key}");
            assert!(!is_taken(low - 1) && !is_taken(high + 1), "{key}");
        }
    }

    #[test]
    fn the_first_burst_is_told_no_longer_than_a_burst() {
        for pairs in [
            [("MaxBurstLength", "4096"), ("FirstBurstLength", "8192")],
            [("FirstBurstLength", "8192"), ("MaxBurstLength", "4096")],
        ] {
            let (mut negotiated, mut answers) = (Negotiated::default(), TextList::new());
            negotiated.take(&pairs.into_iter().collect(), &mut answers);
            assert_eq!(negotiated.first_burst, 4096);
            assert_eq!(answers.iter().map(|(_, value)| value).collect::<Vec<_>>(), ["4096", "4096"]);
        }
    }

    #[test]
    fn answers_and_declarations_are_not_answered() {
        for pair in [
            ("TargetAlias", "NotUnderstood"),
            ("MaxRecvDataSegmentLength", "Reject"),
            ("X-com.example", "Irrelevant"),
            ("InitiatorAlias", "host"),
            ("MaxRecvDataSegmentLength", "512"),
        ] {
            assert_eq!(Negotiated::default().answer(pair.0, pair.1), None, "{pair:?}");
        }
    }

    #[test]
    fn after_login_only_the_segment_can_be_declared_anew() {
        let mut negotiated = Negotiated::default();
        assert_eq!(negotiated.answer_late("MaxRecvDataSegmentLength", "4096"), None);
        assert_eq!(negotiated.peer_data_segment, 4096);
        for (key, answer) in [
            ("MaxBurstLength", "Reject"),
            (RESEND_KEY, "Reject"),
            ("TargetName", "Reject"),
            ("X-a", "NotUnderstood"),
        ] {
            assert_eq!(negotiated.answer_late(key, "Yes").as_deref(), Some(answer));
        }
        assert_eq!(negotiated, Negotiated { peer_data_segment: 4096, ..Negotiated::default() });
    }
}

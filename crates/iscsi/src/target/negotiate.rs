//! Operational negotiation: RFC 7143 sections 6.2 and 13, the target's side.
//!
//! Each key is one row of [`Negotiated::answer`]: how our value and theirs make the result. What always holds: a key that
//! is malformed or out of its range is answered `Reject` and leaves the default in force.

use super::event::Resend;
use crate::limits::{FIRST_BURST, MAX_BURST, OUTSTANDING_R2T, SEND_DATA_SEGMENT};
use crate::pdu::Digests;

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

impl Negotiated {
    /// Takes the initiator's `key=value`; the answer to send, or `None` for a declaration that needs none.
    pub fn answer(&mut self, key: &str, value: &str) -> Option<String> {
        let answer = match key {
            "HeaderDigest" => digest(value, &mut self.digests.header),
            "DataDigest" => digest(value, &mut self.digests.data),
            "MaxConnections" => number(value, 1, 65_535, |theirs| theirs.min(1)),
            "InitialR2T" => boolean(value, |theirs| set(&mut self.initial_r2t, theirs)),
            "ImmediateData" => boolean(value, |theirs| set(&mut self.immediate_data, theirs)),
            "MaxRecvDataSegmentLength" => return self.peer_segment(value),
            "MaxBurstLength" => {
                number(value, 512, 0xff_ffff, |theirs| set(&mut self.max_burst, theirs.min(MAX_BURST)))
            }
            "FirstBurstLength" => {
                number(value, 512, 0xff_ffff, |theirs| set(&mut self.first_burst, theirs.min(FIRST_BURST)))
            }
            "DefaultTime2Wait" => number(value, 0, 3600, |theirs| theirs),
            "DefaultTime2Retain" => number(value, 0, 3600, |_| 0),
            "MaxOutstandingR2T" => number(value, 1, 65_535, |theirs| {
                set(&mut self.outstanding_r2t, theirs.min(OUTSTANDING_R2T as u32))
            }),
            "DataPDUInOrder" | "DataSequenceInOrder" => boolean(value, |_| true),
            "ErrorRecoveryLevel" => number(value, 0, 2, |_| 0),
            "iSCSIProtocolLevel" => number(value, 0, 31, |theirs| theirs.min(1)),
            "TaskReporting" => choose(value, &["RFC3720"]).unwrap_or(REJECT).to_owned(),
            // Markers are obsolete (RFC 7143 section 13.25).
            "IFMarker" | "OFMarker" => boolean(value, |_| false),
            "IFMarkInt" | "OFMarkInt" => "Irrelevant".to_owned(),
            RESEND_KEY => self.resend(value),
            _ => "NotUnderstood".to_owned(),
        };
        Some(answer)
    }

    /// Our unsolicited bound may never exceed our burst (RFC 7143 section 13.14).
    pub fn first_burst(&self) -> u32 {
        self.first_burst.min(self.max_burst)
    }

    /// R2Ts that one command may have open.
    pub fn outstanding_r2t(&self) -> usize {
        self.outstanding_r2t as usize
    }

    /// A declaration: in force at once, not answered unless refused.
    fn peer_segment(&mut self, value: &str) -> Option<String> {
        match parse_number(value).filter(|theirs| (512..=0xff_ffff).contains(theirs)) {
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
fn parse_number(value: &str) -> Option<u32> {
    match value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
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
            ("OFMarker", "Yes", "No"),
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
        assert_eq!((negotiated.max_burst, negotiated.first_burst()), (32_768, 32_768));
        assert_eq!((negotiated.peer_data_segment, negotiated.resend), (65_536, Resend::Promised));
        let (refused, answers) = answers(&[("MaxRecvDataSegmentLength", "1"), ("MaxBurstLength", "x")]);
        assert_eq!(refused, Negotiated::default());
        assert!(answers.iter().all(|answer| answer.as_deref() == Some("Reject")));
    }
}

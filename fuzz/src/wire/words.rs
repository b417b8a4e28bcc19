//! Keys and values of text negotiation, as a fuzzer picks them: by number from what the standard knows, or made up.

use arbitrary::Arbitrary;

/// Keys (RFC 7143 sections 12.1 and 13), and a private one of ours.
const KEYS: [&str; 34] = [
    "InitiatorName",
    "TargetName",
    "SessionType",
    "AuthMethod",
    "CHAP_A",
    "CHAP_N",
    "CHAP_R",
    "CHAP_I",
    "CHAP_C",
    "HeaderDigest",
    "DataDigest",
    "MaxConnections",
    "SendTargets",
    "TargetAlias",
    "InitiatorAlias",
    "TargetAddress",
    "TargetPortalGroupTag",
    "InitialR2T",
    "ImmediateData",
    "MaxRecvDataSegmentLength",
    "MaxBurstLength",
    "FirstBurstLength",
    "DefaultTime2Wait",
    "DefaultTime2Retain",
    "MaxOutstandingR2T",
    "DataPDUInOrder",
    "DataSequenceInOrder",
    "ErrorRecoveryLevel",
    "IFMarker",
    "OFMarkInt",
    "TaskReporting",
    "iSCSIProtocolLevel",
    "X-io.umbra.Resend",
    "X-com.example.made-up",
];

/// Values that mean something to one key or another.
const VALUES: [&str; 24] = [
    "None",
    "CRC32C",
    "CRC32C,None",
    "None,CRC32C",
    "CHAP",
    "None,CHAP",
    "CHAP,KRB5,None",
    "7,5",
    "5",
    "Yes",
    "No",
    "Normal",
    "Discovery",
    "All",
    "",
    "Reject",
    "NotUnderstood",
    "Irrelevant",
    "RFC3720,ResponseFence",
    "0x00",
    "0bAA==",
    "2048~8192",
    "65535",
    "-1",
];

/// A key or a value.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum Word<'a> {
    Known(u8),
    Number(u32),
    Hex(u16),
    Any(&'a str),
    /// So many characters.
    Long(u16),
}

impl Word<'_> {
    pub(crate) fn key(self) -> String {
        match self {
            Word::Known(which) => KEYS[usize::from(which) % KEYS.len()].to_owned(),
            other => other.value(),
        }
    }

    pub(crate) fn value(self) -> String {
        match self {
            Word::Known(which) => VALUES[usize::from(which) % VALUES.len()].to_owned(),
            Word::Number(number) => number.to_string(),
            Word::Hex(number) => format!("{number:#x}"),
            Word::Any(text) => text.to_owned(),
            Word::Long(length) => "x".repeat(length.into()),
        }
    }
}

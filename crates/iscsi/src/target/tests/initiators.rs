//! What well-known initiators say in a login, key by key, and what they need to hear. The lists of open-iscsi and libiscsi
//! follow their sources, those of Windows and ESXi their default settings.

use super::*;

/// Stage, next stage, what is said, what is answered.
type Step =
    (u8, Option<u8>, &'static [(&'static str, &'static str)], &'static [(&'static str, &'static str)]);

fn log_in(steps: &[Step]) -> Pair {
    let mut pair = Pair::new(Authentication::None);
    for (current, next, said, expected) in steps {
        let (pdu, answers) = pair.login(*current, *next, said);
        assert_eq!(pdu.status, 0, "{}", pair.closed());
        assert_eq!(pdu.transit.then_some(pdu.next_stage), *next);
        assert_eq!(answers, expected.iter().copied().collect());
    }
    assert_eq!(pair.target.framing().1, RECV_DATA_SEGMENT, "logged in");
    pair
}

#[test]
fn open_iscsi() {
    log_in(&[
        (
            stage::SECURITY,
            Some(stage::OPERATIONAL),
            &[
                ("InitiatorName", "iqn.1994-05.com.redhat:0123456789ab"),
                ("InitiatorAlias", "host"),
                ("TargetName", TARGET),
                ("SessionType", "Normal"),
                ("AuthMethod", "None"),
            ],
            &[("AuthMethod", "None"), ("TargetPortalGroupTag", "1")],
        ),
        (
            stage::OPERATIONAL,
            Some(stage::FULL_FEATURE),
            &[
                ("HeaderDigest", "None"),
                ("DataDigest", "None"),
                ("DefaultTime2Wait", "2"),
                ("DefaultTime2Retain", "0"),
                ("IFMarker", "No"),
                ("OFMarker", "No"),
                ("ErrorRecoveryLevel", "0"),
                ("InitialR2T", "No"),
                ("ImmediateData", "Yes"),
                ("MaxBurstLength", "16776192"),
                ("FirstBurstLength", "262144"),
                ("MaxOutstandingR2T", "1"),
                ("MaxConnections", "1"),
                ("DataPDUInOrder", "Yes"),
                ("DataSequenceInOrder", "Yes"),
                ("MaxRecvDataSegmentLength", "262144"),
            ],
            &[
                ("MaxRecvDataSegmentLength", "262144"),
                ("HeaderDigest", "None"),
                ("DataDigest", "None"),
                ("DefaultTime2Wait", "2"),
                ("DefaultTime2Retain", "0"),
                ("IFMarker", "Reject"),
                ("OFMarker", "Reject"),
                ("ErrorRecoveryLevel", "0"),
                ("InitialR2T", "No"),
                ("ImmediateData", "Yes"),
                ("MaxBurstLength", "1048576"),
                ("FirstBurstLength", "65536"),
                // It leaves a target that answers anything else to these.
                ("MaxOutstandingR2T", "1"),
                ("MaxConnections", "1"),
                ("DataPDUInOrder", "Yes"),
                ("DataSequenceInOrder", "Yes"),
            ],
        ),
    ]);
}

/// Begins with the operational stage, and names itself in it.
#[test]
fn libiscsi() {
    log_in(&[(
        stage::OPERATIONAL,
        Some(stage::FULL_FEATURE),
        &[
            ("InitiatorName", "iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-test"),
            ("InitiatorAlias", "iscsi-test"),
            ("TargetName", TARGET),
            ("SessionType", "Normal"),
            ("HeaderDigest", "None,CRC32C"),
            ("DataDigest", "None"),
            ("InitialR2T", "No"),
            ("ImmediateData", "Yes"),
            ("MaxBurstLength", "262144"),
            ("FirstBurstLength", "262144"),
            ("DefaultTime2Wait", "2"),
            ("DefaultTime2Retain", "0"),
            ("MaxOutstandingR2T", "1"),
            ("ErrorRecoveryLevel", "0"),
            ("IFMarker", "No"),
            ("OFMarker", "No"),
            ("MaxConnections", "1"),
            ("MaxRecvDataSegmentLength", "262144"),
            ("DataPDUInOrder", "Yes"),
            ("DataSequenceInOrder", "Yes"),
        ],
        &[
            ("TargetPortalGroupTag", "1"),
            ("MaxRecvDataSegmentLength", "262144"),
            ("HeaderDigest", "None"),
            ("DataDigest", "None"),
            ("InitialR2T", "No"),
            ("ImmediateData", "Yes"),
            ("MaxBurstLength", "262144"),
            ("FirstBurstLength", "65536"),
            ("DefaultTime2Wait", "2"),
            ("DefaultTime2Retain", "0"),
            ("MaxOutstandingR2T", "1"),
            ("ErrorRecoveryLevel", "0"),
            ("IFMarker", "Reject"),
            ("OFMarker", "Reject"),
            ("MaxConnections", "1"),
            ("DataPDUInOrder", "Yes"),
            ("DataSequenceInOrder", "Yes"),
        ],
    )]);
}

/// Offers more than one connection and recovery; is content with less.
#[test]
fn windows() {
    log_in(&[
        (
            stage::SECURITY,
            Some(stage::OPERATIONAL),
            &[
                ("InitiatorName", "iqn.1991-05.com.microsoft:host"),
                ("SessionType", "Normal"),
                ("TargetName", TARGET),
                ("AuthMethod", "None"),
            ],
            &[("AuthMethod", "None"), ("TargetPortalGroupTag", "1")],
        ),
        (
            stage::OPERATIONAL,
            Some(stage::FULL_FEATURE),
            &[
                ("HeaderDigest", "None,CRC32C"),
                ("DataDigest", "None,CRC32C"),
                ("ErrorRecoveryLevel", "2"),
                ("InitialR2T", "No"),
                ("ImmediateData", "Yes"),
                ("MaxRecvDataSegmentLength", "65536"),
                ("MaxBurstLength", "262144"),
                ("FirstBurstLength", "65536"),
                ("MaxConnections", "32"),
                ("DataPDUInOrder", "Yes"),
                ("DataSequenceInOrder", "Yes"),
                ("DefaultTime2Wait", "0"),
                ("DefaultTime2Retain", "60"),
                ("MaxOutstandingR2T", "16"),
            ],
            &[
                ("MaxRecvDataSegmentLength", "262144"),
                ("HeaderDigest", "None"),
                ("DataDigest", "None"),
                ("ErrorRecoveryLevel", "0"),
                ("InitialR2T", "No"),
                ("ImmediateData", "Yes"),
                ("MaxBurstLength", "262144"),
                ("FirstBurstLength", "65536"),
                ("MaxConnections", "1"),
                ("DataPDUInOrder", "Yes"),
                ("DataSequenceInOrder", "Yes"),
                ("DefaultTime2Wait", "0"),
                ("DefaultTime2Retain", "0"),
                ("MaxOutstandingR2T", "4"),
            ],
        ),
    ]);
}

/// All of its operational keys at once, the first burst before the burst, digests by preference.
#[test]
fn esxi() {
    log_in(&[
        (
            stage::SECURITY,
            Some(stage::OPERATIONAL),
            &[
                ("InitiatorName", "iqn.1998-01.com.vmware:esx-0123abcd"),
                ("InitiatorAlias", "esx.example"),
                ("TargetName", TARGET),
                ("SessionType", "Normal"),
                ("AuthMethod", "None"),
            ],
            &[("AuthMethod", "None"), ("TargetPortalGroupTag", "1")],
        ),
        (
            stage::OPERATIONAL,
            Some(stage::FULL_FEATURE),
            &[
                ("HeaderDigest", "None,CRC32C"),
                ("DataDigest", "None,CRC32C"),
                ("DefaultTime2Wait", "0"),
                ("DefaultTime2Retain", "0"),
                ("IFMarker", "No"),
                ("OFMarker", "No"),
                ("ErrorRecoveryLevel", "0"),
                ("InitialR2T", "No"),
                ("ImmediateData", "Yes"),
                ("FirstBurstLength", "262144"),
                ("MaxBurstLength", "32768"),
                ("MaxOutstandingR2T", "1"),
                ("MaxConnections", "1"),
                ("DataPDUInOrder", "Yes"),
                ("DataSequenceInOrder", "Yes"),
                ("MaxRecvDataSegmentLength", "131072"),
            ],
            &[
                ("MaxRecvDataSegmentLength", "262144"),
                ("HeaderDigest", "None"),
                ("DataDigest", "None"),
                ("DefaultTime2Wait", "0"),
                ("DefaultTime2Retain", "0"),
                ("IFMarker", "Reject"),
                ("OFMarker", "Reject"),
                ("ErrorRecoveryLevel", "0"),
                ("InitialR2T", "No"),
                ("ImmediateData", "Yes"),
                ("FirstBurstLength", "32768"),
                ("MaxBurstLength", "32768"),
                ("MaxOutstandingR2T", "1"),
                ("MaxConnections", "1"),
                ("DataPDUInOrder", "Yes"),
                ("DataSequenceInOrder", "Yes"),
            ],
        ),
    ]);
}

//! The table of conflicts, command by command, as SPC-4 section 5.13, SBC-3 section 4 and SPC-2 annex B have it.

use super::*;
use crate::reservation::{Kind, Rule};

/// Write exclusive, exclusive access, registered with a shared type, not registered with write exclusive of a shared type,
/// not registered with exclusive access of a shared type; then SPC-2's reservation. `A`llowed or `C`onflict.
const ALWAYS: &str = "AAAAA A";
const READY: &str = "AAAAA C";
const READS: &str = "ACAAC C";
const WRITES: &str = "CCACC C";

/// Every row of the command table, by operation code and service action.
const EXPECTED: &[(u8, Option<u8>, &str)] = &[
    (0x00, None, READY),       // TEST UNIT READY
    (0x03, None, ALWAYS),      // REQUEST SENSE
    (0x08, None, READS),       // READ (6)
    (0x0a, None, WRITES),      // WRITE (6)
    (0x12, None, ALWAYS),      // INQUIRY
    (0x15, None, WRITES),      // MODE SELECT (6)
    (0x16, None, ALWAYS),      // RESERVE (6): judged later
    (0x17, None, ALWAYS),      // RELEASE (6): judged later
    (0x1a, None, READS),       // MODE SENSE (6)
    (0x1b, None, WRITES),      // START STOP UNIT, stopping
    (0x1d, None, WRITES),      // SEND DIAGNOSTIC
    (0x1e, None, ALWAYS),      // PREVENT ALLOW MEDIUM REMOVAL, allowing
    (0x25, None, ALWAYS),      // READ CAPACITY (10)
    (0x28, None, READS),       // READ (10)
    (0x2a, None, WRITES),      // WRITE (10)
    (0x2e, None, WRITES),      // WRITE AND VERIFY (10)
    (0x2f, None, READS),       // VERIFY (10)
    (0x34, None, READS),       // PRE-FETCH (10)
    (0x35, None, WRITES),      // SYNCHRONIZE CACHE (10)
    (0x37, None, READS),       // READ DEFECT DATA (10)
    (0x41, None, WRITES),      // WRITE SAME (10)
    (0x42, None, WRITES),      // UNMAP
    (0x4d, None, ALWAYS),      // LOG SENSE
    (0x55, None, WRITES),      // MODE SELECT (10)
    (0x56, None, ALWAYS),      // RESERVE (10): judged later
    (0x57, None, ALWAYS),      // RELEASE (10): judged later
    (0x5a, None, READS),       // MODE SENSE (10)
    (0x5e, Some(0x00), READY), // PERSISTENT RESERVE IN
    (0x5e, Some(0x01), READY),
    (0x5e, Some(0x02), READY),
    (0x5e, Some(0x03), READY),
    (0x5f, Some(0x00), READY), // PERSISTENT RESERVE OUT: judged later
    (0x5f, Some(0x01), READY),
    (0x5f, Some(0x02), READY),
    (0x5f, Some(0x03), READY),
    (0x5f, Some(0x04), READY),
    (0x5f, Some(0x05), READY),
    (0x5f, Some(0x06), READY),
    (0x5f, Some(0x07), READY),
    (0x83, Some(0x00), WRITES), // EXTENDED COPY (LID1)
    (0x83, Some(0x01), WRITES), // EXTENDED COPY (LID4)
    (0x83, Some(0x10), READS),  // POPULATE TOKEN
    (0x83, Some(0x11), WRITES), // WRITE USING TOKEN
    (0x83, Some(0x1c), WRITES), // COPY OPERATION ABORT
    (0x84, Some(0x00), READS),  // RECEIVE COPY STATUS (LID1)
    (0x84, Some(0x03), READS),  // RECEIVE COPY OPERATING PARAMETERS
    (0x84, Some(0x04), READS),  // RECEIVE COPY FAILURE DETAILS (LID1)
    (0x84, Some(0x05), READS),  // RECEIVE COPY STATUS (LID4)
    (0x84, Some(0x07), ALWAYS), // RECEIVE ROD TOKEN INFORMATION
    (0x84, Some(0x08), ALWAYS), // REPORT ALL ROD TOKENS
    (0x88, None, READS),        // READ (16)
    (0x89, None, WRITES),       // COMPARE AND WRITE
    (0x8a, None, WRITES),       // WRITE (16)
    (0x8b, None, WRITES),       // ORWRITE (16)
    (0x8e, None, WRITES),       // WRITE AND VERIFY (16)
    (0x8f, None, READS),        // VERIFY (16)
    (0x90, None, READS),        // PRE-FETCH (16)
    (0x91, None, WRITES),       // SYNCHRONIZE CACHE (16)
    (0x93, None, WRITES),       // WRITE SAME (16)
    (0x9c, None, WRITES),       // WRITE ATOMIC (16)
    (0x9e, Some(0x10), ALWAYS), // READ CAPACITY (16)
    (0x9e, Some(0x12), READS),  // GET LBA STATUS
    (0xa0, None, ALWAYS),       // REPORT LUNS
    (0xa3, Some(0x0a), ALWAYS), // REPORT TARGET PORT GROUPS
    (0xa3, Some(0x0c), READS),  // REPORT SUPPORTED OPERATION CODES
    (0xa3, Some(0x0d), READS),  // REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS
    (0xa8, None, READS),        // READ (12)
    (0xaa, None, WRITES),       // WRITE (12)
    (0xae, None, WRITES),       // WRITE AND VERIFY (12)
    (0xaf, None, READS),        // VERIFY (12)
    (0xb7, None, READS),        // READ DEFECT DATA (12)
];

fn letter(passes: bool) -> char {
    if passes { 'A' } else { 'C' }
}

fn row(cdb: &[u8; 16]) -> String {
    use Kind::*;
    let rule = Rule::of(cdb).expect("a command that we know");
    let persistent = [
        (WriteExclusive, false),
        (ExclusiveAccess, false),
        (ExclusiveAccessRegistrantsOnly, true),
        (WriteExclusiveRegistrantsOnly, false),
        (ExclusiveAccessRegistrantsOnly, false),
    ];
    let mut row: String = persistent.iter().map(|(kind, known)| letter(rule.passes(*kind, *known))).collect();
    row.push(' ');
    row.push(letter(rule.passes_legacy(false)));
    row
}

#[test]
fn every_command_conflicts_as_the_standards_say() {
    assert_eq!(EXPECTED.len(), table::TABLE.len());
    for (expected, known) in EXPECTED.iter().zip(table::TABLE) {
        let (opcode, action, conflicts) = *expected;
        assert_eq!((opcode, action), (known.opcode, known.service_action));
        assert_eq!(row(&cdb(&[opcode, action.unwrap_or(0)])), conflicts, "{opcode:#x} {action:x?}");
    }
}

#[test]
fn all_registrants_types_judge_like_registrants_only() {
    use Kind::*;
    for known in table::TABLE {
        let rule = Rule::of(&cdb(&[known.opcode, known.service_action.unwrap_or(0)])).unwrap();
        for registered in [false, true] {
            let pairs = [
                (WriteExclusiveRegistrantsOnly, WriteExclusiveAllRegistrants),
                (ExclusiveAccessRegistrantsOnly, ExclusiveAccessAllRegistrants),
            ];
            for (only, all) in pairs {
                assert_eq!(rule.passes(only, registered), rule.passes(all, registered));
            }
        }
        let plain = [WriteExclusive, ExclusiveAccess];
        assert!(plain.iter().all(|kind| rule.passes(*kind, true) == rule.passes(*kind, false)));
    }
}

#[test]
fn a_plain_start_and_allowing_removal_go_through_everything() {
    assert_eq!(row(&cdb(&[0x1b, 0, 0, 0, 0x01, 0])), ALWAYS);
    assert_eq!(row(&cdb(&[0x1b, 0, 0, 0, 0x11, 0])), WRITES, "a power condition");
    assert_eq!(row(&cdb(&[0x1e, 0, 0, 0, 0x01, 0])), WRITES, "preventing");
}

#[test]
fn what_changes_the_medium_never_goes_through() {
    for known in table::TABLE.iter().filter(|row| row.effect == table::Effect::Changes) {
        assert_eq!(known.rule, Rule::Writes, "{:#x}", known.opcode);
    }
}

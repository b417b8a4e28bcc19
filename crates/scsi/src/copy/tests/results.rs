//! What is told of copies, and for how long.

use super::*;
use crate::limits::COPY_RESULTS;
use crate::{SenseFormat, Specific};

const ID: ListId = ListId(7);

fn started(service: Service, keep: Keep) -> Operations {
    let mut operations = Operations::default();
    operations.begin(ID, service, keep).unwrap();
    operations
}

fn ended(service: Service, end: End) -> Operations {
    let mut operations = started(service, Keep::UntilAsked);
    operations.advance(ID, Progress { segments: 2, blocks: 0x1_0000 });
    operations.end(ID, end, None);
    operations
}

fn ask(operations: &mut Operations, wanted: Wanted) -> Result<Vec<u8>, Sense> {
    operations.receive(wanted, ID, SenseFormat::Fixed, 1024)
}

fn unknown() -> Sense {
    Sense::INVALID_FIELD_IN_CDB.in_byte(2)
}

#[test]
fn the_commands_say_what_is_wanted_of_which_copy() {
    let plan = |bytes: &[u8]| match decode_all(bytes) {
        Ok(Plan::CopyResults { wanted, id, allocation: 256 }) => (wanted, id.0),
        other => panic!("{other:?}"),
    };
    let short = |action| plan(&[0x84, action, 9, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    let long = |action| plan(&[0x84, action, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!((short(0), short(4)), ((Wanted::StatusLid1, 9), (Wanted::FailureDetails, 9)));
    assert_eq!(long(5), (Wanted::StatusLid4, 0x0102_0304));
    assert_eq!(long(7), (Wanted::TokenInformation, 0x0102_0304));
    for refused in [1, 2, 6, 9] {
        let plan = decode_all(&[0x84, refused, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
        assert!(plan.is_err(), "RECEIVE COPY DATA and what is reserved: {refused}");
    }
    let abort = decode_all(&[0x83, 0x1c, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(abort, Ok(Plan::CopyAbort(ID)));
}

#[test]
fn a_copy_that_ended_well_is_told_once() {
    let mut operations = ended(Service::ExtendedCopyLid1, End::Done);
    let status = ask(&mut operations, Wanted::StatusLid1).unwrap();
    assert_eq!(status, [0, 0, 0, 8, 1, 0, 2, 0, 2, 0, 0, 0]);
    assert_eq!(ask(&mut operations, Wanted::StatusLid1), Err(unknown()));
}

#[test]
fn nothing_is_known_of_copies_that_nobody_asked_for() {
    assert_eq!(ask(&mut Operations::default(), Wanted::StatusLid1), Err(unknown()));
    let mut done = ended(Service::ExtendedCopyLid1, End::Done);
    assert_eq!(ask(&mut done, Wanted::FailureDetails), Err(unknown()), "nothing failed");
    assert!(ask(&mut done, Wanted::StatusLid1).is_ok());
}

#[test]
fn a_failure_is_told_with_its_sense_even_after_the_status() {
    let sense = Sense::COPY_FAILED.in_segment(2);
    let mut operations = ended(Service::ExtendedCopyLid1, End::Failed(sense));
    for _ in 0..2 {
        assert_eq!(ask(&mut operations, Wanted::StatusLid1).unwrap()[4], 2);
    }
    let details = ask(&mut operations, Wanted::FailureDetails).unwrap();
    assert_eq!((details[3], details[56], details[59]), (74, 2, 18));
    assert_eq!(details[60..], sense.encode(SenseFormat::Fixed));
    assert_eq!(ask(&mut operations, Wanted::StatusLid1), Err(unknown()));
}

#[test]
fn large_counts_are_told_in_mebibytes() {
    let mut operations = started(Service::ExtendedCopyLid1, Keep::UntilAsked);
    operations.advance(ID, Progress { segments: 0, blocks: 8 << 20 });
    let status = ask(&mut operations, Wanted::StatusLid1).unwrap();
    assert_eq!((status[4], &status[7..]), (0, &[2, 0, 0, 0x10, 0][..]));
}

#[test]
fn the_long_status_has_it_all() {
    let sense = Sense::COPY_FAILED;
    let mut failed = ended(Service::ExtendedCopyLid4, End::Failed(sense));
    let status = ask(&mut failed, Wanted::StatusLid4).unwrap();
    assert_eq!(status[..16], [0, 0, 0, 46, 1, 2, 0, 0, 255, 255, 255, 255, 2, 18, 18, 0]);
    assert_eq!(status[16..26], [0, 0, 0, 0, 2, 0, 0, 0, 0, 2]);
    assert_eq!(status[32..], sense.encode(SenseFormat::Fixed));
    let code = |operations: &mut Operations| ask(operations, Wanted::StatusLid4).unwrap()[5];
    assert_eq!(code(&mut ended(Service::ExtendedCopyLid4, End::Done)), 0x01);
    assert_eq!(code(&mut ended(Service::ExtendedCopyLid4, End::Aborted)), 0x60);
    assert_eq!(code(&mut started(Service::ExtendedCopyLid4, Keep::UntilAsked)), 0x11);
}

#[test]
fn token_information_has_the_token_behind_the_status() {
    let token = with_unit(everything, |unit| Token::new(unit, RodType::PointInTime, 8, 1, [3; 32]));
    let mut operations = started(Service::PopulateToken, Keep::UntilAsked);
    operations.advance(ID, Progress { segments: 0, blocks: 8 });
    operations.end(ID, End::Done, Some(token.clone()));
    let information = ask(&mut operations, Wanted::TokenInformation).unwrap();
    assert_eq!(information[..6], [0, 0, 2, 34, 0x10, 1]);
    assert_eq!((information[15], information[23]), (0xf1, 8), "in blocks");
    assert_eq!(information[32..38], [0, 0, 2, 2, 0, 0]);
    assert_eq!(&information[38..], token.bytes());
    let mut written = ended(Service::WriteUsingToken, End::Done);
    let information = ask(&mut written, Wanted::TokenInformation).unwrap();
    assert_eq!((information.len(), &information[32..]), (36, &[0, 0, 0, 0][..]), "no token");
}

#[test]
fn an_identifier_names_one_copy_at_a_time() {
    let mut operations = started(Service::ExtendedCopyLid1, Keep::UntilAsked);
    let again = operations.begin(ID, Service::ExtendedCopyLid1, Keep::UntilAsked);
    assert_eq!(again, Err(Sense::OPERATION_IN_PROGRESS));
    operations.end(ID, End::Failed(Sense::COPY_FAILED), None);
    assert_eq!(operations.begin(ID, Service::PopulateToken, Keep::UntilAsked), Ok(()), "the old result goes");
}

#[test]
fn results_that_nobody_wants_are_not_kept() {
    let mut operations = started(Service::ExtendedCopyLid1, Keep::WhileRunning);
    for _ in 0..2 {
        assert!(
            ask(&mut operations, Wanted::StatusLid1).is_ok(),
            "while it runs, as often as it is asked for"
        );
    }
    operations.end(ID, End::Done, None);
    assert_eq!(ask(&mut operations, Wanted::StatusLid1), Err(unknown()));
}

#[test]
fn the_oldest_results_go_but_no_copy_that_runs() {
    let mut operations = Operations::default();
    operations.begin(ListId(1000), Service::PopulateToken, Keep::UntilAsked).unwrap();
    let begin = |operations: &mut Operations, id| {
        operations.begin(ListId(id), Service::PopulateToken, Keep::UntilAsked)
    };
    for id in 0..COPY_RESULTS as u32 {
        begin(&mut operations, id).unwrap();
        operations.end(ListId(id), End::Done, None);
    }
    let mut known = |id| operations.receive(Wanted::StatusLid4, ListId(id), SenseFormat::Fixed, 64).is_ok();
    assert!(!known(0) && known(1) && known(1000));
    let mut running = Operations::default();
    (0..COPY_RESULTS as u32).for_each(|id| begin(&mut running, id).unwrap());
    assert_eq!(begin(&mut running, 99), Err(Sense::INSUFFICIENT_RESOURCES));
}

#[test]
fn a_copy_is_asked_to_stop_and_says_when_it_did() {
    let mut operations = started(Service::WriteUsingToken, Keep::UntilAsked);
    assert!(operations.advance(ID, Progress::default()));
    assert_eq!(operations.abort(ID), Ok(()));
    assert!(!operations.advance(ID, Progress::default()), "it should not go on");
    operations.end(ID, End::Aborted, None);
    assert_eq!(operations.abort(ID), Err(unknown()));
    assert_eq!(unknown().specific, Specific::Field { place: crate::Place::Cdb, byte: 2, bit: None });
}

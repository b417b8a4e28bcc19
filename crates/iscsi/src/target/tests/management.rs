//! Task management and logout.

use super::*;

#[test]
fn aborted_tasks_get_no_response() {
    let mut pair = Pair::logged_in(&[]);
    let waiting = ScsiCommand { lun: 1 << 48, ..pair.command(1, WRITE_10, 1024) };
    pair.send(waiting.build(), b"");
    let running = pair.command(2, WRITE_10, 0);
    pair.send(running.build(), b"");
    pair.answers();
    let mut open = pair.target.open_tasks();
    open.sort_by_key(|(tag, _)| *tag);
    assert_eq!(open, [(1, Lun(1 << 48)), (2, Lun(0))]);
    assert_eq!(pair.target.abort(1), Aborted::Dropped);
    assert_eq!(pair.target.abort(2), Aborted::WithDriver);
    assert_eq!(pair.target.abort(2), Aborted::Unknown);
    pair.good(2, &[]);
    assert!(pair.answers().is_empty());
}

#[test]
fn task_management_and_logout_wait_for_the_driver() {
    let mut pair = Pair::logged_in(&[]);
    let request = TaskManagement {
        immediate: true,
        final_bit: true,
        function: task_function::LOGICAL_UNIT_RESET,
        lun: 3 << 48,
        task_tag: 77,
        referenced_task_tag: RESERVED_TAG,
        cmd_sn: 1,
        ..TaskManagement::default()
    };
    pair.send(request.build(), b"");
    assert_eq!(pair.management[0].lun.number(), Some(3));
    assert!(pair.answers().is_empty());
    pair.target.task_management_done(77, task_response::COMPLETE);
    pair.target.task_management_done(77, task_response::COMPLETE);
    assert!(matches!(pair.answer().0, Response::TaskManagementResponse(pdu) if pdu.task_tag == 77));
    let logout = Logout { immediate: true, final_bit: true, task_tag: 78, cmd_sn: 1, ..Logout::default() };
    pair.send(logout.build(), b"");
    assert_eq!(pair.logouts, 1);
    pair.target.logout_done();
    assert!(matches!(pair.answer().0, Response::LogoutResponse(pdu) if pdu.response == 0));
    assert_eq!(pair.closed(), "logged out");
}

fn abort_task(tag: u32, referenced_task_tag: u32, ref_cmd_sn: u32, cmd_sn: u32) -> TaskManagement {
    TaskManagement {
        immediate: true,
        final_bit: true,
        function: task_function::ABORT_TASK,
        task_tag: tag,
        referenced_task_tag,
        ref_cmd_sn,
        cmd_sn,
        ..TaskManagement::default()
    }
}

/// What a request is answered without the driver.
fn answered(pair: &mut Pair, request: TaskManagement) -> u8 {
    match pair.ask(request.build(), b"") {
        (Response::TaskManagementResponse(pdu), _) => {
            assert_eq!(pdu.task_tag, request.task_tag);
            pdu.response
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn abort_task_reaches_the_driver_for_tasks_that_are_here() {
    let mut pair = Pair::logged_in(&[]);
    let header = ScsiCommand { lun: 1 << 48, ..pair.command(5, READ_10, 512) };
    pair.send(header.build(), b"");
    let elsewhere = abort_task(70, 5, 1, 2);
    assert_eq!(answered(&mut pair, elsewhere), task_response::TASK_DOES_NOT_EXIST, "another LUN");
    pair.send(TaskManagement { lun: 1 << 48, ..elsewhere }.build(), b"");
    assert_eq!((pair.management.len(), pair.management[0].referenced_tag), (1, 5));
}

#[test]
fn a_command_aborted_before_it_came_counts_as_received() {
    let mut pair = Pair::logged_in(&[]);
    // Numbers 1 and 3 were given to commands that were never sent.
    assert_eq!(answered(&mut pair, abort_task(70, 5, 3, 4)), task_response::COMPLETE);
    assert_eq!(answered(&mut pair, abort_task(71, 6, 1, 4)), task_response::COMPLETE);
    pair.cmd_sn = 2;
    let header = pair.command(7, READ_10, 0);
    pair.send(header.build(), b"");
    pair.good(7, &[]);
    let (Response::ScsiResponse(pdu), _) = pair.answer() else { panic!("no response") };
    assert_eq!((pdu.exp_cmd_sn, pdu.max_cmd_sn), (4, 7));
    let late = ScsiCommand { cmd_sn: 3, ..header };
    pair.send(late.build(), b"");
    assert!(pair.answers().is_empty() && pair.commands.len() == 1, "what comes after all is dropped");
    pair.cmd_sn = 4;
    let header = pair.command(8, READ_10, 0);
    pair.send(header.build(), b"");
    assert_eq!(pair.commands.len(), 2);
}

#[test]
fn of_what_never_was_and_what_is_over_the_driver_knows_whether_it_still_runs() {
    let mut pair = Pair::logged_in(&[]);
    let header = pair.command(5, READ_10, 0);
    pair.send(header.build(), b"");
    pair.good(5, &[]);
    pair.answers();
    for (ref_cmd_sn, cmd_sn) in [(1, 2), (2, 2), (100, 2), (6, 9)] {
        pair.management.clear();
        pair.send(abort_task(70, 5, ref_cmd_sn, cmd_sn).build(), b"");
        assert!(pair.answers().is_empty());
        assert_eq!(pair.management.len(), 1, "{ref_cmd_sn} {cmd_sn}");
        pair.target.task_management_done(70, task_response::TASK_DOES_NOT_EXIST);
        assert_eq!(pair.answers().len(), 1);
    }
}

#[test]
fn functions_that_we_do_not_have_are_told_so() {
    let mut pair = Pair::logged_in(&[]);
    for (function, response) in [
        (0, task_response::NOT_SUPPORTED),
        (task_function::CLEAR_ACA, task_response::NOT_SUPPORTED),
        (task_function::TASK_REASSIGN, task_response::REASSIGNMENT_NOT_SUPPORTED),
        (9, task_response::NOT_SUPPORTED),
    ] {
        let request = TaskManagement { function, ..abort_task(70, 5, 1, 1) };
        assert_eq!(answered(&mut pair, request), response, "{function}");
    }
    for function in [2, 4, 5, 6, 7] {
        pair.send(TaskManagement { function, ..abort_task(70 + u32::from(function), 5, 1, 1) }.build(), b"");
    }
    assert_eq!(pair.management.len(), 5);
}

#[test]
fn so_many_requests_and_no_more_are_open() {
    let mut pair = Pair::logged_in(&[]);
    let reset =
        |tag| TaskManagement { function: task_function::LOGICAL_UNIT_RESET, ..abort_task(tag, 0, 0, 1) };
    for tag in 0..TASK_MANAGEMENT_REQUESTS as u32 {
        pair.send(reset(tag).build(), b"");
    }
    pair.send(reset(0).build(), b"");
    assert_eq!(pair.rejected(), reject_reason::TASK_IN_PROGRESS);
    let header = pair.command(1, READ_10, 0);
    pair.send(header.build(), b"");
    assert_eq!(pair.rejected(), reject_reason::TASK_IN_PROGRESS, "nor is its tag free for a command");
    pair.send(reset(99).build(), b"");
    assert_eq!(pair.rejected(), reject_reason::IMMEDIATE_COMMAND_REJECT);
    pair.target.task_management_done(0, task_response::COMPLETE);
    pair.answers();
    pair.send(reset(99).build(), b"");
    assert_eq!(pair.management.len(), TASK_MANAGEMENT_REQUESTS + 1);
}

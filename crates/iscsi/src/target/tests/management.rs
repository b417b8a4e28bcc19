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

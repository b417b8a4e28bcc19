//! Task management (RFC 7143 sections 11.5 and 11.6). What names no task that is here is answered at once; all else is the
//! driver's to carry out.

use super::event::{Event, SessionKind, TaskManagementRequest};
use super::full::{Full, Outcome, Refused};
use super::link::Link;
use crate::limits::TASK_MANAGEMENT_REQUESTS;
use crate::pdu::request::{TaskManagement, task_function};
use crate::pdu::response::{TaskManagementResponse, reject_reason, task_response};
use crate::pdu::{Lun, RESERVED_TAG};

impl Full {
    pub(super) fn task_management(&mut self, link: &mut Link, pdu: &TaskManagement) -> Outcome {
        if self.kind == SessionKind::Discovery || pdu.task_tag == RESERVED_TAG {
            return Err(Refused(reject_reason::PROTOCOL_ERROR));
        }
        if self.tasks.get(pdu.task_tag).is_some() || self.management.contains(&pdu.task_tag) {
            return Err(Refused(reject_reason::TASK_IN_PROGRESS));
        }
        if let Some(response) = self.at_once(link, pdu) {
            self.answer_management(link, pdu.task_tag, response);
            return Ok(None);
        }
        if self.management.len() >= TASK_MANAGEMENT_REQUESTS {
            return Err(Refused(reject_reason::IMMEDIATE_COMMAND_REJECT));
        }
        self.management.push(pdu.task_tag);
        Ok(Some(Event::TaskManagement(TaskManagementRequest {
            tag: pdu.task_tag,
            function: pdu.function,
            lun: Lun(pdu.lun),
            referenced_tag: pdu.referenced_task_tag,
        })))
    }

    /// The response to a request that changes nothing.
    fn at_once(&self, link: &mut Link, pdu: &TaskManagement) -> Option<u8> {
        match pdu.function {
            task_function::ABORT_TASK => match self.tasks.get(pdu.referenced_task_tag) {
                Some(task) if task.header.lun == pdu.lun => None,
                Some(_) => Some(task_response::TASK_DOES_NOT_EXIST),
                None if link.window.skip(pdu.ref_cmd_sn, pdu.cmd_sn) => Some(task_response::COMPLETE),
                // One that was aborted before may still run: the driver knows.
                None => None,
            },
            task_function::ABORT_TASK_SET
            | task_function::CLEAR_TASK_SET
            | task_function::LOGICAL_UNIT_RESET
            | task_function::TARGET_WARM_RESET
            | task_function::TARGET_COLD_RESET => None,
            // Without ErrorRecoveryLevel 2 a task stays with its connection.
            task_function::TASK_REASSIGN => Some(task_response::REASSIGNMENT_NOT_SUPPORTED),
            // No command of ours enters an auto contingent allegiance: CLEAR ACA is no function here.
            _ => Some(task_response::NOT_SUPPORTED),
        }
    }

    /// The driver's answer.
    pub fn task_management_done(&mut self, link: &mut Link, tag: u32, response: u8) {
        let Some(at) = self.management.iter().position(|open| *open == tag) else { return };
        self.management.remove(at);
        self.answer_management(link, tag, response);
    }

    fn answer_management(&self, link: &mut Link, task_tag: u32, response: u8) {
        self.open_window(link);
        let pdu = TaskManagementResponse {
            final_bit: true,
            response,
            task_tag,
            ..TaskManagementResponse::default()
        };
        link.respond(pdu, &[]);
    }
}

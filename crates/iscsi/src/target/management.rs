//! Task management (RFC 7143 sections 11.5 and 11.6).

use super::event::{Event, SessionKind, TaskManagementRequest};
use super::full::{Full, Outcome, Refused};
use super::link::Link;
use crate::limits::TASK_MANAGEMENT_REQUESTS;
use crate::pdu::request::TaskManagement;
use crate::pdu::response::{TaskManagementResponse, reject_reason};
use crate::pdu::{Lun, RESERVED_TAG};

impl Full {
    pub(super) fn task_management(&mut self, pdu: &TaskManagement) -> Outcome {
        if self.kind == SessionKind::Discovery || pdu.task_tag == RESERVED_TAG {
            return Err(Refused(reject_reason::PROTOCOL_ERROR));
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

    /// The driver's answer.
    pub fn task_management_done(&mut self, link: &mut Link, tag: u32, response: u8) {
        let Some(at) = self.management.iter().position(|open| *open == tag) else { return };
        self.management.remove(at);
        self.open_window(link);
        let pdu = TaskManagementResponse {
            final_bit: true,
            response,
            task_tag: tag,
            ..TaskManagementResponse::default()
        };
        link.respond(pdu, &[]);
    }
}

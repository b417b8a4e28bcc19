//! The full feature phase: RFC 7143 sections 4.2 and 11.
//!
//! What always holds: a request outside the command window is dropped in silence (section 4.2.2.1); every task gets at most
//! one response; what belongs to no rule is answered Reject, and too many of those end the connection.

use super::event::{Aborted, CloseReason, Command, Completion, Event, SessionKind, TaskManagementRequest};
use super::link::{Link, serial_less};
use super::negotiate::Negotiated;
use super::params::Params;
use super::respond::Residual;
use super::task::{Fault, Progress, TaskTable};
use super::text::TextExchange;
use crate::limits::{IMMEDIATE_COMMANDS, PING_AFTER, PING_ANSWER, REJECTS, TASK_MANAGEMENT_REQUESTS};
use crate::pdu::request::{DataOut, Logout, NopOut, ScsiCommand, TaskManagement, Text};
use crate::pdu::response::{LogoutResponse, NopIn, R2t, Reject, TaskManagementResponse, reject_reason};
use crate::pdu::{Frame, Lun, RESERVED_TAG, Request};
use std::collections::VecDeque;
use umbra_base::Instant;

/// SAM-5 section 5.3.1.
const CHECK_CONDITION: u8 = 0x02;

/// A session after login.
#[derive(Debug)]
pub(super) struct Full {
    kind: SessionKind,
    negotiated: Negotiated,
    cid: u16,
    queue_depth: u32,
    tasks: TaskTable,
    /// Task management requests with the driver.
    management: Vec<u32>,
    text: TextExchange,
    logout: Option<Logout>,
    rejects: u32,
    heard: Instant,
    ping: Option<Ping>,
}

#[derive(Debug)]
struct Ping {
    sent: Instant,
    transfer_tag: u32,
}

impl Full {
    pub fn new(now: Instant, kind: SessionKind, negotiated: Negotiated, cid: u16, queue_depth: u32) -> Self {
        Full {
            kind,
            negotiated,
            cid,
            queue_depth,
            tasks: TaskTable::default(),
            management: Vec::new(),
            text: TextExchange::default(),
            logout: None,
            rejects: 0,
            heard: now,
            ping: None,
        }
    }

    pub fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }

    /// Opens the window as far as there is room for commands.
    pub fn open_window(&self, link: &mut Link) {
        link.open_window(self.queue_depth.saturating_sub(self.tasks.len() as u32));
    }

    pub fn handle(
        &mut self,
        now: Instant,
        params: &Params,
        link: &mut Link,
        events: &mut VecDeque<Event>,
        frame: &Frame<'_>,
    ) -> Result<(), CloseReason> {
        self.heard = now;
        let Some(request) = Request::parse(&frame.header) else {
            return self.reject(link, frame, reject_reason::COMMAND_NOT_SUPPORTED);
        };
        if self.logout.is_some() {
            return self.reject(link, frame, reject_reason::WAITING_FOR_LOGOUT);
        }
        if let Some((cmd_sn, immediate)) = request.cmd_sn()
            && !immediate
            && !admit_cmd_sn(link, cmd_sn)?
        {
            return Ok(());
        }
        match request {
            Request::NopOut(pdu) => self.nop_out(link, &pdu, frame.data),
            Request::ScsiCommand(pdu) => return self.scsi_command(link, events, &pdu, frame),
            Request::TaskManagement(pdu) => return self.task_management(link, events, &pdu, frame),
            Request::DataOut(pdu) => self.data_out(link, events, &pdu, frame.data),
            Request::Text(pdu) => return self.text(params, link, &pdu, frame),
            Request::Logout(pdu) => self.log_out(link, events, pdu),
            Request::Snack(_) => return self.reject(link, frame, reject_reason::SNACK_REJECT),
            Request::Login(_) => return self.reject(link, frame, reject_reason::PROTOCOL_ERROR),
        }
        Ok(())
    }

    /// Section 11.17: the header of the PDU goes back.
    fn reject(&mut self, link: &mut Link, frame: &Frame<'_>, reason: u8) -> Result<(), CloseReason> {
        self.rejects += 1;
        if self.rejects > REJECTS {
            return Err(CloseReason::TooManyRejects { max: REJECTS });
        }
        self.open_window(link);
        let pdu = Reject {
            final_bit: true,
            reason,
            task_tag: RESERVED_TAG,
            stat_sn: link.next_stat_sn(),
            exp_cmd_sn: link.exp_cmd_sn,
            max_cmd_sn: link.max_cmd_sn,
            data_sn: 0,
        };
        link.send(pdu.build(), &frame.header.0);
        Ok(())
    }

    fn nop_out(&mut self, link: &mut Link, pdu: &NopOut, data: &[u8]) {
        if let Some(ping) = &self.ping
            && pdu.transfer_tag == ping.transfer_tag
        {
            self.ping = None;
        }
        if pdu.task_tag == RESERVED_TAG {
            return;
        }
        self.open_window(link);
        let answer = NopIn {
            final_bit: true,
            task_tag: pdu.task_tag,
            transfer_tag: RESERVED_TAG,
            stat_sn: link.next_stat_sn(),
            exp_cmd_sn: link.exp_cmd_sn,
            max_cmd_sn: link.max_cmd_sn,
            ..NopIn::default()
        };
        link.send(answer.build(), &data[..data.len().min(self.negotiated.peer_data_segment)]);
    }

    fn scsi_command(
        &mut self,
        link: &mut Link,
        events: &mut VecDeque<Event>,
        pdu: &ScsiCommand,
        frame: &Frame<'_>,
    ) -> Result<(), CloseReason> {
        if self.kind == SessionKind::Discovery || pdu.task_tag == RESERVED_TAG {
            return self.reject(link, frame, reject_reason::PROTOCOL_ERROR);
        }
        if self.tasks.contains(pdu.task_tag) {
            return self.reject(link, frame, reject_reason::TASK_IN_PROGRESS);
        }
        if self.tasks.len() >= self.queue_depth as usize + IMMEDIATE_COMMANDS {
            return self.reject(link, frame, reject_reason::IMMEDIATE_COMMAND_REJECT);
        }
        let progress = self.tasks.begin(&self.negotiated, *pdu, frame.data);
        self.follow(link, events, pdu.task_tag, progress, pdu);
        Ok(())
    }

    fn data_out(&mut self, link: &mut Link, events: &mut VecDeque<Event>, pdu: &DataOut, data: &[u8]) {
        let Some(progress) = self.tasks.data_out(&self.negotiated, pdu, data) else { return };
        let failed = ScsiCommand { task_tag: pdu.task_tag, ..ScsiCommand::default() };
        self.follow(link, events, pdu.task_tag, progress, &failed);
    }

    fn follow(
        &mut self,
        link: &mut Link,
        events: &mut VecDeque<Event>,
        tag: u32,
        progress: Progress,
        header: &ScsiCommand,
    ) {
        match progress {
            Progress::Waiting => {}
            Progress::Complete => {
                if let Some(task) = self.tasks.with_driver(tag) {
                    let header = &task.header;
                    let reads = header.read && !header.write;
                    events.push_back(Event::Command(Command {
                        tag,
                        lun: Lun(header.lun),
                        cdb: header.cdb,
                        attribute: header.attribute,
                        read_length: if reads { header.expected_data_length } else { 0 },
                        data: std::mem::take(&mut task.data),
                    }));
                }
            }
            Progress::Failed(fault) => self.fail_task(link, header, fault),
        }
        self.send_r2ts(link);
    }

    /// Ends a command with the status for an iSCSI condition.
    fn fail_task(&mut self, link: &mut Link, header: &ScsiCommand, fault: Fault) {
        let task = self.tasks.end(&self.negotiated, header.task_tag);
        let r2t_count = task.map_or(0, |task| task.r2t_count);
        let (key, code, qualifier) = fault.sense();
        let mut sense = [0; 18];
        (sense[0], sense[2], sense[7], sense[12], sense[13]) = (0x70, key, 10, code, qualifier);
        self.open_window(link);
        link.respond(header.task_tag, CHECK_CONDITION, &sense, Residual::None, r2t_count);
    }

    fn send_r2ts(&mut self, link: &mut Link) {
        for solicit in std::mem::take(&mut self.tasks.solicit) {
            let pdu = R2t {
                final_bit: true,
                lun: solicit.lun,
                task_tag: solicit.task_tag,
                transfer_tag: solicit.transfer_tag,
                stat_sn: link.stat_sn,
                exp_cmd_sn: link.exp_cmd_sn,
                max_cmd_sn: link.max_cmd_sn,
                r2t_sn: solicit.r2t_sn,
                buffer_offset: solicit.offset,
                desired_length: solicit.length,
            };
            link.send(pdu.build(), &[]);
        }
    }

    /// Answers a command; nothing is sent for one that was aborted.
    pub fn complete(&mut self, link: &mut Link, tag: u32, done: &Completion<'_>) {
        if !self.tasks.with_driver(tag).is_some_and(|task| task.is_with_driver()) {
            return;
        }
        let Some(task) = self.tasks.end(&self.negotiated, tag) else { return };
        self.open_window(link);
        let expected = u64::from(task.header.expected_data_length);
        let has = done.has.unwrap_or(done.data_in.len() as u64);
        let residual = match (task.header.write, task.header.read) {
            (true, _) => Residual::of(expected, done.takes.unwrap_or(expected)),
            (false, true) => Residual::of(expected, has),
            (false, false) => Residual::of(0, done.takes.unwrap_or(0).max(has)),
        };
        let readable = task.header.read && !task.header.write;
        let sent = if readable { done.data_in.len().min(expected as usize) } else { 0 };
        let data = &done.data_in[..sent];
        if data.is_empty() {
            link.respond(tag, done.status, done.sense, residual, task.r2t_count);
        } else {
            let collapse = done.status == 0 && done.sense.is_empty();
            let pdus = link.send_data(&self.negotiated, tag, data, collapse.then_some(residual));
            if !collapse {
                link.respond(tag, done.status, done.sense, residual, pdus);
            }
        }
        self.send_r2ts(link);
    }

    fn task_management(
        &mut self,
        link: &mut Link,
        events: &mut VecDeque<Event>,
        pdu: &TaskManagement,
        frame: &Frame<'_>,
    ) -> Result<(), CloseReason> {
        if self.kind == SessionKind::Discovery || pdu.task_tag == RESERVED_TAG {
            return self.reject(link, frame, reject_reason::PROTOCOL_ERROR);
        }
        if self.management.len() >= TASK_MANAGEMENT_REQUESTS {
            return self.reject(link, frame, reject_reason::IMMEDIATE_COMMAND_REJECT);
        }
        self.management.push(pdu.task_tag);
        events.push_back(Event::TaskManagement(TaskManagementRequest {
            tag: pdu.task_tag,
            function: pdu.function,
            lun: Lun(pdu.lun),
            referenced_tag: pdu.referenced_task_tag,
        }));
        Ok(())
    }

    pub fn task_management_done(&mut self, link: &mut Link, tag: u32, response: u8) {
        let Some(at) = self.management.iter().position(|open| *open == tag) else { return };
        self.management.remove(at);
        self.open_window(link);
        let pdu = TaskManagementResponse {
            final_bit: true,
            response,
            task_tag: tag,
            stat_sn: link.next_stat_sn(),
            exp_cmd_sn: link.exp_cmd_sn,
            max_cmd_sn: link.max_cmd_sn,
        };
        link.send(pdu.build(), &[]);
    }

    /// Forgets a task: it gets no response.
    pub fn abort(&mut self, link: &mut Link, tag: u32) -> Aborted {
        match self.tasks.end(&self.negotiated, tag) {
            None => Aborted::Unknown,
            Some(task) => {
                self.send_r2ts(link);
                if task.is_with_driver() { Aborted::WithDriver } else { Aborted::Dropped }
            }
        }
    }

    /// Tags and LUNs of all open tasks.
    pub fn open_tasks(&self) -> Vec<(u32, Lun)> {
        self.tasks.iter().map(|(tag, lun)| (tag, Lun(lun))).collect()
    }

    fn text(
        &mut self,
        params: &Params,
        link: &mut Link,
        pdu: &Text,
        frame: &Frame<'_>,
    ) -> Result<(), CloseReason> {
        let transfer_tag = self.tasks.next_transfer_tag();
        let Some((mut header, data)) =
            self.text.handle(params, self.kind, &mut self.negotiated, pdu, frame.data, transfer_tag)?
        else {
            return self.reject(link, frame, reject_reason::PROTOCOL_ERROR);
        };
        self.open_window(link);
        header.stat_sn = link.next_stat_sn();
        (header.exp_cmd_sn, header.max_cmd_sn) = (link.exp_cmd_sn, link.max_cmd_sn);
        link.send(header.build(), &data);
        Ok(())
    }

    /// Section 11.14. Closing the session and closing its only connection are the same.
    fn log_out(&mut self, link: &mut Link, events: &mut VecDeque<Event>, pdu: Logout) {
        const REMOVE_FOR_RECOVERY: u8 = 2;
        const CLOSE_CONNECTION: u8 = 1;
        match pdu.reason {
            CLOSE_CONNECTION if pdu.cid != self.cid => self.logout_response(link, &pdu, 1),
            REMOVE_FOR_RECOVERY => self.logout_response(link, &pdu, 2),
            _ => {
                self.logout = Some(pdu);
                events.push_back(Event::Logout);
            }
        }
    }

    /// All tasks have ended: the last response. Whether there was a logout to answer.
    pub fn logout_done(&mut self, link: &mut Link) -> bool {
        let Some(pdu) = self.logout else { return false };
        self.logout_response(link, &pdu, 0);
        true
    }

    fn logout_response(&self, link: &mut Link, pdu: &Logout, response: u8) {
        let answer = LogoutResponse {
            final_bit: true,
            response,
            task_tag: pdu.task_tag,
            stat_sn: link.next_stat_sn(),
            exp_cmd_sn: link.exp_cmd_sn,
            max_cmd_sn: link.max_cmd_sn,
            ..LogoutResponse::default()
        };
        link.send(answer.build(), &[]);
    }

    /// When [`Full::tick`] has something to do.
    pub fn next_deadline(&self) -> Instant {
        match &self.ping {
            Some(ping) => ping.sent + PING_ANSWER,
            None => self.heard + PING_AFTER,
        }
    }

    /// Pings an initiator that is silent; gives up one that stays so. Any PDU counts as a sign of life.
    pub fn tick(&mut self, now: Instant, link: &mut Link) -> Result<(), CloseReason> {
        if let Some(ping) = &self.ping
            && self.heard > ping.sent
        {
            self.ping = None;
        }
        if now < self.next_deadline() {
            return Ok(());
        }
        if self.ping.is_some() {
            return Err(CloseReason::PingTimeout { seconds: PING_ANSWER.as_secs() });
        }
        let transfer_tag = self.tasks.next_transfer_tag();
        self.ping = Some(Ping { sent: now, transfer_tag });
        self.open_window(link);
        let pdu = NopIn {
            final_bit: true,
            lun: 0,
            task_tag: RESERVED_TAG,
            transfer_tag,
            stat_sn: link.stat_sn,
            exp_cmd_sn: link.exp_cmd_sn,
            max_cmd_sn: link.max_cmd_sn,
        };
        link.send(pdu.build(), &[]);
        Ok(())
    }
}

/// Takes a CmdSN that is next; `false` for one to drop in silence. On the only connection of a session commands come in
/// order, so that a gap inside the window can never be filled.
fn admit_cmd_sn(link: &mut Link, cmd_sn: u32) -> Result<bool, CloseReason> {
    if cmd_sn == link.exp_cmd_sn && !serial_less(link.max_cmd_sn, cmd_sn) {
        link.exp_cmd_sn = cmd_sn.wrapping_add(1);
        return Ok(true);
    }
    if serial_less(cmd_sn, link.exp_cmd_sn) || serial_less(link.max_cmd_sn, cmd_sn) {
        return Ok(false);
    }
    Err(CloseReason::CommandGap { expected: link.exp_cmd_sn, found: cmd_sn })
}

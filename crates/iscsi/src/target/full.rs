//! The full feature phase: RFC 7143 sections 4.2 and 11. Here PDUs are told apart; what each kind means stands in
//! [`command`](super::command), [`management`](super::management), [`text`](super::text), [`nop`](super::nop),
//! [`leave`](super::leave).
//!
//! ```text
//!   header: in the window? legal? where does its data go?  ->  Arriving  ->  arrived: what it means | digest_failed: Reject
//! ```
//! What always holds: a request outside the command window is dropped in silence (section 4.2.2.1); every task gets at most
//! one response; what belongs to no rule is answered Reject, and too many of those end the connection.

use super::event::{CloseReason, DataTo, Event, SessionKind};
use super::leave::Leaving;
use super::link::Link;
use super::negotiate::Negotiated;
use super::nop::Silence;
use super::params::Params;
use super::stall::Stall;
use super::table::TaskTable;
use super::text::TextExchange;
use crate::limits::REJECTS;
use crate::pdu::request::{DataOut, Text};
use crate::pdu::response::{Reject, reject_reason};
use crate::pdu::{Bhs, RESERVED_TAG, Request};
use umbra_base::Instant;

/// A session after login.
#[derive(Debug)]
pub(super) struct Full {
    pub(super) kind: SessionKind,
    pub(super) negotiated: Negotiated,
    pub(super) cid: u16,
    pub(super) queue_depth: u32,
    pub(super) tasks: TaskTable,
    /// Task management requests with the driver.
    pub(super) management: Vec<u32>,
    text: TextExchange,
    pub(super) leaving: Leaving,
    rejects: u32,
    pub(super) silence: Silence,
    pub(super) stall: Stall,
    arriving: Option<Arriving>,
}

/// The PDU whose header has come.
#[derive(Debug, Clone, Copy)]
struct Arriving {
    bhs: Bhs,
    what: What,
}

#[derive(Debug, Clone, Copy)]
enum What {
    /// Outside the window: nothing.
    Drop,
    Reject(u8),
    /// A SCSI command that is in the table.
    Command(u32),
    Data(DataOut),
    /// All else.
    Request(Request),
}

/// What to do with a PDU whose data has come, if it is legal.
pub(super) type Outcome = Result<Option<Event>, Refused>;

/// A PDU that is answered Reject, with this reason.
#[derive(Debug)]
pub(super) struct Refused(pub u8);

impl Full {
    pub fn new(now: Instant, kind: SessionKind, negotiated: Negotiated, cid: u16, queue_depth: u32) -> Self {
        Full {
            kind,
            negotiated,
            cid,
            queue_depth,
            tasks: TaskTable::new(queue_depth),
            management: Vec::new(),
            text: TextExchange::default(),
            leaving: Leaving::default(),
            rejects: 0,
            silence: Silence::new(now),
            stall: Stall::new(now),
            arriving: None,
        }
    }

    pub fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }

    /// Opens the window as far as there is room for commands.
    pub fn open_window(&self, link: &mut Link) {
        link.window.open(self.queue_depth.saturating_sub(self.tasks.in_window()));
    }

    /// A PDU begins.
    pub fn header(
        &mut self,
        now: Instant,
        link: &mut Link,
        bhs: &Bhs,
        ahs: &[u8],
    ) -> Result<DataTo, CloseReason> {
        self.silence.heard(now);
        let (what, to) = self.judge(link, bhs, ahs)?;
        self.arriving = Some(Arriving { bhs: *bhs, what });
        Ok(to)
    }

    fn judge(&mut self, link: &mut Link, bhs: &Bhs, ahs: &[u8]) -> Result<(What, DataTo), CloseReason> {
        let reject = |reason| Ok((What::Reject(reason), DataTo::Skip));
        let Some(request) = Request::parse(bhs) else {
            return reject(reject_reason::COMMAND_NOT_SUPPORTED);
        };
        if self.leaving.is_asked() {
            return reject(reject_reason::WAITING_FOR_LOGOUT);
        }
        if let Some((cmd_sn, immediate)) = request.cmd_sn()
            && !immediate
            && !link.window.admit(cmd_sn)?
        {
            return Ok((What::Drop, DataTo::Skip));
        }
        match request {
            Request::ScsiCommand(pdu) => Ok(match self.command(&pdu, ahs, bhs.data_len() as u32) {
                Ok(to) => (What::Command(pdu.task_tag), to),
                Err(reason) => (What::Reject(reason), DataTo::Skip),
            }),
            Request::DataOut(pdu) => Ok((What::Data(pdu), self.data_out(&pdu, bhs.data_len() as u32))),
            Request::Snack(_) => reject(reject_reason::SNACK_REJECT),
            Request::Login(_) => reject(reject_reason::PROTOCOL_ERROR),
            other => Ok((What::Request(other), DataTo::Here)),
        }
    }

    /// All of the PDU has come.
    pub fn arrived(
        &mut self,
        now: Instant,
        params: &Params,
        link: &mut Link,
        data: &[u8],
    ) -> Result<Option<Event>, CloseReason> {
        self.silence.heard(now);
        let Some(Arriving { bhs, what }) = self.arriving.take() else { return Ok(None) };
        let outcome = match what {
            What::Drop => Ok(None),
            What::Reject(reason) => Err(Refused(reason)),
            What::Command(tag) => Ok(self.command_arrived(link, tag, bhs.data_len() as u32)),
            What::Data(pdu) => Ok(self.data_arrived(link, &pdu, bhs.data_len() as u32)),
            What::Request(request) => self.request(params, link, &request, data),
        };
        match outcome {
            Ok(event) => Ok(event),
            Err(Refused(reason)) => self.reject(link, &bhs, reason).map(|()| None),
        }
    }

    fn request(&mut self, params: &Params, link: &mut Link, request: &Request, data: &[u8]) -> Outcome {
        match request {
            Request::NopOut(pdu) => self.nop_out(link, pdu, data)?,
            Request::TaskManagement(pdu) => return self.task_management(link, pdu),
            Request::Text(pdu) => self.text(params, link, pdu, data)?,
            Request::Logout(pdu) => return self.log_out(link, *pdu),
            Request::ScsiCommand(_) | Request::DataOut(_) | Request::Snack(_) | Request::Login(_) => {}
        }
        Ok(None)
    }

    /// All of the PDU has come, but its data is damaged (section 7.8). Its header is not: the CmdSN counts, so that no gap
    /// remains that nobody fills at ErrorRecoveryLevel 0, and a command that it belongs to ends.
    pub fn digest_failed(&mut self, now: Instant, link: &mut Link) -> Result<Option<Event>, CloseReason> {
        self.silence.heard(now);
        let Some(Arriving { bhs, what }) = self.arriving.take() else { return Ok(None) };
        self.reject(link, &bhs, reject_reason::DATA_DIGEST_ERROR)?;
        Ok(match what {
            What::Command(tag) => self.command_damaged(link, tag),
            What::Data(pdu) => self.data_damaged(link, &pdu, bhs.data_len() as u32),
            What::Drop | What::Reject(_) | What::Request(_) => None,
        })
    }

    /// Whether a PDU of this task is on its way.
    pub(super) fn is_arriving(&self, tag: u32) -> bool {
        match &self.arriving {
            Some(Arriving { what: What::Command(arriving), .. }) => *arriving == tag,
            Some(Arriving { what: What::Data(pdu), .. }) => pdu.task_tag == tag,
            _ => false,
        }
    }

    /// Section 11.17: the header of the PDU goes back.
    fn reject(&mut self, link: &mut Link, bhs: &Bhs, reason: u8) -> Result<(), CloseReason> {
        self.rejects += 1;
        if self.rejects > REJECTS {
            return Err(CloseReason::TooManyRejects { max: REJECTS });
        }
        self.open_window(link);
        let pdu = Reject { final_bit: true, reason, task_tag: RESERVED_TAG, ..Reject::default() };
        link.respond(pdu, &bhs.0);
        Ok(())
    }

    fn text(&mut self, params: &Params, link: &mut Link, pdu: &Text, data: &[u8]) -> Result<(), Refused> {
        let transfer_tag = self.tasks.next_transfer_tag();
        let answer = self.text.handle(params, self.kind, &mut self.negotiated, pdu, data, transfer_tag);
        let (header, data) = answer.ok_or(Refused(reject_reason::PROTOCOL_ERROR))?;
        self.open_window(link);
        link.respond(header, &data);
        Ok(())
    }
}

//! The end of a session, and other things that the target says unasked (RFC 7143 sections 11.9, 11.14, 11.15).

use super::event::{AsyncEvent, CloseReason, Event, SessionKind};
use super::full::{Full, Outcome, Refused};
use super::link::Link;
use crate::limits::SENSE_BYTES;
use crate::pdu::request::Logout;
use crate::pdu::response::{AsyncMessage, LogoutResponse, logout_response, reject_reason};
use crate::pdu::{Lun, RESERVED_TAG};
use std::time::Duration;
use umbra_base::Instant;

/// How far the end is.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    /// The initiator's request, until the driver has ended all tasks.
    request: Option<Logout>,
    /// We asked for a logout: until when, and how long that was.
    limit: Option<(Instant, u16)>,
}

/// Reasons of a logout (section 11.14.1).
const CLOSE_SESSION: u8 = 0;
const CLOSE_CONNECTION: u8 = 1;
const REMOVE_FOR_RECOVERY: u8 = 2;

impl Leaving {
    /// Whether the initiator has asked to leave.
    pub fn is_asked(&self) -> bool {
        self.request.is_some()
    }

    /// Until when the initiator must ask, if it was told to.
    pub fn deadline(&self) -> Option<Instant> {
        self.limit.map(|(until, _)| until)
    }

    /// Whether the initiator has let its time pass.
    pub fn check(&self, now: Instant) -> Result<(), CloseReason> {
        match self.limit {
            Some((until, seconds)) if now >= until => Err(CloseReason::NoLogout { seconds }),
            _ => Ok(()),
        }
    }
}

impl Full {
    /// Closing the session and closing its only connection are the same.
    pub(super) fn log_out(&mut self, link: &mut Link, pdu: Logout) -> Outcome {
        match pdu.reason {
            CLOSE_CONNECTION if pdu.cid != self.cid => {
                self.answer_logout(link, &pdu, logout_response::CID_NOT_FOUND);
            }
            REMOVE_FOR_RECOVERY => {
                self.answer_logout(link, &pdu, logout_response::RECOVERY_NOT_SUPPORTED);
            }
            CLOSE_SESSION | CLOSE_CONNECTION => {
                self.leaving = Leaving { request: Some(pdu), limit: None };
                return Ok(Some(Event::Logout));
            }
            _ => return Err(Refused(reject_reason::INVALID_PDU_FIELD)),
        }
        Ok(None)
    }

    /// All tasks have ended: the last response. Whether there was a logout to answer.
    pub fn logout_done(&mut self, link: &mut Link) -> bool {
        let Some(pdu) = self.leaving.request else { return false };
        self.answer_logout(link, &pdu, logout_response::CLOSED);
        true
    }

    fn answer_logout(&self, link: &mut Link, pdu: &Logout, response: u8) {
        self.open_window(link);
        let task_tag = pdu.task_tag;
        link.respond(
            LogoutResponse { final_bit: true, response, task_tag, ..LogoutResponse::default() },
            &[],
        );
    }

    /// Tells the initiator something unasked (section 11.9).
    pub fn announce(&mut self, now: Instant, link: &mut Link, event: AsyncEvent<'_>) {
        let mut pdu = AsyncMessage { final_bit: true, task_tag: RESERVED_TAG, ..AsyncMessage::default() };
        let mut data = Vec::new();
        pdu.event = event.number();
        match event {
            AsyncEvent::Scsi { .. } if self.kind == SessionKind::Discovery => return,
            AsyncEvent::Scsi { lun: Lun(lun), sense } => {
                pdu.lun = lun;
                let sense = &sense[..sense.len().min(SENSE_BYTES)];
                data.extend_from_slice(&(sense.len() as u16).to_be_bytes());
                data.extend_from_slice(sense);
            }
            AsyncEvent::RequestLogout { seconds } => {
                pdu.parameter3 = seconds;
                if !self.leaving.is_asked() {
                    self.leaving.limit = Some((now + Duration::from_secs(seconds.into()), seconds));
                }
            }
            AsyncEvent::DropConnection { wait, retain } => {
                (pdu.parameter1, pdu.parameter2, pdu.parameter3) = (self.cid, wait, retain);
            }
            AsyncEvent::DropSession { wait, retain } => (pdu.parameter2, pdu.parameter3) = (wait, retain),
            AsyncEvent::Negotiate { seconds } => pdu.parameter3 = seconds,
        }
        self.open_window(link);
        link.respond(pdu, &data);
    }
}

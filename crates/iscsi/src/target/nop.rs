//! Signs of life: pings both ways (RFC 7143 sections 11.18 and 11.19), and how long silence may last.

use super::event::{CloseReason, SessionKind};
use super::full::{Full, Refused};
use super::link::Link;
use crate::limits::{PING_AFTER, PING_ANSWER};
use crate::pdu::RESERVED_TAG;
use crate::pdu::request::NopOut;
use crate::pdu::response::{NopIn, reject_reason};
use umbra_base::Instant;

/// How long the initiator has been silent. Any PDU counts as a sign of life.
#[derive(Debug)]
pub(super) struct Silence {
    heard: Instant,
    ping: Option<Ping>,
}

#[derive(Debug)]
struct Ping {
    sent: Instant,
    transfer_tag: u32,
}

impl Silence {
    pub fn new(now: Instant) -> Self {
        Silence { heard: now, ping: None }
    }

    /// Something came at `now`.
    pub fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.ping.take_if(|ping| now > ping.sent);
    }

    /// Output was taken that was there before the ping: its time begins now.
    fn took(&mut self, now: Instant) {
        self.heard = now;
        if let Some(ping) = &mut self.ping {
            ping.sent = now;
        }
    }

    fn deadline(&self) -> Instant {
        match &self.ping {
            Some(ping) => ping.sent + PING_ANSWER,
            None => self.heard + PING_AFTER,
        }
    }
}

impl Full {
    /// An answer to our ping, or a ping, whose data goes back as far as the initiator takes it. A discovery session must
    /// refuse what is not discovery (section 4.3), but may prove that it lives.
    pub(super) fn nop_out(&mut self, link: &mut Link, pdu: &NopOut, data: &[u8]) -> Result<(), Refused> {
        self.silence.ping.take_if(|ping| ping.transfer_tag == pdu.transfer_tag);
        if pdu.task_tag == RESERVED_TAG {
            return Ok(());
        }
        if self.kind == SessionKind::Discovery {
            return Err(Refused(reject_reason::PROTOCOL_ERROR));
        }
        self.open_window(link);
        let answer =
            NopIn { final_bit: true, task_tag: pdu.task_tag, transfer_tag: RESERVED_TAG, ..NopIn::default() };
        link.respond(answer, &data[..data.len().min(self.negotiated.peer_data_segment)]);
        Ok(())
    }

    pub fn took_output(&mut self, now: Instant, deaf: bool) {
        self.silence.took(now);
        if deaf {
            self.stall.moved();
        }
    }

    pub fn is_pinging(&self) -> bool {
        self.silence.ping.is_some()
    }

    /// When [`Full::tick`] has something to do.
    pub fn next_deadline(&self) -> Instant {
        let others = self.silence.deadline().min(self.stall.deadline());
        self.leaving.deadline().map_or(others, |leave| leave.min(others))
    }

    /// Pings an initiator that is silent; gives up one that stays so, stays when it was asked to leave, or keeps its data to
    /// itself.
    pub fn tick(&mut self, now: Instant, link: &mut Link) -> Result<(), CloseReason> {
        self.leaving.check(now)?;
        self.stall.check(now, || self.tasks.owe_data())?;
        if now < self.silence.deadline() {
            return Ok(());
        }
        if self.silence.ping.is_some() {
            return Err(CloseReason::PingTimeout { seconds: PING_ANSWER.as_secs() });
        }
        let transfer_tag = self.tasks.next_transfer_tag();
        self.silence.ping = Some(Ping { sent: now, transfer_tag });
        self.open_window(link);
        link.inform(NopIn { final_bit: true, task_tag: RESERVED_TAG, transfer_tag, ..NopIn::default() });
        Ok(())
    }
}

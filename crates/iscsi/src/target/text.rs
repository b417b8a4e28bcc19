//! Text requests in full feature phase: SendTargets and late negotiation (RFC 7143 sections 11.10, 11.11, appendix C).
//!
//! What always holds: one exchange at a time; a text longer than the initiator's data segment goes out in pieces with the C
//! bit, each asked for by an empty request.

use super::event::{CloseReason, SessionKind};
use super::negotiate::Negotiated;
use super::params::{Params, Portal};
use crate::limits::TEXT_BYTES;
use crate::pdu::request::Text;
use crate::pdu::response::TextResponse;
use crate::pdu::{RESERVED_TAG, TextError, TextList};

/// The exchange under way, if any.
#[derive(Debug, Default)]
pub(super) struct TextExchange {
    /// The tag that the initiator must send to go on.
    transfer_tag: Option<u32>,
    received: Vec<u8>,
    /// What is still to be sent.
    unsent: Vec<u8>,
}

impl TextExchange {
    /// The answer (sequence numbers left out), or `None` for a request that belongs to no exchange.
    pub fn handle(
        &mut self,
        params: &Params,
        kind: SessionKind,
        negotiated: &mut Negotiated,
        pdu: &Text,
        data: &[u8],
        next_tag: u32,
    ) -> Result<Option<(TextResponse, Vec<u8>)>, CloseReason> {
        if pdu.transfer_tag == RESERVED_TAG {
            *self = TextExchange::default();
        } else if Some(pdu.transfer_tag) != self.transfer_tag {
            return Ok(None);
        }
        self.received.extend_from_slice(data);
        if self.received.len() > TEXT_BYTES {
            return Err(TextError::TooLong { len: self.received.len() }.into());
        }
        if !pdu.continues {
            let list = TextList::parse(&std::mem::take(&mut self.received))?;
            self.unsent.extend(answer(params, kind, negotiated, &list).encode());
        }
        if self.unsent.len() > TEXT_BYTES {
            return Err(TextError::TooLong { len: self.unsent.len() }.into());
        }
        Ok(Some(self.next_piece(negotiated.peer_data_segment, pdu, next_tag)))
    }

    fn next_piece(&mut self, segment: usize, pdu: &Text, next_tag: u32) -> (TextResponse, Vec<u8>) {
        let piece: Vec<u8> = self.unsent.drain(..self.unsent.len().min(segment)).collect();
        let continues = !self.unsent.is_empty();
        let final_bit = pdu.final_bit && !pdu.continues && !continues;
        self.transfer_tag = (!final_bit).then_some(next_tag);
        let header = TextResponse {
            final_bit,
            continues,
            lun: 0,
            task_tag: pdu.task_tag,
            transfer_tag: self.transfer_tag.unwrap_or(RESERVED_TAG),
            ..TextResponse::default()
        };
        (header, piece)
    }
}

fn answer(params: &Params, kind: SessionKind, negotiated: &mut Negotiated, list: &TextList) -> TextList {
    let mut answers = TextList::new();
    for (key, value) in list.iter() {
        match key {
            "SendTargets" => send_targets(params, kind, value, &mut answers),
            "MaxRecvDataSegmentLength" => {
                if let Some(answer) = negotiated.answer(key, value) {
                    answers.push(key, answer);
                }
            }
            // All else may be negotiated only at login (section 13).
            _ => match Negotiated::default().answer(key, value).as_deref() {
                Some("NotUnderstood") => answers.push(key, "NotUnderstood"),
                _ => answers.push(key, "Reject"),
            },
        }
    }
    answers
}

/// Appendix C: `All` in discovery sessions only; a name; or nothing, which means the target of this session.
fn send_targets(params: &Params, kind: SessionKind, value: &str, answers: &mut TextList) {
    let wanted = match value {
        "All" if kind == SessionKind::Normal => return answers.push("SendTargets", "Reject"),
        "All" => true,
        "" => kind == SessionKind::Normal,
        name => name.eq_ignore_ascii_case(&params.target_name),
    };
    if wanted {
        answers.push("TargetName", params.target_name.clone());
        for Portal { address, group } in &params.portals {
            answers.push("TargetAddress", format!("{address},{group}"));
        }
    }
}

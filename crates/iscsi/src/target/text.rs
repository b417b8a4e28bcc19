//! Text requests in full feature phase: SendTargets and late negotiation (RFC 7143 sections 11.10, 11.11, appendix C).
//!
//! What always holds: one exchange at a time; a text longer than the initiator's data segment goes out in pieces with the C
//! bit, each asked for by an empty request; what is no such exchange is forgotten and refused.

use super::event::SessionKind;
use super::negotiate::Negotiated;
use super::params::{Params, Portal};
use crate::limits::TEXT_BYTES;
use crate::pdu::request::Text;
use crate::pdu::response::TextResponse;
use crate::pdu::{RESERVED_TAG, TextList};

/// The exchange under way, if any.
#[derive(Debug, Default)]
pub(super) struct TextExchange {
    /// The tag that the initiator must send to go on.
    transfer_tag: Option<u32>,
    received: Vec<u8>,
    /// What is still to be sent, in pieces of this size.
    unsent: Vec<u8>,
    segment: usize,
}

/// A response, sequence numbers left out, and its text.
type Answer = (TextResponse, Vec<u8>);

impl TextExchange {
    /// The answer, or `None` for a request that belongs to no exchange or has no legal text.
    pub fn handle(
        &mut self,
        params: &Params,
        kind: SessionKind,
        negotiated: &mut Negotiated,
        pdu: &Text,
        data: &[u8],
        next_tag: u32,
    ) -> Option<Answer> {
        let mut exchange = std::mem::take(self);
        if pdu.transfer_tag == RESERVED_TAG {
            exchange = TextExchange::default();
        } else if exchange.transfer_tag != Some(pdu.transfer_tag) {
            return None;
        }
        if exchange.unsent.is_empty() {
            exchange.receive(params, kind, negotiated, pdu, data)?;
        } else if !data.is_empty() || pdu.continues {
            return None;
        }
        let answer = exchange.next_piece(pdu, next_tag);
        *self = exchange;
        Some(answer)
    }

    fn receive(
        &mut self,
        params: &Params,
        kind: SessionKind,
        negotiated: &mut Negotiated,
        pdu: &Text,
        data: &[u8],
    ) -> Option<()> {
        self.received.extend_from_slice(data);
        if self.received.len() > TEXT_BYTES {
            return None;
        }
        if !pdu.continues {
            let list = TextList::parse(&std::mem::take(&mut self.received)).ok()?;
            if list.has_duplicates() {
                return None;
            }
            // What is declared here counts from the next PDU on; this answer keeps to both.
            let segment = negotiated.peer_data_segment;
            self.unsent = answer(params, kind, negotiated, &list).encode();
            self.segment = segment.min(negotiated.peer_data_segment);
        }
        Some(())
    }

    fn next_piece(&mut self, pdu: &Text, next_tag: u32) -> Answer {
        let piece: Vec<u8> = self.unsent.drain(..self.unsent.len().min(self.segment)).collect();
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
            _ => {
                if let Some(answer) = negotiated.answer_late(key, value) {
                    answers.push(key, answer);
                }
            }
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

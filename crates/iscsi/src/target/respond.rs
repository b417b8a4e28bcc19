//! What answers a command: data, status, residual (RFC 7143 sections 11.4 and 11.7).

use super::link::Link;
use super::negotiate::Negotiated;
use crate::pdu::RESERVED_TAG;
use crate::pdu::response::{DataIn, ScsiResponse};

impl Link {
    /// Data-In PDUs; with a residual, the last carries GOOD status (section 11.7.3). Returns how many there were.
    pub fn send_data(
        &mut self,
        rules: &Negotiated,
        tag: u32,
        data: &[u8],
        collapse: Option<Residual>,
    ) -> u32 {
        let (segment, burst) = (rules.peer_data_segment, rules.max_burst as usize);
        let (mut offset, mut data_sn) = (0, 0);
        while offset < data.len() {
            let burst_left = burst - offset % burst;
            let end = data.len().min(offset + segment.min(burst_left));
            let last = end == data.len();
            let mut pdu = DataIn {
                final_bit: last || end % burst == 0,
                task_tag: tag,
                transfer_tag: RESERVED_TAG,
                exp_cmd_sn: self.exp_cmd_sn,
                max_cmd_sn: self.max_cmd_sn,
                data_sn,
                buffer_offset: offset as u32,
                ..DataIn::default()
            };
            if let (true, Some(residual)) = (last, collapse) {
                pdu.has_status = true;
                pdu.stat_sn = self.next_stat_sn();
                (pdu.overflow, pdu.underflow, pdu.residual) = residual.fields();
            }
            self.send(pdu.build(), &data[offset..end]);
            offset = end;
            data_sn += 1;
        }
        data_sn
    }

    /// A response with status and sense; `data_pdus` counts the Data-In or R2T PDUs before it.
    pub fn respond(&mut self, tag: u32, status: u8, sense: &[u8], residual: Residual, data_pdus: u32) {
        let (overflow, underflow, residual) = residual.fields();
        let pdu = ScsiResponse {
            final_bit: true,
            overflow,
            underflow,
            status,
            task_tag: tag,
            stat_sn: self.next_stat_sn(),
            exp_cmd_sn: self.exp_cmd_sn,
            max_cmd_sn: self.max_cmd_sn,
            exp_data_sn: data_pdus,
            residual,
            ..ScsiResponse::default()
        };
        let mut segment = Vec::new();
        if !sense.is_empty() {
            segment.extend_from_slice(&(sense.len() as u16).to_be_bytes());
            segment.extend_from_slice(sense);
        }
        self.send(pdu.build(), &segment);
    }
}

/// The difference between what the initiator expected and what there was (section 11.4.5).
#[derive(Debug, Clone, Copy)]
pub(super) enum Residual {
    None,
    Overflow(u32),
    Underflow(u32),
}

impl Residual {
    pub fn of(expected: u64, actual: u64) -> Residual {
        let clamp = |difference: u64| u32::try_from(difference).unwrap_or(u32::MAX);
        match expected.cmp(&actual) {
            std::cmp::Ordering::Equal => Residual::None,
            std::cmp::Ordering::Less => Residual::Overflow(clamp(actual - expected)),
            std::cmp::Ordering::Greater => Residual::Underflow(clamp(expected - actual)),
        }
    }

    fn fields(self) -> (bool, bool, u32) {
        match self {
            Residual::None => (false, false, 0),
            Residual::Overflow(count) => (true, false, count),
            Residual::Underflow(count) => (false, true, count),
        }
    }
}

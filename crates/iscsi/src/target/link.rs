//! The sending half of a connection: what waits for the socket, and the numbers that every response carries (RFC 7143
//! sections 4.2.2.1 and 4.2.2.2).
//!
//! What always holds: StatSN advances by one with each response that carries status, in the order in which responses
//! are sent; payload of commands is named, not kept, unless it is short.

use super::window::Window;
use crate::limits::{COPIED_DATA, KEPT_OUTPUT};
use crate::pdu::response::DataIn;
use crate::pdu::{Bhs, Digests, Response, write_header, write_pdu, write_trailer};
use std::ops::Range;

/// Takes what a connection sends, in order.
pub trait Transmit {
    /// Headers, digests, padding, small data.
    fn bytes(&mut self, bytes: &[u8]);
    /// A range of the `data_in` with which the command `tag` was completed.
    fn data(&mut self, tag: u32, range: Range<usize>);
}

/// What is to be sent, and sequence numbers.
#[derive(Debug, Default)]
pub(super) struct Link {
    out: Vec<u8>,
    /// Payload that stands between bytes of `out`, in order.
    payload: Vec<Payload>,
    /// In force for what is sent from now on.
    pub digests: Digests,
    /// The StatSN of the next response with status.
    pub stat_sn: u32,
    pub window: Window,
}

#[derive(Debug)]
struct Payload {
    /// It comes before this byte of `out`.
    before: usize,
    tag: u32,
    range: Range<usize>,
}

impl Link {
    /// Takes the numbers that the first login request starts from.
    pub fn start(&mut self, stat_sn: u32, cmd_sn: u32) {
        self.stat_sn = stat_sn;
        self.window = Window::new(cmd_sn);
        // A window of one: no request but the login's own can come before it is over.
        self.window.open(1);
    }

    /// Sends a response that carries status: StatSN advances.
    pub fn respond(&mut self, header: impl Into<Response>, data: &[u8]) {
        let header = self.numbered(header.into().build());
        self.stat_sn = self.stat_sn.wrapping_add(1);
        write_pdu(&mut self.out, header, data, self.digests);
    }

    /// Sends what carries no status but the next StatSN (R2T, a ping).
    pub fn inform(&mut self, header: impl Into<Response>) {
        let header = self.numbered(header.into().build());
        write_pdu(&mut self.out, header, &[], self.digests);
    }

    /// Sends `data[range]`, payload of the command that `pdu` names.
    pub fn send_payload(&mut self, pdu: &DataIn, data: &[u8], range: Range<usize>) {
        let mut header = pdu.build();
        // Without status there is no StatSN (section 11.7.4).
        let stat_sn = if pdu.has_status { self.stat_sn } else { 0 };
        header.set_numbers(stat_sn, self.window.exp_cmd_sn, self.window.max_cmd_sn);
        self.stat_sn = self.stat_sn.wrapping_add(u32::from(pdu.has_status));
        let part = &data[range.clone()];
        if part.len() < COPIED_DATA {
            return write_pdu(&mut self.out, header, part, self.digests);
        }
        header.set_data_len(part.len());
        write_header(&mut self.out, &header, self.digests);
        self.payload.push(Payload { before: self.out.len(), tag: pdu.task_tag, range });
        write_trailer(&mut self.out, part, self.digests);
    }

    fn numbered(&self, mut header: Bhs) -> Bhs {
        header.set_numbers(self.stat_sn, self.window.exp_cmd_sn, self.window.max_cmd_sn);
        header
    }

    pub fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    /// Hands over all that is to be sent.
    pub fn transmit(&mut self, to: &mut dyn Transmit) {
        let mut done = 0;
        for Payload { before, tag, range } in self.payload.drain(..) {
            to.bytes(&self.out[done..before]);
            to.data(tag, range);
            done = before;
        }
        if done < self.out.len() {
            to.bytes(&self.out[done..]);
        }
        self.out.clear();
        self.out.shrink_to(KEPT_OUTPUT);
        self.payload.shrink_to(KEPT_OUTPUT / size_of::<Payload>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Gather(Vec<u8>, Vec<(u32, Range<usize>)>);

    impl Transmit for Gather {
        fn bytes(&mut self, bytes: &[u8]) {
            self.0.extend_from_slice(bytes);
        }
        fn data(&mut self, tag: u32, range: Range<usize>) {
            self.0.extend(range.clone().map(|at| at as u8));
            self.1.push((tag, range));
        }
    }

    #[test]
    fn payload_is_named_where_it_would_stand() {
        let data: Vec<u8> = (0..2000).map(|at| at as u8).collect();
        let mut link = Link { digests: Digests { header: true, data: true }, ..Link::default() };
        let mut copied = Vec::new();
        for range in [0..1001, 1001..1002, 1002..2000] {
            let pdu = DataIn { task_tag: 7, buffer_offset: range.start as u32, ..DataIn::default() };
            write_pdu(&mut copied, pdu.build(), &data[range.clone()], link.digests);
            link.send_payload(&pdu, &data, range);
        }
        let mut gather = Gather::default();
        link.transmit(&mut gather);
        assert_eq!((gather.0, gather.1), (copied, vec![(7, 0..1001), (7, 1002..2000)]));
        assert!(!link.has_output());
    }
}

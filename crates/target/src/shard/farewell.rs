//! Connections that end because the target or its owner wants it, and what their initiators are told first (RFC 7143
//! section 11.9.1).
//!
//! What always holds: nothing waits for an initiator to hear it. The message goes behind what waits for the socket
//! already; where nothing does, the socket takes it at once or it is never sent.

use super::Server;
use crate::fence::Fence;
use crate::message::Ending;
use crate::unit::LogicalUnit;
use rustix::net::{SendFlags, send};
use std::ops::Range;
use std::os::fd::AsFd;
use umbra_iscsi::target::{AsyncEvent, Transmit};

/// The bytes of a message that no command's data belongs to.
#[derive(Default)]
struct Words(Vec<u8>);

impl Transmit for Words {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn data(&mut self, _tag: u32, _range: Range<usize>) {}
}

impl<U: LogicalUnit> Server<U> {
    /// Ends connections; the fence falls when nothing of them runs any more.
    pub(super) fn end(&mut self, ids: &[u64], ending: Ending, fence: &Fence) {
        for id in ids {
            self.with_conn(*id, |server, c| {
                if let Some(wait) = ending.told() {
                    server.take_leave(c, wait);
                }
                let conn = &mut server.conns[c];
                conn.core.close(ending.reason());
                conn.fences.push(fence.clone());
            });
        }
    }

    /// Ends all connections, then the thread.
    pub(super) fn stop(&mut self, fence: Fence) {
        let ids: Vec<u64> = self.by_id.keys().copied().collect();
        self.end(&ids, Ending::Stopping, &fence);
        self.stop_listening();
        self.stopping = Some(fence);
    }

    /// Tells an initiator that its session ends. A session has one connection, and nothing of it is retained
    /// (ErrorRecoveryLevel 0).
    fn take_leave(&mut self, c: usize, wait: u16) {
        self.transmit(c);
        let now = self.now;
        let conn = &mut self.conns[c];
        conn.core.announce(now, AsyncEvent::DropSession { wait, retain: 0 });
        if conn.out_bytes > 0 || conn.sending.is_some() {
            return self.transmit(c);
        }
        let mut words = Words::default();
        conn.core.transmit(&mut words);
        if !words.0.is_empty() {
            // Without room in the socket its peer does not listen anyway; a part of the message harms nobody, as nothing
            // comes behind it.
            let _unheard = send(conn.socket.as_fd(), &words.0, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
    }
}

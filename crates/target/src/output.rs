//! Sending: whoever has something for the socket sends it, unless somebody is sending already; then it goes out with the
//! next batch of that one.
//!
//! What always holds: bytes leave in the order in which the machine made them; a peer that takes nothing holds up its own
//! session, at [`OUTPUT_BYTES`], and is cut after [`SEND_TIME`](crate::limits::SEND_TIME).

use crate::limits::OUTPUT_BYTES;
use crate::session::{Session, State};
use std::sync::MutexGuard;
use umbra_iscsi::target::CloseReason;

impl Session {
    /// Sends what the machine has to send, in batches, until there is nothing left or somebody else is at it.
    pub(crate) fn flush<'a>(&'a self, mut state: MutexGuard<'a, State>) {
        state.collect();
        while state.sending {
            if state.output.len() <= OUTPUT_BYTES || state.ended {
                return;
            }
            state = self.wait(&self.progress, state);
        }
        let mut batch = Vec::new();
        while !state.output.is_empty() {
            state.sending = true;
            std::mem::swap(&mut batch, &mut state.output);
            drop(state);
            let sent = self.socket.write_all(&batch);
            batch.clear();
            state = self.state();
            state.sending = false;
            if let Err(error) = sent {
                state.connection.close(CloseReason::Socket(error.to_string()));
                state.output.clear();
                self.socket.shutdown();
            }
            self.progress.notify_all();
            if !state.queue.is_empty() {
                // Commands may have waited for the output to shrink.
                self.work.notify_one();
            }
            state.collect();
        }
        if state.output.capacity() < batch.capacity() && batch.capacity() <= OUTPUT_BYTES {
            state.output = batch;
        }
    }
}

impl State {
    fn collect(&mut self) {
        let State { connection, output, .. } = self;
        connection.transmit(output);
    }
}

//! The reader thread of a connection: bytes from the socket into the machine, its events to whom they concern.

use crate::limits::QUEUE_DEPTH;
use crate::login;
use crate::session::{Session, State, now};
use crate::socket::Socket;
use crate::target::Target;
use crate::task_management;
use std::io::ErrorKind;
use std::sync::{Arc, MutexGuard};
use umbra_iscsi::limits::LOGIN_DATA_SEGMENT;
use umbra_iscsi::pdu::FrameReader;
use umbra_iscsi::target::{Authentication, CloseReason, Connection, Event, Params};

/// A new session object on an accepted socket.
pub(crate) fn session(target: &Target, id: u64, socket: Socket, authentication: Authentication) -> Session {
    let addresses = match target.config.advertised.as_slice() {
        [] => socket.local().into_iter().collect(),
        advertised => advertised.to_vec(),
    };
    let params = Params {
        target_name: target.config.iqn.to_ascii_lowercase(),
        authentication,
        portal_group_tag: 1,
        addresses,
        queue_depth: QUEUE_DEPTH,
    };
    Session::new(id, socket, Connection::new(params, now()))
}

/// Serves a connection until it ends, and clears up after it.
pub(crate) fn serve(target: &Arc<Target>, session: &Arc<Session>) {
    let mut reader = Reader { target, session, frames: FrameReader::new(LOGIN_DATA_SEGMENT), epoch: 0 };
    while reader.step() {}
    session.wind_up();
    log_end(session);
    target.strike_off(session);
}

struct Reader<'a> {
    target: &'a Arc<Target>,
    session: &'a Arc<Session>,
    frames: FrameReader,
    /// Of the login; see [`login::identify`].
    epoch: u64,
}

impl Reader<'_> {
    /// Receives once and handles what came; `false` when the connection has ended.
    fn step(&mut self) -> bool {
        let received = self.session.socket.read(self.frames.space());
        let mut state = self.session.state();
        match received {
            Ok(0) => state.connection.close(CloseReason::PeerClosed),
            Ok(n) => {
                self.frames.filled(n);
                state = self.handle_frames(state);
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                _ => state.connection.close(CloseReason::Socket(error.to_string())),
            },
        }
        state.connection.tick(now());
        let goes_on = state.connection.closed().is_none();
        self.session.flush(state);
        goes_on
    }

    fn handle_frames<'a>(&mut self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State>
    where
        Self: 'a,
    {
        let now = now();
        loop {
            let (digests, max_data) = state.connection.framing();
            self.frames.set_mode(digests, max_data);
            match self.frames.next_frame() {
                Ok(Some(frame)) => state.connection.handle(now, &frame),
                Ok(None) => return state,
                Err(error) => state.connection.broken(error),
            }
            while let Some(event) = state.connection.next_event() {
                state = self.dispatch(state, event);
            }
            if state.connection.closed().is_some() {
                return state;
            }
        }
    }

    /// Commands are put in line under the lock; all else calls others, without it.
    fn dispatch<'a>(&mut self, mut state: MutexGuard<'a, State>, event: Event) -> MutexGuard<'a, State>
    where
        Self: 'a,
    {
        let (target, session) = (self.target, self.session);
        match event {
            Event::Command(command) => {
                session.enqueue(target, &mut state, command);
                return state;
            }
            Event::Identify { initiator, .. } => {
                drop(state);
                self.epoch = login::identify(target, session, &initiator);
            }
            Event::SessionReady(request) => {
                drop(state);
                login::establish(target, session, request, self.epoch);
            }
            Event::TaskManagement(request) => {
                drop(state);
                task_management::manage(target, session, request);
            }
            Event::Logout => {
                drop(state);
                task_management::log_out(session);
            }
        }
        session.state()
    }
}

fn log_end(session: &Session) {
    let state = session.state();
    let initiator = state.nexus.as_ref().map_or("", |nexus| nexus.info.initiator.as_str());
    let (id, peer) = (session.id, session.peer.as_str());
    match state.connection.closed() {
        None => tracing::error!(session = id, peer, initiator, "connection ended without a reason"),
        Some(reason @ (CloseReason::LoggedOut | CloseReason::PeerClosed | CloseReason::TargetClosed(_))) => {
            tracing::info!(session = id, peer, initiator, %reason, "connection ended");
        }
        Some(reason) => tracing::warn!(session = id, peer, initiator, %reason, "connection cut"),
    }
}

//! What a connection tells its driver, and what the driver tells it back.

use crate::chap::Secret;
use crate::pdu::{FrameError, Lun};

/// Session types (RFC 7143 section 13.21).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKind {
    Normal,
    /// May ask for target names, nothing else.
    Discovery,
}

/// What the driver must look at. [`Event::Identify`] and [`Event::SessionReady`] hold the login until they are answered.
#[derive(Debug)]
pub enum Event {
    /// Answer with [`Connection::admit`](super::Connection::admit).
    Identify { initiator: String, kind: SessionKind },
    /// Authenticated and negotiated. Answer with [`Connection::accept`](super::Connection::accept) or
    /// [`Connection::refuse`](super::Connection::refuse), after reinstatement.
    SessionReady(SessionRequest),
    /// A command waits for more data than comes unasked. When there is room for `total` bytes, answer with
    /// [`Connection::solicit`](super::Connection::solicit), or refuse it with
    /// [`Connection::complete`](super::Connection::complete).
    Solicit { tag: u32, total: u32 },
    /// A SCSI command all of whose data has arrived. Answer with [`Connection::complete`](super::Connection::complete).
    Command(Command),
    /// A command that was named to the driver, by [`DataTo::Task`] or [`Event::Solicit`], ended before all of its data had
    /// arrived: its buffer is not needed any more.
    Discard { tag: u32 },
    /// Answer with [`Connection::task_management_done`](super::Connection::task_management_done) when the tasks that it
    /// names can no longer change anything.
    TaskManagement(TaskManagementRequest),
    /// Answer with [`Connection::logout_done`](super::Connection::logout_done) when all tasks have ended.
    Logout,
}

/// The session that a login asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRequest {
    pub initiator: String,
    pub kind: SessionKind,
    /// With the initiator's name this names the nexus: a login with the same replaces the session that holds it.
    pub isid: [u8; 6],
    /// Not 0: the login wants to join that session.
    pub tsih: u16,
    /// The initiator resends unflushed writes after a reconnect.
    pub resend: Resend,
}

/// Whether an initiator promised, by the private key [`RESEND_KEY`](super::RESEND_KEY), to resend what it has not
/// flushed (design A2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resend {
    Promised,
    #[default]
    No,
}

/// Where the data segment of a PDU is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataTo {
    /// To the machine, through [`Connection::arrived`](super::Connection::arrived).
    Here,
    /// To bytes `offset..` of the data of a command, which has `total` bytes of data in all.
    Task { tag: u32, offset: u32, total: u32 },
    /// Nowhere: the PDU is dropped or refused.
    Skip,
}

/// A command for the SCSI layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command {
    /// The initiator task tag: names the task until it is completed.
    pub tag: u32,
    pub lun: Lun,
    pub cdb: [u8; 16],
    /// Task attribute as on the wire: 2 is ordered, 3 head of queue.
    pub attribute: u8,
    /// Bytes that the initiator takes at most (reads).
    pub read_length: u32,
    /// Bytes that the initiator sent (writes).
    pub write_length: u32,
    /// For immediate delivery, outside the order of CmdSN.
    pub immediate: bool,
}

/// A task management request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskManagementRequest {
    pub tag: u32,
    /// One of [`task_function`](crate::pdu::request::task_function).
    pub function: u8,
    pub lun: Lun,
    pub referenced_tag: u32,
}

/// What [`Connection::admit`](super::Connection::admit) is told about an initiator.
#[derive(Debug)]
pub enum Initiator {
    Unknown,
    Known {
        /// What it proves itself with.
        secret: Option<Secret>,
        /// What we prove ourselves with to it, if it asks (mutual CHAP).
        mutual: Option<Mutual>,
    },
}

/// How the target answers an initiator's challenge (RFC 7143 section 12.1.3).
#[derive(Debug, Clone)]
pub struct Mutual {
    pub name: String,
    pub secret: Secret,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct Completion<'a> {
    /// SAM status.
    pub status: u8,
    /// Sense data, with CHECK CONDITION.
    pub sense: &'a [u8],
    /// What the command has for the initiator; sent as far as the initiator takes it.
    pub data_in: &'a [u8],
    /// All that it has, where `data_in` was not made longer than the initiator takes; `None`: that is all.
    pub has: Option<u64>,
    /// Bytes that the command takes from the initiator; `None`: what was announced, nothing of a command that still waited
    /// for data.
    pub takes: Option<u64>,
}

/// What the target tells an initiator unasked (RFC 7143 section 11.9.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsyncEvent<'a> {
    /// A SCSI asynchronous event of a LUN.
    Scsi { lun: Lun, sense: &'a [u8] },
    /// The initiator has so long to log out.
    RequestLogout { seconds: u16 },
    /// The target is about to drop this connection. Seconds: before another may be tried, and until all is forgotten.
    DropConnection { wait: u16, retain: u16 },
    /// The same of all connections of the session.
    DropSession { wait: u16, retain: u16 },
    /// The initiator has so long to negotiate anew, by a text request.
    Negotiate { seconds: u16 },
}

impl AsyncEvent<'_> {
    pub(super) fn number(&self) -> u8 {
        match self {
            AsyncEvent::Scsi { .. } => 0,
            AsyncEvent::RequestLogout { .. } => 1,
            AsyncEvent::DropConnection { .. } => 2,
            AsyncEvent::DropSession { .. } => 3,
            AsyncEvent::Negotiate { .. } => 4,
        }
    }
}

/// What became of a task that the driver aborts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aborted {
    /// No such task.
    Unknown,
    /// It was waiting for data; nobody else has heard of it.
    Dropped,
    /// The driver has it; its completion will be swallowed.
    WithDriver,
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    #[error("logged out")]
    LoggedOut,
    #[error("the peer closed the connection")]
    PeerClosed,
    #[error("replaced by a new login")]
    Replaced,
    #[error("the target ended the connection: {0}")]
    TargetClosed(&'static str),
    #[error("socket: {0}")]
    Socket(String),
    #[error("login refused with status {status:#06x}: {why}")]
    LoginRefused { status: u16, why: String },
    #[error("no complete login within {seconds} s")]
    LoginTimeout { seconds: u64 },
    #[error("no answer to a ping within {seconds} s")]
    PingTimeout { seconds: u64 },
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("PDU with opcode {opcode:#04x} {when}")]
    UnexpectedPdu { opcode: u8, when: &'static str },
    #[error("command number {found} where {expected} was next on the only connection")]
    CommandGap { expected: u32, found: u32 },
    #[error("data was asked for and none came within {seconds} s")]
    DataTimeout { seconds: u64 },
    #[error("no logout within {seconds} s after it was asked for")]
    NoLogout { seconds: u16 },
    #[error("more than {max} rejected PDUs")]
    TooManyRejects { max: u32 },
}

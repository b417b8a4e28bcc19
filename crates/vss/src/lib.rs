//! The coordinator of snapshot sets, as rules without I/O, clock or threads.
//!
//! ```text
//!              Input (answers, losses, cancel) + Now
//!                        |
//!                        v
//!   driver  --->  SetMachine  --->  Effect::Start(Task) / Cancel(Task) / Ended(Outcome)
//!   (service)        |  next_deadline(), expire(now)
//!                    v
//!              Timeline, Consistency, ErrorCode of the part that failed
//! ```
//!
//! - [`SetMachine`] creates one set in the order of design S2 and unwinds whatever it started when anything fails (S3).
//! - [`Creation`] lets one set at a time be created on a host (S4).
//! - [`BreakMode`] and [`decide_break`] say which breaks are legal and what they touch (B2, B3, B5).
//!
//! What always holds: whatever was asked to prepare, freeze or commit is in the ledger before it is asked, and everything
//! in the ledger is undone before a set is reported as failed. What is left to others: who the writers and providers
//! are, and doing what a [`Task`] says.

#![forbid(unsafe_code)]

mod breaking;
mod consistency;
mod creation;
mod ledger;
pub mod limits;
mod machine;
mod outcome;
mod phase;
mod plan;
mod task;
mod timeline;
mod timer;

pub use breaking::{
    BreakAccess, BreakFacts, BreakFlag, BreakMode, BreakPlan, IdentityRule, IdentityStep, LunFacts, LunPlan,
    MadeBy, Standing, decide_break,
};
pub use consistency::{Claim, Consistency, VolumeReached, WriterReport};
pub use creation::{Admission, Creation, IfBusy};
pub use machine::{Refused, SetMachine};
pub use outcome::{AlsoFailed, Created, Failure, Outcome};
pub use phase::{MOVES, Phase};
pub use plan::{Ground, Level, Plan, ProviderPlan, VolumePlan, WriterPlan};
pub use task::{Answer, CutTime, Effect, Input, Now, Part, Task};
pub use timeline::{Span, SpanOutcome, Timeline};
pub use timer::{Expiry, Limits, TIMERS, Timer, TimerRow};

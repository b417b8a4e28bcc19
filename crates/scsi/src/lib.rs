//! SCSI block devices as pure logic (SPC-4, SBC-3, SAM-5): a CDB and what is known of the unit go in, a plan comes out.
//!
//! ```text
//!   CDB -> admit: attentions, reservations (Reservations is the driver's to keep, one for a unit)
//!       -> table (one row a command) -> Plan: reply with these bytes | read | write | unmap | flush | ...
//!                                    -> Sense: CHECK CONDITION, why
//!   the driver carries the plan out on a real unit; parameter lists go back for parsing: mode::, provision::,
//!   reservation::, copy::; what only the driver can count comes back for formatting: log::, copy::Operations
//! ```
//!
//! Nothing here does I/O. What always holds: a plan's extents lie inside the unit; a plan that would change a
//! write-protected unit is never made; REPORT SUPPORTED OPERATION CODES, the decoder and the check for reservation
//! conflicts read the same table; a feature that the driver has not switched on is nowhere to be seen.

#![forbid(unsafe_code)]

mod admission;
pub mod attention;
mod block;
mod bytes;
mod cdb;
pub mod copy;
mod features;
mod inquiry;
pub mod limits;
pub mod log;
mod missing;
pub mod mode;
mod plan;
pub mod provision;
pub mod report;
pub mod reservation;
mod sense;
mod table;
#[cfg(test)]
mod tests;
pub mod threshold;
pub mod topology;
mod unit;
mod vpd;

pub use admission::admit;
pub use features::{Feature, Features};
pub use missing::{Absence, plan_missing};
pub use plan::{Compare, Durability, Extent, Pattern, Plan, Release, report_select::Select};
pub use sense::{Place, Refusal, Sense, SenseFormat, Specific, status};
pub use table::plan;
pub use unit::{Access, AtomicLimits, LunIdentity, TaskSets, Unit, WriteCache};

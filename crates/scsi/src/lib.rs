//! SCSI block devices as pure logic (SPC-4, SBC-3, SAM-5): a CDB and what is known of the unit go in, a plan comes out.
//!
//! ```text
//!   CDB -> table (one row a command) -> Plan: reply with these bytes | read | write | unmap | flush | ...
//!                                    -> Sense: CHECK CONDITION, why
//!   the driver carries the plan out on a real unit; parameter lists go back to mode::, provision:: for parsing
//! ```
//!
//! Nothing here does I/O. What always holds: a plan's extents lie inside the unit; a plan that would change a
//! write-protected unit is never made; REPORT SUPPORTED OPERATION CODES and the decoder read the same table.

#![forbid(unsafe_code)]

pub mod attention;
mod block;
mod cdb;
mod inquiry;
pub mod limits;
mod missing;
pub mod mode;
mod plan;
pub mod provision;
pub mod report;
mod sense;
mod table;
#[cfg(test)]
mod tests;
mod unit;
mod vpd;

pub use missing::{Absence, plan_missing};
pub use plan::{Compare, Durability, Extent, Pattern, Plan, Release, report_select::Select};
pub use sense::{Sense, SenseFormat, status};
pub use table::plan;
pub use unit::{Access, LunIdentity, Unit, WriteCache};

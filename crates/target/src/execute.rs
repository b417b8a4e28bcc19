//! Carrying out commands: SCSI plans on real units.

use crate::limits::{CHUNK, KEPT_BUFFER};
use crate::session::{Session, Work};
use crate::slot::Slot;
use crate::target::Target;
use crate::unit::{LogicalUnit, MediumError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use umbra_iscsi::pdu::Lun;
use umbra_iscsi::target::Completion;
use umbra_scsi::provision::{Provisioning, StatusRun};
use umbra_scsi::{
    Absence, Compare, Durability, Extent, Pattern, Plan, Release, Select, Sense, SenseFormat, Unit,
    WriteCache, limits::BLOCK, mode, plan, plan_missing, provision, report, status,
};

/// A worker's buffer for data that goes to the initiator; kept between commands.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    bytes: Vec<u8>,
    used: usize,
    /// All that the command has for the initiator, where that is more than `used`.
    has: Option<u64>,
}

impl Scratch {
    /// `len` bytes of room, contents undefined.
    fn room(&mut self, len: usize) -> &mut [u8] {
        if self.bytes.len() < len {
            self.bytes.resize(len, 0);
        }
        &mut self.bytes[..len]
    }

    pub fn shrink(&mut self) {
        (self.used, self.has) = (0, None);
        if self.bytes.len() > KEPT_BUFFER {
            self.bytes = Vec::new();
        }
    }
}

/// How a command ended; its data lies in the scratch buffer.
#[derive(Debug)]
pub(crate) struct Outcome {
    sense: Vec<u8>,
    takes: Option<u64>,
}

impl Outcome {
    pub fn completion<'a>(&'a self, scratch: &'a Scratch) -> Completion<'a> {
        let takes = self.takes;
        if self.sense.is_empty() {
            let data_in = &scratch.bytes[..scratch.used];
            Completion { status: status::GOOD, sense: &[], data_in, has: scratch.has, takes }
        } else {
            let (status, sense) = (status::CHECK_CONDITION, self.sense.as_slice());
            Completion { status, sense, takes, ..Completion::default() }
        }
    }
}

/// Carries out one command. A unit that panics fails the command, not the session.
pub(crate) fn run(target: &Target, session: &Arc<Session>, work: &Work, scratch: &mut Scratch) -> Outcome {
    let mut attempt = Attempt { target, session, work, format: SenseFormat::Fixed, takes: None };
    let result = catch_unwind(AssertUnwindSafe(|| attempt.run(scratch))).unwrap_or_else(|_| {
        tracing::error!(session = session.id, opcode = work.command.cdb[0], "a logical unit panicked");
        Err(Sense::INTERNAL_TARGET_FAILURE)
    });
    let sense = result.map_or_else(|sense| sense.encode(attempt.format), |()| Vec::new());
    Outcome { sense, takes: attempt.takes }
}

/// A command on its way to its unit.
struct Attempt<'a> {
    target: &'a Target,
    session: &'a Arc<Session>,
    work: &'a Work,
    /// The unit's, once it is known.
    format: SenseFormat,
    /// Bytes that the command takes from the initiator, once decoded.
    takes: Option<u64>,
}

impl Attempt<'_> {
    fn run(&mut self, scratch: &mut Scratch) -> Result<(), Sense> {
        let Attempt { target, session, work, .. } = *self;
        loop {
            let slot = work.command.lun.number().and_then(|number| work.host.slot(number));
            let Some(slot) = slot else { return missing(session, work, scratch) };
            self.format = slot.mode().sense_format;
            if let Some(attention) = work.attention {
                return Err(attention);
            }
            // A closed gate: the view changed since the slot was looked up.
            let Some(_pass) = slot.enter() else { continue };
            let unit = slot.view(&target.config.vendor, &target.config.revision, work.cache);
            let plan = plan(&work.command.cdb, &unit)?;
            self.takes = Some(plan.data_out());
            let plan = plan.with_data(work.command.data.len() as u64)?;
            return Run { target, session, work, slot: &slot, unit: &unit, scratch }.carry_out(plan);
        }
    }
}

fn missing(session: &Session, work: &Work, scratch: &mut Scratch) -> Result<(), Sense> {
    let absence = if work.command.lun.number() == Some(0) { Absence::LunZero } else { Absence::Other };
    match plan_missing(&work.command.cdb, absence)? {
        Plan::ReportLuns { select, allocation } => reply(scratch, &report_luns(session, select, allocation)),
        Plan::Reply(bytes) => reply(scratch, &bytes),
        _ => return Err(Sense::LOGICAL_UNIT_NOT_SUPPORTED),
    }
    Ok(())
}

fn reply(scratch: &mut Scratch, bytes: &[u8]) {
    scratch.room(bytes.len()).copy_from_slice(bytes);
    scratch.used = bytes.len();
}

/// The LUNs of now; the session knows the numbers that are gone no more (design A1).
fn report_luns(session: &Session, select: Select, allocation: usize) -> Vec<u8> {
    let mut state = session.state();
    let Some(nexus) = &mut state.nexus else { return Vec::new() };
    let luns = nexus.host.luns();
    nexus.stale.clear();
    nexus.attentions.values_mut().for_each(|attentions| attentions.luns_reported());
    let fields = luns.keys().filter_map(|number| Lun::from_number(*number)).map(|lun| lun.0);
    report::luns(fields, select, allocation)
}

/// One command inside the gate of its slot.
struct Run<'a> {
    target: &'a Target,
    session: &'a Arc<Session>,
    work: &'a Work,
    slot: &'a Slot,
    unit: &'a Unit<'a>,
    scratch: &'a mut Scratch,
}

impl<'a> Run<'a> {
    fn carry_out(&mut self, plan: Plan) -> Result<(), Sense> {
        match plan {
            Plan::Good => Ok(()),
            Plan::Reply(bytes) => self.reply(&bytes),
            Plan::RequestSense { format, allocation } => self.request_sense(format, allocation),
            Plan::ReportLuns { select, allocation } => {
                let bytes = report_luns(self.session, select, allocation);
                self.reply(&bytes)
            }
            Plan::Read(extent) => self.read(extent),
            Plan::Write { extent, durability } => {
                let data = self.data(extent.bytes());
                self.change(durability, |unit| unit.write(extent.offset(), data))
            }
            Plan::Verify { extent, compare } => self.verify(extent, compare),
            Plan::WriteVerify { extent, compare } => {
                let data = self.data(extent.bytes());
                self.change(Durability::BeforeStatus, |unit| unit.write(extent.offset(), data))?;
                self.verify(extent, compare)
            }
            Plan::CompareAndWrite { extent, durability } => self.compare_and_write(extent, durability),
            Plan::WriteSame { extent, pattern, release } => self.write_same(extent, pattern, release),
            Plan::Unmap { list } => self.unmap(list),
            Plan::Flush => self.slot.unit.flush().map_err(|error| self.failed("flush", error)),
            Plan::LbaStatus { extent, allocation } => self.lba_status(extent, allocation),
            Plan::ModeSelect { list, header } => self.mode_select(list, header),
            // Of features that are not switched on here: never decoded.
            _ => Err(Sense::INVALID_OPERATION_CODE),
        }
    }

    fn reply(&mut self, bytes: &[u8]) -> Result<(), Sense> {
        reply(self.scratch, bytes);
        Ok(())
    }

    /// The first bytes that the initiator sent; [`Plan::with_data`] saw that they are there.
    fn data(&self, len: u64) -> &'a [u8] {
        &self.work.command.data[..len as usize]
    }

    /// Reads no more than the initiator takes.
    fn read(&mut self, extent: Extent) -> Result<(), Sense> {
        let taken = u64::from(self.work.command.read_length).next_multiple_of(BLOCK);
        let len = extent.bytes().min(taken) as usize;
        let room = self.scratch.room(len);
        if let Err(error) = self.slot.unit.read(extent.offset(), room) {
            return Err(self.failed("read", error));
        }
        (self.scratch.used, self.scratch.has) = (len, Some(extent.bytes()));
        Ok(())
    }

    /// Changes the unit, beside other changes but never beside a COMPARE AND WRITE.
    fn change(
        &self,
        durability: Durability,
        change: impl FnOnce(&dyn LogicalUnit) -> Result<(), MediumError>,
    ) -> Result<(), Sense> {
        let shared = self.slot.exclusion.read().unwrap_or_else(PoisonError::into_inner);
        change(&*self.slot.unit).map_err(|error| self.failed("write", error))?;
        drop(shared);
        self.settle(durability)
    }

    fn settle(&self, durability: Durability) -> Result<(), Sense> {
        match durability {
            Durability::Cached => Ok(()),
            Durability::BeforeStatus => self.slot.unit.flush().map_err(|error| self.failed("flush", error)),
        }
    }

    /// When changes without a FUA bit must be durable.
    fn by_cache(&self) -> Durability {
        match self.unit.cache {
            WriteCache::Back => Durability::Cached,
            WriteCache::Through => Durability::BeforeStatus,
        }
    }

    /// In steps, so that a long range needs little memory. INFORMATION is the offset of the first difference in the data.
    fn verify(&mut self, extent: Extent, compare: Compare) -> Result<(), Sense> {
        let mut done = 0;
        while done < extent.bytes() {
            let len = (extent.bytes() - done).min(CHUNK as u64);
            let room = self.scratch.room(len as usize);
            if let Err(error) = self.slot.unit.read(extent.offset() + done, room) {
                return Err(self.failed("verify", error));
            }
            let sent = &self.work.command.data;
            let differs = match compare {
                Compare::Medium => None,
                Compare::Data => first_difference(room, &sent[done as usize..]),
                Compare::OneBlock => {
                    room.chunks(BLOCK as usize).find_map(|block| first_difference(block, sent))
                }
            };
            if let Some(at) = differs {
                return Err(Sense::MISCOMPARE_DURING_VERIFY.at(done + at as u64));
            }
            done += len;
        }
        Ok(())
    }

    /// SBC-3 section 5.2: nothing else changes the unit between the comparison and the write.
    fn compare_and_write(&mut self, extent: Extent, durability: Durability) -> Result<(), Sense> {
        let exclusion = Arc::clone(&self.slot.exclusion);
        let alone = exclusion.write().unwrap_or_else(PoisonError::into_inner);
        self.verify(extent, Compare::Data)?;
        let new = &self.data(extent.bytes() * 2)[extent.bytes() as usize..];
        self.slot.unit.write(extent.offset(), new).map_err(|error| self.failed("write", error))?;
        drop(alone);
        self.settle(durability)
    }

    /// Zeroes are released where that is allowed, anything else is written.
    fn write_same(&self, extent: Extent, pattern: Pattern, release: Release) -> Result<(), Sense> {
        let (offset, len) = (extent.offset(), extent.bytes());
        let block = match pattern {
            Pattern::Sent => self.data(BLOCK),
            Pattern::Zeroes => &[],
        };
        let zeroes = block.iter().all(|byte| *byte == 0);
        self.change(self.by_cache(), |unit| match (zeroes, release) {
            (true, Release::Allowed) => unit.unmap(offset, len),
            (true, Release::No) => unit.write_zeroes(offset, len),
            (false, _) => repeat(unit, extent, block),
        })
    }

    fn unmap(&self, list: usize) -> Result<(), Sense> {
        let extents = provision::parse_unmap(self.data(list as u64), self.unit)?;
        if extents.is_empty() {
            return Ok(());
        }
        self.change(self.by_cache(), |unit| {
            extents
                .iter()
                .filter(|extent| extent.blocks > 0)
                .try_for_each(|e| unit.unmap(e.offset(), e.bytes()))
        })
    }

    fn lba_status(&mut self, extent: Extent, allocation: usize) -> Result<(), Sense> {
        let runs = match self.slot.unit.mapped(extent.offset(), extent.bytes()) {
            Ok(runs) => runs,
            Err(error) => return Err(self.failed("lba status", error)),
        };
        let runs: Vec<StatusRun> = runs
            .iter()
            .map(|run| StatusRun {
                offset: run.offset,
                len: run.len,
                status: if run.mapped { Provisioning::Mapped } else { Provisioning::Deallocated },
            })
            .collect();
        self.reply(&provision::lba_status(&runs, allocation))
    }

    fn request_sense(&mut self, format: SenseFormat, allocation: usize) -> Result<(), Sense> {
        let attention = {
            let mut state = self.session.state();
            let attentions =
                state.nexus.as_mut().and_then(|nexus| nexus.attentions.get_mut(&self.slot.number));
            attentions.and_then(|attentions| attentions.take())
        };
        let mut bytes = attention.unwrap_or(Sense::NONE).encode(format);
        bytes.truncate(allocation);
        self.reply(&bytes)
    }

    fn mode_select(&self, list: usize, header: mode::Header) -> Result<(), Sense> {
        let state = mode::select(self.data(list as u64), header, self.unit)?;
        if state != self.slot.mode() {
            self.slot.set_mode(state);
            self.target.post_to_others(self.session, self.slot.number, Sense::MODE_PARAMETERS_CHANGED);
        }
        Ok(())
    }

    /// The sense for a failure of the unit. What happened below is for the log, not for the initiator.
    fn failed(&self, operation: &'static str, error: MediumError) -> Sense {
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        let (lun, session) = (self.slot.number, self.session.id);
        tracing::warn!(session, lun, operation, %error, cause, "a logical unit failed a command");
        match (&error, operation) {
            (MediumError::NoSpace, _) => Sense::SPACE_ALLOCATION_FAILED,
            (MediumError::ReadOnly, _) => Sense::WRITE_PROTECTED,
            (MediumError::OutOfRange, _) => Sense::LBA_OUT_OF_RANGE,
            (MediumError::Io(_), "read" | "verify" | "lba status") => Sense::UNRECOVERED_READ_ERROR,
            (MediumError::Io(_), _) => Sense::WRITE_ERROR,
        }
    }
}

fn first_difference(on_medium: &[u8], sent: &[u8]) -> Option<usize> {
    let len = on_medium.len().min(sent.len());
    if on_medium[..len] == sent[..len] {
        return None;
    }
    on_medium.iter().zip(sent).position(|(a, b)| a != b)
}

/// Writes one block over and over, in steps.
fn repeat(unit: &dyn LogicalUnit, extent: Extent, block: &[u8]) -> Result<(), MediumError> {
    let chunk = block.repeat((extent.bytes().min(CHUNK as u64) as usize / block.len()).max(1));
    let mut done = 0;
    while done < extent.bytes() {
        let len = (extent.bytes() - done).min(chunk.len() as u64);
        unit.write(extent.offset() + done, &chunk[..len as usize])?;
        done += len;
    }
    Ok(())
}

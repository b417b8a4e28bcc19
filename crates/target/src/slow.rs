//! Carrying plans out by calls that may block, on a worker: everything but reads and writes of what the direct door knows.
//!
//! What always holds: a unit that panics fails its command and nothing else; buffers come from the shard and go back there.

use crate::common::Common;
use crate::copy::Entry;
use crate::limits::CHUNK;
use crate::message::{Aftermath, Message};
use crate::outcome::Outcome;
use crate::slot::{LunMap, Slot, Viewpoint};
use crate::unit::{LogicalUnit, MediumError, Space};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use umbra_ring::Buf;
use umbra_scsi::copy::{ListId, Operations};
use umbra_scsi::provision::{self, Provisioning, StatusRun};
use umbra_scsi::reservation::{Known, Nexus, Out};
use umbra_scsi::threshold::{Resource, Resources, Scope};
use umbra_scsi::topology::Port;
use umbra_scsi::{
    Compare, Durability, Extent as Blocks, Pattern, Plan, Refusal, Release, Sense, WriteCache, limits::BLOCK,
    log,
};

/// A plan for a worker.
pub(crate) struct Job<U: LogicalUnit> {
    pub common: Arc<Common<U>>,
    pub slot: Arc<Slot<U>>,
    pub plan: Plan,
    pub cache: WriteCache,
    pub ports: Arc<[Port]>,
    pub through: u16,
    pub viewer: Option<Viewer<U>>,
    /// Data that was sent, or room for data that is read.
    pub buf: Option<Buf>,
    /// Of the shard, in the unit's exclusion.
    pub stripe: usize,
    pub session: u64,
}

/// Whose command it is, for those that look beyond their own unit.
pub(crate) struct Viewer<U> {
    pub nexus: Nexus,
    pub luns: Arc<LunMap<U>>,
    pub copies: Arc<Mutex<Operations>>,
    /// Nobody wants to hear how the command ends: a copy stops where it is.
    pub given_up: Arc<AtomicBool>,
}

impl<U> Viewer<U> {
    /// The entry of a copy of this command.
    pub fn entry(&self, id: Option<ListId>) -> Entry<'_> {
        Entry { id, copies: &self.copies, given_up: &self.given_up }
    }
}

/// Carries a plan out.
pub(crate) fn run<U: LogicalUnit>(mut job: Job<U>) -> Message<U> {
    let mut buf = job.buf.take();
    let format = job.slot.state.mode().sense_format;
    if let Plan::PersistentReserveOut(out) = job.plan {
        let sent = buf.take();
        return match (Run { job: &job }).reserve(&out, sent.as_deref().unwrap_or_default()) {
            Ok(aftermath) => Message::Changed { aftermath },
            Err(refusal) => Message::Called { outcome: Outcome::refused(refusal, format), buf: None },
        };
    }
    let attempt = AssertUnwindSafe(|| Run { job: &job }.carry_out(&mut buf));
    let outcome = catch_unwind(attempt).unwrap_or_else(|_| {
        tracing::error!(session = job.session, lun = job.slot.number, "a logical unit panicked");
        Err(Sense::INTERNAL_TARGET_FAILURE)
    });
    Message::Called { outcome: outcome.unwrap_or_else(|sense| Outcome::check(sense, format)), buf }
}

/// Flushes a unit.
pub(crate) fn flush<U: LogicalUnit>(slot: &Slot<U>) -> Outcome {
    let flushed = catch_unwind(AssertUnwindSafe(|| slot.unit.flush()));
    let sense = match flushed {
        Ok(Ok(())) => return Outcome::good(),
        Ok(Err(error)) => failed(slot, 0, "flush", &error),
        Err(_) => {
            tracing::error!(lun = slot.number, "a logical unit panicked");
            Sense::INTERNAL_TARGET_FAILURE
        }
    };
    Outcome::check(sense, slot.state.mode().sense_format)
}

/// One plan on its way.
pub(crate) struct Run<'a, U: LogicalUnit> {
    pub job: &'a Job<U>,
}

impl<U: LogicalUnit> Run<'_, U> {
    pub(crate) fn unit(&self) -> &U {
        &self.job.slot.unit
    }

    fn carry_out(&self, buf: &mut Option<Buf>) -> Result<Outcome, Sense> {
        match self.job.plan {
            Plan::Read(blocks) => return self.read(blocks, buf),
            Plan::ReadMedium(blocks) => {
                self.settle(Durability::BeforeStatus)?;
                return self.read(blocks, buf);
            }
            _ => {}
        }
        let sent = buf.take();
        let sent = sent.as_deref().unwrap_or_default();
        let done = match self.job.plan {
            Plan::Write { extent, durability } => self.write(extent, durability, sent),
            Plan::Verify { extent, compare } => self.verify(extent, compare, sent),
            Plan::WriteVerify { extent, compare } => self
                .write(extent, Durability::BeforeStatus, sent)
                .and_then(|()| self.verify(extent, compare, sent)),
            Plan::CompareAndWrite { extent, durability } => self.compare_and_write(extent, durability, sent),
            Plan::WriteSame { extent, pattern, release } => self.write_same(extent, pattern, release, sent),
            Plan::Unmap { list } => self.unmap(part(sent, 0, list as u64)?),
            Plan::LbaStatus { extent, allocation } => return self.lba_status(extent, allocation),
            Plan::WriteAtomic { extent, durability } => {
                let data = part(sent, 0, extent.bytes())?;
                self.change(durability, |unit| unit.write_atomic(extent.offset(), data))
            }
            Plan::OrWrite { extent, durability } => self.or_write(extent, durability, sent),
            Plan::LogSense(wanted) => return self.log_sense(wanted),
            Plan::ExtendedCopy { form, list } => self.extended_copy(form, part(sent, 0, list as u64)?),
            Plan::PopulateToken { id, list } => self.populate_token(id, part(sent, 0, list as u64)?),
            Plan::WriteUsingToken { id, list } => self.write_using_token(id, part(sent, 0, list as u64)?),
            Plan::ReportTokens { allocation } => return self.report_tokens(allocation),
            // What the shard does by itself.
            _ => Err(Sense::INTERNAL_TARGET_FAILURE),
        };
        done.map(|()| Outcome::good())
    }

    fn read(&self, blocks: Blocks, buf: &mut Option<Buf>) -> Result<Outcome, Sense> {
        let Some(buf) = buf else { return Err(Sense::INTERNAL_TARGET_FAILURE) };
        self.unit().read(blocks.offset(), buf.spare_mut()).map_err(|error| self.failed("read", &error))?;
        buf.advance(buf.spare());
        Ok(Outcome { has: Some(blocks.bytes()), ..Outcome::good() })
    }

    fn write(&self, blocks: Blocks, durability: Durability, sent: &[u8]) -> Result<(), Sense> {
        let data = part(sent, 0, blocks.bytes())?;
        self.change(durability, |unit| unit.write(blocks.offset(), data))
    }

    /// Changes the unit, beside other changes but never beside a COMPARE AND WRITE.
    fn change(
        &self,
        durability: Durability,
        change: impl FnOnce(&U) -> Result<(), MediumError>,
    ) -> Result<(), Sense> {
        let inside = self.job.slot.state.exclusion.enter_scoped(self.job.stripe);
        change(self.unit()).map_err(|error| self.failed("write", &error))?;
        drop(inside);
        self.settle(durability)
    }

    /// Lends what the SCSI layer must know of the unit.
    pub(crate) fn with_view<T>(&self, work: impl FnOnce(&umbra_scsi::Unit<'_>) -> T) -> T {
        let job = self.job;
        let viewpoint = Viewpoint::new(&job.ports, job.through, job.cache);
        work(&job.slot.view(&job.common.config, &viewpoint))
    }

    pub(crate) fn viewer(&self) -> Result<&Viewer<U>, Sense> {
        self.job.viewer.as_ref().ok_or(Sense::INTERNAL_TARGET_FAILURE)
    }

    /// Changes the unit's reservations: applied, kept, in force. What it did to others is for the shards.
    fn reserve(&self, out: &Out, list: &[u8]) -> Result<Aftermath, Refusal> {
        let job = self.job;
        let viewer = self.viewer()?;
        let ports: Vec<u16> = job.ports.iter().map(|port| port.relative).collect();
        let known = Known { ports: &ports, initiators: &job.common.initiators() };
        let state = &job.slot.state;
        let no_other_change = state.changing();
        let before = state.reservations().clone();
        let done = before.apply(out, list.get(..out.list).unwrap_or(list), &viewer.nexus, &known)?;
        let kept = (before.persists(), done.state.persists());
        if kept != (false, false)
            && let Err(error) = job.common.keep(state.uuid, &done.state)
        {
            tracing::error!(session = job.session, lun = job.slot.number, %error, "reservations cannot be kept");
            return Err(Sense::INSUFFICIENT_REGISTRATION_RESOURCES.into());
        }
        state.install(done.state);
        drop(no_other_change);
        let (attentions, abort) = (done.attentions, done.abort);
        if !abort.is_empty() {
            // Copies into the unit, which came to other LUNs of those that were preempted, are no tasks of this one: the
            // step that each is in ends first, and the next finds out.
            drop(state.exclusion.alone());
        }
        Ok(Aftermath { unit: state.uuid, attentions, abort, asker: job.session, tag: 0 })
    }

    pub(crate) fn settle(&self, durability: Durability) -> Result<(), Sense> {
        match durability {
            Durability::Cached => Ok(()),
            Durability::BeforeStatus => self.unit().flush().map_err(|error| self.failed("flush", &error)),
        }
    }

    /// When changes without a FUA bit must be durable.
    pub(crate) fn by_cache(&self) -> Durability {
        match self.job.cache {
            WriteCache::Back => Durability::Cached,
            WriteCache::Through => Durability::BeforeStatus,
        }
    }

    /// In steps, so that a long range needs little memory. INFORMATION is the offset of the first difference in the data.
    fn verify(&self, blocks: Blocks, compare: Compare, sent: &[u8]) -> Result<(), Sense> {
        let mut done = 0;
        while done < blocks.bytes() {
            let len = (blocks.bytes() - done).min(CHUNK as u64);
            let expected = match compare {
                Compare::Medium => None,
                Compare::Data => Some(part(sent, done, len)?),
                Compare::OneBlock => Some(part(sent, 0, BLOCK)?),
            };
            let differs = with_scratch(len as usize, |found| {
                self.unit().read(blocks.offset() + done, found).map_err(|e| self.failed("verify", &e))?;
                Ok(expected.and_then(|expected| first_difference(found, expected)))
            })?;
            if let Some(at) = differs {
                return Err(Sense::MISCOMPARE_DURING_VERIFY.at(done + at as u64));
            }
            done += len;
        }
        Ok(())
    }

    /// SBC-3 section 5.2: nothing else changes the unit between the comparison and the write.
    fn compare_and_write(&self, blocks: Blocks, durability: Durability, sent: &[u8]) -> Result<(), Sense> {
        let new = part(sent, blocks.bytes(), blocks.bytes())?;
        let alone = self.job.slot.state.exclusion.alone();
        self.verify(blocks, Compare::Data, sent)?;
        // All of it or nothing, so that power cannot tear what others take for a lock.
        self.unit().write_atomic(blocks.offset(), new).map_err(|error| self.failed("write", &error))?;
        drop(alone);
        self.settle(durability)
    }

    /// Zeroes are released where that is allowed, anything else is written.
    fn write_same(
        &self,
        blocks: Blocks,
        pattern: Pattern,
        release: Release,
        sent: &[u8],
    ) -> Result<(), Sense> {
        let (offset, len) = (blocks.offset(), blocks.bytes());
        let block = match pattern {
            Pattern::Sent => part(sent, 0, BLOCK)?,
            Pattern::Zeroes => &[],
        };
        let zeroes = block.iter().all(|byte| *byte == 0);
        self.change(self.by_cache(), |unit| match (zeroes, release) {
            (true, Release::Allowed) => unit.unmap(offset, len),
            (true, Release::No) => unit.write_zeroes(offset, len),
            (false, _) => repeat(unit, blocks, block),
        })
    }

    fn unmap(&self, list: &[u8]) -> Result<(), Sense> {
        let all = self.with_view(|view| provision::parse_unmap(list, view))?;
        if all.is_empty() {
            return Ok(());
        }
        let real = |blocks: &&Blocks| blocks.blocks > 0;
        self.change(self.by_cache(), |unit| {
            all.iter().filter(real).try_for_each(|blocks| unit.unmap(blocks.offset(), blocks.bytes()))
        })
    }

    /// SBC-3 section 5.5: reading and writing are one step.
    fn or_write(&self, blocks: Blocks, durability: Durability, sent: &[u8]) -> Result<(), Sense> {
        let bits = part(sent, 0, blocks.bytes())?;
        let alone = self.job.slot.state.exclusion.alone();
        with_scratch(bits.len(), |bytes| {
            self.unit().read(blocks.offset(), bytes).map_err(|error| self.failed("read", &error))?;
            bytes.iter_mut().zip(bits).for_each(|(byte, bit)| *byte |= bit);
            self.unit().write(blocks.offset(), bytes).map_err(|error| self.failed("write", &error))
        })?;
        drop(alone);
        self.settle(durability)
    }

    fn log_sense(&self, wanted: log::Wanted) -> Result<Outcome, Sense> {
        wanted.page(&resources(self.unit().space())).map(Outcome::reply)
    }

    fn lba_status(&self, blocks: Blocks, allocation: usize) -> Result<Outcome, Sense> {
        let runs = self.unit().mapped(blocks.offset(), blocks.bytes());
        let runs = runs.map_err(|error| self.failed("lba status", &error))?;
        let status = |mapped| if mapped { Provisioning::Mapped } else { Provisioning::Deallocated };
        let runs: Vec<StatusRun> = runs
            .iter()
            .map(|run| StatusRun { offset: run.offset, len: run.len, status: status(run.mapped) })
            .collect();
        Ok(Outcome::reply(provision::lba_status(&runs, allocation)))
    }

    pub(crate) fn failed(&self, operation: &'static str, error: &MediumError) -> Sense {
        failed(&self.job.slot, self.job.session, operation, error)
    }
}

/// The sense for a failure of the unit. What happened below is for the log, not for the initiator.
fn failed<U>(slot: &Slot<U>, session: u64, operation: &'static str, error: &MediumError) -> Sense {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::warn!(session, lun = slot.number, operation, %error, cause, "a logical unit failed a command");
    match (error, operation) {
        (MediumError::NoSpace, _) => Sense::SPACE_ALLOCATION_FAILED,
        (MediumError::ReadOnly, _) => Sense::WRITE_PROTECTED,
        (MediumError::OutOfRange, _) => Sense::LBA_OUT_OF_RANGE,
        (MediumError::Io(_), "read" | "verify" | "lba status") => Sense::UNRECOVERED_READ_ERROR,
        (MediumError::Io(_), _) => Sense::WRITE_ERROR,
    }
}

/// What a unit that does not know its space has: all there is, of nothing.
pub(crate) fn resources(space: Option<Space>) -> Resources {
    let space = space.unwrap_or(Space { available: u64::MAX, used: 0 });
    Resources {
        available: Resource { bytes: space.available, scope: Scope::Shared },
        used: Resource { bytes: space.used, scope: Scope::Dedicated },
    }
}

/// A part of what was sent; [`Plan::with_data`] saw that it is there.
fn part(sent: &[u8], at: u64, len: u64) -> Result<&[u8], Sense> {
    sent.get(at as usize..(at + len) as usize).ok_or(Sense::INTERNAL_TARGET_FAILURE)
}

fn first_difference(on_medium: &[u8], sent: &[u8]) -> Option<usize> {
    if on_medium == sent {
        return None;
    }
    // One block stands for every block.
    on_medium.iter().zip(sent.iter().cycle()).position(|(a, b)| a != b)
}

/// Writes one block over and over, in steps.
fn repeat<U: LogicalUnit>(unit: &U, blocks: Blocks, block: &[u8]) -> Result<(), MediumError> {
    let chunk = block.repeat((blocks.bytes().min(CHUNK as u64) as usize / block.len()).max(1));
    let mut done = 0;
    while done < blocks.bytes() {
        let len = (blocks.bytes() - done).min(chunk.len() as u64);
        unit.write(blocks.offset() + done, &chunk[..len as usize])?;
        done += len;
    }
    Ok(())
}

/// Lends this worker's buffer.
pub(crate) fn with_scratch<T>(len: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
    thread_local!(static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.len() < len {
            scratch.resize(len, 0);
        }
        work(&mut scratch[..len])
    })
}

//! A command on its way to its unit: whose turn it is, what the SCSI layer makes of it, and by which door it goes.
//!
//! What always holds: an ordered command waits for all before it, and all after it wait for it, from the moment that its header
//! has come (SAM-5 section 8.6); a command that waits for memory keeps its place; what can be done here and now is answered without ever becoming a task.

use super::{Kind, Server, connection::Queued, task::Task, task::Work, token};
use crate::limits::{CALLS_PER_SESSION, COMMAND_OPERATIONS, OPERATIONS, SOCKET_OPERATIONS};
use crate::outcome::Outcome;
use crate::slot::{Slot, Viewpoint, lock};
use crate::slow::{self, Job, Viewer};
use crate::unit::LogicalUnit;
use std::sync::{Arc, Mutex};
use umbra_iscsi::pdu::request::task_attribute::{HEAD_OF_QUEUE, ORDERED};
use umbra_iscsi::target::Command;
use umbra_ring::{Buf, NoBuffer};
use umbra_scsi::copy::Operations;
use umbra_scsi::limits::BLOCK;
use umbra_scsi::{
    Durability, Extent as Blocks, Plan, Refusal, Sense, SenseFormat, WriteCache, admit, mode, plan, status,
};

/// Why a command does not begin yet.
enum NotYet {
    /// There is no memory for what it reads, or no room on the ring.
    Memory(Queued),
    /// Too many of its session change their units slowly.
    Worker(Queued),
}

/// A command whose unit is known.
struct Addressed<U> {
    c: usize,
    command: Command,
    data: Option<Buf>,
    slot: Arc<Slot<U>>,
    format: SenseFormat,
    cache: WriteCache,
    /// Bytes that it takes from the initiator.
    takes: Option<u64>,
    /// It may touch other LUNs than its own.
    copies: bool,
}

impl<U: LogicalUnit> Server<U> {
    /// Puts a command in line.
    pub(super) fn enqueue(&mut self, c: usize, command: Command, data: Option<Buf>) {
        let queue = &mut self.conns[c].queue;
        match command.attribute {
            HEAD_OF_QUEUE => queue.push_front(Queued { command, data }),
            _ => queue.push_back(Queued { command, data }),
        }
        self.start_commands(c);
    }

    /// Begins every command whose turn it is.
    pub(super) fn start_commands(&mut self, c: usize) {
        if let Some(conn) = self.conns.get_mut(c)
            && !std::mem::replace(&mut conn.starting, true)
        {
            self.start_all(c);
            self.conns[c].starting = false;
        }
    }

    fn start_all(&mut self, c: usize) {
        while let Some(queued) = self.next_command(c) {
            match self.begin(c, queued) {
                Ok(()) => {}
                // An ordered command and those before it would wait for memory that those behind it have.
                Err(NotYet::Memory(queued)) if self.conns[c].core.has_ordered() => {
                    self.answer(c, queued.command.tag, Outcome::status(status::TASK_SET_FULL), None);
                }
                Err(NotYet::Memory(queued)) => {
                    let holds_memory = queued.data.is_some();
                    self.conns[c].queue.push_front(queued);
                    self.starve(c);
                    if holds_memory {
                        return;
                    }
                }
                Err(NotYet::Worker(queued)) => self.conns[c].waiting.push_back(queued),
            }
        }
    }

    /// The command whose turn it is. One that waited for a worker comes before those after it. Where memory is waited for,
    /// those that hold some come first, as nobody else gives any back.
    fn next_command(&mut self, c: usize) -> Option<Queued> {
        if self.is_clogged(c) {
            return None;
        }
        let conn = self.conns.get_mut(c).filter(|conn| conn.core.closed().is_none())?;
        if conn.calls < CALLS_PER_SESSION && !conn.waiting.is_empty() {
            return conn.waiting.pop_front();
        }
        if conn.ordered {
            return None;
        }
        if conn.starved && !conn.core.has_ordered() {
            let at = conn.queue.iter().position(|queued| queued.data.is_some())?;
            return conn.queue.remove(at);
        }
        if !conn.core.has_ordered() {
            return conn.queue.pop_front();
        }
        // The line is that of complete commands; their order is that of their headers.
        let alone = conn.running == 0 && conn.waiting.is_empty();
        let at = conn.queue.iter().position(|Queued { command, .. }| {
            (alone || command.attribute != ORDERED) && conn.core.may_begin(command.tag)
        });
        conn.queue.remove(at?)
    }

    /// Begins a command, or gives it back.
    fn begin(&mut self, c: usize, Queued { command, data }: Queued) -> Result<(), NotYet> {
        let Some(nexus) = self.conns[c].nexus.as_mut() else { return Ok(()) };
        let number = command.lun.number();
        let cache = nexus.cache;
        let Some(slot) = number.and_then(|number| nexus.luns.get(&number)).cloned() else {
            self.answer_for_nobody(c, &command);
            return Ok(());
        };
        let format = slot.state.mode().sense_format;
        let attentions = nexus.attentions.entry(slot.number).or_default();
        let admitted = match slot.state.reserved() {
            Some(reservations) => admit(&command.cdb, attentions, &reservations, &nexus.scsi),
            None => attentions.interrupt(command.cdb[0]).map_or(Ok(()), |told| Err(Refusal::Check(told))),
        };
        if let Err(refusal) = admitted {
            self.answer(c, command.tag, Outcome::refused(refusal, format), None);
            return Ok(());
        }
        let conn = &self.conns[c];
        let viewpoint = Viewpoint::new(&conn.ports, conn.portal.group, cache);
        let view = slot.view(&self.common.config, &viewpoint);
        let mut takes = None;
        let sent = data.as_ref().map_or(0, |data| data.len() as u64);
        let planned = plan(&command.cdb, &view).and_then(|plan| {
            takes = Some(plan.data_out());
            plan.with_data(sent)
        });
        let copies = matches!(planned, Ok(Plan::ExtendedCopy { .. } | Plan::WriteUsingToken { .. }));
        let at = Addressed { c, command, data, slot, format, cache, takes, copies };
        match planned {
            Ok(plan) => self.carry_out(at, plan),
            Err(sense) => {
                self.answer(c, at.command.tag, Outcome::check(sense, format).taking(takes), None);
                Ok(())
            }
        }
    }

    fn carry_out(&mut self, at: Addressed<U>, plan: Plan) -> Result<(), NotYet> {
        let outcome = match plan {
            Plan::Read(blocks) | Plan::ReadMedium(blocks) => return self.read(at, plan, blocks),
            Plan::Write { extent, durability } => return self.write(at, extent, durability),
            Plan::Flush => {
                self.flush_for(at);
                return Ok(());
            }
            Plan::Good => Outcome::good(),
            Plan::Reply(bytes) => Outcome::reply(bytes),
            Plan::RequestSense { format, allocation } => self.request_sense(&at, format, allocation),
            Plan::ReportLuns { select, allocation } => {
                Outcome::reply(self.report_luns(at.c, select, allocation))
            }
            Plan::ModeSelect { list, header } => self.mode_select(&at, list, header),
            Plan::Prefetch(_) => Outcome::good(),
            Plan::PersistentReserveIn { report, allocation } => {
                Outcome::reply(at.slot.state.reservations().report(report, allocation))
            }
            Plan::LegacyReservation(action) => self.reserve_legacy(at.c, &at.slot, action, at.format),
            Plan::CopyAbort(id) => match lock(&self.copies(&at)).abort(id) {
                Ok(()) => Outcome::good(),
                Err(sense) => Outcome::check(sense, at.format),
            },
            Plan::CopyResults { wanted, id, allocation } => {
                match lock(&self.copies(&at)).receive(wanted, id, at.format, allocation) {
                    Ok(bytes) => Outcome::reply(bytes),
                    Err(sense) => Outcome::check(sense, at.format),
                }
            }
            Plan::Verify { .. }
            | Plan::LbaStatus { .. }
            | Plan::LogSense(_)
            | Plan::ReportTokens { .. }
            | Plan::PersistentReserveOut(_) => {
                self.call(at, plan, Work::Elsewhere);
                return Ok(());
            }
            plan => return self.change(at, plan),
        };
        self.answer(at.c, at.command.tag, outcome.taking(at.takes), None);
        Ok(())
    }

    /// The copies of a nexus at a unit.
    fn copies(&mut self, at: &Addressed<U>) -> Arc<Mutex<Operations>> {
        let nexus = self.conns[at.c].nexus.as_mut();
        nexus.map_or_else(Arc::default, |nexus| nexus.copies.entry(at.slot.number).or_default().clone())
    }

    fn request_sense(&mut self, at: &Addressed<U>, format: SenseFormat, allocation: usize) -> Outcome {
        let nexus = self.conns[at.c].nexus.as_mut();
        let attentions = nexus.and_then(|nexus| nexus.attentions.get_mut(&at.slot.number));
        let attention = attentions.and_then(|attentions| attentions.take());
        let mut bytes = attention.unwrap_or(Sense::NONE).encode(format);
        bytes.truncate(allocation);
        Outcome::reply(bytes)
    }

    fn mode_select(&mut self, at: &Addressed<U>, list: usize, header: mode::Header) -> Outcome {
        let conn = &self.conns[at.c];
        let viewpoint = Viewpoint::new(&conn.ports, conn.portal.group, at.cache);
        let view = at.slot.view(&self.common.config, &viewpoint);
        let data = at.data.as_deref().unwrap_or_default();
        match mode::select(&data[..list.min(data.len())], header, &view) {
            Ok(mode) if mode == at.slot.state.mode() => Outcome::good(),
            Ok(mode) => {
                at.slot.state.set_mode(mode);
                self.tell_others(at.c, &at.slot, Sense::MODE_PARAMETERS_CHANGED);
                Outcome::good()
            }
            Err(sense) => Outcome::check(sense, at.format),
        }
    }

    /// Reads no more than the initiator takes.
    fn read(&mut self, at: Addressed<U>, plan: Plan, blocks: Blocks) -> Result<(), NotYet> {
        let asked = u64::from(at.command.read_length).next_multiple_of(BLOCK);
        let len = blocks.bytes().min(asked);
        if len == 0 {
            let outcome = Outcome { has: Some(blocks.bytes()), ..Outcome::good() };
            self.answer(at.c, at.command.tag, outcome.taking(at.takes), None);
            return Ok(());
        }
        let room = self.has_operations().then(|| self.buffer(at.c, len as usize));
        let Some(Ok(mut buf)) = room else {
            return Err(NotYet::Memory(Queued { command: at.command, data: at.data }));
        };
        self.extents.clear();
        // Whether anything is unflushed is not known here; few reads ask for the medium, and a flush of nothing is short.
        let direct = matches!(plan, Plan::Read(_))
            .then(|| at.slot.unit.direct_read(blocks.offset(), len, &mut self.extents));
        let Some(ticket) = direct.flatten() else {
            self.call(Addressed { data: Some(buf), ..at }, plan, Work::Elsewhere);
            return Ok(());
        };
        if self.read_now(&at.slot, &mut buf) {
            let outcome = match at.slot.unit.finish(ticket, true) {
                Ok(()) => Outcome { has: Some(blocks.bytes()), ..Outcome::good() },
                Err(_) => Outcome::check(Sense::UNRECOVERED_READ_ERROR, at.format),
            };
            self.answer(at.c, at.command.tag, outcome.taking(at.takes), Some(buf));
            return Ok(());
        }
        let t = self.add(at, Work::Read { ticket, has: blocks.bytes() });
        self.read_pieces(t, buf);
        Ok(())
    }

    fn write(&mut self, mut at: Addressed<U>, blocks: Blocks, durability: Durability) -> Result<(), NotYet> {
        let (offset, len) = (blocks.offset(), blocks.bytes());
        let Some(mut data) = at.data.take().filter(|_| len > 0) else {
            self.answer(at.c, at.command.tag, Outcome::good().taking(at.takes), None);
            return Ok(());
        };
        if !self.has_operations() {
            return Err(NotYet::Memory(Queued { command: at.command, data: Some(data) }));
        }
        // Nobody may change a unit beside a COMPARE AND WRITE.
        if let Some(inside) = at.slot.state.exclusion.try_enter(self.number) {
            self.extents.clear();
            match at.slot.unit.direct_write(offset, len, &mut self.extents) {
                Some(ticket) if self.write_now(&at.slot, &data[..len as usize]) => {
                    let finished = at.slot.unit.finish(ticket, true);
                    at.slot.state.exclusion.leave(inside);
                    if finished.is_ok() {
                        drop(data);
                        self.written(at, durability);
                        return Ok(());
                    }
                    // The other door waits for room, or says what is wrong.
                }
                Some(ticket) => {
                    data.truncate(len as usize);
                    let t = self.add(at, Work::Write { ticket, inside, blocks, durability });
                    self.write_pieces(t, data);
                    return Ok(());
                }
                None => at.slot.state.exclusion.leave(inside),
            }
        }
        self.change(Addressed { data: Some(data), ..at }, Plan::Write { extent: blocks, durability })
    }

    /// A write is done here and now.
    fn written(&mut self, at: Addressed<U>, durability: Durability) {
        if durability == Durability::Cached {
            return self.answer(at.c, at.command.tag, Outcome::good().taking(at.takes), None);
        }
        let t = self.add(at, Work::Elsewhere);
        self.make_durable(t, Outcome::good());
    }

    /// Whether the ring has room for a command beside the sockets', which find room always.
    fn has_operations(&mut self) -> bool {
        let most = OPERATIONS as usize - SOCKET_OPERATIONS;
        let has = self.shard.in_flight() + COMMAND_OPERATIONS <= most;
        self.exhausted |= !has;
        has
    }

    /// A buffer for data of a session's command.
    pub(super) fn buffer(&mut self, c: usize, len: usize) -> Result<Buf, NoBuffer> {
        let account = self.conns[c].nexus.as_ref().map(|nexus| &nexus.account);
        let buffer = match account {
            Some(account) => self.shard.buffer_for(account, len),
            None => self.shard.buffer(len),
        };
        self.exhausted |= buffer.as_ref().is_err_and(|none| !none.over_share);
        buffer
    }

    /// Has a worker carry a change out, if not too many of this session are under way.
    fn change(&mut self, at: Addressed<U>, plan: Plan) -> Result<(), NotYet> {
        if self.conns[at.c].calls >= CALLS_PER_SESSION {
            return Err(NotYet::Worker(Queued { command: at.command, data: at.data }));
        }
        self.conns[at.c].calls += 1;
        self.call(at, plan, Work::Changing);
        Ok(())
    }

    /// Has a worker carry a plan out.
    fn call(&mut self, mut at: Addressed<U>, plan: Plan, work: Work<U::Ticket>) {
        let (buf, cache) = (at.data.take(), at.cache);
        let t = self.add(at, work);
        self.call_for(t, plan, buf, cache);
    }

    /// The same for a task that is there already.
    pub(super) fn call_for(&mut self, t: usize, plan: Plan, buf: Option<Buf>, cache: WriteCache) {
        let task = &self.tasks[t];
        let conn = &mut self.conns[task.conn];
        let viewer = conn.nexus.as_mut().map(|nexus| Viewer {
            nexus: nexus.scsi.clone(),
            luns: nexus.luns.clone(),
            copies: nexus.copies.entry(task.slot.number).or_default().clone(),
            given_up: task.given_up.clone().unwrap_or_default(),
        });
        let job = Job {
            common: self.common.clone(),
            slot: task.slot.clone(),
            plan,
            cache,
            ports: conn.ports.clone(),
            through: conn.portal.group,
            viewer,
            buf,
            stripe: self.number,
            session: conn.id,
        };
        let token = token(Kind::Call, t, 0);
        let long = matches!(
            job.plan,
            Plan::Read(_)
                | Plan::ReadMedium(_)
                | Plan::Verify { .. }
                | Plan::LbaStatus { .. }
                | Plan::PersistentReserveOut(_)
        );
        match task.work {
            Work::Elsewhere if long => {
                self.shard.call_by(&self.common.readers, token, move || slow::run(job))
            }
            Work::Elsewhere => self.shard.call(token, move || slow::run(job)),
            _ => self.shard.call_by(&self.common.changers, token, move || slow::run(job)),
        }
    }

    fn flush_for(&mut self, at: Addressed<U>) {
        let t = self.add(at, Work::Elsewhere);
        self.make_durable(t, Outcome::good());
    }

    /// Enters a task that runs from now on.
    fn add(&mut self, at: Addressed<U>, work: Work<U::Ticket>) -> usize {
        let conn = &mut self.conns[at.c];
        conn.running += 1;
        let ordered = at.command.attribute == ORDERED;
        conn.ordered |= ordered;
        self.tasks.insert(Task {
            conn: at.c,
            tag: at.command.tag,
            slot: at.slot,
            format: at.format,
            cache: at.cache,
            takes: at.takes,
            ordered,
            copies: at.copies,
            given_up: at.copies.then(Arc::default),
            aborted: false,
            settling: false,
            fences: Vec::new(),
            work,
            pieces: self.spare_pieces.pop().unwrap_or_default(),
            left: 0,
            failed: None,
        })
    }

    /// A connection waits for memory; it is fed in its turn.
    pub(super) fn starve(&mut self, c: usize) {
        if !std::mem::replace(&mut self.conns[c].starved, true) {
            self.starved.push_back(c);
        }
    }

    /// Lets those that wait for memory try again, in order, until there is none at all: who comes later must not take
    /// what the first waits for.
    pub(super) fn feed(&mut self) {
        for _ in 0..self.starved.len() {
            let Some(c) = self.starved.pop_front() else { return };
            let Some(conn) = self.conns.get_mut(c).filter(|conn| conn.starved) else { continue };
            (conn.starved, self.exhausted) = (false, false);
            self.solicit(c);
            self.start_commands(c);
            self.touch(c);
            if self.conns[c].starved && self.exhausted {
                // It stands last now; it was first.
                self.starved.rotate_right(1);
                return;
            }
        }
    }
}

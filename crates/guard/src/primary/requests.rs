//! The service's requests, one by one.

use std::time::Duration;
use umbra_base::{Error, ErrorCode, Instant, Result};
use umbra_sys::clock::boottime_nanos;

use super::{Ending, Primary, Work};
use crate::{
    board::{Fs, UndoState},
    hand::Order,
    protocol::{Reply, Request},
};

impl Primary {
    pub(super) fn request(&mut self, id: u64, request: Request) {
        let result = match request {
            Request::Sync => self.order_sync(id),
            Request::Arm { undo, within_ms } => self.arm(id, &undo, Duration::from_millis(within_ms)),
            Request::Freeze => self.order_freeze(id),
            Request::Attest => self.order_probe(id),
            Request::Thaw => self.order_thaw(id),
            Request::RunUndo { undo } => self.order_undo(id, &undo),
            Request::Finish => {
                self.ending = Some(Ending { id: Some(id), undone: false });
                Ok(())
            }
            Request::Mount { .. } | Request::Undo { .. } | Request::Prepare { .. } => {
                Err(bad_state("is prepared already"))
            }
        };
        if let Err(error) = result {
            self.reply(id, Reply::Failed(error.into()));
        }
    }

    fn order_sync(&mut self, id: u64) -> Result<()> {
        self.begin(id, Order::Sync)
    }

    /// From now on the undo is owed, and run at the latest when `within` is over.
    fn arm(&mut self, id: u64, undo: &str, within: Duration) -> Result<()> {
        self.refuse_spoiled()?;
        let index = self.undo_named(undo)?;
        self.board().narrow_window(now() + within);
        self.board().set_undo(index, UndoState::Live);
        self.reply(id, Reply::Done);
        Ok(())
    }

    fn order_freeze(&mut self, id: u64) -> Result<()> {
        self.refuse_spoiled()?;
        if self.frozen_at.is_some() {
            return Err(bad_state("has frozen once already"));
        }
        if self.released {
            return Err(Error::new(ErrorCode::Cancelled, "the freeze comes after its own thaw"));
        }
        self.refuse_busy()?;
        let now = now();
        self.frozen_at = Some(now);
        self.board().set_hold_until(now + self.hold);
        // On the board before any hand is told: whatever may be frozen stands in the record.
        for index in 0..self.hands.len() {
            self.board().move_fs(index, Fs::Idle, Fs::Freezing);
        }
        self.begin(id, Order::Freeze)
    }

    fn order_probe(&mut self, id: u64) -> Result<()> {
        self.refuse_spoiled()?;
        self.refuse_busy()?;
        for (index, opened) in self.file_systems.iter().enumerate() {
            if !self.record.board.move_fs(index, Fs::Frozen, Fs::Probing) {
                let path = opened.file_system.path.display();
                let text = format!("{path} is not frozen by this guard any more");
                self.spoil(ErrorCode::FreezeNotProven, text.clone());
                return Err(Error::new(ErrorCode::FreezeNotProven, text));
            }
        }
        self.begin(id, Order::Probe)
    }

    /// Answered when every file system is free. From now on the deadlines of the others are over too, so that a hand
    /// that does not obey is overtaken by the twin.
    fn order_thaw(&mut self, id: u64) -> Result<()> {
        if self.frozen_at.is_some() {
            self.board().set_hold_until(now());
            self.thaws.push(id);
            self.end_work();
        } else {
            // A freeze that was given up, and is late, must not come after this.
            self.released = true;
            self.reply(id, Reply::Thawed(crate::Thawed { held_ms: 0, notes: self.notes.clone() }));
        }
        Ok(())
    }

    /// Whoever waits for a freeze or a probe gets to know that the thaw came first.
    fn end_work(&mut self) {
        if let Some(work) = self.work.take_if(|work| work.order != Order::Sync) {
            self.note_stalls();
            let error = Error::new(ErrorCode::Cancelled, format!("{:?} was overtaken by a thaw", work.order));
            self.reply(work.id, Reply::Failed(error.into()));
        }
    }

    fn order_undo(&mut self, id: u64, undo: &str) -> Result<()> {
        let index = self.undo_named(undo)?;
        self.queue.push_back((index, Some(id)));
        Ok(())
    }

    fn begin(&mut self, id: u64, order: Order) -> Result<()> {
        self.refuse_busy()?;
        let left = (0..self.hands.len()).filter(|index| self.hands[*index].alive).collect();
        self.work = Some(Work { id, order, left, failed: None });
        self.hands.iter().for_each(|hand| hand.order(order));
        self.finish_work();
        Ok(())
    }

    fn refuse_busy(&self) -> Result<()> {
        match &self.work {
            Some(work) => Err(bad_state(&format!("is at {:?} still", work.order))),
            None => Ok(()),
        }
    }

    fn refuse_spoiled(&self) -> Result<()> {
        match &self.spoiled {
            Some((code, text)) => Err(Error::new(*code, text.clone())),
            None => Ok(()),
        }
    }

    fn undo_named(&self, name: &str) -> Result<usize> {
        self.record.text.undos.iter().position(|undo| undo.name == name).ok_or_else(|| {
            Error::new(ErrorCode::ObjectNotFound, format!("the guard has no undo command of writer {name:?}"))
        })
    }
}

fn bad_state(what: &str) -> Error {
    Error::new(ErrorCode::BadState, format!("the guard {what}"))
}

fn now() -> Instant {
    Instant::from_nanos(boottime_nanos())
}

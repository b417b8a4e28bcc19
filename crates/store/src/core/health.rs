//! Whether the store works: open, failed, closed; and what a damaged pool does not serve.
//!
//! What always holds: a store that failed once stays read-only until it is opened again (A6, decision 005). Damage that is met
//! stops what needs it and nothing else (decision 008).

use super::{Core, damage::Noted};
use crate::{Mode, hold::lock};
use std::{
    collections::BTreeSet,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};
use umbra_base::{Error, ErrorCode, Result, chain};
use umbra_thin::{ThinError, ThinId};

/// The state, and what can be looked at without its lock.
#[derive(Debug)]
pub(super) struct Health {
    state: Mutex<State>,
    /// Whether `state` is [`State::Open`].
    is_open: AtomicBool,
    /// Devices of a damaged pool whose last acknowledged writes cannot be entered.
    behind: OnceLock<BTreeSet<ThinId>>,
    damage: Noted,
}

#[derive(Debug)]
enum State {
    Open,
    /// Why nothing may be changed any more (A6).
    Failed(String),
    Closed,
}

impl Health {
    pub(super) fn open() -> Self {
        Health {
            state: Mutex::new(State::Open),
            is_open: AtomicBool::new(true),
            behind: OnceLock::new(),
            damage: Noted::default(),
        }
    }
}

impl Core {
    /// Whether everything works; if not, somebody else says why.
    pub(crate) fn is_open(&self) -> bool {
        self.health.is_open.load(SeqCst)
    }

    /// Refuses what needs an open store.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.health.is_open.load(SeqCst) {
            return Ok(());
        }
        match &*lock(&self.health.state) {
            State::Closed => Err(Error::new(ErrorCode::BadState, "the pool is closed")),
            _ => Ok(()),
        }
    }

    /// Refuses what changes something, unless changes are possible.
    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.health.is_open.load(SeqCst) {
            return Ok(());
        }
        match &*lock(&self.health.state) {
            State::Open => Ok(()),
            State::Closed => Err(Error::new(ErrorCode::BadState, "the pool is closed")),
            State::Failed(why) => {
                Err(Error::new(ErrorCode::BadState, format!("the pool is read-only since an error: {why}"))
                    .hint("find out what is wrong with the disk, then restart the array"))
            }
        }
    }

    /// Refuses what comes after a failure; a store that is being closed may still commit.
    pub(super) fn check_not_failed(&self) -> Result<()> {
        match self.trouble() {
            Some(why) => Err(Error::new(ErrorCode::BadState, format!("the pool is read-only: {why}"))),
            None => Ok(()),
        }
    }

    /// From now on nothing is changed (A6). What is in memory is still read.
    pub(crate) fn fail(&self, error: &Error) {
        let mut state = lock(&self.health.state);
        if !matches!(*state, State::Failed(_)) {
            tracing::error!(code = %error.code(), error = error.chain(), "pool is read-only");
            *state = State::Failed(error.chain());
            self.health.is_open.store(false, SeqCst);
        }
        drop(state);
        self.room.wake();
    }

    /// Passes an error of the engine on, and keeps in mind what it says of damage.
    pub(crate) fn met(&self, error: ThinError) -> ThinError {
        if matches!(error, ThinError::Damaged { .. }) {
            self.health.damage.note(&error);
        }
        error
    }

    /// Tells the log of the damage that it was not told of yet. Not to be called under a lock, or while writes are held.
    pub(crate) fn tell_damage(&self) {
        self.health.damage.untold().iter().for_each(|what| tracing::error!(what, "pool.meta is damaged"));
    }

    /// What was found damaged since the opening.
    pub(crate) fn damage(&self) -> Vec<String> {
        self.health.damage.texts()
    }

    /// Read-only from the start, and without the devices that are behind their log.
    pub(crate) fn serve_damaged(&self, behind: BTreeSet<ThinId>, damage: &Error, losses: &[ThinError]) {
        // It is set once, by the opening.
        drop(self.health.behind.set(behind));
        self.fail(damage);
        for loss in losses {
            // One block may be many losses, each of a device's details: here the log has them all.
            self.health.damage.note(loss);
            tracing::error!(what = chain(loss), "pool.meta is damaged");
        }
        drop(self.health.damage.untold());
    }

    /// Refuses a device of which older data than was acknowledged would be read.
    pub(crate) fn check_not_behind(&self, id: ThinId) -> Result<()> {
        match self.health.behind.get().is_some_and(|behind| behind.contains(&id)) {
            false => Ok(()),
            true => Err(Error::new(
                ErrorCode::Corrupt,
                format!("thin device {id}: its last writes are in pool.log, which could not be taken up"),
            )
            .hint("`umbra pool status` says why; `umbra pool check` says whether pool.meta is sound")),
        }
    }

    /// Why nothing may be changed, if that is so.
    pub(crate) fn trouble(&self) -> Option<String> {
        match &*lock(&self.health.state) {
            State::Failed(why) => Some(why.clone()),
            _ => None,
        }
    }

    /// Nothing is changed from here on but by the last commit; refused after a failure.
    pub(crate) fn set_closed(&self) -> Result<()> {
        // Under the engine's lock: what was made before is in the last commit, and nothing is made afterwards.
        let _pool = self.pool_to_change()?;
        let mut state = lock(&self.health.state);
        if let State::Open = *state {
            *state = State::Closed;
            self.health.is_open.store(false, SeqCst);
        }
        drop(state);
        self.check_not_failed()
    }

    pub(crate) fn mode(&self) -> Mode {
        match &*lock(&self.health.state) {
            State::Open => Mode::ReadWrite,
            State::Failed(_) => Mode::ReadOnly,
            State::Closed => Mode::Closed,
        }
    }
}

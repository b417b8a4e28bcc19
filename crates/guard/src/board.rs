//! The board: one shared page on which every process of the guard sees, and changes, the state of each file system and
//! undo command. It is the first page of the record, so what stands on it outlives them all.
//!
//! ```text
//!  Idle --> Freezing --> Frozen <--> Probing      (Freezing, Probing: a hand is inside FIFREEZE)
//!              | \          |           |
//!              |  \         v           v
//!              |   \     Thawing     Recalled --> Thawed   (the hand thaws as soon as FIFREEZE returns)
//!              v    \       |
//!           Refused  \      v
//!                     +-> Thawed
//! ```
//!
//! Every move is a compare-and-swap: whoever moves `Frozen -> Thawing` is the one that calls FITHAW.

use std::sync::atomic::Ordering::SeqCst;
use umbra_base::Instant;
use umbra_sys::sharedpage::SharedPage;

use crate::limits::{FILE_SYSTEMS, UNDOS};

/// What is known of one file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Fs {
    /// Not touched yet.
    Idle = 0,
    /// A hand calls FIFREEZE.
    Freezing = 1,
    /// Frozen by us.
    Frozen = 2,
    /// Frozen by us, and a hand calls FIFREEZE again to see EBUSY.
    Probing = 3,
    /// Inside FIFREEZE, to be thawed as soon as it returns.
    Recalled = 4,
    /// Somebody of ours calls FITHAW.
    Thawing = 5,
    /// Not frozen any more.
    Thawed = 6,
    /// FIFREEZE failed: frozen by somebody else, or not able to. Not ours to thaw.
    Refused = 7,
}

impl Fs {
    const ALL: [Fs; 8] =
        [Fs::Idle, Fs::Freezing, Fs::Frozen, Fs::Probing, Fs::Recalled, Fs::Thawing, Fs::Thawed, Fs::Refused];

    /// Nothing of ours holds it, and nothing will.
    pub(crate) fn is_free(self) -> bool {
        matches!(self, Fs::Idle | Fs::Thawed | Fs::Refused)
    }
}

/// What is known of one undo command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum UndoState {
    /// Its writer was not frozen.
    Idle = 0,
    /// Its writer is, or may be, frozen.
    Live = 1,
    /// It runs.
    Running = 2,
    /// It ran.
    Done = 3,
}

impl UndoState {
    const ALL: [UndoState; 4] = [UndoState::Idle, UndoState::Live, UndoState::Running, UndoState::Done];

    pub(crate) fn is_owed(self) -> bool {
        matches!(self, UndoState::Live | UndoState::Running)
    }
}

// Layout of the page. Version 1; a change of it is a new magic.
const MAGIC: u64 = u64::from_be_bytes(*b"umbguar1");
const AT_MAGIC: usize = 0;
const AT_FILE_SYSTEMS: usize = 8;
const AT_UNDOS: usize = 16;
const AT_TEXT_BYTES: usize = 24;
const AT_HOLD_UNTIL: usize = 32;
const AT_WINDOW_UNTIL: usize = 40;
const AT_FINISHED: usize = 48;
const AT_FS: usize = 256;
const AT_UNDO: usize = AT_FS + FILE_SYSTEMS;
const _: () = assert!(AT_UNDO + UNDOS <= umbra_sys::sharedpage::PAGE);

/// The board. No deadline is written as zero.
#[derive(Debug)]
pub(crate) struct Board {
    page: SharedPage,
}

impl Board {
    /// A new board on a page of zeroes.
    pub(crate) fn create(page: SharedPage, file_systems: usize, undos: usize, text_bytes: usize) -> Board {
        let board = Board { page };
        board.set(AT_FILE_SYSTEMS, file_systems as u64);
        board.set(AT_UNDOS, undos as u64);
        board.set(AT_TEXT_BYTES, text_bytes as u64);
        board.set(AT_MAGIC, MAGIC);
        board
    }

    /// The board that somebody left; `None` if this is none, or of another version.
    pub(crate) fn adopt(page: SharedPage) -> Option<Board> {
        let board = Board { page };
        let sane = board.get(AT_MAGIC) == MAGIC
            && board.get(AT_FILE_SYSTEMS) <= FILE_SYSTEMS as u64
            && board.get(AT_UNDOS) <= UNDOS as u64;
        sane.then_some(board)
    }

    fn get(&self, offset: usize) -> u64 {
        self.page.word(offset).load(SeqCst)
    }

    fn set(&self, offset: usize, value: u64) {
        self.page.word(offset).store(value, SeqCst);
    }

    pub(crate) fn file_systems(&self) -> usize {
        usize::try_from(self.get(AT_FILE_SYSTEMS)).unwrap_or(FILE_SYSTEMS).min(FILE_SYSTEMS)
    }

    pub(crate) fn undos(&self) -> usize {
        usize::try_from(self.get(AT_UNDOS)).unwrap_or(UNDOS).min(UNDOS)
    }

    pub(crate) fn text_bytes(&self) -> u64 {
        self.get(AT_TEXT_BYTES)
    }

    pub(crate) fn fs(&self, index: usize) -> Fs {
        let byte = self.page.byte(AT_FS + index).load(SeqCst);
        // A byte that is no state can only be damage; thawing then is the safe side.
        Fs::ALL.get(usize::from(byte)).copied().unwrap_or(Fs::Recalled)
    }

    /// Moves a file system from one state to another; false if it was in a third.
    pub(crate) fn move_fs(&self, index: usize, from: Fs, to: Fs) -> bool {
        self.page.change(AT_FS + index, from as u8, to as u8)
    }

    /// The end of a thaw, from whatever state.
    pub(crate) fn thawed(&self, index: usize) {
        self.page.byte(AT_FS + index).store(Fs::Thawed as u8, SeqCst);
    }

    pub(crate) fn all_free(&self) -> bool {
        (0..self.file_systems()).all(|index| self.fs(index).is_free())
    }

    pub(crate) fn undo(&self, index: usize) -> UndoState {
        let byte = self.page.byte(AT_UNDO + index).load(SeqCst);
        UndoState::ALL.get(usize::from(byte)).copied().unwrap_or(UndoState::Live)
    }

    pub(crate) fn set_undo(&self, index: usize, state: UndoState) {
        self.page.byte(AT_UNDO + index).store(state as u8, SeqCst);
    }

    /// Takes a live undo to run it; false if somebody else did.
    pub(crate) fn claim_undo(&self, index: usize) -> bool {
        self.page.change(AT_UNDO + index, UndoState::Live as u8, UndoState::Running as u8)
    }

    pub(crate) fn any_undo_owed(&self) -> bool {
        (0..self.undos()).any(|index| self.undo(index).is_owed())
    }

    pub(crate) fn hold_until(&self) -> Option<Instant> {
        deadline(self.get(AT_HOLD_UNTIL))
    }

    pub(crate) fn set_hold_until(&self, at: Instant) {
        self.set(AT_HOLD_UNTIL, at.as_nanos());
    }

    pub(crate) fn window_until(&self) -> Option<Instant> {
        deadline(self.get(AT_WINDOW_UNTIL))
    }

    /// A writer is to be released at `at`; the earliest counts.
    pub(crate) fn narrow_window(&self, at: Instant) {
        let at = self.window_until().map_or(at, |known| known.min(at));
        self.set(AT_WINDOW_UNTIL, at.as_nanos());
    }

    /// All work is done; whoever sees it ends quietly.
    pub(crate) fn finish(&self) {
        self.set(AT_FINISHED, 1);
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.get(AT_FINISHED) != 0
    }
}

fn deadline(nanos: u64) -> Option<Instant> {
    (nanos != 0).then(|| Instant::from_nanos(nanos))
}

//! Whose pool it is. Ours has its identity in the uuid field; one made by a kernel, LVM or thin_restore has zeroes
//! there, and its trans_id belongs to a volume manager (dm-thin format section 14).
//!
//! The acknowledged-write log needs a number that changes with each commit, its *generation*: trans_id in our own
//! pools. In a foreign one it stands in the uuid field for as long as a log may hold writes: eight bytes of mark, eight
//! of counter. A clean close clears the field, so that the pool is handed back as it was found.

use super::{LogUse, Pool};
use crate::superblock::{INCOMPAT_LOG, VERSION};

/// The first half of the uuid field of a foreign pool that is in use.
const SESSION: [u8; 8] = *b"umbra\0in";

/// Ids from here on are, in our own pools, devices that are being deleted (section 16.6).
pub(super) const FIRST_DOOMED: u32 = 0xF0_0000;

/// Who made a pool, and whose its trans_id is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// We: the uuid field holds the pool's identity, trans_id grows with each commit.
    Ours,
    /// Somebody else: trans_id is never changed, every device id is an ordinary one.
    Foreign,
}

impl Owner {
    /// What the uuid field of a superblock says.
    pub fn of(uuid: &[u8; 16]) -> Owner {
        match *uuid == [0; 16] || uuid.starts_with(&SESSION) {
            true => Owner::Foreign,
            false => Owner::Ours,
        }
    }
}

impl<R> Pool<R> {
    /// Whose pool it is.
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// Number of the last commit, to be the base of the log that follows it: trans_id in our pools, a counter of this
    /// use of the pool in foreign ones (0 if it was closed cleanly before).
    pub fn generation(&self) -> u64 {
        match self.owner {
            Owner::Ours => self.superblock.trans_id,
            Owner::Foreign => self.session,
        }
    }

    /// What a log of this pool carries as the pool's identity; the same before and after a crash.
    pub fn log_identity(&self) -> [u8; 16] {
        match self.owner {
            Owner::Ours => self.superblock.uuid,
            Owner::Foreign => session(0),
        }
    }

    /// Lets the generations of a foreign pool that was closed cleanly start from `start`, which should be a number
    /// that no earlier use of it had (a random one): then no log of an earlier use fits. Does nothing otherwise.
    pub fn seed_generation(&mut self, start: u64) {
        if self.owner == Owner::Foreign && session_generation(&self.superblock.uuid) == 0 {
            self.session = start;
        }
    }

    /// The number of the next commit.
    pub(super) fn next_generation(&mut self) {
        let number = match self.owner {
            Owner::Ours => &mut self.superblock.trans_id,
            Owner::Foreign => &mut self.session,
        };
        *number = number.wrapping_add(1);
    }

    /// Marks block 0 as one that may be behind a log, or as one that is not.
    pub(super) fn mark(&mut self, log: LogUse) {
        let superblock = &mut self.superblock;
        match log {
            LogUse::MayHoldWrites { boot } => {
                superblock.incompat |= INCOMPAT_LOG;
                superblock.log_boot = boot;
            }
            LogUse::Empty => {
                superblock.incompat &= !INCOMPAT_LOG;
                superblock.log_boot = [0; 16];
            }
        }
        match (self.owner, log) {
            (Owner::Ours, _) => superblock.version = VERSION,
            (Owner::Foreign, LogUse::MayHoldWrites { .. }) => superblock.uuid = session(self.session),
            (Owner::Foreign, LogUse::Empty) => superblock.uuid = [0; 16],
        }
    }
}

/// The uuid field of a foreign pool in use.
pub(super) fn session(generation: u64) -> [u8; 16] {
    let mut uuid = [0; 16];
    uuid[..8].copy_from_slice(&SESSION);
    uuid[8..].copy_from_slice(&generation.to_le_bytes());
    uuid
}

/// The generation that the uuid field of a foreign pool holds; 0 where it was closed cleanly.
pub(super) fn session_generation(uuid: &[u8; 16]) -> u64 {
    match uuid.starts_with(&SESSION) {
        true => crate::page::get_u64(uuid, 8),
        false => 0,
    }
}

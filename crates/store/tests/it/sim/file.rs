//! One of the disk's three files, as the store sees it.

use super::{Event, META, Sim, State, faults::Operation};
use std::{io, sync::MutexGuard};
use umbra_store::backing::BlockFile;

pub(super) struct SimFile {
    pub(super) sim: Sim,
    pub(super) index: usize,
}

impl SimFile {
    /// Counts one operation and decides whether it fails.
    fn begin(&self, operation: Operation) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.sim.state();
        if let Some((offset, bytes)) = state.trouble.overdue() {
            state.record(Event::Write { file: super::LOG, offset, bytes: bytes.into() });
        }
        match state.trouble.meet(self.index, operation) {
            Some(error) => {
                if operation == Operation::Flush {
                    state.record(Event::FailedSync { file: self.index });
                }
                Err(error)
            }
            None => Ok(state),
        }
    }

    /// Outside of every lock of the disk.
    fn call_hook(&self, what: Operation) {
        let hook = self.sim.state().hook.clone();
        if let Some(hook) = hook {
            hook(self.index, what);
        }
    }
}

impl BlockFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.sim.state().now[self.index].size())
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.begin(Operation::Change)?;
        state.record(Event::Size { file: self.index, bytes });
        Ok(())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.call_hook(Operation::Read);
        let state = self.begin(Operation::Read)?;
        let content = &state.now[self.index];
        if offset + buf.len() as u64 > content.size() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.index == META && state.trouble.faults.unreadable == Some(offset / 4096) {
            return Err(io::Error::other("injected"));
        }
        content.read(buf, offset);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.call_hook(Operation::Change);
        let file = self.index;
        let mut state = self.begin(Operation::Change)?;
        if state.trouble.faults.lost_writes == Some(file) || state.trouble.put_off(file, bytes, offset) {
            return Ok(());
        }
        let also = state.trouble.also_in_place(file, bytes, offset);
        let bytes = state.trouble.disguise(file, bytes, offset).unwrap_or_else(|| bytes.to_vec());
        for (offset, bytes) in [(offset, bytes)].into_iter().chain(also) {
            state.record(Event::Write { file, offset, bytes: bytes.into() });
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let flushed = self.begin(Operation::Flush).map(|mut state| {
            if state.trouble.faults.lying_flush != Some(self.index) {
                state.record(Event::Sync { file: self.index });
            }
        });
        self.call_hook(Operation::Flush);
        flushed
    }

    fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
        self.begin(Operation::TakeSpace).map(drop)
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        let mut state = self.begin(Operation::Change)?;
        state.record(Event::Punch { file: self.index, offset, len });
        Ok(())
    }
}

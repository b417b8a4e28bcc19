//! Going through a record from moment to moment, to make the disk that a loss leaves at each.
//!
//! What always holds: `flushed` is what no loss takes; `pending` is what came after the last flush of its file, in order.

use super::{Content, Event, Loss, META, Sim};

/// A record, and the state at one of its moments.
pub struct Replay {
    events: Vec<Event>,
    moment: usize,
    now: [Content; 3],
    flushed: [Content; 3],
    pending: Vec<Event>,
    random: Random,
}

impl Replay {
    pub fn of(sim: &Sim) -> Self {
        let state = sim.state();
        let base = state.base.clone();
        Replay {
            events: state.events.clone(),
            moment: 0,
            now: base.clone(),
            flushed: base,
            pending: Vec::new(),
            random: Random(state.events.len() as u64),
        }
    }

    /// Goes on to a later moment.
    pub fn advance(&mut self, moment: usize) {
        for event in &self.events[self.moment..moment] {
            event.apply(&mut self.now, || true);
            let file = event.file();
            match event {
                Event::Sync { .. } => settle(&mut self.pending, &mut self.flushed, file, || true),
                Event::FailedSync { .. } => {
                    let random = &mut self.random;
                    settle(&mut self.pending, &mut self.flushed, file, || random.coin());
                }
                _ => self.pending.push(event.clone()),
            }
        }
        self.moment = moment;
    }

    /// Whether a superblock was written just now, and not flushed.
    pub fn superblock_is_pending(&self) -> bool {
        matches!(self.pending.last(), Some(Event::Write { file: META, offset: 0, .. }))
    }

    /// The disk after a loss at this moment. It goes on recording: what was not flushed before the loss of a process can
    /// still be lost with the machine.
    pub fn image(&self, loss: Loss) -> Sim {
        let mut random = match loss {
            Loss::Process => {
                return Sim::going_on(self.flushed.clone(), self.now.clone(), self.pending.clone());
            }
            Loss::MachineNone => return Sim::with(self.flushed.clone()),
            Loss::Cache => None,
            Loss::MachineSome(seed) => Some(Random(seed ^ self.moment as u64)),
        };
        let mut content = self.flushed.clone();
        for event in &self.pending {
            event.apply(&mut content, || random.as_mut().is_none_or(Random::coin));
        }
        Sim::with(content)
    }
}

/// A file's pending events are over: as far as `keep` says, they are flushed.
fn settle(pending: &mut Vec<Event>, flushed: &mut [Content; 3], file: usize, mut keep: impl FnMut() -> bool) {
    pending.retain(|event| {
        if event.file() == file {
            event.apply(flushed, &mut keep);
        }
        event.file() != file
    });
}

/// A small generator of coins.
struct Random(u64);

impl Random {
    fn coin(&mut self) -> bool {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 63 == 1
    }
}

//! A submitter as the target will be one: a thread, a shard, a table of requests.
//!
//! Picture: each slot of the table carries one request at a time. A request is planned at the direct door and its extents
//! are carried out on the ring; when the last is done the ticket goes back. What the door refuses is called by a worker.
//! Then the slot takes the next request. What always holds: in the steady state nothing is allocated for a request (a
//! call of a worker excepted); each slot keeps its buffer, whose parts are joined again after each request.

use crate::{
    door::{Door, Way},
    places::Places,
};
use anyhow::{Context, Result, anyhow};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use umbra_ring::{Backend, Buf, Completion, Config, File, Payload, Shard, Workers};
use umbra_store::Extent;

/// Threads for what the direct door refuses.
const WORKERS: usize = 2;
/// Operations of a shard: the deepest queue, each request in several extents.
const DEPTH: u32 = 2048;
/// Bytes of a shard's buffers: 32 requests of 1 MiB, and room.
const BUFFERS: usize = 64 << 20;
/// Parts of one request at most; bits of a token below the slot's number.
const PIECE_BITS: u32 = 16;

/// When a run is over.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    /// After this time, and what is under way then.
    Time(Duration),
    /// After so many requests.
    Count(u64),
    /// When whoever watches says so.
    Watched,
}

/// What is put to doors.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// What carries it.
    pub backend: Backend,
    /// Requests at a time.
    pub depth: usize,
    /// Reading or writing.
    pub way: Way,
    /// Bytes of a request.
    pub len: u64,
    /// How long.
    pub limit: Limit,
}

/// What a submitter did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Done {
    /// Requests.
    pub count: u64,
    /// Of these, how many the direct door refused.
    pub refused: u64,
    /// From the first to the last.
    pub time: Duration,
}

/// Is told of each request's life. The default does nothing, and costs nothing.
pub trait Watch {
    /// A request begins; what it returns comes back at its end.
    fn begin(&mut self) -> u64 {
        0
    }
    /// It ended.
    fn end(&mut self, _begun: u64) {}
    /// Whether a run without another limit is over; asked for each batch.
    fn is_over(&self) -> bool {
        false
    }
}

/// Nobody watches.
#[derive(Debug)]
pub struct Unwatched;
impl Watch for Unwatched {}

/// Workers for the shards of a run.
pub fn workers() -> Result<Arc<Workers>> {
    Ok(Arc::new(Workers::start(WORKERS, 1024).context("start workers")?))
}

/// What a worker returns.
struct Answer {
    buf: Buf,
    result: Result<()>,
}

struct Slot<T> {
    door: usize,
    ticket: Option<T>,
    /// The buffer; while parts of it are in operations, those that are back.
    pieces: Vec<Option<Buf>>,
    left: usize,
    begun: u64,
}

/// A submitter's shard and table.
pub struct Submitter<D: Door> {
    load: Load,
    doors: Vec<D>,
    shard: Shard<Answer>,
    file: File,
    slots: Vec<Slot<D::Ticket>>,
    /// Slots whose request needed no I/O at all.
    idle: Vec<usize>,
    extents: Vec<Extent>,
    refused: u64,
}

impl<D: Door> Submitter<D> {
    /// A submitter of the calling thread, its buffers taken and filled.
    pub fn new(load: Load, doors: Vec<D>, workers: &Arc<Workers>) -> Result<Submitter<D>> {
        let setup = Config {
            backend: load.backend,
            depth: DEPTH,
            buffers: BUFFERS,
            workers: workers.clone(),
            busy_poll: Duration::ZERO,
        };
        let mut shard = Shard::new(&setup).context("start a shard")?;
        let first = doors.first().context("a run without doors")?;
        let file = shard.file(first.file().try_clone().context("share the data file")?);
        let slots = (0..load.depth).map(|_| slot(&mut shard, load.len)).collect::<Result<_>>()?;
        let idle = Vec::with_capacity(load.depth);
        Ok(Submitter { load, doors, shard, file, slots, idle, extents: Vec::with_capacity(1024), refused: 0 })
    }

    /// Runs to the limit; the clock starts here.
    pub fn run(&mut self, places: &mut Places, watch: &mut impl Watch) -> Result<Done> {
        let start = Instant::now();
        let (mut done, mut started, mut busy) = (Done::default(), 0, 0_usize);
        let mut completions: Vec<Completion<Answer>> = Vec::with_capacity(DEPTH as usize);
        self.idle.extend(0..self.load.depth);
        loop {
            // What is due is looked at once for each batch, as a target would.
            let most = self.still(start.elapsed(), started, watch.is_over());
            for _ in 0..self.idle.len() {
                let Some(at) = self.idle.pop() else { break };
                if started >= most {
                    continue; // The slot has had its last request.
                }
                (started, busy) = (started + 1, busy + 1);
                self.slots[at].begun = watch.begin();
                if self.start(at, places)? {
                    (busy, done.count) = (busy - 1, done.count + 1);
                    self.end(at, watch)?;
                }
            }
            if busy == 0 && self.idle.is_empty() {
                return Ok(Done { refused: self.refused, time: start.elapsed(), ..done });
            }
            let timeout = (!self.idle.is_empty()).then_some(Duration::ZERO);
            self.shard.wait(timeout, &mut completions).context("wait for I/O")?;
            for completion in completions.drain(..) {
                let at = (completion.token >> PIECE_BITS) as usize;
                if self.arrive(at, completion)? {
                    (busy, done.count) = (busy - 1, done.count + 1);
                    self.end(at, watch)?;
                }
            }
        }
    }

    /// How many requests may have been started by now.
    fn still(&self, elapsed: Duration, started: u64, is_over: bool) -> u64 {
        match self.load.limit {
            Limit::Time(time) if elapsed >= time => started,
            Limit::Watched if is_over => started,
            Limit::Time(_) | Limit::Watched => u64::MAX,
            Limit::Count(count) => count,
        }
    }

    /// Starts a slot's next request; true if it is done already.
    fn start(&mut self, at: usize, places: &mut Places) -> Result<bool> {
        let door = match self.doors.len() {
            1 => 0,
            doors => places.below(doors as u64) as usize,
        };
        let (offset, load, slot) = (places.next(), self.load, &mut self.slots[at]);
        slot.door = door;
        let mut buf = slot.pieces.pop().flatten().context("a slot without its buffer")?;
        if load.way == Way::Read {
            buf.clear();
        }
        self.extents.clear();
        match self.doors[door].plan(load.way, offset, load.len, &mut self.extents) {
            Some(ticket) => {
                slot.ticket = Some(ticket);
                self.submit(at, buf);
            }
            None => {
                self.refused += 1;
                slot.left = 1;
                slot.pieces.push(None);
                let (door, way) = (self.doors[door].clone(), load.way);
                self.shard.call((at as u64) << PIECE_BITS, move || call(&door, way, offset, buf));
            }
        }
        Ok(self.slots[at].left == 0)
    }

    /// Puts a planned request's extents on the ring.
    fn submit(&mut self, at: usize, buf: Buf) {
        let slot = &mut self.slots[at];
        let mut rest = Some(buf);
        for (i, extent) in self.extents.iter().enumerate() {
            let Some(mut piece) = rest.take() else { break };
            if i + 1 < self.extents.len() {
                rest = Some(piece.split_off(extent.len as usize));
            }
            let token = (at as u64) << PIECE_BITS | i as u64;
            let Some(place) = extent.at else {
                piece.fill_zero();
                slot.pieces.push(Some(piece));
                continue;
            };
            slot.pieces.push(None);
            slot.left += 1;
            match self.load.way {
                Way::Read => self.shard.read(token, &self.file, place, piece),
                Way::Write => self.shard.write(token, &self.file, place, piece),
            }
        }
    }

    /// Takes back what completed; true if it was the last of its request.
    fn arrive(&mut self, at: usize, completion: Completion<Answer>) -> Result<bool> {
        completion.result.context("carry a request out")?;
        let buf = match completion.payload {
            Payload::Buf(buf) => Some(buf),
            Payload::Parts(mut parts) => parts.drain().next(),
            Payload::Message(Answer { buf, result }) => {
                result.context("call the store")?;
                Some(buf)
            }
            Payload::None | Payload::Socket(_) => None,
        };
        let slot = &mut self.slots[at];
        let piece = (completion.token & ((1 << PIECE_BITS) - 1)) as usize;
        slot.pieces[piece] = Some(buf.context("a completion without its buffer")?);
        slot.left -= 1;
        Ok(slot.left == 0)
    }

    /// Ends a slot's request.
    fn end(&mut self, at: usize, watch: &mut impl Watch) -> Result<()> {
        let slot = &mut self.slots[at];
        if let Some(ticket) = slot.ticket.take() {
            self.doors[slot.door].finish(ticket)?;
        }
        watch.end(slot.begun);
        if slot.pieces.len() > 1 {
            let mut pieces = slot.pieces.drain(..).flatten();
            let mut whole = pieces.next().context("a request without parts")?;
            for piece in pieces {
                whole.join(piece).map_err(|_| anyhow!("parts of one buffer do not join"))?;
            }
            slot.pieces.push(Some(whole));
        }
        self.idle.push(at);
        Ok(())
    }
}

fn slot<T>(shard: &mut Shard<Answer>, len: u64) -> Result<Slot<T>> {
    let mut buf = shard.buffer(len as usize).context("take a buffer")?;
    buf.spare_mut().fill(0x5A);
    buf.advance(buf.spare());
    let mut pieces = Vec::with_capacity(1 << 8);
    pieces.push(Some(buf));
    Ok(Slot { door: 0, ticket: None, pieces, left: 0, begun: 0 })
}

/// What a worker does with a request that the direct door refused.
fn call<D: Door>(door: &D, way: Way, offset: u64, mut buf: Buf) -> Answer {
    let result = match way {
        Way::Write => door.write(offset, &buf),
        Way::Read => door.read(offset, buf.spare_mut()).map(|()| buf.advance(buf.spare())),
    };
    Answer { buf, result }
}

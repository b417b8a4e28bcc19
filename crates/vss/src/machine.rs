//! The machine that creates one set.
//!
//! One owner calls [`SetMachine::handle`] with what happened and [`SetMachine::expire`] when a deadline has come, then
//! carries out what [`SetMachine::drain_effects`] gives. [`crate::MOVES`] has the drawing.
//!
//! What always holds:
//! - only the states in which a writer may be frozen have thaw deadlines, only those in which file systems may be
//!   frozen have a release deadline; neither can be written down without;
//! - a task is in the ledger before its effect is handed out;
//! - an answer that comes at its limit or later does not count, even if nobody called `expire` in between;
//! - the first error stays the error; what fails while unwinding is attached to it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};
use umbra_base::{Deadline, Error, ErrorCode, Result};

use crate::{
    consistency::{self, WriterReport},
    ledger::Ledger,
    limits::SUSPEND_TOLERANCE,
    outcome::{AlsoFailed, Created, Failure, Outcome},
    phase::Phase,
    plan::{Level, Plan},
    task::{Answer, CutTime, Effect, Input, Now, Part, Task},
    timeline::{SpanOutcome, Timeline},
    timer::{Limits, Timer},
};

/// An input that cannot be meant for this state; nothing changed.
pub type Refused = Error;

/// See the module.
#[derive(Debug)]
pub struct SetMachine {
    plan: Plan,
    limits: Limits,
    state: State,
    ledger: Ledger,
    reports: BTreeMap<String, WriterReport>,
    cuts: Vec<(String, CutTime)>,
    timeline: Timeline,
    effects: VecDeque<Effect>,
    #[cfg(test)]
    moves: Vec<(Phase, Phase)>,
}

#[derive(Debug)]
enum State {
    /// Nothing is frozen.
    Calm(Step),
    /// Writers may be frozen.
    Window(Step, Window),
    /// Writers and file systems may be frozen.
    Held(Step, Window, Deadline),
    /// Undoing.
    Unwinding(Step, Failure),
    /// The outcome was handed out.
    Ended(Phase),
}

/// One turn of a phase: what it waits for, and until when.
#[derive(Debug)]
struct Step {
    phase: Phase,
    turn: usize,
    pending: BTreeSet<Task>,
    limit: Option<(Timer, Deadline)>,
}

/// Freeze to thaw.
#[derive(Debug)]
struct Window {
    thaw_by: BTreeMap<String, Deadline>,
    /// Boot time minus monotonic time when the window opened.
    drift: Duration,
}

/// A deadline and whose it is.
#[derive(Debug, Clone)]
enum Due {
    Hold,
    Writer(String),
    Step(Timer),
}

impl SetMachine {
    /// Starts to create the set of `plan`. The first effects wait to be drained.
    pub fn new(plan: Plan, limits: Limits, now: Now) -> Result<Self> {
        plan.check()?;
        let mut machine = SetMachine {
            plan,
            limits,
            state: State::Calm(Step::empty(Phase::PrepareWriters)),
            ledger: Ledger::default(),
            reports: BTreeMap::new(),
            cuts: Vec::new(),
            timeline: Timeline::default(),
            effects: VecDeque::new(),
            #[cfg(test)]
            moves: Vec::new(),
        };
        machine.enter(Phase::PrepareWriters, 0, now);
        machine.advance(now);
        Ok(machine)
    }

    /// Takes what happened.
    pub fn handle(&mut self, now: Now, input: Input) -> Result<(), Refused> {
        self.expire(now);
        match input {
            Input::Answered(task, result) => self.answered(now, task, result),
            Input::Lost(part, error) => self.lost(now, part, error),
            Input::Cancelled => self.cancelled(now),
        }
    }

    /// Fires every deadline that has come, the earliest first, and looks for a suspend.
    pub fn expire(&mut self, now: Now) {
        self.check_suspend(now);
        while let Some(due) = self.earliest().filter(|(at, _)| *at <= now.boot).map(|(_, due)| due) {
            match due {
                Due::Hold => self.hold_expired(now),
                Due::Writer(name) => self.window_expired(now, name),
                Due::Step(timer) => self.step_expired(now, timer),
            }
        }
    }

    /// When `expire` must be called at the latest.
    pub fn next_deadline(&self) -> Option<Deadline> {
        self.earliest().map(|(at, _)| at)
    }

    /// What is to be done, in order.
    pub fn drain_effects(&mut self) -> impl Iterator<Item = Effect> + '_ {
        self.effects.drain(..)
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Ended(phase) => *phase,
            _ => self.step().map_or(Phase::Failed, |step| step.phase),
        }
    }

    /// The limits that it runs with, for drivers that hand them on (the guard has a deadline of its own).
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What it is to create.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The record so far.
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// How long `writer` may be frozen: the limit, or less if it asked for less.
    pub fn freeze_limit(&self, writer: &str) -> Duration {
        let asked = self.reports.get(writer).and_then(|report| report.freeze_at_most);
        let limit = self.limits.get(Timer::FreezeToThaw);
        asked.map_or(limit, |asked| asked.min(limit))
    }

    fn step(&self) -> Option<&Step> {
        match &self.state {
            State::Calm(step)
            | State::Window(step, _)
            | State::Held(step, ..)
            | State::Unwinding(step, _) => Some(step),
            State::Ended(_) => None,
        }
    }

    fn step_mut(&mut self) -> Option<&mut Step> {
        match &mut self.state {
            State::Calm(step)
            | State::Window(step, _)
            | State::Held(step, ..)
            | State::Unwinding(step, _) => Some(step),
            State::Ended(_) => None,
        }
    }

    fn window(&self) -> Option<&Window> {
        match &self.state {
            State::Window(_, window) | State::Held(_, window, _) => Some(window),
            _ => None,
        }
    }

    /// All deadlines there are; at equal times the one that says most about the failure comes first.
    fn earliest(&self) -> Option<(Deadline, Due)> {
        let hold = match &self.state {
            State::Held(_, _, release_by) => Some((*release_by, Due::Hold)),
            _ => None,
        };
        let writers = self.window().into_iter().flat_map(|window| &window.thaw_by);
        let writers = writers.map(|(name, at)| (*at, Due::Writer(name.clone())));
        let step = self.step().and_then(|step| step.limit).map(|(timer, at)| (at, Due::Step(timer)));
        hold.into_iter().chain(writers).chain(step).min_by_key(|(at, _)| *at)
    }
}

/// Inputs.
impl SetMachine {
    fn answered(&mut self, now: Now, task: Task, result: Result<Answer>) -> Result<(), Refused> {
        if !self.ledger.started(&task) {
            let text = format!("an answer to {task:?}, which was not asked for in phase {}", self.phase());
            return Err(Error::new(ErrorCode::BadState, text));
        }
        if !self.step().is_some_and(|step| step.pending.contains(&task)) {
            return Ok(()); // It was cancelled, or nobody waits for it.
        }
        match result {
            Ok(answer) => self.succeeded(now, task, answer),
            Err(error) => self.task_failed(now, task, error),
        }
        Ok(())
    }

    fn succeeded(&mut self, now: Now, task: Task, answer: Answer) {
        match (&task, answer) {
            (Task::PrepareWriter(writer), Answer::Prepared(report)) => {
                self.reports.insert(writer.clone(), report);
            }
            (Task::CommitProvider(provider), Answer::Cut(time)) => self.cuts.push((provider.clone(), time)),
            (Task::PrepareWriter(_) | Task::CommitProvider(_), other)
            | (_, other @ (Answer::Prepared(_) | Answer::Cut(_))) => {
                let text = format!("{} answered {other:?} to {task:?}", task.part());
                return self.fail(
                    now,
                    task.part(),
                    Error::new(ErrorCode::Internal, text),
                    SpanOutcome::Failed,
                );
            }
            (_, Answer::Done) => {}
        }
        self.settle(now, &task);
    }

    /// The task needs nobody's attention any more.
    fn settle(&mut self, now: Now, task: &Task) {
        self.ledger.done(task);
        if let (Task::ThawWriter(writer), State::Window(_, window)) = (task, &mut self.state) {
            window.thaw_by.remove(writer);
        }
        if let Some(step) = self.step_mut() {
            step.pending.remove(task);
        }
        self.advance(now);
    }

    fn task_failed(&mut self, now: Now, task: Task, error: Error) {
        match &mut self.state {
            State::Unwinding(step, failure) => {
                self.timeline.note(format!("{} did not {}: {}", task.part(), task.verb(), error.chain()));
                step.pending.remove(&task);
                failure.also.push(AlsoFailed { task, error });
                self.advance(now);
            }
            _ => self.fail(now, task.part(), error, SpanOutcome::Failed),
        }
    }

    fn lost(&mut self, now: Now, part: Part, error: Error) -> Result<(), Refused> {
        match &self.state {
            State::Ended(_) => {}
            State::Unwinding(step, _) => {
                let gone: Vec<_> = step.pending.iter().filter(|task| task.part() == part).cloned().collect();
                for task in gone {
                    let copy = Error::new(error.code(), error.chain());
                    self.effects.push_back(Effect::Cancel(task.clone()));
                    self.task_failed(now, task, copy);
                }
            }
            _ if self.needs(&part) => self.fail(now, part, error, SpanOutcome::Failed),
            _ => self
                .timeline
                .note(format!("{part} was lost when it was not needed any more: {}", error.chain())),
        }
        Ok(())
    }

    /// Whether the set cannot succeed without `part`, or may stay frozen without it.
    fn needs(&self, part: &Part) -> bool {
        let phase = self.phase();
        match part {
            Part::Writer(name) => {
                let thawed = self.ledger.is_done(&Task::ThawWriter(name.clone()));
                self.plan.writers.iter().any(|w| w.name == *name) && (!thawed || phase == Phase::PostSnapshot)
            }
            Part::Provider(name) => self.plan.providers.iter().any(|p| p.name == *name),
            Part::Guard => self.ledger.started(&Task::ArmGuard) && phase <= Phase::ThawWriters,
            Part::Requester | Part::Host => true,
        }
    }

    fn cancelled(&mut self, now: Now) -> Result<(), Refused> {
        match &self.state {
            State::Ended(phase) => {
                Err(Error::new(ErrorCode::BadState, format!("set {} is {phase} already", self.plan.set)))
            }
            State::Unwinding(..) => Ok(()),
            _ => {
                let text = format!("creation of set {} was cancelled", self.plan.set);
                self.fail(now, Part::Requester, Error::new(ErrorCode::Cancelled, text), SpanOutcome::Failed);
                Ok(())
            }
        }
    }

    fn check_suspend(&mut self, now: Now) {
        let Some(window) = self.window() else { return };
        let slept = drift(now).saturating_sub(window.drift);
        if slept > SUSPEND_TOLERANCE {
            let text = format!("the host was suspended for {} ms inside the window", slept.as_millis());
            let error = Error::new(ErrorCode::SuspendedInWindow, text).param("slept_ms", slept.as_millis());
            self.fail(now, Part::Host, error, SpanOutcome::Failed);
        }
    }
}

/// Deadlines.
impl SetMachine {
    fn hold_expired(&mut self, now: Now) {
        let limit = self.limits.get(Timer::Hold);
        let (part, waiting) = self.waiting_for();
        let text = format!("writes were held for {} ms, and {waiting}", limit.as_millis());
        let error = Error::new(Timer::Hold.row().expiry.code(), text)
            .hint("load on the storage or the array may be too high; the timeline says where the time went")
            .param("limit_ms", limit.as_millis());
        self.fail(now, part, error, SpanOutcome::Expired);
    }

    fn window_expired(&mut self, now: Now, writer: String) {
        let limit = self.freeze_limit(&writer);
        let (_, waiting) = self.waiting_for();
        let text =
            format!("writer {writer:?} was frozen for {} ms, its limit, and {waiting}", limit.as_millis());
        let error = Error::new(Timer::FreezeToThaw.row().expiry.code(), text)
            .param("writer", &writer)
            .param("limit_ms", limit.as_millis());
        self.fail(now, Part::Writer(writer), error, SpanOutcome::Expired);
    }

    fn step_expired(&mut self, now: Now, timer: Timer) {
        let limit = self.limits.get(timer).as_millis();
        let code = timer.row().expiry.code();
        if let State::Unwinding(step, failure) = &mut self.state {
            for task in std::mem::take(&mut step.pending) {
                let text = format!("{} did not {} within {limit} ms", task.part(), task.verb());
                self.timeline.note(text.clone());
                self.effects.push_back(Effect::Cancel(task.clone()));
                failure.also.push(AlsoFailed { task, error: Error::new(code, text) });
            }
            self.timeline.close(now.boot, SpanOutcome::Expired);
            return self.advance(now);
        }
        let (part, waiting) = self.waiting_for();
        let error = Error::new(code, format!("{waiting} within {limit} ms")).param("limit_ms", limit);
        self.fail(now, part, error, SpanOutcome::Expired);
    }

    /// Who is waited for, and the sentence about all of them.
    fn waiting_for(&self) -> (Part, String) {
        let pending: Vec<_> = self.step().into_iter().flat_map(|step| &step.pending).collect();
        let Some(first) = pending.first() else { return (Part::Host, "nobody is waited for".to_owned()) };
        let verb = first.verb();
        let parts: Vec<_> = pending.iter().map(|task| task.part().to_string()).collect();
        (first.part(), format!("{} did not {verb}", parts.join(", ")))
    }
}

/// Moves.
impl SetMachine {
    /// Goes on as long as nothing is waited for.
    fn advance(&mut self, now: Now) {
        while let Some(step) = self.step().filter(|step| step.pending.is_empty()) {
            let (phase, turn) = next(step.phase, step.turn, self.plan.providers.len());
            match step.phase.is_unwinding() {
                true => self.timeline.close_by_notes(now.boot),
                false => self.timeline.close(now.boot, SpanOutcome::Done),
            }
            self.enter(phase, turn, now);
        }
    }

    fn enter(&mut self, phase: Phase, turn: usize, now: Now) {
        #[cfg(test)]
        self.moves.push((self.phase(), phase));
        if phase.is_end() {
            return self.end(phase);
        }
        let tasks = self.tasks_of(phase, turn);
        let limit = timer_of(phase).filter(|_| !tasks.is_empty());
        let limit = limit.map(|timer| (timer, now.boot + self.limits.get(timer)));
        if !tasks.is_empty() {
            self.timeline.open(phase, self.turn_name(phase, turn), now.boot);
        }
        let step = Step { phase, turn, pending: tasks.clone(), limit };
        self.become_state(step, now);
        for task in tasks {
            self.start(task);
        }
        if matches!(phase, Phase::AwaitDurable | Phase::UnwindProviders)
            && self.ledger.started(&Task::ArmGuard)
        {
            self.start(Task::DisarmGuard);
        }
    }

    fn start(&mut self, task: Task) {
        self.ledger.start(&task);
        self.effects.push_back(Effect::Start(task));
    }

    /// Brings the state that goes with the step's phase, with its deadlines.
    fn become_state(&mut self, step: Step, now: Now) {
        let release_by = now.boot + self.limits.get(Timer::Hold);
        let state = std::mem::replace(&mut self.state, State::Ended(Phase::Failed));
        self.state = match (step.phase, state) {
            (phase, State::Unwinding(_, failure)) if phase.is_unwinding() => State::Unwinding(step, failure),
            (phase, State::Held(_, window, release_by)) if phase.is_held() => {
                State::Held(step, window, release_by)
            }
            (phase, State::Window(_, window)) if phase.is_held() => State::Held(step, window, release_by),
            (Phase::FreezeWriters, State::Window(_, window)) => {
                let window = self.widen(window, &step, now);
                State::Window(step, window)
            }
            (Phase::FreezeWriters, _) => {
                let window = self.widen(Window { thaw_by: BTreeMap::new(), drift: drift(now) }, &step, now);
                State::Window(step, window)
            }
            (Phase::ThawWriters, State::Held(_, window, _) | State::Window(_, window)) => {
                State::Window(step, window)
            }
            _ => State::Calm(step),
        };
    }

    /// Gives each writer that is about to be frozen its deadline.
    fn widen(&self, mut window: Window, step: &Step, now: Now) -> Window {
        for task in &step.pending {
            if let Task::FreezeWriter(name) = task {
                window.thaw_by.insert(name.clone(), now.boot + self.freeze_limit(name));
            }
        }
        window
    }

    fn tasks_of(&self, phase: Phase, turn: usize) -> BTreeSet<Task> {
        let writers =
            |task: fn(String) -> Task| self.plan.writers.iter().map(|w| task(w.name.clone())).collect();
        let providers =
            |task: fn(String) -> Task| self.plan.providers.iter().map(|p| task(p.name.clone())).collect();
        let level = |level: Level, task: fn(String) -> Task| {
            self.plan.writers_at(level).map(|w| task(w.name.clone())).collect()
        };
        let if_needed = |needed: bool, task: Task| needed.then_some(task).into_iter().collect();
        match phase {
            Phase::PrepareWriters => writers(Task::PrepareWriter),
            Phase::PrepareProviders => providers(Task::PrepareProvider),
            Phase::ArmGuard => {
                if_needed(self.plan.has_mounted() || !self.plan.writers.is_empty(), Task::ArmGuard)
            }
            Phase::SyncFileSystems => if_needed(self.plan.has_file_system(), Task::SyncFileSystems),
            Phase::FreezeWriters => level(Level::ALL[turn], Task::FreezeWriter),
            Phase::HoldWrites => if_needed(self.plan.has_mounted(), Task::HoldWrites),
            Phase::Commit => [Task::CommitProvider(self.plan.commit_order()[turn].clone())].into(),
            Phase::Attest => {
                let guard: BTreeSet<Task> = if_needed(self.plan.has_mounted(), Task::AttestGuard);
                let writers: BTreeSet<Task> = writers(Task::AttestWriter);
                guard.into_iter().chain(writers).collect()
            }
            Phase::Release => if_needed(self.plan.has_mounted(), Task::ReleaseWrites),
            Phase::ThawWriters => level(reversed(turn), Task::ThawWriter),
            Phase::AwaitDurable => providers(Task::FinishProvider),
            Phase::PostSnapshot => writers(Task::PostSnapshot),
            Phase::UnwindRelease => self.ledger.undo_hold(),
            Phase::UnwindWriters => self.ledger.undo_writers(&self.plan, reversed(turn)),
            Phase::UnwindProviders => self.ledger.undo_providers(&self.plan),
            Phase::Finished | Phase::Failed => BTreeSet::new(),
        }
    }

    fn turn_name(&self, phase: Phase, turn: usize) -> Option<String> {
        match phase {
            Phase::FreezeWriters => Some(Level::ALL[turn].as_str().to_owned()),
            Phase::ThawWriters | Phase::UnwindWriters => Some(reversed(turn).as_str().to_owned()),
            Phase::Commit => self.plan.commit_order().get(turn).cloned(),
            _ => None,
        }
    }

    /// Turns around: what is pending is cancelled, what was done is undone.
    fn fail(&mut self, now: Now, part: Part, error: Error, how: SpanOutcome) {
        let phase = self.phase();
        let pending = self.step_mut().map(|step| std::mem::take(&mut step.pending)).unwrap_or_default();
        self.effects.extend(pending.into_iter().map(Effect::Cancel));
        self.timeline.close(now.boot, how);
        self.timeline.note(format!("{part}: {}", error.chain()));
        let failure = Failure { phase, part, error, also: Vec::new() };
        self.state = State::Unwinding(Step::empty(phase), failure);
        self.enter(Phase::UnwindRelease, 0, now);
        self.advance(now);
    }

    fn end(&mut self, phase: Phase) {
        let timeline = self.timeline.clone();
        let state = std::mem::replace(&mut self.state, State::Ended(phase));
        let outcome = match state {
            State::Unwinding(_, failure) => Outcome::Failed(failure, timeline),
            _ => Outcome::Created(Created {
                set: self.plan.set,
                cuts: std::mem::take(&mut self.cuts),
                volumes: consistency::reached(&self.plan, self.reports.iter()),
                frozen_for: timeline.between(Phase::FreezeWriters, Phase::ThawWriters),
                held_for: timeline.between(Phase::HoldWrites, Phase::Release),
                timeline,
            }),
        };
        self.effects.push_back(Effect::Ended(Box::new(outcome)));
    }
}

impl Step {
    fn empty(phase: Phase) -> Step {
        Step { phase, turn: 0, pending: BTreeSet::new(), limit: None }
    }
}

/// The turn that follows, of the same phase or of the next.
fn next(phase: Phase, turn: usize, providers: usize) -> (Phase, usize) {
    let last = turn + 1 >= Level::ALL.len();
    match phase {
        Phase::FreezeWriters | Phase::ThawWriters | Phase::UnwindWriters if !last => (phase, turn + 1),
        Phase::Commit if turn + 1 < providers => (phase, turn + 1),
        Phase::PrepareWriters => (Phase::PrepareProviders, 0),
        Phase::PrepareProviders => (Phase::ArmGuard, 0),
        Phase::ArmGuard => (Phase::SyncFileSystems, 0),
        Phase::SyncFileSystems => (Phase::FreezeWriters, 0),
        Phase::FreezeWriters => (Phase::HoldWrites, 0),
        Phase::HoldWrites => (Phase::Commit, 0),
        Phase::Commit => (Phase::Attest, 0),
        Phase::Attest => (Phase::Release, 0),
        Phase::Release => (Phase::ThawWriters, 0),
        Phase::ThawWriters => (Phase::AwaitDurable, 0),
        Phase::AwaitDurable => (Phase::PostSnapshot, 0),
        Phase::PostSnapshot | Phase::Finished => (Phase::Finished, 0),
        Phase::UnwindRelease => (Phase::UnwindWriters, 0),
        Phase::UnwindWriters => (Phase::UnwindProviders, 0),
        Phase::UnwindProviders | Phase::Failed => (Phase::Failed, 0),
    }
}

/// The limit of a step; freeze and thaw of file systems are bounded by the hold alone.
fn timer_of(phase: Phase) -> Option<Timer> {
    match phase {
        Phase::PrepareWriters => Some(Timer::PrepareWriters),
        Phase::PrepareProviders => Some(Timer::PrepareProviders),
        Phase::ArmGuard => Some(Timer::ArmGuard),
        Phase::SyncFileSystems => Some(Timer::Sync),
        Phase::FreezeWriters => Some(Timer::FreezeWriters),
        Phase::Commit => Some(Timer::Commit),
        Phase::Attest => Some(Timer::Attest),
        Phase::ThawWriters => Some(Timer::ThawWriters),
        Phase::AwaitDurable => Some(Timer::AwaitDurable),
        Phase::PostSnapshot => Some(Timer::PostSnapshot),
        Phase::UnwindRelease => Some(Timer::UnwindRelease),
        Phase::UnwindWriters => Some(Timer::UnwindWriters),
        Phase::UnwindProviders => Some(Timer::UnwindProviders),
        Phase::HoldWrites | Phase::Release | Phase::Finished | Phase::Failed => None,
    }
}

fn reversed(turn: usize) -> Level {
    Level::ALL[Level::ALL.len() - 1 - turn]
}

fn drift(now: Now) -> Duration {
    now.boot.since(now.monotonic)
}

#[cfg(test)]
mod tests;

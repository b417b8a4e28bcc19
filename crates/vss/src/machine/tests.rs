//! The machine in simulated time: every participant failing, silent, dying at each step, each limit a tick before and at
//! it. A run is a script: a rule says what each task does, the world does the rest.

use super::*;
use crate::{
    consistency::{Claim, Consistency},
    plan::{Ground, ProviderPlan, VolumePlan, WriterPlan},
};
use umbra_base::{Instant, SetId};

const TICK: Duration = Duration::from_nanos(1);

fn plan() -> Plan {
    let volume = |name: &str, provider: &str, ground| VolumePlan {
        name: name.into(),
        provider: provider.into(),
        ground,
    };
    let writer = |name: &str, level| WriterPlan { name: name.into(), level };
    let provider = |name: &str| ProviderPlan { name: name.into() };
    Plan {
        set: SetId(uuid::Uuid::from_u128(7)),
        volumes: vec![
            volume("/butter", "btrfs", Ground::SelfCommitting),
            volume("/data", "array", Ground::Mounted),
            volume("/wal", "array", Ground::Mounted),
        ],
        writers: vec![
            writer("db", Level::Application),
            writer("web", Level::FrontEnd),
            writer("log", Level::System),
        ],
        providers: vec![provider("btrfs"), provider("array")],
    }
}

/// What a participant does with a task.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Does {
    Succeed,
    Fail,
    Silence,
}

struct World {
    machine: SetMachine,
    now: Now,
    started: Vec<Task>,
    cancelled: Vec<Task>,
    queue: VecDeque<Task>,
    outcome: Option<Outcome>,
}

impl World {
    fn new(plan: Plan, limits: Limits) -> World {
        let at = Instant::from_nanos(1_000_000_000_000);
        let now = Now { boot: at, monotonic: at };
        let machine = SetMachine::new(plan, limits, now).unwrap();
        World { machine, now, started: vec![], cancelled: vec![], queue: VecDeque::new(), outcome: None }
    }

    fn pass(&mut self, time: Duration) {
        self.now = Now { boot: self.now.boot + time, monotonic: self.now.monotonic + time };
    }

    fn handle(&mut self, input: Input) -> Result<()> {
        let result = self.machine.handle(self.now, input);
        self.drain();
        result
    }

    fn expire(&mut self) {
        self.machine.expire(self.now);
        self.drain();
    }

    /// Drains effects into the record and the queue of those who have to act.
    fn drain(&mut self) {
        for effect in self.machine.drain_effects() {
            match effect {
                Effect::Start(task) => {
                    self.started.push(task.clone());
                    self.queue.push_back(task);
                }
                Effect::Cancel(task) => {
                    self.queue.retain(|queued| *queued != task);
                    self.cancelled.push(task);
                }
                Effect::Ended(outcome) => self.outcome = Some(*outcome),
            }
        }
    }

    /// Runs until nothing can happen any more: tasks act by `rule`, one millisecond each; where all are silent, time
    /// jumps to the next deadline.
    fn run(&mut self, rule: impl Fn(&Task) -> Does) {
        self.drain();
        while self.outcome.is_none() || !self.queue.is_empty() {
            let Some(task) = self.queue.pop_front() else {
                self.tick_around_deadline();
                continue;
            };
            let result = match rule(&task) {
                Does::Succeed => Ok(answer(&task)),
                Does::Fail => Err(Error::new(ErrorCode::Io, format!("{task:?} broke"))),
                Does::Silence => continue,
            };
            self.pass(Duration::from_millis(1));
            self.handle(Input::Answered(task, result)).unwrap();
        }
    }

    /// To the tick before the next deadline, where nothing may happen, and then to it, where something must.
    fn tick_around_deadline(&mut self) {
        let deadline = self.machine.next_deadline().expect("a machine that waits has a deadline");
        self.pass(deadline.since(self.now.boot).saturating_sub(TICK));
        let phase = self.machine.phase();
        self.expire();
        assert_eq!(self.machine.phase(), phase, "something expired a tick early");
        self.pass(TICK);
        self.expire();
        assert_ne!(self.machine.next_deadline(), Some(deadline), "nothing expired in {phase}");
    }

    fn failure(&self) -> &Failure {
        match self.outcome.as_ref().expect("the run ended") {
            Outcome::Failed(failure, _) => failure,
            Outcome::Created(created) => panic!("the set was created: {created:?}"),
        }
    }

    /// S3: whatever was begun is undone, file systems first, and nothing new is begun after the failure.
    fn assert_unwound(&self) {
        let place = |task: &Task| self.started.iter().position(|started| started == task);
        let undo_of = |task: &Task| match task {
            Task::PrepareWriter(name) => Some(Task::AbortWriter(name.clone())),
            Task::PrepareProvider(name) => Some(Task::AbortProvider(name.clone())),
            Task::HoldWrites => Some(Task::ReleaseWrites),
            Task::ArmGuard => Some(Task::DisarmGuard),
            _ => None,
        };
        for task in &self.started {
            if let Some(undo) = undo_of(task) {
                assert!(place(&undo) > place(task), "{task:?} was begun and not undone: {:?}", self.started);
            }
        }
        let aborts = self.started.iter().position(|task| matches!(task, Task::AbortWriter(_)));
        if let (Some(release), Some(abort)) = (place(&Task::ReleaseWrites), aborts) {
            assert!(release < abort, "writers were undone before file systems: {:?}", self.started);
        }
        if let Some(first) = aborts {
            let undo = |task: &Task| {
                matches!(
                    task,
                    Task::AbortWriter(_) | Task::AbortProvider(_) | Task::DisarmGuard | Task::ReleaseWrites
                )
            };
            assert!(
                self.started[first..].iter().all(undo),
                "something was begun after the failure: {:?}",
                self.started
            );
        }
        assert!(self.machine.phase() == Phase::Failed && self.machine.next_deadline().is_none());
    }
}

fn answer(task: &Task) -> Answer {
    let claim = |volume: &str| Claim {
        volume: volume.into(),
        level: Consistency::Application,
        reason: "proved".into(),
    };
    match task {
        Task::PrepareWriter(name) if name == "db" => {
            let claims = vec![claim("/data"), claim("/wal")];
            Answer::Prepared(WriterReport { claims, freeze_at_most: Some(Duration::from_secs(30)) })
        }
        Task::PrepareWriter(_) => Answer::Prepared(WriterReport::default()),
        Task::CommitProvider(_) => Answer::Cut(CutTime { unix_nanos: 42 }),
        _ => Answer::Done,
    }
}

fn succeed(_: &Task) -> Does {
    Does::Succeed
}

fn whole_run() -> World {
    let mut world = World::new(plan(), Limits::default());
    world.run(succeed);
    world
}

/// The world at the moment at which `task` was just started.
fn world_at(task: &Task) -> World {
    let mut world = World::new(plan(), Limits::default());
    world.drain();
    while !world.started.contains(task) {
        let next = world.queue.pop_front().expect("the task is part of a whole run");
        world.pass(Duration::from_millis(1));
        let answer = answer(&next);
        world.handle(Input::Answered(next, Ok(answer))).unwrap();
    }
    world
}

#[test]
fn a_set_is_made_in_the_order_of_s2() {
    let world = whole_run();
    let w = |task: fn(String) -> Task, name: &str| task(name.into());
    let expected = [
        w(Task::PrepareWriter, "db"),
        w(Task::PrepareWriter, "log"),
        w(Task::PrepareWriter, "web"),
        w(Task::PrepareProvider, "array"),
        w(Task::PrepareProvider, "btrfs"),
        Task::ArmGuard,
        Task::SyncFileSystems,
        w(Task::FreezeWriter, "web"),
        w(Task::FreezeWriter, "db"),
        w(Task::FreezeWriter, "log"),
        Task::HoldWrites,
        w(Task::CommitProvider, "array"),
        w(Task::CommitProvider, "btrfs"),
        Task::AttestGuard,
        w(Task::AttestWriter, "db"),
        w(Task::AttestWriter, "log"),
        w(Task::AttestWriter, "web"),
        Task::ReleaseWrites,
        w(Task::ThawWriter, "log"),
        w(Task::ThawWriter, "db"),
        w(Task::ThawWriter, "web"),
        w(Task::FinishProvider, "array"),
        w(Task::FinishProvider, "btrfs"),
        Task::DisarmGuard,
        w(Task::PostSnapshot, "db"),
        w(Task::PostSnapshot, "log"),
        w(Task::PostSnapshot, "web"),
    ];
    assert_eq!(world.started, expected);
    let Some(Outcome::Created(created)) = &world.outcome else { panic!("{:?}", world.outcome) };
    assert_eq!(created.cuts.len(), 2);
    assert_eq!(created.held_for, Some(Duration::from_millis(8)));
    let reached = |name: &str| created.volumes.iter().find(|v| v.volume == name).unwrap().level;
    assert_eq!(reached("/wal"), Consistency::Application);
    assert_eq!(reached("/butter"), Consistency::FileSystem);
    assert!(
        created.timeline.spans.iter().all(|span| span.outcome == SpanOutcome::Done && span.end.is_some())
    );
}

#[test]
fn each_task_that_fails_fails_the_set_and_everything_is_undone() {
    for victim in whole_run().started.into_iter().filter(|task| *task != Task::DisarmGuard) {
        let mut world = World::new(plan(), Limits::default());
        // A thaw that fails is asked for again while unwinding; it succeeds then.
        let once = std::cell::Cell::new(true);
        world.run(|task| if *task == victim && once.replace(false) { Does::Fail } else { Does::Succeed });
        assert_eq!(world.failure().part, victim.part());
        assert_eq!(world.failure().error.message(), format!("{victim:?} broke"));
        world.assert_unwound();
    }
}

#[test]
fn each_task_that_stays_silent_expires_at_its_limit_and_not_before() {
    use ErrorCode::*;
    for victim in whole_run().started.into_iter().filter(|task| *task != Task::DisarmGuard) {
        let mut world = World::new(plan(), Limits::default());
        world.run(|task| if *task == victim { Does::Silence } else { Does::Succeed });
        let expected = match &victim {
            Task::PrepareWriter(_) | Task::FreezeWriter(_) | Task::ThawWriter(_) | Task::PostSnapshot(_) => {
                WriterTimeout
            }
            Task::PrepareProvider(_) | Task::CommitProvider(_) | Task::FinishProvider(_) => TimedOut,
            Task::ArmGuard => GuardLost,
            Task::SyncFileSystems => FlushWritesTimeout,
            Task::HoldWrites | Task::ReleaseWrites => HoldWritesTimeout,
            Task::AttestGuard | Task::AttestWriter(_) => FreezeNotProven,
            other => panic!("{other:?} is no task of a success"),
        };
        assert_eq!(
            (world.failure().error.code(), &world.failure().part),
            (expected, &victim.part()),
            "{victim:?}"
        );
        assert!(world.cancelled.contains(&victim), "{victim:?} was not cancelled");
        world.assert_unwound();
    }
}

#[test]
fn each_participant_that_dies_at_each_step_fails_the_set_while_it_is_needed() {
    let parts =
        [Part::Guard, Part::Writer("db".into()), Part::Provider("array".into()), Part::Requester, Part::Host];
    for at in whole_run().started {
        for part in &parts {
            let mut world = world_at(&at);
            let phase = world.machine.phase();
            world.handle(Input::Lost(part.clone(), Error::new(ErrorCode::Unreachable, "gone"))).unwrap();
            world.run(succeed);
            let late = match part {
                Part::Guard => !(Phase::ArmGuard..=Phase::ThawWriters).contains(&phase),
                Part::Writer(_) => phase == Phase::AwaitDurable || at == Task::ThawWriter("web".into()),
                _ => false,
            };
            match (&world.outcome, late) {
                (Some(Outcome::Failed(failure, _)), false) => {
                    assert_eq!((&failure.part, failure.phase), (part, phase));
                    world.assert_unwound();
                }
                (Some(Outcome::Created(_)), true) => {}
                (other, _) => panic!("{part} lost at {at:?} in {phase}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_cancel_at_each_step_undoes_everything() {
    for at in whole_run().started {
        let mut world = world_at(&at);
        world.handle(Input::Cancelled).unwrap();
        world.handle(Input::Cancelled).unwrap();
        world.run(succeed);
        assert_eq!(world.failure().error.code(), ErrorCode::Cancelled);
        assert_eq!(world.failure().part, Part::Requester);
        world.assert_unwound();
    }
}

#[test]
fn a_suspend_fails_the_set_in_the_window_and_only_there() {
    for at in whole_run().started {
        let mut world = world_at(&at);
        let phase = world.machine.phase();
        world.now.boot = world.now.boot + SUSPEND_TOLERANCE + TICK;
        world.run(succeed);
        match &world.outcome {
            Some(Outcome::Failed(failure, _)) => {
                assert!(phase.in_window(), "failed in {phase}");
                assert_eq!(failure.error.code(), ErrorCode::SuspendedInWindow);
                world.assert_unwound();
            }
            _ => assert!(!phase.in_window(), "{at:?} in {phase}"),
        }
    }
}

#[test]
fn the_first_error_is_kept_and_what_fails_while_unwinding_is_attached() {
    for undo in [Does::Fail, Does::Silence] {
        let mut world = World::new(plan(), Limits::default());
        world.run(|task| match task {
            Task::CommitProvider(name) if name == "btrfs" => Does::Fail,
            Task::ReleaseWrites | Task::AbortWriter(_) | Task::AbortProvider(_) => undo,
            _ => Does::Succeed,
        });
        let failure = world.failure();
        assert_eq!(failure.part, Part::Provider("btrfs".into()));
        assert_eq!(failure.also.len(), 1 + 3 + 2);
        world.assert_unwound();
    }
}

#[test]
fn undo_goes_in_reverse_order_of_the_freeze() {
    let mut world = world_at(&Task::HoldWrites);
    world.handle(Input::Cancelled).unwrap();
    world.run(succeed);
    let aborts: Vec<_> = world.started.iter().filter(|task| matches!(task, Task::AbortWriter(_))).collect();
    let names = ["log", "db", "web"].map(|name| Task::AbortWriter(name.into()));
    assert_eq!(aborts, names.iter().collect::<Vec<_>>());
}

#[test]
fn a_failure_before_the_freeze_thaws_nothing() {
    let mut world = world_at(&Task::SyncFileSystems);
    world.handle(Input::Cancelled).unwrap();
    world.run(succeed);
    assert!(!world.started.contains(&Task::ReleaseWrites));
}

#[test]
fn the_hold_runs_out_whatever_phase_uses_it_up() {
    // Three seconds each in freeze and two commits, and the attestation is too late at ten.
    let mut world = world_at(&Task::HoldWrites);
    let opened = world.now.boot;
    for task in [Task::HoldWrites, Task::CommitProvider("array".into()), Task::CommitProvider("btrfs".into())]
    {
        world.pass(Duration::from_secs(3));
        let answer = answer(&task);
        world.handle(Input::Answered(task, Ok(answer))).unwrap();
    }
    assert_eq!(world.machine.phase(), Phase::Attest);
    assert_eq!(world.machine.next_deadline(), Some(opened + Duration::from_secs(10)));
    world.run(|task| if *task == Task::AttestGuard { Does::Silence } else { Does::Succeed });
    assert_eq!(world.failure().error.code(), ErrorCode::HoldWritesTimeout);
}

#[test]
fn a_writer_may_ask_for_less_time_and_is_thawed_by_then() {
    // `db` asked for 30 s: 16 s in its own freeze and 15 s in that of `log` are too much for it alone.
    let mut world = world_at(&Task::FreezeWriter("db".into()));
    let opened = world.now.boot;
    world.pass(Duration::from_secs(16));
    world.handle(Input::Answered(Task::FreezeWriter("db".into()), Ok(Answer::Done))).unwrap();
    assert_eq!(world.machine.next_deadline(), Some(opened + Duration::from_secs(30)));
    world.run(|task| if *task == Task::FreezeWriter("log".into()) { Does::Silence } else { Does::Succeed });
    assert_eq!(world.failure().error.code(), ErrorCode::WriterTimeout);
    assert_eq!(world.failure().part, Part::Writer("db".into()));
    assert!(world.failure().error.message().contains("30000 ms"));
}

#[test]
fn an_answer_at_its_limit_comes_too_late_even_if_nobody_looked_at_the_clock() {
    let mut world = world_at(&Task::CommitProvider("array".into()));
    world.pass(Limits::default().get(Timer::Commit));
    let task = Task::CommitProvider("array".into());
    let answer = answer(&task);
    world.handle(Input::Answered(task, Ok(answer))).unwrap();
    assert_eq!(world.machine.phase(), Phase::UnwindRelease);
    world.run(succeed);
    world.assert_unwound();
}

#[test]
fn late_answers_are_ignored_and_strange_ones_refused() {
    let mut world = world_at(&Task::HoldWrites);
    world.handle(Input::Cancelled).unwrap();
    world.handle(Input::Answered(Task::HoldWrites, Ok(Answer::Done))).unwrap();
    assert_eq!(world.machine.phase(), Phase::UnwindRelease);
    let strange = world.handle(Input::Answered(Task::PostSnapshot("db".into()), Ok(Answer::Done)));
    assert_eq!(strange.unwrap_err().code(), ErrorCode::BadState);
    assert_eq!(world.machine.phase(), Phase::UnwindRelease);
}

#[test]
fn a_commit_without_its_time_is_a_fault_of_ours() {
    let mut world = world_at(&Task::CommitProvider("array".into()));
    world.handle(Input::Answered(Task::CommitProvider("array".into()), Ok(Answer::Done))).unwrap();
    world.run(succeed);
    assert_eq!(world.failure().error.code(), ErrorCode::Internal);
    world.assert_unwound();
}

#[test]
fn nothing_but_a_late_answer_reaches_an_ended_machine() {
    let mut world = whole_run();
    assert_eq!(world.machine.phase(), Phase::Finished);
    assert_eq!(world.machine.next_deadline(), None);
    assert_eq!(world.handle(Input::Cancelled).unwrap_err().code(), ErrorCode::BadState);
    world.handle(Input::Answered(Task::DisarmGuard, Ok(Answer::Done))).unwrap();
    world.handle(Input::Lost(Part::Guard, Error::new(ErrorCode::GuardLost, "ended"))).unwrap();
    world.pass(Duration::from_secs(1_000_000));
    world.expire();
    assert_eq!(world.machine.phase(), Phase::Finished);
}

/// Every pair of phases: the machine makes exactly the moves of the table, whatever happens to it.
#[test]
fn the_machine_makes_exactly_the_moves_of_the_table() {
    let mut seen: BTreeSet<_> = whole_run().machine.moves.into_iter().collect();
    for at in whole_run().started {
        let mut world = world_at(&at);
        world.handle(Input::Cancelled).unwrap();
        world.run(succeed);
        seen.extend(world.machine.moves);
    }
    for before in Phase::ALL {
        for after in Phase::ALL {
            let enters = (before, after) == (Phase::PrepareWriters, Phase::PrepareWriters);
            let expected = before.may_become(after) || enters;
            assert_eq!(seen.contains(&(before, after)), expected, "{before} to {after}");
        }
    }
}

#[test]
fn a_set_without_writers_or_mounts_needs_no_guard() {
    let mut bare = plan();
    bare.writers.clear();
    bare.providers.truncate(1);
    bare.volumes = vec![VolumePlan { name: "/dev/x".into(), provider: "btrfs".into(), ground: Ground::Raw }];
    let mut world = World::new(bare, Limits::default());
    world.run(succeed);
    let names: Vec<_> = world.started.iter().map(|task| format!("{task:?}")).collect();
    let btrfs =
        ["PrepareProvider", "CommitProvider", "FinishProvider"].map(|task| format!("{task}(\"btrfs\")"));
    assert_eq!(names, btrfs);
}

#[test]
fn a_set_that_would_not_be_one_instant_is_refused() {
    let code = |change: fn(&mut Plan)| {
        let mut plan = plan();
        change(&mut plan);
        plan.check().err().map(|error| error.code())
    };
    assert_eq!(code(|_| {}), None);
    assert_eq!(
        code(|plan| plan.volumes[1].ground = Ground::SelfCommitting),
        Some(ErrorCode::VolumeNotSupported)
    );
    assert_eq!(code(|plan| plan.volumes[1].ground = Ground::Raw), Some(ErrorCode::VolumeNotSupported));
    let raw_on_one_array = |plan: &mut Plan| {
        plan.volumes.remove(0);
        plan.providers.remove(0);
        plan.volumes.iter_mut().for_each(|volume| volume.ground = Ground::Raw);
    };
    assert_eq!(code(raw_on_one_array), None);
    assert_eq!(code(|plan| plan.volumes.clear()), Some(ErrorCode::InvalidArgument));
    assert_eq!(code(|plan| plan.volumes[2].name = "/data".into()), Some(ErrorCode::InvalidArgument));
    assert_eq!(code(|plan| plan.volumes[2].provider = "nobody".into()), Some(ErrorCode::Internal));
    let crowd = |plan: &mut Plan| {
        plan.volumes =
            (0..65).map(|n| VolumePlan { name: format!("/{n}"), ..plan.volumes[1].clone() }).collect();
    };
    assert_eq!(code(crowd), Some(ErrorCode::LimitReached));
}

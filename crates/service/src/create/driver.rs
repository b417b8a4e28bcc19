//! Drives a [`SetMachine`]: starts the tasks that it asks for, brings their answers, losses and the time back to it.
//!
//! ```text
//!   Workers::run(task)  <--spawned--  drive()  --handle(now, input)-->  SetMachine
//!          \-------- answer ------------^  ^---- time, losses, cancel
//! ```
//!
//! What always holds: the machine has one owner, this loop, and no lock is held across a step of it; while writers or
//! file systems may stand still the log stays in memory ([`Window`]); a task that is cancelled is dropped, its answer is
//! not awaited; the loop ends with the machine's outcome and never before.

use crate::quiet::Window;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
};
use umbra_base::{Error, Instant, Result};
use umbra_sys::clock;
use umbra_vss::{Answer, Effect, Input, Now, Outcome, Part, Phase, SetMachine, Task, Timeline};

/// Longest pause between two looks at the clocks: a suspend must not go unseen for longer (S5).
const LOOK: Duration = Duration::from_millis(200);

/// Whoever carries out tasks.
#[tonic::async_trait]
pub trait Workers: Send + Sync + 'static {
    /// Does `task`; called once for each start, concurrently with others. Dropping the future gives the task up.
    async fn run(&self, task: Task) -> Result<Answer>;
}

/// What comes to a creation from beside its tasks.
#[derive(Debug)]
pub struct Outside {
    /// A participant was lost.
    pub losses: mpsc::UnboundedReceiver<(Part, Error)>,
    /// True when the set is not wanted any more.
    pub cancelled: watch::Receiver<bool>,
}

/// The two clocks, read together.
pub fn now() -> Now {
    Now {
        boot: Instant::from_nanos(clock::boottime_nanos()),
        monotonic: Instant::from_nanos(clock::monotonic_nanos()),
    }
}

/// Runs `machine` to its end. `progress` sees the timeline after every step; it must not block.
pub async fn drive(
    mut machine: SetMachine,
    workers: Arc<dyn Workers>,
    mut outside: Outside,
    mut progress: impl FnMut(&Timeline) + Send,
) -> Outcome {
    let mut crew = Crew::new(workers);
    let mut window = None;
    let mut cancelled = false;
    loop {
        hush(&mut window, machine.phase());
        let effects: Vec<_> = machine.drain_effects().collect();
        progress(machine.timeline());
        for effect in effects {
            match effect {
                Effect::Start(task) => crew.start(task),
                Effect::Cancel(task) => crew.cancel(&task),
                Effect::Ended(outcome) => return *outcome,
            }
        }
        let input = tokio::select! {
            Some((task, answer)) = crew.answers.recv() => Some(Input::Answered(task, answer)),
            Some((part, error)) = outside.losses.recv() => Some(Input::Lost(part, error)),
            () = given_up(&mut outside.cancelled), if !cancelled => {
                cancelled = true;
                Some(Input::Cancelled)
            }
            () = tokio::time::sleep(pause(&machine)) => None,
        };
        match input {
            // A refused input was meant for a state that is over; the machine did not change.
            Some(input) => drop(machine.handle(now(), input)),
            None => machine.expire(now()),
        }
    }
}

/// Opens the window of silence before the first effect that freezes anything, closes it after the last thaw.
fn hush(window: &mut Option<Window>, phase: Phase) {
    let frozen = phase.in_window() || matches!(phase, Phase::UnwindRelease | Phase::UnwindWriters);
    match (frozen, &window) {
        (true, None) => *window = Some(Window::open()),
        (false, Some(_)) => *window = None,
        _ => {}
    }
}

fn pause(machine: &SetMachine) -> Duration {
    machine.next_deadline().map_or(LOOK, |deadline| deadline.since(now().boot).min(LOOK))
}

async fn given_up(cancelled: &mut watch::Receiver<bool>) {
    if cancelled.wait_for(|cancelled| *cancelled).await.is_err() {
        // Nobody is left who could cancel.
        std::future::pending::<()>().await;
    }
}

/// The tasks that run.
struct Crew {
    workers: Arc<dyn Workers>,
    running: HashMap<String, AbortHandle>,
    sender: mpsc::UnboundedSender<(Task, Result<Answer>)>,
    answers: mpsc::UnboundedReceiver<(Task, Result<Answer>)>,
}

impl Crew {
    fn new(workers: Arc<dyn Workers>) -> Crew {
        let (sender, answers) = mpsc::unbounded_channel();
        Crew { workers, running: HashMap::new(), sender, answers }
    }

    fn start(&mut self, task: Task) {
        let (workers, sender, done) = (self.workers.clone(), self.sender.clone(), task.clone());
        let name = format!("{task:?}");
        let handle = tokio::spawn(async move {
            let answer = workers.run(task).await;
            // The receiver is gone only when the outcome is there.
            let _ = sender.send((done, answer));
        });
        self.running.insert(name, handle.abort_handle());
    }

    fn cancel(&mut self, task: &Task) {
        if let Some(handle) = self.running.remove(&format!("{task:?}")) {
            handle.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use umbra_base::{ErrorCode, SetId};
    use umbra_vss::{
        CutTime, Ground, Level, Limits, Plan, ProviderPlan, Timer, VolumePlan, WriterPlan, WriterReport,
    };

    /// Participants that note what they were asked and answer at once, but for one that never does.
    #[derive(Default)]
    struct Fake {
        asked: Mutex<Vec<Task>>,
        mute: Option<Task>,
        fails: Option<Task>,
    }

    #[tonic::async_trait]
    impl Workers for Fake {
        async fn run(&self, task: Task) -> Result<Answer> {
            self.asked.lock().unwrap().push(task.clone());
            if self.mute.as_ref() == Some(&task) {
                std::future::pending::<()>().await;
            }
            if self.fails.as_ref() == Some(&task) {
                return Err(Error::new(ErrorCode::Io, "it does not want to"));
            }
            Ok(match task {
                Task::PrepareWriter(_) => Answer::Prepared(WriterReport::default()),
                Task::CommitProvider(_) => Answer::Cut(CutTime { unix_nanos: 7 }),
                _ => Answer::Done,
            })
        }
    }

    fn machine() -> SetMachine {
        let plan = Plan {
            set: SetId(uuid::Uuid::from_u128(1)),
            volumes: vec![VolumePlan {
                name: "/a".into(),
                provider: "array".into(),
                ground: Ground::Mounted,
            }],
            writers: vec![WriterPlan { name: "pg".into(), level: Level::Application }],
            providers: vec![ProviderPlan { name: "array".into() }],
        };
        let limits = Limits::default().with(Timer::Commit, Duration::from_millis(50));
        SetMachine::new(plan, limits, now()).unwrap()
    }

    async fn run(fake: Arc<Fake>, cancel: bool) -> Outcome {
        let (_losses, losses) = mpsc::unbounded_channel();
        let (_cancel, cancelled) = watch::channel(cancel);
        drive(machine(), fake, Outside { losses, cancelled }, |_| {}).await
    }

    fn position(fake: &Fake, task: &Task) -> Option<usize> {
        fake.asked.lock().unwrap().iter().position(|asked| asked == task)
    }

    #[tokio::test]
    async fn a_creation_runs_to_its_end_in_order() {
        let fake = Arc::new(Fake::default());
        assert!(matches!(run(fake.clone(), false).await, Outcome::Created(_)));
        let order = [
            Task::PrepareWriter("pg".into()),
            Task::SyncFileSystems,
            Task::FreezeWriter("pg".into()),
            Task::HoldWrites,
            Task::CommitProvider("array".into()),
            Task::ReleaseWrites,
            Task::ThawWriter("pg".into()),
            Task::FinishProvider("array".into()),
        ];
        let places: Vec<_> = order.iter().map(|task| position(&fake, task).unwrap()).collect();
        assert!(places.is_sorted(), "{:?}", fake.asked);
    }

    #[tokio::test]
    async fn a_mute_provider_is_given_up_and_everything_is_thawed() {
        let fake = Arc::new(Fake { mute: Some(Task::CommitProvider("array".into())), ..Fake::default() });
        let Outcome::Failed(failure, _) = run(fake.clone(), false).await else { panic!("it was created") };
        assert_eq!(failure.error.code(), ErrorCode::TimedOut);
        assert!(position(&fake, &Task::ReleaseWrites).is_some());
        assert!(position(&fake, &Task::AbortProvider("array".into())).is_some());
    }

    #[tokio::test]
    async fn a_failed_hold_fails_the_set_with_its_sentence() {
        let fake = Arc::new(Fake { fails: Some(Task::HoldWrites), ..Fake::default() });
        let Outcome::Failed(failure, _) = run(fake.clone(), false).await else { panic!("it was created") };
        assert!(failure.error.chain().contains("it does not want to"));
        assert!(position(&fake, &Task::AbortWriter("pg".into())).is_some());
    }

    #[tokio::test]
    async fn a_requester_that_goes_cancels_the_set() {
        let fake = Arc::new(Fake::default());
        let Outcome::Failed(failure, _) = run(fake, true).await else { panic!("it was created") };
        assert_eq!(failure.error.code(), ErrorCode::Cancelled);
    }
}

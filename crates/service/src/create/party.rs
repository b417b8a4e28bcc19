//! Those who take part in one creation, and what each does for a task of the machine.
//!
//! What always holds: blocking work runs on threads of its own, so that a thaw overtakes a freeze that stalls; a guard that
//! dies is told to the machine at once, and what it left frozen is thawed from its record; nothing here opens or logs to a
//! file between freeze and thaw (S7).

use super::{driver::Workers, plan::Planned};
use crate::{
    faults::Faults,
    node::{Node, blocking},
    provider::{Provider, SetSpec},
};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::mpsc;
use umbra_base::{Error, ErrorCode, Result};
use umbra_guard::{Client, Launch, Prepare};
use umbra_vss::{Answer, Limits, Part, Task, Timer};
use umbra_writers::Writer;

/// The subcommand that is the guard.
pub const GUARD: &str = "guard";

/// Losses go here.
type Lost = mpsc::UnboundedSender<(Part, Error)>;

/// See the module.
pub struct Party {
    spec: SetSpec,
    providers: BTreeMap<String, Arc<dyn Provider>>,
    writers: BTreeMap<String, Arc<dyn Writer>>,
    launch: Launch,
    prepare: Prepare,
    runtime: PathBuf,
    limits: Limits,
    lost: Lost,
    guard: Mutex<Option<Arc<Client>>>,
    ending: tokio::sync::Mutex<()>,
    notes: Mutex<Vec<String>>,
    faults: Faults,
}

impl Party {
    /// Those of `planned`.
    pub fn new(node: &Node, planned: &Planned, limits: Limits, lost: Lost) -> Party {
        let undos = planned.writers.values().filter_map(|writer| writer.undo()).map(guarded).collect();
        Party {
            spec: planned.spec.clone(),
            providers: planned.providers.clone(),
            writers: planned.writers.clone(),
            launch: Launch { program: node.config.program.clone(), args: vec![GUARD.to_owned()] },
            prepare: Prepare {
                set: planned.spec.set.to_string(),
                runtime: node.config.runtime.clone(),
                mounts: planned.mounts.clone(),
                undos,
                hold: limits.get(Timer::Hold),
            },
            runtime: node.config.runtime.clone(),
            limits,
            lost,
            guard: Mutex::default(),
            ending: tokio::sync::Mutex::default(),
            notes: Mutex::default(),
            faults: Faults::from_environment(),
        }
    }

    /// What is worth noting about the release.
    pub fn notes(&self) -> Vec<String> {
        lock(&self.notes).clone()
    }

    fn guard(&self) -> Result<Arc<Client>> {
        lock(&self.guard).clone().ok_or_else(|| Error::new(ErrorCode::GuardLost, "there is no guard"))
    }

    fn provider(&self, name: &str) -> Result<Arc<dyn Provider>> {
        self.providers.get(name).cloned().ok_or_else(|| unknown("provider", name))
    }

    fn writer(&self, name: &str) -> Result<Arc<dyn Writer>> {
        self.writers.get(name).cloned().ok_or_else(|| unknown("writer", name))
    }

    async fn ask_guard<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Client) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let guard = self.guard()?;
        blocking(move || what(&guard)).await
    }

    async fn arm(&self) -> Result<()> {
        let (launch, prepare, lost) = (self.launch.clone(), self.prepare.clone(), self.lost.clone());
        let within = self.limits.get(Timer::ArmGuard);
        let on_lost = Box::new(move |error| {
            // A machine that has ended has no ear for it.
            let _ = lost.send((Part::Guard, error));
        });
        let guard = blocking(move || {
            let guard = Client::spawn(&launch, on_lost)?;
            guard.prepare(&prepare, within)?;
            Ok(guard)
        });
        *lock(&self.guard) = Some(Arc::new(guard.await?));
        Ok(())
    }

    async fn sync(&self) -> Result<()> {
        let within = self.limits.get(Timer::Sync);
        self.ask_guard(move |guard| guard.sync(within)).await
    }

    async fn hold(&self) -> Result<()> {
        if self.faults.skip_freeze() {
            self.faults.after_freeze().await;
            return Ok(());
        }
        let within = self.limits.get(Timer::Hold);
        self.ask_guard(move |guard| guard.freeze(within)).await?;
        self.faults.after_freeze().await;
        Ok(())
    }

    async fn attest(&self) -> Result<()> {
        if self.faults.skip_freeze() {
            return Ok(());
        }
        let within = self.limits.get(Timer::Attest);
        self.ask_guard(move |guard| guard.attest(within)).await
    }

    /// A guard that is gone has thawed, or its record says what is left to thaw.
    async fn release(&self) -> Result<()> {
        let within = self.limits.get(Timer::UnwindRelease);
        match self.ask_guard(move |guard| guard.thaw(within)).await {
            Ok(thawed) => {
                lock(&self.notes).extend(thawed.notes);
                Ok(())
            }
            Err(error) if error.code() == ErrorCode::GuardLost => self.recover().await,
            Err(error) => Err(error),
        }
    }

    async fn recover(&self) -> Result<()> {
        let runtime = self.runtime.clone();
        let found = blocking(move || umbra_guard::recover(&runtime)).await?;
        let mut failed = found.into_iter().filter_map(|recovered| match recovered.found {
            umbra_guard::Found::Undone { failed, .. } => failed.into_iter().next(),
            umbra_guard::Found::Guarded => {
                Some(Error::new(ErrorCode::TimedOut, "a guard still waits for storage"))
            }
            _ => None,
        });
        failed.next().map_or(Ok(()), Err)
    }

    /// Ends the guard, and waits until it has said so, whoever else is ending it.
    pub async fn disarm(&self) -> Result<()> {
        let _turn = self.ending.lock().await;
        let Some(guard) = lock(&self.guard).take() else { return Ok(()) };
        let within = self.limits.get(Timer::UnwindRelease);
        blocking(move || guard.finish(within)).await
    }

    async fn prepare_provider(&self, name: &str) -> Result<()> {
        let provider = self.provider(name)?;
        provider.begin_prepare(&self.spec).await?;
        provider.end_prepare(self.spec.set).await?;
        provider.pre_commit(self.spec.set).await
    }

    async fn finish_provider(&self, name: &str) -> Result<()> {
        let provider = self.provider(name)?;
        provider.post_commit(self.spec.set).await?;
        provider.finish(self.spec.set, self.spec.import).await.map(drop)
    }

    /// From here on the guard owes the writer its undo, whatever happens to this process.
    async fn freeze_writer(&self, name: &str) -> Result<()> {
        let writer = self.writer(name)?;
        if writer.undo().is_some() {
            let limit = self.limits.get(Timer::FreezeToThaw);
            let window = writer.freeze_at_most().map_or(limit, |asked| asked.min(limit));
            let name = name.to_owned();
            self.ask_guard(move |guard| guard.arm(&name, window, SOON)).await?;
        }
        writer.freeze().await
    }

    async fn abort_writer(&self, name: &str) -> Result<()> {
        let writer = self.writer(name)?;
        let aborted = writer.abort().await;
        if writer.undo().is_none() {
            return aborted;
        }
        self.run_undo(name).await.and(aborted)
    }

    async fn thaw_writer(&self, name: &str) -> Result<()> {
        let writer = self.writer(name)?;
        if writer.undo().is_some() {
            self.run_undo(name).await?;
        }
        writer.thaw().await
    }

    async fn run_undo(&self, name: &str) -> Result<()> {
        let within = self.limits.get(Timer::ThawWriters);
        let name = name.to_owned();
        match self.ask_guard(move |guard| guard.run_undo(&name, within)).await {
            Err(error) if error.code() == ErrorCode::GuardLost => self.recover().await,
            other => other,
        }
    }
}

/// How long the guard may take for what needs nothing but itself.
const SOON: Duration = Duration::from_secs(2);

#[tonic::async_trait]
impl Workers for Party {
    async fn run(&self, task: Task) -> Result<Answer> {
        let set = self.spec.set;
        match &task {
            Task::PrepareWriter(name) => return self.writer(name)?.prepare().await.map(Answer::Prepared),
            Task::CommitProvider(name) => return self.provider(name)?.commit(set).await.map(Answer::Cut),
            Task::PrepareProvider(name) => self.prepare_provider(name).await?,
            Task::ArmGuard => self.arm().await?,
            Task::SyncFileSystems => self.sync().await?,
            Task::FreezeWriter(name) => self.freeze_writer(name).await?,
            Task::HoldWrites => self.hold().await?,
            Task::AttestGuard => self.attest().await?,
            Task::AttestWriter(name) => self.writer(name)?.attest().await?,
            Task::ReleaseWrites => self.release().await?,
            Task::ThawWriter(name) => self.thaw_writer(name).await?,
            Task::DisarmGuard => self.disarm().await?,
            Task::FinishProvider(name) => self.finish_provider(name).await?,
            Task::PostSnapshot(name) => self.writer(name)?.post_snapshot().await?,
            Task::AbortWriter(name) => self.abort_writer(name).await?,
            Task::AbortProvider(name) => self.provider(name)?.abort(set).await?,
        }
        Ok(Answer::Done)
    }
}

/// A writer's undo as the guard holds it.
fn guarded(undo: umbra_writers::Undo) -> umbra_guard::Undo {
    let limit_ms = u64::try_from(undo.limit.as_millis()).unwrap_or(u64::MAX);
    umbra_guard::Undo { name: undo.name, argv: undo.argv, env: undo.env, limit_ms }
}

fn unknown(what: &str, name: &str) -> Error {
    Error::new(ErrorCode::Internal, format!("{what} {name:?} takes no part in this set"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

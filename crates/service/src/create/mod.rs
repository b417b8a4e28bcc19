//! Creation of a set, from the order to the record (S1-S7).
//!
//! ```text
//!   order -> [gate: one at a time] -> plan: volumes, writers, providers -> SetMachine driven by `driver` through `party`
//!         -> record: timeline and consistency in the array -> answer
//! ```
//!
//! What always holds: a creation that was answered with a set has its timeline in the array; one that failed, was given
//! up by its requester or was cut short by a stop leaves nothing of the set.

mod driver;
mod gate;
mod operations;
mod party;
mod plan;
mod record;

pub use gate::Gate;
pub use operations::{Begun, Ended, Operations};
pub use party::GUARD;

use crate::{
    node::Node,
    provider::{Import, Life},
    view,
};
use driver::Outside;
use party::Party;
use plan::Planned;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch};
use tonic::Status;
use umbra_api::{convert, v1};
use umbra_base::{Error, ErrorCode, Result, SetId};
use umbra_vss::{Created, Failure, IfBusy, Limits, Outcome, SetMachine};

/// Longest time for finding out what a set is made of, before anything is asked to prepare.
const PLAN_LIMIT: Duration = Duration::from_secs(60);

/// What a requester wants.
#[derive(Debug, Clone)]
pub struct Order {
    /// The id of the set.
    pub set: SetId,
    /// Mount points or block devices, as the requester named them.
    pub volumes: Vec<String>,
    /// Who is asked to stand still.
    pub writers: Writers,
    /// The provider, if the requester insists on one.
    pub provider: Option<String>,
    /// What to do while another set is being created.
    pub if_busy: IfBusy,
    /// When the set is usable.
    pub import: Import,
    /// How long it lives.
    pub life: Life,
    /// For people and programs.
    pub labels: BTreeMap<String, String>,
    /// Zero: never.
    pub expires_at_unix_ns: u64,
}

/// Which writers take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// Those with data on the volumes.
    Affected,
    /// None (VSS: nowriters).
    None,
}

/// Where progress goes; closed when the requester is gone.
pub type Events = mpsc::Sender<Result<v1::CreateEvent, Status>>;

/// Creates a set, and says how it ended.
pub async fn run(node: Arc<Node>, order: Order, events: Events) -> (Life, Ended) {
    let (set, life) = (order.set, order.life);
    let result = create(&node, order, &events).await;
    match &result {
        Ok(_) => tracing::info!(%set, "created"),
        Err(error) => tracing::warn!(%set, code = %error.code(), error = error.chain(), "not created"),
    }
    (life, result.map_err(|error| convert::detail(&error)))
}

async fn create(node: &Arc<Node>, order: Order, events: &Events) -> Result<v1::ServiceSet> {
    if let Some(known) = known(node, &order).await? {
        return view::service_set(node, known).await;
    }
    let _pass = tokio::select! {
        pass = node.gate.enter(order.set, order.if_busy) => pass?,
        () = events.closed() => return Err(given_up()),
        () = node.stopping() => return Err(stopped()),
    };
    let planned = tokio::select! {
        planned = plan::make(node, &order) => planned?,
        () = tokio::time::sleep(PLAN_LIMIT) => return Err(unplanned()),
        () = events.closed() => return Err(given_up()),
        () = node.stopping() => return Err(stopped()),
    };
    let record = match drive(node, &planned, events).await {
        (Outcome::Created(created), notes) => record(node, &planned, &created, &notes).await?,
        (Outcome::Failed(failure, _), _) => return Err(told(failure)),
    };
    view::service_set(node, record).await
}

/// The set of an earlier order with this id, which needs no second creation (P2).
async fn known(node: &Node, order: &Order) -> Result<Option<v1::SetRecord>> {
    node.settle().await?;
    let set = order.set;
    if node.gate.current() == Some(set) {
        return Err(Error::new(
            ErrorCode::SnapshotSetInProgress,
            format!("set {set} is being created already"),
        ));
    }
    let record = match node.array.set(&set.to_string()).await {
        Ok(record) => record,
        Err(error) if error.code() == ErrorCode::ObjectNotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let same = record.creator_host == node.config.host_name
        && record.state() != v1::SetState::Pending
        && record.copies.iter().map(|copy| &copy.volume).eq(&order.volumes);
    if same && record.state() != v1::SetState::Broken {
        return Ok(Some(record));
    }
    Err(Error::new(ErrorCode::ObjectAlreadyExists, format!("there is another set with the id {set}")))
}

/// Runs the machine; its outcome, and what else is worth noting.
async fn drive(node: &Arc<Node>, planned: &Planned, events: &Events) -> (Outcome, Vec<String>) {
    let (lost, losses) = mpsc::unbounded_channel();
    let (cancel, cancelled) = watch::channel(false);
    let limits = Limits::default();
    let machine = match SetMachine::new(planned.plan.clone(), limits.clone(), driver::now()) {
        Ok(machine) => machine,
        Err(error) => return (refused(error), Vec::new()),
    };
    let party = Arc::new(Party::new(node, planned, limits, lost));
    let watch = tokio::spawn(give_up(node.clone(), events.clone(), cancel));
    let mut told = record::Told::default();
    let progress = |timeline: &umbra_vss::Timeline| told.tell(timeline, events);
    let outcome = driver::drive(machine, party.clone(), Outside { losses, cancelled }, progress).await;
    watch.abort();
    // The next creation shall not meet this one's guard.
    if let Err(error) = party.disarm().await {
        tracing::warn!(code = %error.code(), error = error.chain(), "the guard did not end in order");
    }
    (outcome, party.notes())
}

/// Cancels a creation whose requester is gone, or whose service stops.
async fn give_up(node: Arc<Node>, events: Events, cancel: watch::Sender<bool>) {
    tokio::select! {
        () = events.closed() => {}
        () = node.stopping() => {}
    }
    cancel.send_replace(true);
    // The receiver must not see its sender gone before the machine has ended.
    cancel.closed().await;
}

/// Writes down what the set became. Where that fails there is no set: nobody may take one of unknown consistency for
/// a good one (S5).
async fn record(
    node: &Node,
    planned: &Planned,
    created: &Created,
    notes: &[String],
) -> Result<v1::SetRecord> {
    let update = record::update(planned, created, notes);
    match node.array.update_set(update).await {
        Ok(record) => Ok(record),
        Err(error) => {
            for provider in planned.providers.values() {
                if let Err(also) = provider.abort(created.set).await {
                    tracing::error!(set = %created.set, code = %also.code(), error = also.chain(), "set stays");
                }
            }
            Err(error)
        }
    }
}

fn refused(error: Error) -> Outcome {
    let failure = Failure {
        phase: umbra_vss::Phase::PrepareWriters,
        part: umbra_vss::Part::Requester,
        error,
        also: Vec::new(),
    };
    Outcome::Failed(failure, umbra_vss::Timeline::default())
}

/// The first error is the requester's; what failed after it goes to the log.
fn told(failure: Failure) -> Error {
    for also in &failure.also {
        let (task, code) = (&also.task, also.error.code());
        tracing::error!(?task, %code, error = also.error.chain(), "undoing a creation");
    }
    failure.error.param("phase", failure.phase).param("part", failure.part)
}

fn unplanned() -> Error {
    let text = format!("the volumes and writers could not be looked up within {} s", PLAN_LIMIT.as_secs());
    Error::new(ErrorCode::TimedOut, text).hint(
        "a block device of this host may not answer: see `umbra volumes`, and the array that it comes from",
    )
}

fn given_up() -> Error {
    Error::new(ErrorCode::Cancelled, "the requester is gone")
}

fn stopped() -> Error {
    Error::new(ErrorCode::Cancelled, "the service is being stopped")
}

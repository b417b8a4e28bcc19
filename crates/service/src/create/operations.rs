//! What became of each creation, by its operation id, so that a lost answer can be asked for again (P2).
//!
//! What always holds: the same id never starts a second creation while its first runs or is remembered; at most
//! [`OPERATIONS_KEPT`] finished ones are remembered, the oldest go first. Operations without an id are not remembered.

use crate::limits::OPERATIONS_KEPT;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;
use umbra_api::v1;
use umbra_base::{Error, ErrorCode};

/// How a creation ended.
pub type Ended = Result<v1::ServiceSet, v1::ErrorDetail>;
/// Its end, once there is one.
pub type Awaited = watch::Receiver<Option<Ended>>;

/// The operations of a service.
#[derive(Debug, Default)]
pub struct Operations(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    known: HashMap<String, Awaited>,
    finished: VecDeque<String>,
}

/// The answer to a request.
#[derive(Debug)]
pub enum Begun {
    /// Nobody asked for it before: the caller creates, and says with the ticket what became of it.
    New(Ticket),
    /// It was asked for before.
    Known(Awaited),
}

/// The duty to say how the creation ended; dropped without a word it says that the creation was lost.
#[derive(Debug)]
pub struct Ticket {
    operations: Arc<Operations>,
    id: String,
    end: watch::Sender<Option<Ended>>,
}

impl Operations {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins the operation of that id, or finds it.
    pub fn begin(self: &Arc<Self>, id: &str) -> Begun {
        let mut table = self.table();
        if let Some(known) = table.known.get(id) {
            return Begun::Known(known.clone());
        }
        let (end, awaited) = watch::channel(None);
        if !id.is_empty() {
            table.known.insert(id.to_owned(), awaited);
        }
        Begun::New(Ticket { operations: self.clone(), id: id.to_owned(), end })
    }
}

impl Ticket {
    /// It ended so.
    pub fn finish(self, ended: Ended) {
        self.end.send_replace(Some(ended));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.end.send_if_modified(|end| {
            let lost = end.is_none();
            if lost {
                let error = Error::new(ErrorCode::Internal, "the creation ended without an answer");
                *end = Some(Err(umbra_api::convert::detail(&error)));
            }
            lost
        });
        if self.id.is_empty() {
            return;
        }
        let mut table = self.operations.table();
        table.finished.push_back(std::mem::take(&mut self.id));
        while table.finished.len() > OPERATIONS_KEPT {
            if let Some(oldest) = table.finished.pop_front() {
                table.known.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(begun: Begun) -> Ticket {
        match begun {
            Begun::New(ticket) => ticket,
            Begun::Known(_) => panic!("it is known"),
        }
    }

    fn known(begun: Begun) -> Awaited {
        match begun {
            Begun::New(_) => panic!("it is new"),
            Begun::Known(awaited) => awaited,
        }
    }

    #[tokio::test]
    async fn the_same_operation_gets_the_same_answer_while_running_and_after() {
        let operations = Arc::new(Operations::default());
        let first = ticket(operations.begin("a"));
        let mut second = known(operations.begin("a"));
        first.finish(Ok(v1::ServiceSet::default()));
        assert!(second.wait_for(Option::is_some).await.unwrap().clone().unwrap().is_ok());
        assert!(known(operations.begin("a")).borrow().clone().unwrap().is_ok());
    }

    #[test]
    fn a_lost_creation_is_told_as_failed() {
        let operations = Arc::new(Operations::default());
        drop(ticket(operations.begin("a")));
        let ended = known(operations.begin("a")).borrow().clone().unwrap();
        assert_eq!(ended.unwrap_err().code, "internal");
    }

    #[test]
    fn only_so_many_are_remembered_and_none_without_an_id() {
        let operations = Arc::new(Operations::default());
        ticket(operations.begin("")).finish(Ok(v1::ServiceSet::default()));
        ticket(operations.begin("")).finish(Ok(v1::ServiceSet::default()));
        for n in 0..=OPERATIONS_KEPT {
            ticket(operations.begin(&n.to_string())).finish(Ok(v1::ServiceSet::default()));
        }
        ticket(operations.begin("0"));
        known(operations.begin("2"));
    }
}

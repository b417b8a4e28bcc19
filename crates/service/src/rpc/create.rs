//! `Create`: the request as an order, the events as a stream, a volatile set's life as the stream's (B6).

use crate::{
    create::{self, Begun, Ended, Order},
    limits::{EVENTS, PATH_BYTES},
    node::Node,
    provider::{Import, Life},
};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::Instrument;
use umbra_api::v1::{self, create_event::Event};
use umbra_base::{
    Error, ErrorCode, Result, SetId,
    limits::{LABELS, VOLUMES_PER_SET},
};
use umbra_vss::IfBusy;

/// What the requester reads.
pub type Events = ReceiverStream<Result<v1::CreateEvent, Status>>;

/// Starts a creation, or joins the one of the same operation id.
pub async fn create(node: Arc<Node>, request: v1::CreateRequest) -> Result<Events> {
    let operation = request.operation_id.clone();
    let order = order(request)?;
    let (events, stream) = mpsc::channel(EVENTS);
    match node.operations.begin(&operation) {
        Begun::New(ticket) => {
            let job = create::run(node.clone(), order, events.clone());
            let busy = node.busy().await;
            let creation = async move {
                let _busy = busy;
                let (life, ended) = job.await;
                ticket.finish(ended.clone());
                tell(&events, ended.clone()).await;
                if let (Life::Volatile, Ok(set)) = (life, ended) {
                    hold(&node, set, &events).await;
                }
            };
            tokio::spawn(creation.in_current_span());
        }
        Begun::Known(mut awaited) => {
            tokio::spawn(async move {
                let ended = awaited.wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone());
                if let Some(ended) = ended {
                    tell(&events, ended).await;
                }
            });
        }
    }
    Ok(ReceiverStream::new(stream))
}

async fn tell(events: &mpsc::Sender<Result<v1::CreateEvent, Status>>, ended: Ended) {
    let event = match ended {
        Ok(set) => Event::Created(set),
        Err(detail) => Event::Failed(detail),
    };
    // A requester that went away asks again with its operation id.
    let _ = events.send(Ok(v1::CreateEvent { event: Some(event) })).await;
}

/// A volatile set lives until its requester goes or the service stops; a broken one lives on.
async fn hold(node: &Arc<Node>, set: v1::ServiceSet, events: &mpsc::Sender<Result<v1::CreateEvent, Status>>) {
    let Some(id) = set.record.map(|record| record.id) else { return };
    tokio::select! {
        () = events.closed() => {}
        () = node.stopping() => {}
    }
    match crate::delete::forget_volatile(node, &id).await {
        Ok(()) => tracing::info!(set = id, "the requester of a volatile set is gone, and so is the set"),
        Err(error) => {
            tracing::warn!(set = id, code = %error.code(), error = error.chain(), "volatile set stays")
        }
    }
}

fn order(request: v1::CreateRequest) -> Result<Order> {
    let wrong = |text: String| Err(Error::new(ErrorCode::InvalidArgument, text));
    if request.volumes.is_empty() {
        return wrong("a set needs at least one volume".to_owned());
    }
    if request.volumes.len() > VOLUMES_PER_SET {
        let text =
            format!("{} volumes in one set, at most {VOLUMES_PER_SET} are allowed", request.volumes.len());
        return Err(Error::new(ErrorCode::LimitReached, text).param("limit", VOLUMES_PER_SET));
    }
    if let Some(volume) = request.volumes.iter().find(|v| !v.starts_with('/') || v.len() > PATH_BYTES) {
        return wrong(format!("volume {volume:?} is not an absolute path of a mount point or block device"));
    }
    if request.labels.len() > LABELS {
        return wrong(format!("{} labels, at most {LABELS} are allowed", request.labels.len()));
    }
    if request.volatile && request.transportable {
        return wrong("a volatile set dies with its requester, so it cannot be transportable".to_owned());
    }
    let set = match request.set_id.as_str() {
        "" => SetId(uuid::Uuid::new_v4()),
        text => text.parse()?,
    };
    Ok(Order {
        set,
        volumes: request.volumes,
        writers: if request.no_writers { create::Writers::None } else { create::Writers::Affected },
        provider: Some(request.provider).filter(|name| !name.is_empty()),
        if_busy: if request.wait { IfBusy::Wait } else { IfBusy::Refuse },
        import: if request.transportable { Import::Later } else { Import::Implicit },
        life: if request.volatile { Life::Volatile } else { Life::Persistent },
        labels: request.labels.into_iter().collect(),
        expires_at_unix_ns: request.expires_at_unix_ns,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_requests_are_refused_before_anything_happens() {
        let good = v1::CreateRequest { volumes: vec!["/srv".into()], ..Default::default() };
        assert!(order(good.clone()).is_ok());
        for bad in [
            v1::CreateRequest { volumes: vec![], ..good.clone() },
            v1::CreateRequest { volumes: vec!["srv".into()], ..good.clone() },
            v1::CreateRequest { set_id: "x".into(), ..good.clone() },
            v1::CreateRequest { volatile: true, transportable: true, ..good.clone() },
        ] {
            assert_eq!(order(bad).unwrap_err().code(), ErrorCode::InvalidArgument);
        }
    }
}

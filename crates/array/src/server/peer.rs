//! Connections to the management socket: who they are, how many, and whether they speak HTTP/2 at all.
//!
//! Picture: accept -> permit (a bound on connections) -> credentials from the kernel -> the first 24 bytes must be the
//! HTTP/2 preface (RFC 9113 section 3.4), within a limit. Whatever is wrong with a peer is logged with the reason when
//! it is cut off.

use crate::{audit::Principal, limits};
use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};
use tokio_stream::Stream;
use tonic::transport::server::Connected;

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The connections of a listener, as a stream that never ends.
pub struct Peers {
    next: Pin<Box<dyn Future<Output = Peer> + Send>>,
    listener: Arc<UnixListener>,
    permits: Arc<Semaphore>,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl Peers {
    /// Accepts from `listener`.
    pub fn new(listener: UnixListener) -> Self {
        let (listener, permits) = (Arc::new(listener), Arc::new(Semaphore::new(limits::CONNECTIONS)));
        Peers { next: Box::pin(accept(listener.clone(), permits.clone())), listener, permits }
    }
}

impl Stream for Peers {
    type Item = io::Result<Peer>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let peer = ready!(self.next.as_mut().poll(cx));
        self.next = Box::pin(accept(self.listener.clone(), self.permits.clone()));
        Poll::Ready(Some(Ok(peer)))
    }
}

/// The next peer that may speak. At the bound on connections, nobody is accepted until one ends; the kernel's queue of
/// the socket holds those that wait.
async fn accept(listener: Arc<UnixListener>, permits: Arc<Semaphore>) -> Peer {
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { std::future::pending().await };
        match listener.accept().await {
            Ok((stream, _)) => return Peer::new(stream, permit),
            // Out of descriptors, or a peer that left: neither ends the server.
            Err(error) => {
                tracing::warn!(%error, "accept a management connection");
                sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Peer {
    stream: UnixStream,
    principal: Option<Principal>,
    preface: Preface,
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Preface {
    Awaited { seen: usize, limit: Pin<Box<Sleep>> },
    Seen,
}

impl Peer {
    fn new(stream: UnixStream, permit: OwnedSemaphorePermit) -> Self {
        let principal = match stream.peer_cred() {
            Ok(cred) => Some(Principal { uid: cred.uid(), pid: cred.pid() }),
            Err(error) => {
                tracing::warn!(%error, "read the credentials of a management peer");
                None
            }
        };
        let preface = Preface::Awaited { seen: 0, limit: Box::pin(sleep(limits::PREFACE_LIMIT)) };
        Peer { stream, principal, preface, _permit: permit }
    }

    fn cut_off(&self, reason: &str) -> io::Error {
        let (uid, pid) = (self.principal.map(|peer| peer.uid), self.principal.and_then(|peer| peer.pid));
        tracing::warn!(uid, pid, reason, "management peer cut off");
        io::Error::new(io::ErrorKind::InvalidData, reason.to_owned())
    }
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let Preface::Awaited { seen, limit } = &mut self.preface else { return read };
        if read.is_pending() {
            ready!(limit.as_mut().poll(cx));
            return Poll::Ready(Err(self.cut_off("no HTTP/2 preface in time")));
        }
        ready!(read)?;
        let fresh = &buf.filled()[before..];
        let expected = &PREFACE[*seen..];
        let count = fresh.len().min(expected.len());
        let matches = fresh[..count] == expected[..count];
        *seen += count;
        match (matches, *seen == PREFACE.len(), fresh.is_empty()) {
            (false, ..) => Poll::Ready(Err(self.cut_off("what it sent is not HTTP/2"))),
            (true, true, _) => {
                self.preface = Preface::Seen;
                Poll::Ready(Ok(()))
            }
            // The peer left; the server sees the end of the stream.
            (true, false, _) => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Peer {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Who sent a request; `None` when the kernel would not say.
#[derive(Debug, Clone, Copy)]
pub struct PeerInfo(pub Option<Principal>);

impl Connected for Peer {
    type ConnectInfo = PeerInfo;

    fn connect_info(&self) -> PeerInfo {
        PeerInfo(self.principal)
    }
}

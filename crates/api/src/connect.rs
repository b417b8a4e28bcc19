//! Opens channels to a service or an array. A connection is tried at once, so that a wrong address is an error here,
//! with the address in it, and not at the first call.

use crate::{Address, v1};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use umbra_base::{Error, ErrorCode, Result};

/// A client of an array.
pub type ArrayClient = v1::array_client::ArrayClient<Channel>;
/// A client of a service.
pub type ServiceClient = v1::service_client::ServiceClient<Channel>;

/// Largest message that a client takes: a page of a list.
const MESSAGE_BYTES: usize = 16 << 20;

/// Connects to the array at `address`.
pub async fn array(address: &Address) -> Result<ArrayClient> {
    Ok(ArrayClient::new(channel(address, "array").await?).max_decoding_message_size(MESSAGE_BYTES))
}

/// Connects to the service at `address`.
pub async fn service(address: &Address) -> Result<ServiceClient> {
    Ok(ServiceClient::new(channel(address, "service").await?).max_decoding_message_size(MESSAGE_BYTES))
}

async fn channel(address: &Address, what: &str) -> Result<Channel> {
    let Address::Unix(path) = address.clone();
    // The URI names no host: a unix socket has none, but HTTP/2 asks for an authority.
    Endpoint::from_static("http://umbra.local")
        .connect_with_connector(tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        }))
        .await
        .map_err(|source| {
            let text = format!("connect to the {what} at {address}");
            let error = match is_refusal(&source) {
                true => Error::new(ErrorCode::AccessDenied, text).hint("the socket is for root only"),
                false => Error::new(ErrorCode::Unreachable, text)
                    .hint(format!("is it running? start it with `umbra {}`", start_command(what))),
            };
            error.because(source)
        })
}

/// Whether the system did not let us at the socket.
fn is_refusal(error: &(dyn std::error::Error + 'static)) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::PermissionDenied)
        || error.source().is_some_and(is_refusal)
}

fn start_command(what: &str) -> &'static str {
    if what == "array" { "array serve --dir DIR" } else { "serve" }
}

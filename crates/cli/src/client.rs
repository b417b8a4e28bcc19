//! Connections to the service and the array, at the addresses that the command line names.

use crate::args::{DEFAULT_SOCKET, Global};
use std::path::PathBuf;
use tonic::{Response, Status};
use umbra_api::{Address, ArrayClient, ServiceClient, convert};
use umbra_base::{Error, ErrorCode, Result};

/// Connects to the service of this host.
pub async fn service(global: &Global) -> Result<ServiceClient> {
    umbra_api::service(&service_address(global)?).await
}

/// Connects to the array.
pub async fn array(global: &Global) -> Result<ArrayClient> {
    umbra_api::array(&global.array.as_deref().unwrap_or(umbra_api::DEFAULT_ARRAY).parse()?).await
}

fn service_address(global: &Global) -> Result<Address> {
    let path = global.socket.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET));
    std::path::absolute(&path).map(Address::Unix).map_err(|source| {
        Error::new(ErrorCode::InvalidArgument, format!("{:?} is not a path", path.display().to_string()))
            .because(source)
    })
}

/// The message of a reply, or the error that it carries.
pub fn reply<T>(answer: Result<Response<T>, Status>) -> Result<T> {
    answer.map(Response::into_inner).map_err(|status| convert::from_status(&status))
}

//! The array as the service sees it: one connection, opened at the first need, and the calls that the service makes.
//!
//! What always holds: every call has a limit on time; every error names the call, and whether the array was reachable;
//! lists are followed to their end. Nothing of an answer is kept: the array's catalogue is the only truth.

use crate::limits::{ARRAY_CALL, PAGE, PAGES};
use std::future::Future;
use tokio::sync::Mutex;
use tonic::{Request, Response, Status};
use umbra_api::{Address, ArrayClient, convert, v1};
use umbra_base::{Error, ErrorCode, Result};

/// A way to the array.
#[derive(Debug)]
pub struct Array {
    address: Address,
    client: Mutex<Option<ArrayClient>>,
}

impl Array {
    /// The array at `address`; nothing is connected yet.
    pub fn new(address: Address) -> Array {
        Array { address, client: Mutex::new(None) }
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// A client over the one connection, which is opened if there is none. It connects again by itself when the array
    /// was restarted.
    pub async fn client(&self) -> Result<ArrayClient> {
        let mut client = self.client.lock().await;
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let fresh = umbra_api::array(&self.address).await?;
        Ok(client.insert(fresh).clone())
    }

    /// What the array is and how it does.
    pub async fn status(&self) -> Result<v1::ArrayStatus> {
        let mut client = self.client().await?;
        call("ask the array for its state", client.get_status(v1::GetArrayStatusRequest {})).await
    }

    /// The LUN of that name, id or prefix.
    pub async fn lun(&self, key: &str) -> Result<v1::Lun> {
        let mut client = self.client().await?;
        call("look up a LUN", client.get_lun(v1::GetLunRequest { key: key.to_owned() })).await
    }

    /// Every LUN.
    pub async fn luns(&self) -> Result<Vec<v1::Lun>> {
        let mut client = self.client().await?;
        let mut all = Vec::new();
        let mut token = String::new();
        for _ in 0..PAGES {
            let request = v1::ListLunsRequest { page: page(token), host_key: String::new() };
            let reply = call("list LUNs", client.list_luns(request)).await?;
            all.extend(reply.luns);
            token = reply.next_token;
            if token.is_empty() {
                return Ok(all);
            }
        }
        Err(endless("LUNs"))
    }

    /// Makes this host known; a repetition changes nothing.
    pub async fn add_host(&self, name: &str, initiator: &str) -> Result<v1::Host> {
        let mut client = self.client().await?;
        let id = uuid::Uuid::new_v4().to_string();
        let request = v1::AddHostRequest { id, name: name.to_owned(), initiator: initiator.to_owned() };
        let reply = call("make this host known to the array", client.add_host(request)).await?;
        reply.host.ok_or_else(|| empty("host"))
    }

    /// The CHAP secret of a host, for a TCP portal.
    pub async fn host_secret(&self, key: &str) -> Result<v1::HostSecret> {
        let mut client = self.client().await?;
        call(
            "ask for this host's CHAP secret",
            client.get_host_secret(v1::GetHostRequest { key: key.to_owned() }),
        )
        .await
    }

    /// Write protection of a LUN; a fence (A1).
    pub async fn set_lun_access(&self, key: &str, access: Access) -> Result<v1::Lun> {
        let mut client = self.client().await?;
        let read_only = access == Access::ReadOnly;
        let request = v1::SetLunAccessRequest { key: key.to_owned(), read_only, if_revision: 0 };
        let reply = call("change the write protection of a LUN", client.set_lun_access(request)).await?;
        reply.lun.ok_or_else(|| empty("LUN"))
    }

    /// The set of that id or prefix, broken or not.
    pub async fn set(&self, key: &str) -> Result<v1::SetRecord> {
        let mut client = self.client().await?;
        call("look up a set", client.get_set(key_of(key))).await
    }

    /// Every set that is not broken, or every broken one.
    pub async fn sets(&self, which: Sets) -> Result<Vec<v1::SetRecord>> {
        let mut all = Vec::new();
        let mut token = String::new();
        for _ in 0..PAGES {
            let reply = self.sets_page(which, page(token)).await?;
            all.extend(reply.sets);
            token = reply.next_token;
            if token.is_empty() {
                return Ok(all);
            }
        }
        Err(endless("sets"))
    }

    /// One page of sets.
    pub async fn sets_page(&self, which: Sets, page: Option<v1::PageRequest>) -> Result<v1::ListSetsReply> {
        let mut client = self.client().await?;
        let request = v1::ListSetsRequest { page, host_key: String::new(), broken: which == Sets::Broken };
        call("list sets", client.list_sets(request)).await
    }

    /// Imports a set for `host`.
    pub async fn import_set(&self, key: &str, host: &str) -> Result<v1::SetRecord> {
        let mut client = self.client().await?;
        let request = v1::ImportSetRequest { set_key: key.to_owned(), host: host.to_owned(), steal: false };
        set_of(call("import a set", client.import_set(request)).await?)
    }

    /// imported -> created; the LUNs leave this host (B4).
    pub async fn unimport_set(&self, key: &str) -> Result<v1::SetRecord> {
        let mut client = self.client().await?;
        set_of(call("mask the LUNs of a set", client.unimport_set(key_of(key))).await?)
    }

    /// imported -> breaking.
    pub async fn begin_break(&self, key: &str, host: &str, access: Access) -> Result<v1::SetRecord> {
        let mut client = self.client().await?;
        let read_write = access == Access::ReadWrite;
        let request = v1::BeginBreakRequest { set_key: key.to_owned(), host: host.to_owned(), read_write };
        set_of(call("begin the break of a set", client.begin_break(request)).await?)
    }

    /// breaking -> imported.
    pub async fn cancel_break(&self, key: &str) -> Result<v1::SetRecord> {
        let mut client = self.client().await?;
        set_of(call("cancel the break of a set", client.cancel_break(key_of(key))).await?)
    }

    /// breaking -> broken: the point of no return.
    pub async fn commit_break(
        &self,
        key: &str,
        access: Access,
        luns: Vec<v1::SetLun>,
    ) -> Result<v1::SetRecord> {
        let mut client = self.client().await?;
        let read_write = access == Access::ReadWrite;
        let request = v1::CommitBreakRequest { set_key: key.to_owned(), read_write, luns };
        set_of(call("break a set", client.commit_break(request)).await?)
    }

    /// A pending set is gone.
    pub async fn abort_set(&self, key: &str) -> Result<()> {
        let mut client = self.client().await?;
        call("abort a set", client.abort_set(key_of(key))).await.map(drop)
    }

    /// A set and its copies are gone.
    pub async fn delete_set(&self, key: &str) -> Result<v1::Outcome> {
        let mut client = self.client().await?;
        Ok(call("delete a set", client.delete_set(key_of(key))).await?.outcome())
    }

    /// One copy is gone, with the last of a set the set.
    pub async fn delete_copy(&self, copy: &str) -> Result<v1::Outcome> {
        let mut client = self.client().await?;
        let request = v1::DeleteCopyRequest { copy_id: copy.to_owned() };
        Ok(call("delete a copy", client.delete_copy(request)).await?.outcome())
    }

    /// Records what was learned after the cut.
    pub async fn update_set(&self, request: v1::UpdateSetRequest) -> Result<v1::SetRecord> {
        let mut client = self.client().await?;
        set_of(call("record what was learned of a set", client.update_set(request)).await?)
    }
}

/// Write protection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Writes are refused.
    ReadOnly,
    /// Writes are taken.
    ReadWrite,
}

/// Which sets a list is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sets {
    /// Those that are not broken.
    Live,
    /// Those that were: where the LUNs come from.
    Broken,
}

/// Makes a call of the array with its limit on time, and says what was attempted if it fails.
pub async fn call<T>(what: &str, reply: impl Future<Output = Result<Response<T>, Status>>) -> Result<T> {
    match tokio::time::timeout(ARRAY_CALL, reply).await {
        Ok(Ok(reply)) => Ok(reply.into_inner()),
        Ok(Err(status)) => Err(named(what, convert::from_status(&status))),
        Err(_) => Err(Error::new(ErrorCode::TimedOut, format!("{what}: no answer within {ARRAY_CALL:?}"))),
    }
}

/// A request that ends when the array's patience does not outlast `limit`.
pub fn limited<T>(message: T, limit: std::time::Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(limit);
    request
}

/// The array's own sentence is kept; a broken connection is told as one.
fn named(what: &str, error: Error) -> Error {
    if error.code() != ErrorCode::Unreachable {
        return error;
    }
    Error::new(ErrorCode::Unreachable, format!("{what}: the array does not answer"))
        .hint("is the array running? see `umbra pool status`")
        .because(error.chain())
}

/// The record in a reply that must have one.
pub fn set_of(reply: v1::SetReply) -> Result<v1::SetRecord> {
    reply.set.ok_or_else(|| empty("set"))
}

fn key_of(key: &str) -> v1::SetKey {
    v1::SetKey { key: key.to_owned(), if_revision: 0 }
}

fn page(token: String) -> Option<v1::PageRequest> {
    Some(v1::PageRequest { size: PAGE, token })
}

fn empty(what: &str) -> Error {
    Error::new(ErrorCode::ProtocolError, format!("the array answered without a {what}"))
}

fn endless(what: &str) -> Error {
    Error::new(ErrorCode::ProtocolError, format!("the array's list of {what} does not end"))
}

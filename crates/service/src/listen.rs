//! The management socket: made with mode 0600, and every peer's credentials are looked at (X1).
//!
//! What always holds: a socket that another process serves is never taken away from it; a peer that is not root is cut
//! off before a byte of it is read, with a line in the log.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::{Stream, StreamExt, wrappers::UnixListenerStream};
use umbra_base::{Error, ErrorCode, Result};

const OWNER_ONLY: u32 = 0o600;

/// A bound socket; its file goes with it.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    file: SocketFile,
}

/// Removes the socket's file on drop.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Binds the management socket at `path`.
pub async fn bind(path: &Path) -> Result<Listener> {
    clear_stale(path).await?;
    let what = || format!("listen at {}", path.display());
    // Nobody may connect between bind and chmod: the mask of this process makes the file owner-only from its birth.
    let mask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    rustix::process::umask(mask);
    let listener = bound.map_err(|source| Error::io(what(), source))?;
    let mode = std::fs::Permissions::from_mode(OWNER_ONLY);
    std::fs::set_permissions(path, mode).map_err(|source| Error::io(what(), source))?;
    Ok(Listener { listener, file: SocketFile(path.to_owned()) })
}

/// Removes what a dead service left; refuses where one is alive.
async fn clear_stale(path: &Path) -> Result<()> {
    if UnixStream::connect(path).await.is_ok() {
        let text = format!("listen at {}: another service answers there", path.display());
        return Err(Error::new(ErrorCode::ObjectAlreadyExists, text)
            .hint("stop it, or give this one a socket and folders of its own"));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format!("remove the stale socket {}", path.display()), error))
        }
        _ => Ok(()),
    }
}

impl Listener {
    /// The connections of root, and the file to be kept as long as they are served.
    pub fn into_parts(self) -> (impl Stream<Item = std::io::Result<UnixStream>>, SocketFile) {
        let stream = UnixListenerStream::new(self.listener).filter(|stream| match stream {
            Ok(stream) => is_root(stream),
            Err(_) => true,
        });
        (stream, self.file)
    }
}

fn is_root(stream: &UnixStream) -> bool {
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == 0 => true,
        Ok(peer) => {
            tracing::warn!(uid = peer.uid(), pid = peer.pid(), reason = "not root", "peer refused");
            false
        }
        Err(error) => {
            tracing::warn!(reason = %error, "peer refused");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_is_for_its_owner_only_and_not_taken_from_a_living_service() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        std::fs::write(&path, "stale").unwrap();
        let first = bind(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(bind(&path).await.unwrap_err().code(), ErrorCode::ObjectAlreadyExists);
        drop(first);
        assert!(!path.exists());
    }
}

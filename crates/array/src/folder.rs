//! The array's folder: who may enter it, and the sockets in it.

use crate::serve::PoolFiles;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use std::{
    fs::{self, DirBuilder, File, Permissions},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};
use tokio::net::UnixListener;
use umbra_base::{Error, ErrorCode, Result};

/// Bytes of the path of a unix socket, its final zero not counted (unix(7)).
const SOCKET_PATH: usize = 107;

/// The folder and the names in it (design section 4). Held with a lock: it has one array at a time.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder if need be, and closes it to everyone but its owner.
    pub fn open(dir: &Path) -> Result<Self> {
        let made =
            DirBuilder::new().recursive(true).mode(0o700).create(dir).and_then(|()| dir.canonicalize());
        let dir = made.map_err(|source| io(format!("make folder {}", dir.display()), source))?;
        let meta = fs::metadata(&dir).map_err(|source| io(format!("look at {}", dir.display()), source))?;
        if meta.mode() & 0o1000 != 0 || meta.uid() != rustix::process::geteuid().as_raw() {
            return Err(Error::new(
                ErrorCode::InvalidArgument,
                format!("{} is shared with other users or not ours", dir.display()),
            )
            .hint("give the array a folder of its own"));
        }
        let lock = lock(&dir)?;
        fs::set_permissions(&dir, Permissions::from_mode(0o700))
            .map_err(|source| io(format!("close {} to others", dir.display()), source))?;
        let folder = Folder { dir, _lock: lock };
        folder.check_socket_path()?;
        Ok(folder)
    }

    fn check_socket_path(&self) -> Result<()> {
        // The longest name that is bound, that of a socket which is not ready yet.
        let length = not_ready(&self.array_socket()).as_os_str().len();
        if length <= SOCKET_PATH {
            return Ok(());
        }
        Err(Error::new(
            ErrorCode::InvalidArgument,
            format!("{} is too long for a socket: {length} bytes, {SOCKET_PATH} at most", self.dir.display()),
        )
        .hint("choose a folder with a shorter path"))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Management.
    pub fn array_socket(&self) -> PathBuf {
        self.dir.join("array.sock")
    }

    /// iSCSI on this machine.
    pub fn iscsi_socket(&self) -> PathBuf {
        self.dir.join("iscsi.sock")
    }

    /// The catalogue.
    pub fn catalogue(&self) -> PathBuf {
        self.dir.join("catalogue.sqlite")
    }

    /// Reservations that outlive the array.
    pub fn reservations(&self) -> PathBuf {
        self.dir.join("reservations")
    }

    /// CHAP secrets.
    pub fn secrets(&self) -> PathBuf {
        self.dir.join("secrets")
    }

    /// The audit log.
    pub fn audit(&self) -> PathBuf {
        self.dir.join("audit.log")
    }

    /// Where the pool is unless told otherwise.
    pub fn pool_files(&self) -> PoolFiles {
        PoolFiles { data: self.dir.join("pool.data"), meta: self.dir.join("pool.meta") }
    }

    /// The pool's log of acknowledged writes; always here.
    pub fn pool_log(&self) -> PathBuf {
        self.dir.join("pool.log")
    }

    /// Removes what a dead array left. Under the folder's lock: no living one can be behind
    /// these sockets.
    pub fn remove_stale_sockets(&self) -> Result<()> {
        let (array, iscsi) = (self.array_socket(), self.iscsi_socket());
        for path in [not_ready(&array), array, iscsi] {
            match fs::remove_file(&path) {
                Err(source) if source.kind() != ErrorKind::NotFound => {
                    return Err(io(format!("remove stale {}", path.display()), source));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Binds the management socket. It appears under its name only when it is 0600 and listening: its being there is
    /// the sign that the array is ready.
    pub fn bind_array_socket(&self) -> Result<UnixListener> {
        let path = self.array_socket();
        let early = not_ready(&path);
        let bind = || -> io::Result<UnixListener> {
            let listener = UnixListener::bind(&early)?;
            fs::set_permissions(&early, Permissions::from_mode(0o600))?;
            fs::rename(&early, &path)?;
            Ok(listener)
        };
        bind().map_err(|source| io(format!("listen at {}", path.display()), source))
    }

    /// Takes the management socket away: nobody new comes.
    pub fn remove_array_socket(&self) {
        if let Err(error) = fs::remove_file(self.array_socket()) {
            tracing::warn!(%error, "remove the management socket");
        }
    }
}

fn lock(dir: &Path) -> Result<File> {
    let file = File::open(dir).map_err(|source| io(format!("open {}", dir.display()), source))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => {
            Err(Error::new(ErrorCode::VolumeInUse, format!("an array serves {} already", dir.display()))
                .hint("stop it first, or choose another folder"))
        }
        Err(errno) => Err(io(format!("lock {}", dir.display()), errno.into())),
    }
}

fn not_ready(path: &Path) -> PathBuf {
    path.with_extension("sock.new")
}

fn io(what: String, source: io::Error) -> Error {
    Error::io(what, source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_closed_to_others_and_a_shared_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        Folder::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&path, Permissions::from_mode(0o1777)).unwrap();
        assert_eq!(Folder::open(&path).unwrap_err().code(), ErrorCode::InvalidArgument);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o1777, "left as it was");
        let long = dir.path().join("x".repeat(100));
        assert_eq!(Folder::open(&long).unwrap_err().code(), ErrorCode::InvalidArgument);
    }
}

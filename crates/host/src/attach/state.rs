//! The folder of an attachment and what lies in it.
//!
//! ```text
//!   RUNTIME/attach/<lun-id>/   0700
//!     lock           held (flock) by the attachment for as long as it lives
//!     spec.json      its order
//!     state.json     what it is; written by rename, at control operations only (S7)
//!     pid            for people
//!     control.sock   one JSON line in, one out
//!     view/          the file view (FUSE): disk, p1, p2, ...
//! ```

use super::{DeviceWish, Endpoint, LinkStatus, Spec};
use crate::partitions::{Partition, TableKind};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};
use umbra_base::{Error, ErrorCode, LunId, Result};

/// Times that an attachment tries to take its lock, 5 ms apart.
const LOOKS: usize = 200;

/// The paths of one attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
}

impl Folder {
    pub(crate) fn of(runtime: &Path, lun: LunId) -> Folder {
        Folder { path: Folder::all(runtime).join(lun.to_string()) }
    }

    /// Where the folders of all attachments lie.
    pub(crate) fn all(runtime: &Path) -> PathBuf {
        runtime.join("attach")
    }

    pub(crate) fn view(&self) -> PathBuf {
        self.path.join("view")
    }

    pub(crate) fn disk(&self) -> PathBuf {
        self.view().join("disk")
    }

    pub(crate) fn control(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    pub(crate) fn spec(&self) -> PathBuf {
        self.path.join("spec.json")
    }

    fn state(&self) -> PathBuf {
        self.path.join("state.json")
    }

    pub(crate) fn create(&self) -> Result<()> {
        make_folder(&self.path)
    }

    /// What a dead attachment has mounted there must be gone by now.
    pub(crate) fn create_view(&self) -> Result<()> {
        make_folder(&self.view())
    }

    /// Takes the lock that says that the attachment lives; `None` if another one holds it.
    pub(crate) fn lock(&self) -> Result<Option<File>> {
        let path = self.path.join("lock");
        let what = |error: io::Error| Error::io(format!("lock {}", path.display()), error);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(what)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(what(error.into())),
        }
    }

    /// The same, with patience for those who only look whether it is taken ([`Folder::is_alive`]).
    pub(crate) fn lock_patiently(&self) -> Result<Option<File>> {
        for _ in 0..LOOKS {
            if let Some(lock) = self.lock()? {
                return Ok(Some(lock));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(None)
    }

    /// Keeps others from starting or clearing this attachment as long as the result lives; `None` if somebody is at it.
    pub(crate) fn reserve(&self) -> Result<Option<File>> {
        let what = |error: io::Error| Error::io(format!("lock {}", self.path.display()), error);
        let folder = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            result => result.map_err(what)?,
        };
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            // Removed by whoever had it before: the name, if it is there, is another folder's.
            Ok(()) if folder.metadata().map_err(what)?.nlink() == 0 => Ok(None),
            Ok(()) => Ok(Some(folder)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(what(error.into())),
        }
    }

    /// Whether an attachment lives here.
    pub(crate) fn is_alive(&self) -> bool {
        self.path.join("lock").exists() && matches!(self.lock(), Ok(None))
    }

    pub(crate) fn write_spec(&self, spec: &Spec) -> Result<()> {
        write_atomically(&self.spec(), &to_json(spec)?)
    }

    pub(crate) fn write_state(&self, state: &State) -> Result<()> {
        write_atomically(&self.path.join("pid"), format!("{}\n", state.pid).as_bytes())?;
        write_atomically(&self.state(), &to_json(state)?)
    }

    pub(crate) fn read_state(&self) -> Result<State> {
        let path = self.state();
        let text = fs::read(&path).map_err(|error| Error::io(format!("read {}", path.display()), error))?;
        serde_json::from_slice(&text).map_err(|error| {
            Error::new(ErrorCode::Corrupt, format!("{} is not an attachment's state", path.display()))
                .because(error)
        })
    }

    /// Removes the folder; the view must be unmounted.
    pub(crate) fn remove(&self) -> Result<()> {
        for name in ["state.json", "spec.json", "pid", "control.sock", "lock"] {
            match fs::remove_file(self.path.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io(format!("remove {name} in {}", self.path.display()), error));
                }
                _ => {}
            }
        }
        for path in [self.view(), self.path.clone()] {
            match fs::remove_dir(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io(format!("remove {}", path.display()), error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn make_folder(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| Error::io(format!("make {}", path.display()), error))
}

fn to_json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(value).map_err(|e| Error::new(ErrorCode::Internal, "write JSON").because(e))
}

fn write_atomically(path: &Path, content: &[u8]) -> Result<()> {
    let what = |error: io::Error| Error::io(format!("write {}", path.display()), error);
    let new = path.with_extension("new");
    let mut file =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new).map_err(what)?;
    file.write_all(content).map_err(what)?;
    drop(file);
    fs::rename(&new, path).map_err(what)
}

/// What an attachment says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub version: u32,
    pub lun: LunId,
    pub pid: u32,
    pub endpoint: Endpoint,
    pub target: String,
    pub number: u16,
    /// The file view's folder.
    pub view: PathBuf,
    /// The whole LUN as a file.
    pub disk: PathBuf,
    /// The block device, where there is one.
    pub device: Option<PathBuf>,
    pub access: DeviceWish,
    pub size_bytes: u64,
    pub table: Option<TableKind>,
    pub partitions: Vec<Partition>,
    /// The session with the array; as of the moment of asking when it comes over the control socket.
    pub link: LinkStatus,
}

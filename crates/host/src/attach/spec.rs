//! What an attachment is told to be: a file written by whoever starts it, read once by the attachment's process.

use super::Designators;
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};
use umbra_base::{Error, ErrorCode, LunId, Result};

/// Where the array listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// A unix socket; the array checks the peer's credentials.
    Unix(PathBuf),
    /// `ADDR:PORT`.
    Tcp(String),
}

/// How the host proves who it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credentials {
    None,
    /// CHAP; the secret is the content of a file that only its owner can read.
    Chap {
        user: String,
        secret_file: PathBuf,
    },
}

/// Whether an attachment makes a block device by itself, and of which kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceWish {
    /// Only the file view; [`super::Attachment::make_device`] makes the device later.
    None,
    ReadWrite,
    ReadOnly,
}

/// The order to attach one LUN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The folder under which attachments keep their state (`/run/umbra`).
    pub runtime: PathBuf,
    /// The LUN's id; names the attachment.
    pub lun: LunId,
    pub endpoint: Endpoint,
    /// The array's iSCSI name.
    pub target: String,
    /// This host's iSCSI name.
    pub initiator: String,
    pub credentials: Credentials,
    /// The number under which the array shows the LUN to this host.
    pub number: u16,
    /// Who the LUN has to be; a number that means another LUN by now is refused.
    pub expect: Designators,
    pub device: DeviceWish,
}

impl Spec {
    pub(super) fn load(path: &Path) -> Result<Spec> {
        let text = fs::read(path).map_err(|e| Error::io(format!("read {}", path.display()), e))?;
        serde_json::from_slice(&text).map_err(|e| {
            Error::new(ErrorCode::InvalidArgument, format!("{} is not an attachment's order", path.display()))
                .because(e)
        })
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.expect == Designators::default() {
            return Err(Error::new(
                ErrorCode::InvalidArgument,
                "an attachment needs the LUN's NAA or UUID designator: a number alone may mean another LUN by now",
            ));
        }
        if umbra_iscsi::pdu::Lun::from_number(self.number).is_none() {
            return Err(Error::new(ErrorCode::InvalidArgument, format!("{} is no LUN number", self.number)));
        }
        Ok(())
    }
}

impl Credentials {
    /// The secret of a CHAP login, from a file that nobody else can read (X1).
    pub(super) fn load(&self) -> Result<umbra_iscsi::initiator::Auth> {
        let Credentials::Chap { user, secret_file } = self else {
            return Ok(umbra_iscsi::initiator::Auth::None);
        };
        let what =
            |error: io::Error| Error::io(format!("read the CHAP secret {}", secret_file.display()), error);
        let mode = fs::metadata(secret_file).map_err(what)?.mode();
        if mode & 0o077 != 0 {
            return Err(Error::new(
                ErrorCode::AccessDenied,
                format!(
                    "the CHAP secret {} has mode {:04o}: others can read it",
                    secret_file.display(),
                    mode & 0o7777
                ),
            )
            .hint(format!("chmod 600 {}", secret_file.display())));
        }
        let mut secret = fs::read(secret_file).map_err(what)?;
        while secret.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            secret.pop();
        }
        Ok(umbra_iscsi::initiator::Auth::Chap { user: user.clone(), secret })
    }
}

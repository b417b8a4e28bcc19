//! CHAP secrets: of each host, and of the array towards it, a file each, 0600, in a folder of 0700 (X1).
//!
//! What always holds: a host that the catalogue knows has its file, since the file is durable before the catalogue
//! record and goes after it. Files without a host are removed at the start.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};
use umbra_base::{Error, ErrorCode, HostId, Result};

/// Characters of a secret: 20 of 5 bits each are more than the 96 bits that RFC 7143 section 9.2.1 asks for.
const LENGTH: usize = 20;
/// End of the names of files with the array's own secrets.
const MUTUAL: &str = ".array";
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// The folder of secrets.
#[derive(Debug)]
pub struct Secrets {
    dir: PathBuf,
}

impl Secrets {
    /// Opens the folder, making it if need be.
    pub fn open(dir: &Path) -> Result<Self> {
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(source) if source.kind() != ErrorKind::AlreadyExists => Err(io("make", dir, source)),
            _ => Ok(Secrets { dir: dir.to_owned() }),
        }
    }

    /// Makes the secrets for a new host; durable on return. The two are never the same (RFC 7143 section 9.2.1).
    pub fn make(&self, host: HostId) -> Result<()> {
        self.write(&self.path_of_mutual(host), &draw()?)?;
        self.write(&self.path(host), &draw()?)
    }

    fn write(&self, path: &Path, secret: &str) -> Result<()> {
        let write = || -> std::io::Result<()> {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
            file.write_all(secret.as_bytes())?;
            file.sync_all()?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(|source| io("write", path, source))
    }

    /// The secret of a host.
    pub fn get(&self, host: HostId) -> Result<String> {
        let path = self.path(host);
        let mut text = String::new();
        let read = File::open(&path).and_then(|file| file.take(256).read_to_string(&mut text));
        read.map_err(|source| io("read", &path, source))?;
        Ok(text)
    }

    /// What the array proves itself with to a host (mutual CHAP). Hosts of an earlier version have none.
    pub fn mutual(&self, host: HostId) -> Result<Option<String>> {
        let path = self.path_of_mutual(host);
        let mut text = String::new();
        match File::open(&path).and_then(|file| file.take(256).read_to_string(&mut text)) {
            Ok(_) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(io("read", &path, source)),
        }
    }

    /// Forgets the secrets of a host that is gone.
    pub fn remove(&self, host: HostId) {
        for path in [self.path(host), self.path_of_mutual(host)] {
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "remove the secret of a host");
            }
        }
    }

    /// Removes the secrets of all hosts but these.
    pub fn keep_only(&self, hosts: &BTreeSet<HostId>) -> Result<()> {
        for entry in fs::read_dir(&self.dir).map_err(|source| io("read", &self.dir, source))? {
            let entry = entry.map_err(|source| io("read", &self.dir, source))?;
            let name = entry.file_name();
            let host = name
                .to_str()
                .map(|name| name.trim_end_matches(MUTUAL))
                .and_then(|name| name.parse::<HostId>().ok());
            if let Some(host) = host.filter(|host| !hosts.contains(host)) {
                self.remove(host);
            }
        }
        Ok(())
    }

    fn path(&self, host: HostId) -> PathBuf {
        self.dir.join(host.to_string())
    }

    fn path_of_mutual(&self, host: HostId) -> PathBuf {
        self.dir.join(format!("{host}{MUTUAL}"))
    }
}

fn io(what: &str, path: &Path, source: std::io::Error) -> Error {
    Error::io(format!("{what} {}", path.display()), source)
}

fn draw() -> Result<String> {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes)
        .map_err(|source| Error::new(ErrorCode::Io, "draw a random secret").because(source.to_string()))?;
    Ok(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use uuid::Uuid;

    #[test]
    fn each_host_has_a_secret_of_its_own_that_only_its_owner_can_read() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::open(&dir.path().join("secrets")).unwrap();
        let (one, two) = (HostId(Uuid::from_u128(1)), HostId(Uuid::from_u128(2)));
        secrets.make(one).unwrap();
        secrets.make(two).unwrap();
        assert_ne!(secrets.get(one).unwrap(), secrets.get(two).unwrap());
        assert_ne!(secrets.mutual(one).unwrap(), Some(secrets.get(one).unwrap()));
        assert_eq!(secrets.get(one).unwrap().len(), LENGTH);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&secrets.dir), mode(&secrets.path(one))), (0o700, 0o600));
        secrets.keep_only(&BTreeSet::from([two])).unwrap();
        assert!(secrets.get(one).is_err() && secrets.get(two).is_ok());
        assert!(secrets.mutual(one).unwrap().is_none() && secrets.mutual(two).unwrap().is_some());
    }
}

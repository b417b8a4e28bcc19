//! Persistent reservations that must outlive the array (APTPL, SPC-4 section 5.13): a file for each LUN that has some, in a
//! folder of 0700.
//!
//! What always holds: a file is replaced as a whole or not at all, and durable before the command that changed it is
//! answered; files of LUNs that are gone are removed at the start. What is in them is `umbra_scsi`'s to read.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};
use umbra_base::{Error, Result};
use umbra_target::Keeper;
use uuid::Uuid;

/// Bytes of a file at most: 128 registrants with the longest names, and room.
const LONGEST: u64 = 64 << 10;

/// The folder of reservations.
#[derive(Debug)]
pub struct Reservations {
    dir: PathBuf,
}

impl Reservations {
    /// Opens the folder, making it if need be.
    pub fn open(dir: &Path) -> Result<Self> {
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(source) if source.kind() != ErrorKind::AlreadyExists => Err(failed("make", dir, source)),
            _ => Ok(Reservations { dir: dir.to_owned() }),
        }
    }

    /// Removes what was kept for all LUNs but these, and what a death left half written.
    pub fn keep_only(&self, luns: &BTreeSet<Uuid>) -> Result<()> {
        for entry in fs::read_dir(&self.dir).map_err(|source| failed("read", &self.dir, source))? {
            let entry = entry.map_err(|source| failed("read", &self.dir, source))?;
            let lun = entry.file_name().to_str().and_then(|name| name.parse::<Uuid>().ok());
            if lun.is_none_or(|lun| !luns.contains(&lun)) {
                let path = entry.path();
                fs::remove_file(&path).map_err(|source| failed("remove", &path, source))?;
            }
        }
        Ok(())
    }

    fn path(&self, lun: [u8; 16]) -> PathBuf {
        self.dir.join(Uuid::from_bytes(lun).to_string())
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let fresh = path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    }
}

impl Keeper for Reservations {
    fn save_reservations(&self, unit: [u8; 16], bytes: Option<&[u8]>) -> Result<()> {
        let path = self.path(unit);
        let changed = match bytes {
            Some(bytes) => self.replace(&path, bytes),
            None => match fs::remove_file(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                removed => removed,
            },
        };
        let durable = changed.and_then(|()| File::open(&self.dir)?.sync_all());
        durable.map_err(|source| failed("write", &path, source))
    }

    fn reservations(&self, unit: [u8; 16]) -> Result<Option<Vec<u8>>> {
        let path = self.path(unit);
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes)) {
            Ok(_) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(failed("read", &path, source)),
        }
    }
}

fn failed(what: &str, path: &Path, source: io::Error) -> Error {
    Error::io(format!("{what} {}", path.display()), source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_found_again_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let reservations = Reservations::open(&dir.path().join("reservations")).unwrap();
        let [one, two] = [Uuid::from_u128(1), Uuid::from_u128(2)];
        assert_eq!(reservations.reservations(*one.as_bytes()).unwrap(), None);
        reservations.save_reservations(*one.as_bytes(), Some(b"first")).unwrap();
        reservations.save_reservations(*one.as_bytes(), Some(b"second")).unwrap();
        reservations.save_reservations(*two.as_bytes(), Some(b"other")).unwrap();
        fs::write(reservations.path(*two.as_bytes()).with_extension("new"), "half").unwrap();
        let again = Reservations::open(&reservations.dir).unwrap();
        assert_eq!(again.reservations(*one.as_bytes()).unwrap().as_deref(), Some(&b"second"[..]));
        again.keep_only(&BTreeSet::from([one])).unwrap();
        assert_eq!(again.reservations(*two.as_bytes()).unwrap(), None);
        assert_eq!(fs::read_dir(&again.dir).unwrap().count(), 1);
        again.save_reservations(*one.as_bytes(), None).unwrap();
        again.save_reservations(*one.as_bytes(), None).unwrap();
        assert_eq!(again.reservations(*one.as_bytes()).unwrap(), None);
    }
}

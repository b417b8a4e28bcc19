//! What the story needs of this machine, looked for before anything is touched; all that is missing is said at once.

use super::{database::Engine, people, reader::Reader};
use std::{
    env,
    path::{Path, PathBuf},
};
use umbra_base::{Error, ErrorCode, Result};

/// Programs without which there is no story, and the Debian package that has each.
const PROGRAMS: [(&str, &str); 9] = [
    ("mkfs.ext4", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("mount", "mount"),
    ("umount", "mount"),
    ("losetup", "mount"),
    ("blkid", "util-linux"),
    ("setpriv", "util-linux"),
    ("thin_check", "thin-provisioning-tools"),
    ("iscsi-ls", "libiscsi-bin"),
];

/// Where programs are sought after $PATH: root's folders may be missing from it.
const FOLDERS: [&str; 4] = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin"];

/// What was found.
#[derive(Debug)]
pub struct Tools {
    pub database: Engine,
    pub reader: Reader,
}

/// Looks for everything that the story needs.
pub fn tools() -> Result<Tools> {
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("root: it mounts and freezes".to_owned());
    }
    for device in ["/dev/fuse", "/dev/loop-control"] {
        if !Path::new(device).exists() {
            missing.push(format!("{device}: the kernel needs FUSE and loop devices"));
        }
    }
    if env::temp_dir().to_str().is_none() {
        missing.push("a TMPDIR whose name is text".to_owned());
    }
    for (program, package) in PROGRAMS {
        if find(program).is_none() {
            missing.push(format!("{program} (apt install {package})"));
        }
    }
    let (database, reader) = (database(&mut missing), Reader::find());
    if reader.is_none() {
        missing.push("qemu-img with iSCSI (apt install qemu-utils qemu-block-extra), or python3 and libiscsi (apt install python3 libiscsi7)".to_owned());
    }
    match (database, reader) {
        (Some(database), Some(reader)) if missing.is_empty() => Ok(Tools { database, reader }),
        _ => Err(refuse(&missing)),
    }
}

fn database(missing: &mut Vec<String>) -> Option<Engine> {
    let found = Engine::find();
    if found.is_none() {
        missing.push(
            "PostgreSQL 14 or later (apt install postgresql), or sqlite3 (apt install sqlite3)".to_owned(),
        );
    }
    found
}

fn refuse(missing: &[String]) -> Error {
    Error::new(
        ErrorCode::Unsupported,
        format!("show the story on this machine: it lacks {}", missing.join("; ")),
    )
    .hint("on Debian, scripts/demo installs what is needed and runs it")
}

/// The path of a program.
pub fn find(program: &str) -> Option<PathBuf> {
    let paths = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&paths).chain(FOLDERS.iter().map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// The user that databases run as.
pub fn database_user() -> Option<people::User> {
    people::first_of(&["postgres", "nobody"])
}

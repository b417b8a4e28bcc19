//! Shared memory that a database leaves behind when it is killed: files in /dev/shm and System V segments.
//!
//! A database that ends in order removes them itself. Which ones are this run's is read from the maps of its processes
//! while they live; what is still there afterwards is removed.

use super::{found, process::run, scene::Scene};
use std::{collections::BTreeSet, fs, path::PathBuf};

/// What the processes of this run share.
#[derive(Debug, Default)]
pub struct SharedMemory {
    files: BTreeSet<PathBuf>,
    segments: BTreeSet<u64>,
}

impl SharedMemory {
    /// Of the processes that are there now.
    pub fn of(scene: &Scene) -> SharedMemory {
        let mut shared = SharedMemory::default();
        // Ids mean something only in their namespace: what runs in one of its own is gone with it.
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/ipc")).ok();
        let here = namespace("self");
        for process in found::processes(scene) {
            if here.is_none() || namespace(&process.pid.to_string()) != here {
                continue;
            }
            let maps = fs::read_to_string(format!("/proc/{}/maps", process.pid)).unwrap_or_default();
            maps.lines().for_each(|line| shared.note(line));
        }
        shared
    }

    /// One line of a process's maps: addresses, permissions, offset, device, inode, path (proc(5)). The inode of a System V
    /// segment is its id.
    fn note(&mut self, line: &str) {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (Some(inode), Some(path)) = (fields.get(4), fields.get(5)) else { return };
        if path.starts_with("/SYSV") {
            self.segments.extend(inode.parse::<u64>().ok().filter(|id| *id != 0));
        } else if path.starts_with("/dev/shm/PostgreSQL.") {
            self.files.insert(PathBuf::from(path));
        }
    }

    /// Removes what is still there. Its processes have ended.
    pub async fn remove(self, scene: &Scene) {
        for file in self.files {
            let _ = fs::remove_file(file); // gone already: its database ended in order
        }
        for segment in self.segments {
            drop(run(scene.command("ipcrm").arg("-m").arg(segment.to_string())).await);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_and_files_are_read_from_maps() {
        let mut shared = SharedMemory::default();
        for line in [
            "7f00-7f01 rw-s 00000000 00:01 131124 /SYSV00008002 (deleted)",
            "7f02-7f03 rw-s 00000000 00:19 7 /dev/shm/PostgreSQL.1250428846",
            "7f04-7f05 r-xp 00000000 fe:00 9 /usr/lib/libc.so.6",
            "7f06-7f07 rw-p 00000000 00:00 0",
        ] {
            shared.note(line);
        }
        assert_eq!(shared.segments, [131_124].into());
        assert_eq!(shared.files, [PathBuf::from("/dev/shm/PostgreSQL.1250428846")].into());
    }
}

//! Who has what open: /proc/PID/fd, looked at without opening anything.

use std::{
    fs::{self, Metadata},
    path::{Path, PathBuf},
};

/// A process that has a file open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub pid: u32,
    pub command: String,
    /// The file, as the kernel names it.
    pub file: PathBuf,
    /// The link in /proc by which the file can be reached, whatever its name is by now.
    pub link: PathBuf,
}

/// Processes other than this one that have a file open which `wanted` accepts. What ends while we look is passed over.
pub fn open_files(wanted: impl Fn(&Metadata) -> bool) -> Vec<Holder> {
    let own = std::process::id();
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != own).flat_map(|pid| open_files_of(pid, &wanted)).collect()
}

/// The same, of one process; its working directory counts as open.
pub fn open_files_of(pid: u32, wanted: &impl Fn(&Metadata) -> bool) -> Vec<Holder> {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let fds = fs::read_dir(folder.join("fd")).into_iter().flatten().flatten().map(|entry| entry.path());
    let links = fds.chain(std::iter::once(folder.join("cwd")));
    let held = links.filter(|link| fs::metadata(link).is_ok_and(|meta| wanted(&meta)));
    let command = command(&folder);
    held.map(|link| Holder {
        pid,
        command: command.clone(),
        file: fs::read_link(&link).unwrap_or_default(),
        link,
    })
    .collect()
}

fn command(folder: &Path) -> String {
    fs::read_to_string(folder.join("comm")).map(|name| name.trim_end().to_owned()).unwrap_or_default()
}

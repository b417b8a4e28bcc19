//! What of this run is on the machine: processes by their mark, mounts and loop devices by the folder.
//!
//! Everything is read from /proc and /sys at the moment it is asked for; nothing is remembered from the story, so that
//! it is found however the story ended.

use super::scene::Scene;
use std::{
    collections::HashMap,
    fs,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// A process of this run.
#[derive(Debug, Clone)]
pub struct Process {
    pub pid: u32,
    pub words: Vec<String>,
}

impl Process {
    /// Whether it is `umbra WORDS...`.
    pub fn is(&self, words: &[&str]) -> bool {
        self.words
            .get(1..)
            .is_some_and(|rest| rest.len() >= words.len() && rest.iter().zip(words).all(|(a, b)| a == b))
    }

    pub fn describe(&self) -> String {
        let line: String = self.words.join(" ").chars().take(120).collect();
        format!("process {} ({line})", self.pid)
    }
}

/// Processes that carry the mark, this run's attachments, and what such ones started, without the demo itself.
pub fn processes(scene: &Scene) -> Vec<Process> {
    let all = parents();
    let ours = |pid: &u32| carries_mark(*pid, &scene.mark_line()) || is_attachment(*pid, &scene.folder);
    let marked: Vec<u32> = all.keys().copied().filter(ours).collect();
    let below = |pid: &u32| ancestors(*pid, &all).any(|ancestor| marked.contains(&ancestor));
    let me = std::process::id();
    all.keys().copied().filter(|pid| *pid != me && below(pid)).map(process).collect()
}

/// Every living process and its parent.
fn parents() -> HashMap<u32, u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, living_parent(pid)?))).collect()
}

/// The parent of a process that is no zombie: a zombie holds nothing and waits only for its parent.
fn living_parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") { None } else { fields.next()?.parse().ok() }
}

fn ancestors(pid: u32, parents: &HashMap<u32, u32>) -> impl Iterator<Item = u32> {
    std::iter::successors(Some(pid), |pid| parents.get(pid).copied().filter(|parent| *parent > 1))
}

fn carries_mark(pid: u32, mark: &str) -> bool {
    let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    bytes.split(|byte| *byte == 0).any(|line| line == mark.as_bytes())
}

/// An attachment's environment is bare; its command line names its folder.
fn is_attachment(pid: u32, folder: &Path) -> bool {
    let process = process(pid);
    process.is(&["attach-lun"]) && process.words.iter().any(|word| Path::new(word).starts_with(folder))
}

fn process(pid: u32) -> Process {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    Process { pid, words: words.filter(|word| !word.is_empty()).collect() }
}

/// Other processes that still have something open below the folder.
pub fn holders(folder: &Path) -> Vec<Process> {
    let me = std::process::id();
    let holds = |pid: u32| {
        let fixed = ["cwd", "root", "exe"].map(|name| PathBuf::from(format!("/proc/{pid}/{name}")));
        let open =
            fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten().map(|entry| entry.path());
        fixed.into_iter().chain(open).any(|link| fs::read_link(link).is_ok_and(|to| to.starts_with(folder)))
    };
    parents().into_keys().filter(|pid| *pid != me && holds(*pid)).map(process).collect()
}

/// Mount points at and below the folder, the latest first.
pub fn mounts(folder: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = text.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    let mut found: Vec<PathBuf> = points.filter(|point| point.starts_with(folder)).collect();
    found.reverse();
    found
}

/// Whether no file system is mounted from a device any more, in whichever mount namespace: only then it is quiet.
pub fn is_quiet(device: &str) -> bool {
    let exclusive = i32::try_from(rustix::fs::OFlags::EXCL.bits()).unwrap_or(0);
    fs::OpenOptions::new().read(true).custom_flags(exclusive).open(device).is_ok()
}

/// A path of mountinfo, in which blanks and the like stand as `\ooo`.
fn unescape(text: &str) -> PathBuf {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(code.map_or('\\', char::from));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    out.push_str(rest);
    PathBuf::from(out)
}

/// Loop devices with a backing file below the folder.
pub fn loops(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().to_str().map(str::to_owned));
    let devices = names.filter(|name| name.starts_with("loop")).map(|name| PathBuf::from("/dev").join(name));
    devices.filter(|device| backing(device).is_some_and(|file| file.starts_with(folder))).collect()
}

/// Those of `devices` whose backing file cannot be reached any more: its mount went before the device did.
pub fn orphans(devices: &[PathBuf]) -> Vec<PathBuf> {
    let orphan = |device: &&PathBuf| backing(device).is_some_and(|file| !file.exists());
    devices.iter().filter(orphan).cloned().collect()
}

fn backing(device: &Path) -> Option<PathBuf> {
    let name = device.file_name()?.to_str()?;
    let text = fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).ok()?;
    Some(PathBuf::from(text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_with_blanks_are_read_whole() {
        assert_eq!(unescape(r"/a\040b/c"), Path::new("/a b/c"));
        assert_eq!(unescape(r"/a\b"), Path::new(r"/a\b"));
    }

    #[test]
    fn a_process_is_known_by_its_first_words() {
        let process =
            Process { pid: 1, words: ["umbra", "array", "serve", "--dir"].map(str::to_owned).into() };
        assert!(process.is(&["array", "serve"]) && !process.is(&["serve"]) && !process.is(&["array", "x"]));
    }

    #[test]
    fn this_test_is_found_among_the_living() {
        assert!(parents().contains_key(&std::process::id()));
    }
}

use std::{fs, path::Path};
/// A device number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dev {
    pub major: u32,
    pub minor: u32,
}
impl Dev {
    pub fn to_raw(self) -> u64 {
        rustix::fs::makedev(self.major, self.minor)
    }
}
pub(crate) fn read_dev(path: &Path) -> Option<Dev> {
    let text = fs::read_to_string(path).ok()?;
    let (major, minor) = text.trim_end().split_once(':')?;
    Some(Dev { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

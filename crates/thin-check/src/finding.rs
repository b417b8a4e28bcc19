//! A problem together with where it is and what it costs, and the bounded list of them.

use crate::{
    limits,
    problem::{Map, Problem, Severity, Use},
};
use std::{fmt, ops::RangeInclusive};

/// Devices that a finding's sentence names.
const SHOWN: usize = 8;

/// Which tree a finding lies in: what it is, whose it is, whether it is part of the metadata snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tree {
    /// What its nodes are used as.
    pub kind: Use,
    /// The device whose mapping tree it is; of a shared node, the first device found to reach it.
    pub device: Option<u64>,
    /// Whether it hangs from the pool's superblock or from the frozen one.
    pub version: Version,
}

/// The state of the pool now, or the one that its metadata snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Reached from block 0.
    Live,
    /// Reached from the held root.
    Held,
}

/// Something found in a pool's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub problem: Problem,
    /// The block that it stands in, where it stands in one.
    pub block: Option<u64>,
    /// The tree that the block is part of.
    pub tree: Option<Tree>,
    /// Blocks from the tree's root down to the damage, the damaged block last.
    pub path: Vec<u64>,
    /// The keys that are lost with it; [`Finding::keys_are`] says what they are.
    pub keys: Option<RangeInclusive<u64>>,
    /// The devices that it is found in, since they share what is damaged, or that are lost with it as far as the details
    /// tree still knows them; the first [`limits::DEVICES_NAMED`] of them.
    pub devices: Vec<u64>,
}

/// What the keys of a finding are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// Blocks of a device.
    VirtualBlocks,
    /// Device ids.
    Devices,
    /// Numbers of bitmaps.
    Bitmaps,
    /// Blocks that a space map counts.
    Blocks(Map),
}

impl Keys {
    /// The keys of trees of that kind.
    fn of(kind: Use) -> Option<Keys> {
        match kind {
            Use::TopLevel | Use::Details => Some(Keys::Devices),
            Use::Mapping => Some(Keys::VirtualBlocks),
            Use::DataIndex => Some(Keys::Bitmaps),
            Use::Overflow(map) | Use::Bitmap(map) => Some(Keys::Blocks(map)),
            Use::IndexBlock => Some(Keys::Blocks(Map::Metadata)),
            Use::Free | Use::Superblock | Use::HeldRoot => None,
        }
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Keys::VirtualBlocks => f.write_str("virtual blocks"),
            Keys::Devices => f.write_str("devices"),
            Keys::Bitmaps => f.write_str("bitmaps"),
            Keys::Blocks(map) => write!(f, "{map} blocks"),
        }
    }
}

impl Finding {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.problem.severity()
    }

    /// What [`Finding::keys`] are.
    pub fn keys_are(&self) -> Option<Keys> {
        self.tree.and_then(|tree| Keys::of(tree.kind))
    }

    /// Notes that `device` has part in it, too.
    pub(crate) fn name_device(&mut self, device: u64) {
        if self.devices.len() < limits::DEVICES_NAMED && !self.devices.contains(&device) {
            self.devices.push(device);
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.severity())?;
        if let Some(tree) = self.tree {
            write!(f, "{}", tree.kind)?;
            self.write_devices(f)?;
            if tree.version == Version::Held {
                f.write_str(" in the metadata snapshot")?;
            }
            f.write_str(": ")?;
        }
        if let Some(block) = self.block {
            write!(f, "block {block}: ")?;
        }
        write!(f, "{}", self.problem)?;
        if self.path.len() > 1 {
            let path: Vec<String> = self.path.iter().map(u64::to_string).collect();
            write!(f, " (path {})", path.join(" > "))?;
        }
        let (Some(keys), Some(what)) = (&self.keys, self.keys_are()) else { return Ok(()) };
        match (*keys.start(), *keys.end()) {
            (0, u64::MAX) => write!(f, ", costs all {what}"),
            (first, u64::MAX) => write!(f, ", costs {what} from {first} on"),
            (first, last) => write!(f, ", costs {what} {first}..={last}"),
        }
    }
}

impl Finding {
    fn write_devices(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.devices.as_slice() {
            [] => Ok(()),
            [device] => write!(f, " of device {device}"),
            devices => {
                let shown: Vec<String> = devices.iter().take(SHOWN).map(u64::to_string).collect();
                let more = if devices.len() > SHOWN { " and more" } else { "" };
                write!(f, " of devices {}{more}", shown.join(", "))
            }
        }
    }
}

/// The findings of one check: the first [`limits::FINDINGS`] of them, and the number of all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    kept: Vec<Finding>,
    total: u64,
    worst: Option<Severity>,
}

impl Findings {
    pub(crate) fn push(&mut self, finding: Finding) {
        self.total += 1;
        self.worst = self.worst.max(Some(finding.severity()));
        if self.kept.len() < limits::FINDINGS {
            self.kept.push(finding);
        }
    }

    /// How many were kept.
    pub(crate) fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Finding `index` of those kept.
    pub(crate) fn at_mut(&mut self, index: usize) -> Option<&mut Finding> {
        self.kept.get_mut(index)
    }

    /// The findings that were kept, in the order of discovery.
    pub fn iter(&self) -> std::slice::Iter<'_, Finding> {
        self.kept.iter()
    }

    /// How many there were, kept or not.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Says of damage in the tree `kind` which of `devices`, ascending, have their entries there.
    pub(crate) fn name_lost(&mut self, kind: Use, version: Version, devices: &[u64]) {
        let there = |tree: Tree| tree.kind == kind && tree.version == version;
        for finding in self.kept.iter_mut().filter(|finding| finding.tree.is_some_and(there)) {
            let Some(keys) = finding.keys.clone() else { continue };
            let first = devices.partition_point(|id| id < keys.start());
            let lost = devices[first..].iter().take_while(|id| keys.contains(id));
            lost.take(limits::DEVICES_NAMED).for_each(|id| finding.name_device(*id));
        }
    }

    /// The worst severity among all of them; without any, all is well.
    pub fn verdict(&self) -> Severity {
        self.worst.unwrap_or(Severity::Ok)
    }
}

impl<'a> IntoIterator for &'a Findings {
    type Item = &'a Finding;
    type IntoIter = std::slice::Iter<'a, Finding>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(problem: Problem) -> Finding {
        Finding { problem, block: None, tree: None, path: Vec::new(), keys: None, devices: Vec::new() }
    }

    #[test]
    fn a_flood_of_findings_is_counted_and_not_kept() {
        let mut findings = Findings::default();
        for _ in 0..limits::FINDINGS {
            findings.push(finding(Problem::NeedsCheck));
        }
        findings.push(finding(Problem::Loop));
        assert_eq!(
            (findings.iter().count(), findings.total()),
            (limits::FINDINGS, limits::FINDINGS as u64 + 1)
        );
        assert_eq!(findings.verdict(), Severity::Error, "the worst counts even when it is not kept");
    }

    #[test]
    fn a_finding_says_where_it_is_and_what_it_costs() {
        let tree = Tree { kind: Use::Mapping, device: Some(3), version: Version::Live };
        let found = Finding {
            problem: Problem::WrongBlockNumber { stored: 9 },
            block: Some(41),
            tree: Some(tree),
            path: vec![7, 41],
            keys: Some(252..=503),
            devices: vec![3],
        };
        assert_eq!(
            found.to_string(),
            "error: mapping tree of device 3: block 41: block says that it is block 9 (path 7 > 41), costs virtual blocks 252..=503"
        );
    }
}

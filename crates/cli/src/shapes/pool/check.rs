//! The report of `umbra pool check`: the verdict, each finding, what is lost of which device, and what the pool holds.

use crate::output::Shape;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io::{self, Write},
    ops::RangeInclusive,
    path::Path,
};
use umbra_base::size::format_size;
use umbra_thin_check::{
    Finding, Keys, LOG_FEATURE, Map, MapSummary, Problem, Report, Severity, Summary, Superblock, Use, Version,
};

#[derive(Debug, Serialize)]
pub struct CheckReport {
    pub metadata_file: String,
    /// `clean`, `repairable` or `error`.
    pub verdict: &'static str,
    /// Acknowledged writes may stand in the array's log that the metadata does not show yet; no damage.
    pub behind_log: bool,
    pub needs_check: bool,
    /// How many findings there were; `findings` holds the first thousand.
    pub findings_total: u64,
    pub findings: Vec<FindingShape>,
    pub lost: Vec<Lost>,
    /// Ids whose entries in the list of devices are lost, whether there was a device of that id or not.
    pub lost_devices: Vec<Blocks>,
    pub pool: Option<PoolShape>,
}

#[derive(Debug, Serialize)]
pub struct FindingShape {
    /// `ok`, `repairable` or `error`.
    pub severity: String,
    pub problem: &'static str,
    pub text: String,
    pub tree: Option<String>,
    pub metadata_snapshot: bool,
    pub devices: Vec<u64>,
    pub block: Option<u64>,
    pub path: Vec<u64>,
    pub costs: Option<Costs>,
    #[serde(skip)]
    sentence: String,
}

/// What is lost with it; `last` is `null` where it goes on to the end.
#[derive(Debug, Serialize)]
pub struct Costs {
    pub what: &'static str,
    pub first: u64,
    pub last: Option<u64>,
}

/// Virtual blocks of a device that cannot be read, or not be relied on; all of them if the device itself is lost.
#[derive(Debug, Serialize)]
pub struct Lost {
    pub device: u64,
    pub virtual_blocks: Vec<Blocks>,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Blocks {
    pub first: u64,
    pub last: Option<u64>,
}

#[derive(Debug, Serialize)]
pub struct PoolShape {
    pub transaction_id: u64,
    pub time: u32,
    pub block_bytes: u64,
    pub devices: u64,
    /// Sum over all devices; `null` where a tree is damaged.
    pub mapped_blocks: Option<u64>,
    pub data: Space,
    pub metadata: Space,
    pub has_metadata_snapshot: bool,
}

#[derive(Debug, Serialize)]
pub struct Space {
    pub blocks: u64,
    pub used_blocks: u64,
}

impl CheckReport {
    pub fn new(metadata: &Path, report: &Report) -> Self {
        let superblock = report.summary.as_ref().map(|summary| summary.superblock);
        CheckReport {
            metadata_file: metadata.display().to_string(),
            verdict: match report.verdict() {
                Severity::Ok => "clean",
                Severity::Repairable => "repairable",
                Severity::Error => "error",
            },
            behind_log: superblock.as_ref().is_some_and(Superblock::behind_log),
            needs_check: superblock.as_ref().is_some_and(Superblock::needs_check),
            findings_total: report.findings.total(),
            findings: report.findings.iter().map(FindingShape::from).collect(),
            lost: lost(report.findings.iter(), report.summary.as_ref().map_or(&[], |summary| &summary.lost)),
            lost_devices: lost_devices(report.findings.iter()).iter().map(Blocks::from).collect(),
            pool: report.summary.as_ref().map(PoolShape::from),
        }
    }
}

impl From<&Finding> for FindingShape {
    fn from(finding: &Finding) -> Self {
        FindingShape {
            severity: finding.severity().to_string(),
            problem: finding.problem.name(),
            text: finding.problem.to_string(),
            tree: finding.tree.map(|tree| tree.kind.to_string()),
            metadata_snapshot: finding.tree.is_some_and(|tree| tree.version == Version::Held),
            devices: finding.devices.clone(),
            block: finding.block,
            path: finding.path.clone(),
            costs: finding.keys.as_ref().zip(finding.keys_are()).map(|(keys, what)| Costs::new(keys, what)),
            sentence: finding.to_string(),
        }
    }
}

impl Costs {
    fn new(keys: &RangeInclusive<u64>, what: Keys) -> Self {
        let Blocks { first, last } = Blocks::from(keys);
        let what = match what {
            Keys::VirtualBlocks => "virtual_blocks",
            Keys::Devices => "devices",
            Keys::Bitmaps => "bitmaps",
            Keys::Blocks(Map::Data) => "data_blocks",
            Keys::Blocks(Map::Metadata) => "metadata_blocks",
        };
        Costs { what, first, last }
    }
}

impl Blocks {
    fn has(&self, number: u64) -> bool {
        self.first <= number && self.last.is_none_or(|last| number <= last)
    }
}

impl From<&RangeInclusive<u64>> for Blocks {
    fn from(range: &RangeInclusive<u64>) -> Self {
        Blocks { first: *range.start(), last: Some(*range.end()).filter(|last| *last != u64::MAX) }
    }
}

/// The errors in live trees with the keys that they cost.
fn costly<'a>(
    findings: impl Iterator<Item = &'a Finding>,
) -> impl Iterator<Item = (&'a Finding, &'a RangeInclusive<u64>)> {
    let live = |finding: &&Finding| finding.tree.is_some_and(|tree| tree.version == Version::Live);
    let errors = findings.filter(|finding| finding.severity() == Severity::Error).filter(live);
    errors.filter_map(|finding| Some((finding, finding.keys.as_ref()?)))
}

/// What the errors in mapping trees cost each device, and the devices that are lost as a whole.
fn lost<'a>(findings: impl Iterator<Item = &'a Finding>, whole: &[u64]) -> Vec<Lost> {
    let mut ranges: BTreeMap<u64, Vec<RangeInclusive<u64>>> =
        whole.iter().map(|device| (*device, vec![0..=u64::MAX])).collect();
    for (finding, keys) in
        costly(findings).filter(|(finding, _)| finding.keys_are() == Some(Keys::VirtualBlocks))
    {
        for device in &finding.devices {
            ranges.entry(*device).or_default().push(keys.clone());
        }
    }
    let lost = ranges.into_iter().map(|(device, ranges)| {
        let virtual_blocks = merged(ranges).iter().map(Blocks::from).collect();
        Lost { device, virtual_blocks }
    });
    lost.collect()
}

/// The ids of devices whose mappings the errors cost altogether.
fn lost_devices<'a>(findings: impl Iterator<Item = &'a Finding>) -> Vec<RangeInclusive<u64>> {
    let whole = |finding: &Finding| {
        finding.tree.is_some_and(|tree| tree.kind == Use::TopLevel)
            || matches!(finding.problem, Problem::NoMappingTree { .. })
    };
    merged(costly(findings).filter(|(finding, _)| whole(finding)).map(|(_, keys)| keys.clone()).collect())
}

/// The same blocks in as few ranges as possible, in order.
fn merged(mut ranges: Vec<RangeInclusive<u64>>) -> Vec<RangeInclusive<u64>> {
    ranges.sort_unstable_by_key(|range| *range.start());
    let mut merged: Vec<RangeInclusive<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*range.end().max(last.end());
            }
            _ => merged.push(range),
        }
    }
    merged
}

impl From<&Summary> for PoolShape {
    fn from(summary: &Summary) -> Self {
        let Superblock { transaction_id, time, data_block_sectors, .. } = summary.superblock;
        let mapped = summary.devices.values().map(|device| device.mapped_blocks);
        PoolShape {
            transaction_id,
            time,
            block_bytes: u64::from(data_block_sectors) * 512,
            devices: summary.devices.len() as u64,
            mapped_blocks: mapped.sum(),
            data: Space::from(&summary.data),
            metadata: Space::from(&summary.metadata),
            has_metadata_snapshot: summary.held.is_some(),
        }
    }
}

impl From<&MapSummary> for Space {
    fn from(map: &MapSummary) -> Self {
        Space { blocks: map.blocks, used_blocks: map.allocated }
    }
}

impl Space {
    /// `3M of 10M`.
    pub fn text(&self, block_bytes: u64) -> String {
        let size = |blocks: u64| format_size(blocks.saturating_mul(block_bytes));
        format!("{} of {} in use", size(self.used_blocks), size(self.blocks))
    }
}

/// Bytes of a metadata block.
pub(super) const METADATA_BLOCK: u64 = 4096;

impl Shape for CheckReport {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "pool      {}", self.metadata_file)?;
        if let Some(pool) = &self.pool {
            pool.text(out)?;
        }
        self.findings.iter().try_for_each(|finding| writeln!(out, "finding   {}", finding.sentence))?;
        let more = self.findings_total.saturating_sub(self.findings.len() as u64);
        if more > 0 {
            writeln!(out, "          and {more} more")?;
        }
        if !self.lost_devices.is_empty() {
            writeln!(out, "lost      devices {}, as a whole", ranges(&self.lost_devices))?;
        }
        let told = |lost: &&Lost| !self.lost_devices.iter().any(|ids| ids.has(lost.device));
        self.lost.iter().filter(told).try_for_each(|lost| lost.text(out))?;
        self.notes(out)?;
        writeln!(out, "verdict   {}", self.advice())
    }
}

impl CheckReport {
    fn notes(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.behind_log {
            writeln!(
                out,
                "note      the pool is behind its log (feature {LOG_FEATURE:#x}): its array replays the rest when it starts"
            )?;
        }
        if self.needs_check {
            writeln!(
                out,
                "note      the pool is marked as needing a check; a kernel keeps it read-only until that is cleared"
            )?;
        }
        Ok(())
    }

    fn advice(&self) -> &'static str {
        match self.verdict {
            "clean" => "clean",
            "repairable" => {
                "repairable: no data is lost; counts or hints are wrong, and can be rebuilt from the trees (thin_repair)"
            }
            _ => "error: do not write to the pool; keep a copy of its metadata before anything is repaired",
        }
    }
}

impl Lost {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "lost      device {}: virtual blocks {}", self.device, ranges(&self.virtual_blocks))
    }
}

fn ranges(blocks: &[Blocks]) -> String {
    let range = |blocks: &Blocks| match blocks.last {
        None => format!("from {} on", blocks.first),
        Some(last) if last == blocks.first => last.to_string(),
        Some(last) => format!("{}..={last}", blocks.first),
    };
    blocks.iter().map(range).collect::<Vec<_>>().join(", ")
}

impl PoolShape {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let mapped = match self.mapped_blocks {
            Some(blocks) => format_size(blocks.saturating_mul(self.block_bytes)),
            None => "an unknown part".to_owned(),
        };
        writeln!(out, "devices   {}, {mapped} mapped", self.devices)?;
        let blocks = format_size(self.block_bytes);
        writeln!(out, "data      {}, blocks of {blocks}", self.data.text(self.block_bytes))?;
        writeln!(out, "metadata  {}", self.metadata.text(METADATA_BLOCK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use umbra_thin_check::Tree;

    #[test]
    fn devices_that_are_lost_as_a_whole_are_told() {
        let found = |kind, version, keys: RangeInclusive<u64>, devices: &[u64]| Finding {
            problem: Problem::Loop,
            block: Some(7),
            tree: Some(Tree { kind, device: None, version }),
            path: vec![7],
            keys: Some(keys),
            devices: devices.to_vec(),
        };
        let findings = [
            found(Use::TopLevel, Version::Live, 1..=168, &[3, 5]),
            found(Use::TopLevel, Version::Held, 200..=300, &[200]),
            found(Use::Mapping, Version::Live, 4..=9, &[5, 400]),
        ];
        assert_eq!(lost_devices(findings.iter()), [1..=168]);
        let lost: Vec<_> = lost(findings.iter(), &[3, 5])
            .into_iter()
            .map(|lost| (lost.device, lost.virtual_blocks))
            .collect();
        let all = || vec![Blocks { first: 0, last: None }];
        assert_eq!(lost, [(3, all()), (5, all()), (400, vec![Blocks { first: 4, last: Some(9) }])]);
    }

    #[test]
    fn lost_blocks_are_told_in_as_few_ranges_as_possible() {
        assert_eq!(merged(vec![5..=9, 0..=3, 4..=4, 20..=30, 22..=25]), [0..=9, 20..=30]);
        assert_eq!(merged(vec![7..=u64::MAX, 0..=1, 9..=9]), [0..=1, 7..=u64::MAX]);
        assert_eq!(Blocks::from(&(7..=u64::MAX)), Blocks { first: 7, last: None });
    }
}

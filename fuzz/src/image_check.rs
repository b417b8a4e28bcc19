//! The checker on damaged images, and the engine beside it: what the checker calls sound the engine must read to the
//! same content, and may write without making it worse.

pub use crate::damage::Image;
use crate::{disk::Disk, operation::FIRST_DOOMED};
use umbra_thin::{INCOMPAT_LOG, LogUse, Owner, Pool, ThinError, ThinId, limits::BLOCKS_PER_CALL};
use umbra_thin_check::{Mapping, Report, Severity, Summary, for_each_mapping};

/// Checks, and compares what the two say.
pub fn run(image: Image) {
    let disk = image.disk();
    let report = disk.check();
    assert!(!image.is_sound() || report.verdict() == Severity::Ok, "a sound pool is called damaged");
    read_findings(&report);
    let opened = Pool::open(disk.clone());
    if report.verdict() != Severity::Ok {
        return;
    }
    let Some(summary) = report.summary else { panic!("sound, but nothing is known of it") };
    match opened {
        Ok(mut pool) => {
            compare(&disk, &mut pool, &summary);
            write(&disk, pool);
        }
        Err(error) => {
            assert!(is_known_difference(&summary, &error), "called sound, but does not open: {error}")
        }
    }
}

/// Findings are there to be read: none may be beyond saying.
fn read_findings(report: &Report) {
    for finding in &report.findings {
        assert!(!finding.to_string().is_empty());
    }
}

/// The engine refuses versions that the checker lets pass with a remark.
fn is_known_difference(summary: &Summary, error: &ThinError) -> bool {
    !(1..=2).contains(&summary.superblock.version) && matches!(error, ThinError::Superblock { .. })
}

/// Devices, their details and every mapping are the same for both.
fn compare(disk: &Disk, pool: &mut Pool<Disk>, summary: &Summary) {
    let ids: Vec<u64> = pool.device_ids().map(|id| id.0.into()).collect();
    // Those that are being deleted exist for the checker alone.
    let end = if pool.owner() == Owner::Ours { FIRST_DOOMED.into() } else { u64::MAX };
    assert!(ids.iter().eq(summary.devices.range(..end).map(|(id, _)| id)), "the two see other devices");
    for (id, device) in summary.devices.range(..end) {
        let id = ThinId(*id as u32);
        let details = pool.details(id).expect("it was listed");
        assert_eq!(Some(details.mapped_blocks), device.mapped_blocks, "blocks of device {id}");
        let mut mappings = Vec::new();
        for_each_mapping(disk, device.root, &mut |mapping| mappings.push(mapping)).expect("sound");
        compare_mappings(pool, id, &mappings);
    }
}

/// The engine answers for bounded ranges, so the comparison goes from window to window.
fn compare_mappings(pool: &mut Pool<Disk>, id: ThinId, mappings: &[Mapping]) {
    let mut left = mappings;
    while let Some(first) = left.first() {
        let start = first.virtual_block;
        let end = start.saturating_add(BLOCKS_PER_CALL);
        let (window, rest) =
            left.split_at(left.partition_point(|mapping| mapping.virtual_block < end).max(1));
        let found = pool.mappings(id, start..end).expect("sound");
        let same = found.iter().map(|(vblock, at)| (*vblock, at.block, at.time));
        let want = window.iter().map(|mapping| (mapping.virtual_block, mapping.data_block, mapping.time));
        // A range cannot name the last key of all.
        assert!(
            start == u64::MAX || end == u64::MAX || same.eq(want),
            "mappings of device {id} from {start}"
        );
        left = rest;
    }
}

/// A commit keeps a sound pool sound.
fn write(disk: &Disk, mut pool: Pool<Disk>) {
    let superblock = pool.superblock();
    let foreign = superblock.incompat & !INCOMPAT_LOG != 0;
    if foreign || superblock.check_writable().is_err() || pool.check_sizes(disk.len(), u64::MAX).is_err() {
        return;
    }
    match change(&mut pool) {
        Err(error) => assert!(error.is_full() || is_spent(&error), "called sound, but: {error}"),
        Ok(commit) => {
            disk.write_commit(&commit);
            disk.assert_clean("after a commit to a pool that was");
        }
    }
}

/// A snapshot of the first device, a write to it, a device more.
fn change(pool: &mut Pool<Disk>) -> Result<umbra_thin::Commit, ThinError> {
    let new = (0..).map(ThinId).find(|id| pool.details(*id).is_err()).unwrap_or(ThinId::MAX);
    let first = pool.device_ids().next();
    match first {
        Some(origin) => pool.snapshot(&[umbra_thin::Snapshot { origin, copy: new }])?,
        None => pool.create(new)?,
    }
    let plan = pool.plan_write(new, 0)?;
    if let umbra_thin::Plan::Fresh { to } | umbra_thin::Plan::Copy { to, .. } = plan {
        pool.finish_write(new, 0, to)?;
    }
    pool.begin_commit(LogUse::Empty)
}

/// A pool whose time has run out takes no more snapshots, and is sound all the same.
fn is_spent(error: &ThinError) -> bool {
    matches!(error, ThinError::TimeExhausted(_))
}

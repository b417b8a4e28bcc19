//! The power is cut before and after every change of pool and catalogue in a whole story. After each, the array starts
//! again, and what it shows is what stood before the interrupted request or after it, nothing between and nothing else;
//! the pool holds exactly what is needed.

use super::bench::{Bench, HOST_A, HOST_B, PowerCut, set_id};
use crate::{
    model::{Access, SetState},
    rules::set::{Learned, Takeover},
};
use std::{process::Command, time::Duration};
use umbra_base::{HostId, Result};

type Step = fn(&Bench) -> Result<()>;

/// Every request that changes something, at least once.
const STORY: &[Step] = &[
    |b| b.array.add_host(HostId(crate::rules::fixture::id(0xa)), "a".into(), HOST_A.into()).map(drop),
    |b| b.array.add_host(HostId(crate::rules::fixture::id(0xb)), "b".into(), HOST_B.into()).map(drop),
    |b| b.array.create_lun(b.new_lun(1, "data", 1 << 20)).map(drop),
    |b| b.array.create_lun(b.new_lun(2, "wal", 1 << 20)).map(drop),
    |b| {
        b.write("data", 1);
        b.write("wal", 2);
        Ok(())
    },
    |b| b.array.unmask_lun("data", "a", 0).map(drop),
    |b| b.try_begin(0x91, &["data", "wal"], Duration::ZERO).map(drop),
    |b| b.array.cut_set(&set_id(0x91), Duration::from_secs(1)).map(drop),
    |b| {
        b.write("data", 3);
        Ok(())
    },
    |b| b.array.commit_set(&set_id(0x91)).map(drop),
    |b| b.array.import_set(&set_id(0x91), "a", Takeover::Never).map(drop),
    |b| b.array.update_set(&set_id(0x91), Learned::default()).map(drop),
    |b| b.array.import_set(&set_id(0x91), "b", Takeover::Steal).map(drop),
    |b| b.array.begin_break(&set_id(0x91), "b", Access::ReadWrite).map(drop),
    |b| b.array.cancel_break(&set_id(0x91), 0).map(drop),
    |b| b.array.begin_break(&set_id(0x91), "b", Access::ReadOnly).map(drop),
    |b| b.array.commit_break(&set_id(0x91), Access::ReadOnly, vec![]).map(drop),
    |b| b.array.delete_lun("wal", 0).map(drop),
    |b| b.try_begin(0x92, &["data"], Duration::ZERO).map(drop),
    |b| b.array.cut_set(&set_id(0x92), Duration::from_secs(1)).map(drop),
    |b| b.array.abort_set(&set_id(0x92), 0).map(drop),
    |b| b.try_begin(0x93, &["data"], Duration::ZERO).map(drop),
    |b| b.array.cut_set(&set_id(0x93), Duration::from_secs(1)).map(drop),
    |b| b.array.commit_set(&set_id(0x93)).map(drop),
    |b| b.array.import_set(&set_id(0x93), "a", Takeover::Never).map(drop),
    |b| b.array.unimport_set(&set_id(0x93), 0).map(drop),
    |b| b.array.delete_set(&set_id(0x93), 0).map(drop),
    |b| b.array.set_lun_access("data", Access::ReadOnly, 0).map(drop),
    |b| b.array.mask_lun("data", "", 0).map(drop),
];

/// What a user sees, pending sets left out: they die with the process.
fn view(bench: &Bench) -> Vec<String> {
    let cat = bench.array.catalogue();
    let hosts = cat.hosts.values().map(|host| format!("host {}", host.name));
    let luns = cat.luns.values().map(|lun| {
        let seen_by: Vec<_> = cat.masks_of_lun(lun.id).map(|mask| &cat.hosts[&mask.host].name).collect();
        let kind = match lun.kind.origin() {
            Some(_) if matches!(lun.kind, crate::model::LunKind::Copy(_)) => "copy",
            Some(_) => "broken",
            None => "ordinary",
        };
        format!(
            "lun {} {kind} {:?} {seen_by:?} holds {}",
            lun.name,
            lun.access,
            bench.read(&lun.id.to_string())
        )
    });
    let whole = cat.sets.values().filter(|set| set.state != SetState::Pending);
    let sets = whole.map(|set| format!("set {} {} {}", set.id, set.state.name(), set.epoch));
    let mut view: Vec<_> = hosts.chain(luns).chain(sets).collect();
    // Working LUNs have random ids.
    view.sort();
    view
}

/// The views after each step of an undisturbed run, and the number of its changes.
fn undisturbed() -> (Vec<Vec<String>>, usize) {
    let bench = Bench::in_dir(tempfile::tempdir().unwrap(), PowerCut::Never).unwrap();
    let mut views = vec![view(&bench)];
    for step in STORY {
        step(&bench).unwrap();
        views.push(view(&bench));
    }
    (views, bench.fuse.steps())
}

fn check(cut: PowerCut, views: &[Vec<String>]) {
    let bench = Bench::in_dir(tempfile::tempdir().unwrap(), cut).unwrap();
    let failed = STORY.iter().position(|step| step(&bench).is_err());
    let dir = bench.die();
    let bench =
        Bench::in_dir(dir, PowerCut::Never).unwrap_or_else(|error| panic!("{cut:?}: no start: {error:?}"));
    let found = view(&bench);
    let last = failed.unwrap_or(STORY.len() - 1);
    let possible = &views[last..=last + 1];
    assert!(possible.contains(&found), "{cut:?}, in step {last}:\nfound {found:#?}\npossible {possible:#?}");
    assert!(bench.array.catalogue().sets.values().all(|set| set.state != SetState::Pending));
    for host in bench.array.catalogue().hosts.values() {
        bench.array.host_secret(host).unwrap();
        let numbers: Vec<_> =
            bench.array.catalogue().masks_of_host(host.id).map(|mask| mask.number).collect();
        let shown = bench.front.now.lock().unwrap().get(&host.initiator).cloned().unwrap_or_default();
        assert_eq!(shown.len(), numbers.len(), "{cut:?}: masks are in force after the start");
    }
    bench.reap();
    assert_eq!(bench.pool(), bench.needed(), "{cut:?}: nothing orphaned, nothing lost");
    bench.array.store().close().unwrap();
    thin_check(&bench, cut);
}

fn thin_check(bench: &Bench, cut: PowerCut) {
    let meta = bench.dir.path().join("pool.meta");
    match Command::new("thin_check").arg(meta).output() {
        Ok(output) => {
            assert!(output.status.success(), "{cut:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Err(error) => eprintln!("SKIPPED: thin_check after {cut:?}: {error}"),
    }
}

#[test]
fn no_power_cut_between_pool_and_catalogue_loses_or_orphans_anything() {
    let (views, steps) = undisturbed();
    assert!(steps > 25, "the story has {steps} changes");
    for at in 0..steps {
        check(PowerCut::Before(at), &views);
        check(PowerCut::After(at), &views);
    }
    check(PowerCut::Never, &views);
}

//! Row 3: cuts of 1 and 64 LUNs while they are written, and how long a write waits because of it; beside a floor without any
//! pool, qcow2 images and a btrfs subvolume under the same load.
//!
//! A submitter writes 4 KiB at random places of a hot MiB of every LUN. Now and then all are held, cut, released; cuts
//! follow when all hot blocks have been copied, and the copies are deleted at the end of a round. The extra delay of a
//! cut is the longest write that was under way at any time between the call and the release, less the median write. A
//! part of it is the machine's, whoever cuts: its scheduler, and 64 KiB to be copied by the first write to each block. So
//! contenders take turns, and quantiles stand beside each other.

mod btrfs;
mod floor;
mod pool;
mod qemu;
mod qmp;
mod seen;
mod subject;

use crate::{
    image::Image,
    lab::Lab,
    report::{Goal, Line, Report, tell},
};
use anyhow::{Context, Result};
use btrfs::Subvolume;
use floor::Floor;
use pool::Luns;
use qemu::Images;
use seen::Seen;
use subject::{Subject, round};

const GIB: u64 = 1 << 30;
/// Hot bytes of each LUN.
const HOT: u64 = 1 << 20;

/// Runs a round and adds what it showed.
type Round<'a> = Box<dyn FnMut(&mut Seen) -> Result<()> + 'a>;

/// Something that is cut in each round.
struct Contender<'a> {
    name: &'static str,
    round: Round<'a>,
    seen: Seen,
}

impl<'a> Contender<'a> {
    fn new<S: Subject + 'a>(lab: &'a Lab, name: &'static str, depth: usize, mut subject: S) -> Self {
        let round = Box::new(move |seen: &mut Seen| round(lab, &mut subject, depth, seen));
        Contender { name, round, seen: Seen::default() }
    }
}

pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let mut contenders = vec![
        Contender::new(lab, "1 LUN of 1 GiB, QD 8", 8, luns(lab, 1)?),
        Contender::new(lab, "floor", 8, Floor::new(lab, 1)?),
        Contender::new(lab, "8 LUNs of 1 GiB, QD 8", 8, luns(lab, 8)?),
        Contender::new(lab, "floor", 8, Floor::new(lab, 8)?),
        Contender::new(lab, "64 LUNs of 1 GiB, QD 8", 8, luns(lab, 64)?),
        Contender::new(lab, "floor", 8, Floor::new(lab, 64)?),
        Contender::new(lab, "64 LUNs of 1 GiB, QD 32", 32, luns(lab, 64)?),
        Contender::new(lab, "floor", 32, Floor::new(lab, 64)?),
        Contender::new(lab, "1 LUN of 1 TiB, QD 8", 8, huge(lab)?),
    ];
    let own = contenders.len();
    contenders.extend(peer(lab, "64 qcow2", 8, Images::new(64, 8)));
    contenders.extend(peer(lab, "64 btrfs files", 8, Subvolume::new(lab, 64, 8)));
    take_turns(lab, &mut contenders, own)?;
    let (own, peers) = contenders.split_at(own);
    lines(report, own, peers)
}

/// A peer that is there; where it is not, nobody shall overlook it.
fn peer<'a, S: Subject + 'a>(
    lab: &'a Lab,
    name: &'static str,
    depth: usize,
    subject: Result<S>,
) -> Option<Contender<'a>> {
    match subject {
        Ok(subject) => Some(Contender::new(lab, name, depth, subject)),
        Err(error) => {
            tell(&format!("NOT MEASURED: {name}: {error:#}"));
            None
        }
    }
}

/// A round of each to warm up, then those that count, forwards and backwards in turns. The first `own` must hold out; a
/// peer that fails drops out.
fn take_turns(lab: &Lab, contenders: &mut Vec<Contender<'_>>, own: usize) -> Result<()> {
    for number in 0..=lab.rounds {
        let mut order: Vec<usize> = (0..contenders.len()).collect();
        if number % 2 == 1 {
            order.reverse();
        }
        let mut failed = Vec::new();
        for at in order {
            let contender = &mut contenders[at];
            match (contender.round)(&mut contender.seen) {
                Err(error) if at >= own => {
                    tell(&format!("NOT MEASURED: {}: {error:#}", contender.name));
                    failed.push(at);
                }
                done => done.context(contender.name)?,
            }
            if number == 0 {
                contender.seen = Seen::default();
            }
        }
        failed.sort_unstable();
        failed.iter().rev().for_each(|at| drop(contenders.remove(*at)));
    }
    Ok(())
}

fn lines(report: &mut Report, own: &[Contender<'_>], peers: &[Contender<'_>]) -> Result<()> {
    let [one, floor_of_one, few, floor_of_few, many, floor_of_many, deep, floor_of_deep, large] = own else {
        return Ok(());
    };
    let pairs = [
        (one, floor_of_one),
        (few, floor_of_few),
        (many, floor_of_many),
        (deep, floor_of_deep),
        (large, floor_of_one),
    ];
    for (ours, floor) in pairs {
        ours.seen.hold(report, ours.name)?;
        ours.seen.beside(report, ours.name, floor.name, &floor.seen)?;
        ours.seen.above(report, ours.name, &floor.seen)?;
    }
    for peer in peers {
        peer.seen.hold(report, peer.name)?;
        many.seen.beside(report, many.name, peer.name, &peer.seen)?;
    }
    let [small, large] = [one, large].map(|contender| contender.seen.extra.at(0.5));
    let line = Line::new(3, "median extra delay, flat from 1 GiB to 1 TiB mapped", large, "ms");
    report.add(&line.beside("1 GiB", small, small / large).goal(Goal::RatioAtLeast(0.8)))
}

fn luns(lab: &Lab, luns: usize) -> Result<Luns> {
    Ok(Luns::new(Image::new(lab, &vec![GIB; luns])?.stage(lab)?))
}

fn huge(lab: &Lab) -> Result<Luns> {
    let mut stage = lab.huge()?.stage(lab)?;
    stage.luns.truncate(1);
    Ok(Luns::new(stage))
}

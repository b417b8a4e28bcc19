//! `umbra pool dump` and `umbra pool delta`: written while the metadata is read, however much there is.

use super::image::{PoolImage, Watched, about};
use crate::{
    args::{DumpFormat, PoolDelta, PoolDump},
    output::{Format, Output, Talk},
    shapes::pool::{DumpDevice, DumpMapping, DumpPool, PoolDifference},
    stream::JsonStream,
};
use umbra_base::{ExitCode, Result};
use umbra_thin_check::{
    Delta, Listed, Listing, Runs, Version,
    xml::{self, Dump, Telling},
};

pub fn dump(output: Output, args: &PoolDump) -> Result<ExitCode> {
    let pool = PoolImage::open(&args.pool)?;
    dump_of(output, args, &pool).map_err(|error| about(&pool.meta, error))
}

fn dump_of(output: Output, args: &PoolDump, pool: &PoolImage) -> Result<ExitCode> {
    let image = Watched::new(&pool.image, output, "dumping");
    let version = if args.held { Version::Held } else { Version::Live };
    let listing = Listing::open(&image, version)?;
    // What is not there is said before anything is written.
    args.devices.iter().try_for_each(|id| listing.device(*id).map(drop))?;
    let wish = Dump { only: &args.devices, skip_mappings: args.skip_mappings };
    if output.format == Format::Text && args.format == DumpFormat::Xml {
        return output.stream(|out| xml::dump(out, &listing, wish).map(|()| ExitCode::Done));
    }
    output.stream(|out| {
        JsonStream::write(out, |json| {
            json.fields(&DumpPool::new(&pool.meta, args.held, &listing.superblock))?;
            json.list("devices")?;
            wish.devices(&listing, |device| dump_device(json, &listing, &device, wish.skip_mappings))
        })
    })
}

fn dump_device(json: &mut JsonStream<'_>, listing: &Listing<'_>, device: &Listed, bare: bool) -> Result<()> {
    json.open_item()?;
    json.fields(&DumpDevice::from(device))?;
    if !bare {
        json.list("mappings")?;
        Runs::below(listing.image(), device.root).try_for_each(|run| json.item(&DumpMapping::from(run?)))?;
        json.close()?;
    }
    json.close()
}

pub fn delta(output: Output, args: &PoolDelta) -> Result<ExitCode> {
    let pool = PoolImage::open(&args.pool)?;
    delta_of(output, args, &pool).map_err(|error| about(&pool.meta, error))
}

fn delta_of(output: Output, args: &PoolDelta, pool: &PoolImage) -> Result<ExitCode> {
    let image = Watched::new(&pool.image, output, "comparing");
    let listing = Listing::open(&image, Version::Live)?;
    let [left, right] = [args.from, args.to].map(|id| listing.device(id));
    let differences = Delta::between(&image, left?.root, right?.root, args.changed)?;
    if output.format == Format::Text {
        let telling = if output.talk == Talk::Verbose { Telling::Verbose } else { Telling::Short };
        let sides = [args.from, args.to];
        return output
            .stream(|out| xml::delta(out, &listing, sides, differences, telling).map(|()| ExitCode::Done));
    }
    output.stream(|out| {
        JsonStream::write(out, |json| {
            json.fields(&DumpPool::new(&pool.meta, false, &listing.superblock))?;
            json.field("from", &args.from)?;
            json.field("to", &args.to)?;
            json.list("differences")?;
            for difference in differences {
                json.item(&PoolDifference::from(difference?))?;
            }
            Ok(())
        })
    })
}

//! Listings in the XML of thin-provisioning-tools 0.9: what `thin_dump` and `thin_delta` print, byte for byte, and
//! `thin_restore` reads. Written as it is read; nothing is held in memory.

use crate::{
    delta::{Comparison, Delta, Difference},
    listing::{Listed, Listing},
    mappings::{Run, Runs},
    superblock::Superblock,
};
use std::{fmt, io::Write};
use umbra_base::{Error, Result};

/// What a dump is to hold.
#[derive(Debug, Clone, Copy, Default)]
pub struct Dump<'d> {
    /// Only these devices; all of them if there are none.
    pub only: &'d [u64],
    /// Devices without what they map.
    pub skip_mappings: bool,
}

impl Dump<'_> {
    /// Calls `each` with the devices that are asked for: those named in the order of their names.
    pub fn devices(&self, listing: &Listing<'_>, mut each: impl FnMut(Listed) -> Result<()>) -> Result<()> {
        if self.only.is_empty() {
            return listing.devices().try_for_each(|device| each(device?));
        }
        self.only.iter().try_for_each(|id| each(listing.device(*id)?))
    }
}

/// Writes what `thin_dump` writes.
pub fn dump(out: &mut dyn Write, listing: &Listing<'_>, wish: Dump<'_>) -> Result<()> {
    let Superblock { flags, version, data_block_sectors: size, .. } = listing.superblock;
    let blocks = listing.superblock.data_map.blocks;
    let rest = format_args!(
        " flags=\"{flags}\" version=\"{version}\" data_block_size=\"{size}\" nr_data_blocks=\"{blocks}\""
    );
    open_superblock(out, &listing.superblock, rest)?;
    wish.devices(listing, |device| dump_device(out, listing, &device, wish.skip_mappings))?;
    line(out, format_args!("</superblock>"))
}

fn dump_device(out: &mut dyn Write, listing: &Listing<'_>, device: &Listed, bare: bool) -> Result<()> {
    let (id, told) = (device.id, device.details);
    line(
        out,
        format_args!(
            "  <device dev_id=\"{id}\" mapped_blocks=\"{}\" transaction=\"{}\" creation_time=\"{}\" snap_time=\"{}\">",
            told.mapped_blocks, told.transaction_id, told.creation_time, told.snapshotted_time
        ),
    )?;
    if !bare {
        Runs::below(listing.image(), device.root).try_for_each(|run| dump_run(out, run?))?;
    }
    line(out, format_args!("  </device>"))
}

fn dump_run(out: &mut dyn Write, run: Run) -> Result<()> {
    let Run { virtual_block, data_block, length, time } = run;
    if length == 1 {
        let words = format_args!(
            "    <single_mapping origin_block=\"{virtual_block}\" data_block=\"{data_block}\" time=\"{time}\"/>"
        );
        return line(out, words);
    }
    line(
        out,
        format_args!(
            "    <range_mapping origin_begin=\"{virtual_block}\" data_begin=\"{data_block}\" length=\"{length}\" \
             time=\"{time}\"/>"
        ),
    )
}

/// How `thin_delta` tells runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// Virtual blocks alone, as one element for all that lie side by side.
    Short,
    /// Data blocks, too.
    Verbose,
}

/// Writes what `thin_delta` writes for the devices `left` and `right` of `listing`.
pub fn delta(
    out: &mut dyn Write,
    listing: &Listing<'_>,
    [left, right]: [u64; 2],
    differences: Delta<'_>,
    telling: Telling,
) -> Result<()> {
    let size = listing.superblock.data_block_sectors;
    let blocks = listing.superblock.data_map.blocks;
    let held = match listing.superblock.held_root {
        0 => String::new(),
        block => format!(" metadata_snap=\"{block}\""),
    };
    let rest = format_args!(" data_block_size=\"{size}\" nr_data_blocks=\"{blocks}\"{held}");
    open_superblock(out, &listing.superblock, rest)?;
    line(out, format_args!("  <diff left=\"{left}\" right=\"{right}\">"))?;
    match telling {
        Telling::Short => short(out, differences)?,
        Telling::Verbose => verbose(out, differences)?,
    }
    line(out, format_args!("  </diff>"))?;
    line(out, format_args!("</superblock>"))
}

fn short(out: &mut dyn Write, differences: Delta<'_>) -> Result<()> {
    let mut open: Option<Difference> = None;
    for next in differences {
        let next = next?;
        match &mut open {
            Some(open)
                if open.comparison == next.comparison
                    && open.virtual_block + open.length == next.virtual_block =>
            {
                open.length += next.length;
            }
            open => {
                if let Some(done) = open.replace(next) {
                    short_run(out, done)?;
                }
            }
        }
    }
    open.map_or(Ok(()), |last| short_run(out, last))
}

fn short_run(out: &mut dyn Write, run: Difference) -> Result<()> {
    let (name, begin, length) = (run.comparison, run.virtual_block, run.length);
    line(out, format_args!("    <{name} begin=\"{begin}\" length=\"{length}\"/>"))
}

fn verbose(out: &mut dyn Write, differences: Delta<'_>) -> Result<()> {
    let mut open = None;
    for next in differences {
        let next = next?;
        if open != Some(next.comparison) {
            if let Some(done) = open.replace(next.comparison) {
                line(out, format_args!("    </{done}>"))?;
            }
            line(out, format_args!("    <{}>", next.comparison))?;
        }
        verbose_run(out, next)?;
    }
    open.map_or(Ok(()), |last| line(out, format_args!("    </{last}>")))
}

fn verbose_run(out: &mut dyn Write, run: Difference) -> Result<()> {
    let Difference { comparison, virtual_block: begin, length, left, right } = run;
    match (comparison, left.or(right), left, right) {
        (Comparison::Different, _, Some(left), Some(right)) => line(
            out,
            format_args!(
                "      <range begin=\"{begin}\" left_data_begin=\"{left}\" right_data_begin=\"{right}\" \
                 length=\"{length}\"/>"
            ),
        ),
        (_, Some(data), ..) => {
            let words =
                format_args!("      <range begin=\"{begin}\" data_begin=\"{data}\" length=\"{length}\"/>");
            line(out, words)
        }
        (_, None, ..) => Ok(()),
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Comparison::Same => "same",
            Comparison::Different => "different",
            Comparison::LeftOnly => "left_only",
            Comparison::RightOnly => "right_only",
        })
    }
}

fn open_superblock(out: &mut dyn Write, superblock: &Superblock, rest: fmt::Arguments<'_>) -> Result<()> {
    // The tools print no uuid, whatever the pool has.
    let (time, transaction) = (superblock.time, superblock.transaction_id);
    line(out, format_args!("<superblock uuid=\"\" time=\"{time}\" transaction=\"{transaction}\"{rest}>"))
}

fn line(out: &mut dyn Write, words: fmt::Arguments<'_>) -> Result<()> {
    writeln!(out, "{words}").map_err(|source| Error::io("write the listing", source))
}

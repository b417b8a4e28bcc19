//! ROD tokens, and the commands that make and use them: SPC-4 section 5.17 (ROD tokens), SBC-3 sections 5.7 and 5.46.
//!
//! What always holds: a token cannot be guessed from another, as the driver's secret is in it; ranges lie inside the unit
//! and do not overlap.

use crate::block::extent;
use crate::bytes::counted;
use crate::bytes::{array, be16, be32, be64, put};
use crate::limits::{BLOCK, DEFAULT_TOKEN_SECONDS, TOKEN_BLOCKS, TOKEN_RANGES, TOKEN_SECONDS, TOKENS_LISTED};
use crate::plan::Extent;
use crate::sense::Sense;
use crate::unit::Unit;

/// What a token stands for when its blocks are written later (SPC-4 section 5.17, ROD types).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum RodType {
    /// The blocks as they were: the driver keeps them, as the pool's copies do.
    PointInTime = 0x0080_0000,
    /// The same, but the token may be given up when the blocks are written.
    ChangeVulnerable = 0x0080_0001,
}

/// As zeroes to whoever writes with it.
pub(super) const ZERO_ROD: u32 = 0xffff_0001;
/// Either kind of point in time will do.
const ANY_POINT_IN_TIME: u32 = 0x0080_ffff;
const TOKEN: usize = 512;
/// Bytes after the length field of a token.
const FOLLOWING: u16 = 0x01f8;
/// The part of a token that REPORT ALL ROD TOKENS tells: without what makes it valid.
const MANAGEMENT: usize = 96;

/// A ROD token of 512 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Token(Box<[u8; TOKEN]>);

impl Token {
    /// A token for so many blocks of a unit. `number` tells it from the unit's other tokens; `secret` is random.
    pub fn new(unit: &Unit<'_>, kind: RodType, blocks: u64, number: u64, secret: [u8; 32]) -> Token {
        let mut bytes = [0; TOKEN];
        put(&mut bytes, 0, &(kind as u32).to_be_bytes());
        put(&mut bytes, 6, &FOLLOWING.to_be_bytes());
        put(&mut bytes, 8, &number.to_be_bytes());
        put(&mut bytes, 16, &creator(unit.identity.naa));
        put(&mut bytes, 56, &blocks.saturating_mul(BLOCK).to_be_bytes());
        // Of a block device: READ CAPACITY (16) without its first field (SBC-3 section 4, ROD tokens).
        put(&mut bytes, 96, &(BLOCK as u32).to_be_bytes());
        bytes[101] = unit.physical_exponent & 0x0f;
        put(&mut bytes, TOKEN - secret.len(), &secret);
        Token(Box::new(bytes))
    }

    pub fn bytes(&self) -> &[u8; TOKEN] {
        &self.0
    }
}

/// CREATOR LOGICAL UNIT DESCRIPTOR: the unit's NAA designator in an identification descriptor.
fn creator(naa: u64) -> [u8; 32] {
    let mut descriptor = [0; 32];
    (descriptor[0], descriptor[4], descriptor[5], descriptor[7]) = (0xe4, 1, 3, 8);
    put(&mut descriptor, 8, &naa.to_be_bytes());
    put(&mut descriptor, 28, &(BLOCK as u32).to_be_bytes());
    descriptor
}

/// The parameter data of REPORT ALL ROD TOKENS (SPC-4 section 6.31).
pub fn report_tokens<'a>(tokens: impl IntoIterator<Item = &'a Token>, allocation: usize) -> Vec<u8> {
    let mut bytes = vec![0; 8];
    for token in tokens.into_iter().take(TOKENS_LISTED) {
        bytes.extend_from_slice(&token.0[..MANAGEMENT]);
    }
    counted(bytes, allocation)
}

/// Bytes before the range descriptors.
pub(super) const POPULATE_HEADER: usize = 16;
pub(super) const USE_HEADER: usize = 536;
/// Bytes of a range descriptor.
pub(super) const RANGE: usize = 16;

/// A POPULATE TOKEN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Populate {
    pub ranges: Vec<Extent>,
    /// Seconds without use after which the token expires.
    pub seconds: u32,
    /// The type that was asked for; without one the driver may choose.
    pub kind: Option<RodType>,
}

impl Populate {
    /// Blocks that the token stands for.
    pub fn blocks(&self) -> u64 {
        total(&self.ranges)
    }
}

/// The request in the parameter list of a POPULATE TOKEN (SBC-3 section 5.7).
pub fn parse_populate(list: &[u8], unit: &Unit<'_>) -> Result<Populate, Sense> {
    const RTV: u8 = 0x02;
    const TIMEOUT: usize = 4;
    const ROD_TYPE: usize = 8;
    let ranges = ranges(list, POPULATE_HEADER, unit)?;
    let seconds = match be32(list, TIMEOUT) {
        0 => DEFAULT_TOKEN_SECONDS,
        seconds if seconds <= TOKEN_SECONDS => seconds,
        _ => return Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(TIMEOUT)),
    };
    let kind = match (list[2] & RTV != 0, be32(list, ROD_TYPE)) {
        (false, _) | (true, ANY_POINT_IN_TIME) => None,
        (true, code) if code == RodType::PointInTime as u32 => Some(RodType::PointInTime),
        (true, code) if code == RodType::ChangeVulnerable as u32 => Some(RodType::ChangeVulnerable),
        _ => return Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(ROD_TYPE)),
    };
    Ok(Populate { ranges, seconds, kind })
}

/// A WRITE USING TOKEN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    pub token: Named,
    /// Blocks of the token that are skipped.
    pub offset: u64,
    /// Where its blocks go.
    pub ranges: Vec<Extent>,
    /// DEL_TKN: the token is not needed afterwards.
    pub delete: bool,
}

/// What the data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// The block device zero ROD token.
    Zeroes,
    /// A token that the driver knows, or [`Sense::TOKEN_UNKNOWN`].
    Token(Token),
}

/// The request in the parameter list of a WRITE USING TOKEN (SBC-3 section 5.46).
pub fn parse_use(list: &[u8], unit: &Unit<'_>) -> Result<Use, Sense> {
    const DEL_TKN: u8 = 0x02;
    let ranges = ranges(list, USE_HEADER, unit)?;
    let bytes: [u8; TOKEN] = array(list, 16);
    let token = match be32(&bytes, 0) {
        _ if be16(&bytes, 6) != FOLLOWING => return Err(Sense::INVALID_TOKEN_LENGTH),
        ZERO_ROD => Named::Zeroes,
        code if code == RodType::PointInTime as u32 || code == RodType::ChangeVulnerable as u32 => {
            Named::Token(Token(Box::new(bytes)))
        }
        _ => return Err(Sense::UNSUPPORTED_TOKEN_TYPE),
    };
    Ok(Use { token, offset: be64(list, 8), ranges, delete: list[2] & DEL_TKN != 0 })
}

/// The range descriptors after a header whose last two bytes say how long they are. The list's own count of bytes must
/// reach as far.
fn ranges(list: &[u8], header: usize, unit: &Unit<'_>) -> Result<Vec<Extent>, Sense> {
    if list.len() < header {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR);
    }
    let (announced, at) = (usize::from(be16(list, header - 2)), header - 2);
    let end = header + announced;
    if usize::from(be16(list, 0)) + 2 < end {
        return Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(0));
    }
    if list.len() < end {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR);
    }
    let descriptors = list[header..end].chunks_exact(RANGE);
    if descriptors.len() == 0 {
        return Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(at));
    }
    if descriptors.len() > TOKEN_RANGES {
        return Err(Sense::TOO_MANY_SEGMENT_DESCRIPTORS);
    }
    let found = descriptors.map(|range| extent((be64(range, 0), u64::from(be32(range, 8))), unit));
    let ranges = found.collect::<Result<Vec<_>, _>>()?;
    if total(&ranges) > TOKEN_BLOCKS || overlap(&ranges) {
        return Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(header));
    }
    Ok(ranges)
}

fn total(ranges: &[Extent]) -> u64 {
    ranges.iter().map(|range| range.blocks).sum()
}

fn overlap(ranges: &[Extent]) -> bool {
    let mut sorted: Vec<_> = ranges.iter().filter(|range| range.blocks > 0).collect();
    sorted.sort_unstable_by_key(|range| range.lba);
    sorted.windows(2).any(|pair| pair[0].lba + pair[0].blocks > pair[1].lba)
}

/// Blocks of a token's source, and where they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    pub from: Extent,
    /// The first block of the destination.
    pub to: u64,
}

/// The pieces that write a token's source, from an offset on, to these ranges. A token that is too short for them is
/// refused before anything is written.
pub fn lay_out(source: &[Extent], offset: u64, destination: &[Extent]) -> Result<Vec<Piece>, Sense> {
    const OFFSET: usize = 8;
    let left = total(source).checked_sub(offset);
    if left.is_none_or(|left| left < total(destination)) {
        return Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(OFFSET));
    }
    let mut source = Remaining { ranges: source.iter(), front: Extent { lba: 0, blocks: 0 } };
    let mut skip = offset;
    while let Some(skipped) = source.take(skip).filter(|skipped| skipped.blocks > 0) {
        skip -= skipped.blocks;
    }
    let mut pieces = Vec::new();
    for range in destination {
        let mut done = 0;
        // There is enough: the totals were seen to say so.
        while let Some(from) = source.take(range.blocks - done).filter(|from| from.blocks > 0) {
            pieces.push(Piece { from, to: range.lba + done });
            done += from.blocks;
        }
    }
    Ok(pieces)
}

/// Ranges that are used up from their beginning.
struct Remaining<'a> {
    ranges: std::slice::Iter<'a, Extent>,
    front: Extent,
}

impl Remaining<'_> {
    /// The next blocks that lie side by side, at most so many; `None` when nothing is left.
    fn take(&mut self, most: u64) -> Option<Extent> {
        while self.front.blocks == 0 {
            self.front = *self.ranges.next()?;
        }
        let taken = Extent { blocks: most.min(self.front.blocks), ..self.front };
        self.front = Extent { lba: taken.lba + taken.blocks, blocks: self.front.blocks - taken.blocks };
        Some(taken)
    }
}

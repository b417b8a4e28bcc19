//! The parameter lists of EXTENDED COPY: SPC-4 sections 6.4 and 6.5.
//!
//! What always holds: every descriptor of a request is of a type that we know; whether its unit exists and its blocks lie
//! inside is seen when it is its turn, as the standard wants it.

use super::segment::{self, Segment};
use super::{ListId, segment::Place};
use crate::bytes::{be16, be32};
use crate::limits::{BLOCK, COPY_LIST_BYTES, COPY_SEGMENTS, COPY_TARGETS};
use crate::sense::Sense;
use crate::unit::LunIdentity;
use crate::vpd;

/// Which of the two parameter lists a command has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A list identifier of one byte.
    Lid1,
    /// A list identifier of four bytes.
    Lid4,
}

impl Form {
    /// Bytes before the descriptors.
    pub(super) fn header(self) -> usize {
        match self {
            Form::Lid1 => 16,
            Form::Lid4 => 48,
        }
    }
}

/// An EXTENDED COPY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What its results are asked for by; without one they cannot be.
    pub id: Option<ListId>,
    pub keep: Keep,
    /// Units that the segments name, by their index.
    pub targets: Vec<Designator>,
    /// To be carried out in this order, until one fails.
    pub segments: Vec<Segment>,
}

/// How long results are kept (LIST ID USAGE).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    UntilAsked,
    WhileRunning,
}

/// What names a unit in a target descriptor: its NAA or UUID designator of the device identification page. The T10
/// designator of ours is longer than the 20 bytes that a target descriptor has for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Designator {
    kind: u8,
    value: Vec<u8>,
}

impl Designator {
    /// Whether it names this unit.
    pub fn names(&self, identity: &LunIdentity) -> bool {
        match self.kind {
            0x3 => self.value == identity.naa.to_be_bytes(),
            0xa => self.value == vpd::uuid_designator(&identity.uuid),
            _ => false,
        }
    }
}

/// Lengths that a header announces, and where they stand.
struct Lengths {
    targets: usize,
    segments: usize,
    inline: usize,
    targets_at: usize,
}

/// The request in a parameter list. [`Plan::data_out`](crate::Plan::data_out) bytes of it have come.
pub fn parse(form: Form, list: &[u8]) -> Result<Request, Sense> {
    let header = form.header();
    if list.len() < header {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR);
    }
    let (id, keep) = identifier(form, list)?;
    let lengths = lengths(form, list);
    let descriptors = lengths.targets + lengths.segments;
    if descriptors > COPY_LIST_BYTES || list.len() < header + descriptors {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR);
    }
    if lengths.inline > 0 {
        return Err(Sense::INLINE_DATA_LENGTH_EXCEEDED);
    }
    let targets = targets(list, header, &lengths)?;
    let segments = segments(&list[..header + descriptors], header + lengths.targets)?;
    Ok(Request { id, keep, targets, segments })
}

/// LIST IDENTIFIER and LIST ID USAGE, which stand alike in both headers but for their width.
fn identifier(form: Form, list: &[u8]) -> Result<(Option<ListId>, Keep), Sense> {
    const PARAMETER_LIST_FORMAT: u8 = 1;
    let id = match form {
        Form::Lid1 => u32::from(list[0]),
        Form::Lid4 if list[0] != PARAMETER_LIST_FORMAT => {
            return Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(0));
        }
        Form::Lid4 => be32(list, 20),
    };
    match list[1] >> 3 & 0x03 {
        0b00 => Ok((Some(ListId(id)), Keep::UntilAsked)),
        0b10 => Ok((Some(ListId(id)), Keep::WhileRunning)),
        0b11 if id == 0 => Ok((None, Keep::WhileRunning)),
        _ => Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(1).in_bit(4)),
    }
}

fn lengths(form: Form, list: &[u8]) -> Lengths {
    let short = |at| usize::from(be16(list, at));
    let long = |at| be32(list, at) as usize;
    match form {
        Form::Lid1 => Lengths { targets: short(2), segments: long(8), inline: long(12), targets_at: 2 },
        Form::Lid4 => Lengths { targets: short(42), segments: short(44), inline: short(46), targets_at: 42 },
    }
}

/// Bytes of a target descriptor.
const TARGET: usize = 32;

fn targets(list: &[u8], at: usize, lengths: &Lengths) -> Result<Vec<Designator>, Sense> {
    if !lengths.targets.is_multiple_of(TARGET) {
        return Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(lengths.targets_at));
    }
    if lengths.targets / TARGET > COPY_TARGETS {
        return Err(Sense::TOO_MANY_TARGET_DESCRIPTORS);
    }
    let descriptors = list[at..at + lengths.targets].chunks_exact(TARGET).enumerate();
    descriptors.map(|(index, descriptor)| target(descriptor, at + index * TARGET)).collect()
}

/// An identification descriptor (E4h, SPC-4 section 6.5.5) of a disk with our blocks. LU ID TYPE is not for it.
fn target(descriptor: &[u8], at: usize) -> Result<Designator, Sense> {
    const IDENTIFICATION: u8 = 0xe4;
    const DEVICE_TYPE: u8 = 0x1f;
    const MOST: usize = 20;
    let wrong = |byte: usize| Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(at + byte);
    if descriptor[0] != IDENTIFICATION {
        return Err(Sense::UNSUPPORTED_TARGET_DESCRIPTOR.in_list(at));
    }
    if descriptor[1] & DEVICE_TYPE != 0 {
        return Err(wrong(1));
    }
    let length = usize::from(descriptor[7]);
    if length > MOST {
        return Err(wrong(7));
    }
    if !matches!(u64::from(be32(descriptor, 28) & 0x00ff_ffff), 0 | BLOCK) {
        return Err(wrong(29));
    }
    // ASSOCIATION and DESIGNATOR TYPE together: only designators of units match one.
    Ok(Designator { kind: descriptor[5] & 0x3f, value: descriptor[8..8 + length].to_vec() })
}

fn segments(list: &[u8], mut at: usize) -> Result<Vec<Segment>, Sense> {
    let mut segments = Vec::new();
    while at < list.len() {
        if segments.len() == COPY_SEGMENTS {
            return Err(Sense::TOO_MANY_SEGMENT_DESCRIPTORS);
        }
        let (segment, length) = segment::parse(&list[at..], at)?;
        segments.push(segment);
        at += length;
    }
    Ok(segments)
}

impl Request {
    /// What a place in a segment names: `Some(None)` is the unit that the command came to, `None` nothing.
    pub fn target(&self, place: Place) -> Option<Option<&Designator>> {
        match place {
            Place::Here => Some(None),
            Place::Listed(index) => self.targets.get(index).map(Some),
        }
    }
}

//! How the fuzzer's bytes become steps: as many as there are bytes for, most of them commands.

use super::Step;
use arbitrary::{Arbitrary, Result, Unstructured};

/// More only make a slower run.
const STEPS_MAX: usize = 32;
const BYTES_MAX: u8 = 96;

/// What happens, in order.
#[derive(Debug)]
pub(super) struct Script<'a>(pub(super) Vec<Step<'a>>);

impl<'a> Arbitrary<'a> for Script<'a> {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        let mut steps = Vec::new();
        while !bytes.is_empty() && steps.len() < STEPS_MAX {
            let step = match bytes.arbitrary()? {
                true => Step::Command(bytes.arbitrary()?),
                false => bytes.arbitrary()?,
            };
            steps.push(step);
        }
        Ok(Script(steps))
    }
}

/// A few bytes of any kind; a slice would take half of all that are left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Arbitrary<'a> for Bytes<'a> {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        let length = usize::from(bytes.arbitrary::<u8>()? % BYTES_MAX);
        Ok(Bytes(bytes.bytes(length.min(bytes.len()))?))
    }
}

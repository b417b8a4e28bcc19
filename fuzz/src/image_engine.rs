//! The engine on damaged images: opened as a driver would, then used as the input says.

use crate::{damage::Image, operation::Operation, session::Session};
use arbitrary::Arbitrary;

/// Operations that are carried out; more only make a slower run.
const OPERATIONS_MAX: usize = 32;
/// Data blocks that the device has beyond the seed's: a damaged superblock may claim some more.
const ROOM: u64 = 1 << 20;

/// An image and what is done to it.
#[derive(Debug, Arbitrary)]
pub struct Input {
    image: Image,
    operations: Vec<Operation>,
}

/// Opens, operates, commits.
pub fn run(input: Input) {
    let sound = input.image.is_sound();
    let data_blocks = input.image.seed().data_blocks + ROOM;
    let mut session = match Session::open(input.image.disk(), data_blocks, sound) {
        Ok(session) => session,
        Err(error) => {
            assert!(!sound, "a sound pool does not open: {error}");
            return;
        }
    };
    input.operations.iter().take(OPERATIONS_MAX).for_each(|operation| session.run(operation));
    session.close();
}

//! Scripts of whole sessions: what an initiator sends against what the target answers, in simulated time.

mod both_sides;
mod bounds;
mod chaos;
mod chap;
mod digests;
mod discovery;
mod hostile;
mod initiators;
mod leave;
mod login;
mod management;
mod pair;
mod pings;
mod reads;
mod recorded;
mod refusals;
mod window;
mod writes;

use super::*;
use crate::chap::Secret;
use crate::limits::*;
use crate::pdu::request::*;
use crate::pdu::response::*;
use crate::pdu::{Expects, FrameReader, HeaderStep, RESERVED_TAG, Receiver, Response, TextList, write_pdu};
use pair::{Pair, login, params, pattern, status_of};
use proptest::prelude::*;
use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

const TARGET: &str = "iqn.2026-01.test:target";
const INITIATOR: &str = "iqn.2026-01.test:host-a";
const WRITE_10: u8 = 0x2a;
const READ_10: u8 = 0x28;
const CHECK: u8 = 0x02;
const CHALLENGE: Challenge = Challenge { id: 5, bytes: [9; 16] };

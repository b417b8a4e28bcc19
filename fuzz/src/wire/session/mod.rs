//! Whole sessions of two hosts against a real target over real sockets: decent ones, wrong ones, broken ones, at once, while
//! what the hosts see changes.
//!
//! ```text
//!   steps (this file) -> peers (peer, login, stream) -> target -> units (unit), full of marks that say whose they are
//!     (script, command, wrong)                             |
//!                        lab: the target, who sees what, whose data may have come where; alarm: its log
//! ```
//! What always holds: no host hears of data that is not its own to hear, or from another place than it asked for; nobody's
//! data gets where he cannot write; what a fence says cannot change does not change; a decent peer is served, whatever the
//! others do; everything is answered in time; all memory comes back; the target logs no error of its own, and no thread of
//! it panics (libFuzzer ends the process at any panic).

mod alarm;
mod command;
mod lab;
mod login;
mod marks;
mod peer;
mod script;
mod stream;
mod unit;
mod wrong;

use super::words::Word;
use arbitrary::Arbitrary;
use command::{Built, Wish};
use lab::{Change, Host, Way, World};
use login::Login;
use marks::{NOBODY, marked};
use peer::{Peer, Sending, State};
use script::{Bytes, Script};
use umbra_iscsi::pdu::request::{DataOut, Logout, NopOut, TaskManagement, Text, task_function};
use umbra_iscsi::pdu::response::R2t;
use umbra_iscsi::pdu::{Bhs, Lun, RESERVED_TAG, Response, TextList, write_pdu};
use wrong::{Then, Wrong};

const PEERS: usize = 4;
/// LUNs that are spoken of: one more than a host ever sees.
const LUNS: u8 = 4;
/// Bytes of what a peer sends that is no command's.
const DATA_MAX: usize = 8192;
/// Tags of what is not a command.
const OTHERS: u32 = 0xe000_0000;

/// A ring's backend, who is there already, and what happens.
#[derive(Debug, Arbitrary)]
pub struct Input<'a> {
    plain: bool,
    /// Units take their time to change, so that others come in between.
    slow: bool,
    /// Bits: peers that have logged in decently; the first two are of one host, the others of the other.
    there: u8,
    steps: Script<'a>,
}

/// What somebody does.
#[derive(Debug, Arbitrary)]
enum Step<'a> {
    Connect {
        peer: u8,
        host: Host,
        way: Way,
        login: Login<'a>,
    },
    Command(Ordinary<'a>),
    Wrong {
        peer: u8,
        lun: u8,
        wish: Wish<'a>,
        wrong: Wrong<'a>,
    },
    /// Answers a request for data.
    Data {
        peer: u8,
        which: u8,
        twist: Option<Twist>,
    },
    Manage {
        peer: u8,
        function: u8,
        lun: u8,
        tag: u8,
    },
    Ping {
        peer: u8,
        length: u16,
        unasked: bool,
    },
    Text {
        peer: u8,
        pairs: Vec<(Word<'a>, Word<'a>)>,
        goes_on: bool,
    },
    Logout {
        peer: u8,
        reason: u8,
    },
    /// A PDU of any kind, well framed.
    Pdu {
        peer: u8,
        header: [u8; Bhs::LEN],
        numbered: bool,
        data: Bytes<'a>,
    },
    /// A PDU with a byte changed after its digests were made.
    Damaged {
        peer: u8,
        opcode: u8,
        at: u8,
        data: Bytes<'a>,
    },
    Raw {
        peer: u8,
        bytes: Bytes<'a>,
    },
    Cut {
        peer: u8,
    },
    View {
        host: Host,
        lun: u8,
        change: Change,
    },
    Drop {
        host: Host,
    },
}

/// A command as it should be.
#[derive(Debug, Arbitrary)]
struct Ordinary<'a> {
    peer: u8,
    lun: u8,
    wish: Wish<'a>,
    how: How,
}

#[derive(Debug, Arbitrary)]
struct How {
    attribute: u8,
    now: bool,
    along: u16,
    unasked: bool,
    /// Mostly what there is.
    skew: Option<i16>,
    /// The next step does not wait until the target has dealt with it.
    hasty: bool,
}

/// What is wrong with an answer.
#[derive(Debug, Arbitrary)]
enum Twist {
    Offset(i16),
    TransferTag(u8),
    TaskTag(u8),
    Length(i16),
    NotFinal,
    Number(u8),
    Never,
}

/// Does it all.
pub fn run(input: Input<'_>) {
    let mut session = Session {
        world: World::new(input.plain, input.slow),
        peers: std::array::from_fn(|_| None),
        aborts: false,
    };
    session.begin(input.there);
    input.steps.0.iter().for_each(|step| session.step(step));
    session.end();
}

struct Session {
    world: World,
    peers: [Option<Seat>; PEERS],
    /// Somebody may have aborted somebody's commands.
    aborts: bool,
}

/// A peer, and who it is.
struct Seat {
    peer: Peer,
    host: Host,
    way: Way,
    isid: u8,
}

impl Session {
    fn begin(&mut self, there: u8) {
        for place in (0..PEERS).filter(|place| there >> place & 1 == 1) {
            let (host, way, isid) = (Host::ALL[place / 2], Way::Unix, place as u8);
            self.world.comes(host);
            let mut peer = Peer::decent(self.world.lab.connect(way), host.name(), isid);
            peer.take_attentions(LUNS - 1);
            self.peers[place] = Some(Seat { peer, host, way, isid });
            self.with(place as u8, |_| {});
        }
    }

    fn step(&mut self, step: &Step<'_>) {
        match step {
            Step::Connect { peer, host, way, login } => self.connect(*peer, *host, *way, login),
            Step::View { host, lun, change } => self.world.change(*host, *lun, *change),
            Step::Drop { host } => {
                self.seats().filter(|seat| seat.host == *host).for_each(|seat| seat.peer.decent = false);
                self.world.drop_sessions(*host);
            }
            Step::Cut { peer } => self.peers[usize::from(*peer) % PEERS] = None,
            Step::Command(Ordinary { peer, lun, wish, how }) => self.command(*peer, *lun, wish, how),
            Step::Wrong { peer, lun, wish, wrong } => self.wrong(*peer, *lun, wish, wrong),
            Step::Data { peer, which, twist } => self.with(*peer, |seat| data(seat, *which, twist.as_ref())),
            Step::Manage { peer, function, lun, tag } => self.manage(*peer, *function, *lun, *tag),
            Step::Ping { peer, length, unasked } => self.with(*peer, |seat| ping(seat, *length, *unasked)),
            Step::Text { peer, pairs, goes_on } => self.with(*peer, |seat| text(seat, pairs, *goes_on)),
            Step::Logout { peer, reason } => self.log_out(*peer, *reason),
            Step::Pdu { peer, header, numbered, data } => {
                self.may_do_anything(*peer);
                self.with(*peer, |seat| any(seat, header, *numbered, data.0));
            }
            Step::Damaged { peer, opcode, at, data } => {
                self.may_do_anything(*peer);
                self.with(*peer, |seat| damaged(seat, *opcode, *at, data.0));
            }
            Step::Raw { peer, bytes } => {
                self.may_do_anything(*peer);
                self.with(*peer, |seat| {
                    (seat.peer.decent, seat.peer.state) = (false, State::Lost);
                    seat.peer.send_bytes(bytes.0);
                });
            }
        }
    }

    fn seats(&mut self) -> impl Iterator<Item = &mut Seat> {
        self.peers.iter_mut().flatten()
    }

    /// Does something with a peer, if it is there, and waits until the target has dealt with it.
    fn with(&mut self, peer: u8, act: impl FnOnce(&mut Seat)) {
        let Some(seat) = &mut self.peers[usize::from(peer) % PEERS] else { return };
        act(seat);
        let (world, host) = (&self.world, seat.host);
        seat.peer.settle(&|lun| world.may_hear(host, lun));
    }

    /// A connection takes the place of the one that was there.
    fn connect(&mut self, peer: u8, host: Host, way: Way, login: &Login<'_>) {
        let isid = login.isid % 4;
        self.peers[usize::from(peer) % PEERS] = None;
        // A session of the same name ends when this one begins.
        let same = |seat: &&mut Seat| seat.host == host && seat.way == way && seat.isid == isid;
        self.seats().filter(same).for_each(|seat| seat.peer.decent = false);
        self.world.comes(host);
        let mut seat = Seat { peer: Peer::new(self.world.lab.connect(way)), host, way, isid };
        login::log_in(&mut seat.peer, host, way, login);
        if login.attentive && seat.peer.state == State::Full {
            seat.peer.take_attentions(LUNS - 1);
        }
        self.peers[usize::from(peer) % PEERS] = Some(seat);
        self.with(peer, |_| {});
    }

    /// A peer that breaks rules may by chance log in, copy, abort and preempt.
    fn may_do_anything(&mut self, peer: u8) {
        if let Some(seat) = &self.peers[usize::from(peer) % PEERS] {
            self.world.comes(seat.host);
            self.world.copies(seat.host);
            self.abort_anything();
        }
    }

    fn abort_anything(&mut self) {
        self.aborts = true;
    }

    /// The command that a peer sends to a LUN, as it sees that now.
    fn build(&mut self, peer: u8, lun: u8, wish: &Wish<'_>) -> Option<Built> {
        const PREEMPT_AND_ABORT: u8 = 5;
        let host = self.peers[usize::from(peer) % PEERS].as_ref()?.host;
        let built = wish.build(self.world.unit_at(host, lun));
        if built.copies {
            self.world.copies(host);
        }
        if built.cdb[0] == 0x5f && built.cdb[1] & 0x1f == PREEMPT_AND_ABORT {
            self.abort_anything();
        }
        Some(built)
    }

    fn command(&mut self, peer: u8, lun: u8, wish: &Wish<'_>, how: &How) {
        let lun = lun % LUNS;
        let Some(built) = self.build(peer, lun, wish) else { return };
        let Some(seat) = &mut self.peers[usize::from(peer) % PEERS] else { return };
        if seat.peer.state == State::Full {
            let sending = Sending {
                attribute: how.attribute,
                now: how.now,
                along: how.along,
                unasked: how.unasked,
                skew: how.skew.unwrap_or(0),
            };
            seat.peer.start(lun, &built, sending);
        }
        if !how.hasty {
            self.with(peer, |_| {});
        }
    }

    fn wrong(&mut self, peer: u8, lun: u8, wish: &Wish<'_>, wrong: &Wrong<'_>) {
        let lun = lun % LUNS;
        let Some(built) = self.build(peer, lun, wish) else { return };
        if matches!(wrong, Wrong::Lun(_)) {
            self.may_do_anything(peer);
        }
        let mut then = Then::Stays;
        self.with(peer, |seat| {
            if seat.peer.state == State::Full {
                then = wrong::send(&mut seat.peer, lun, &built, wrong);
                if then == Then::IsCut {
                    seat.peer.state = State::Lost;
                }
            }
        });
        if then == Then::IsCut {
            self.peers[usize::from(peer) % PEERS] = None;
        }
    }

    fn manage(&mut self, peer: u8, function: u8, lun: u8, referenced: u8) {
        const FUNCTIONS: u8 = task_function::TASK_REASSIGN + 1;
        self.abort_anything();
        self.with(peer, |seat| {
            if seat.peer.state != State::Full || seat.peer.manages_enough() {
                return;
            }
            let tag = OTHERS + seat.peer.cmd_sn;
            let pdu = TaskManagement {
                final_bit: true,
                function: function % FUNCTIONS,
                lun: Lun::from_number((lun % LUNS).into()).expect("small").0,
                task_tag: tag,
                referenced_task_tag: referenced.into(),
                cmd_sn: seat.peer.cmd_sn,
                ..TaskManagement::default()
            };
            seat.peer.cmd_sn = seat.peer.cmd_sn.wrapping_add(1);
            seat.peer.await_management(tag);
            seat.peer.send(pdu.build(), &[]);
        });
    }

    fn log_out(&mut self, peer: u8, reason: u8) {
        let place = usize::from(peer) % PEERS;
        let Some(seat) = &mut self.peers[place] else { return };
        if seat.peer.state != State::Full {
            return;
        }
        let (world, host) = (&self.world, seat.host);
        let may = |lun| world.may_hear(host, lun);
        let pdu = Logout {
            immediate: true,
            final_bit: true,
            reason: reason % 4,
            task_tag: OTHERS,
            cmd_sn: seat.peer.cmd_sn,
            ..Logout::default()
        };
        seat.peer.send(pdu.build(), &[]);
        // Its commands end with it; some may still be answered.
        seat.peer.decent = false;
        while let Some((response, data)) = seat.peer.next("answer to a logout") {
            seat.peer.hear(&response, &data, &may);
            if matches!(response, Response::LogoutResponse(pdu) if pdu.response == 0) {
                while seat.peer.next("end of a connection that was logged out").is_some() {}
                break;
            }
            if matches!(response, Response::LogoutResponse(_) | Response::Reject(_)) {
                return;
            }
        }
        self.peers[place] = None;
    }

    /// The wicked go; the decent are served to the end; then everything is looked at.
    fn end(mut self) {
        for place in &mut self.peers {
            place.take_if(|seat| !seat.peer.decent || seat.peer.state != State::Full);
        }
        if self.aborts {
            self.seats().for_each(|seat| seat.peer.forget_commands());
            // What comes of them still is no answer to anything known.
            self.seats().for_each(|seat| seat.peer.decent = false);
        }
        let world = &self.world;
        for seat in self.peers.iter_mut().flatten() {
            seat.peer.conclude(&|lun| world.may_hear(seat.host, lun));
        }
        drop(self.peers);
        self.world.end();
    }
}

fn data(seat: &mut Seat, which: u8, twist: Option<&Twist>) {
    if seat.peer.r2ts.is_empty() || seat.peer.state != State::Full {
        return;
    }
    let at = usize::from(which) % seat.peer.r2ts.len();
    let r2t = seat.peer.r2ts.remove(at);
    let Some(twist) = twist else { return seat.peer.answer(&r2t) };
    let Some(right) = seat.peer.data_until_end_of(&r2t) else { return };
    seat.peer.decent = false;
    let (pdu, length, poisoned) = twisted(&r2t, twist);
    let length = length.min(seat.peer.agreed.segment);
    let data = match poisoned {
        true => marked(NOBODY, 0, None, length),
        false => right[r2t.buffer_offset as usize..][..length].to_vec(),
    };
    if !matches!(twist, Twist::Never) {
        seat.peer.send(pdu.build(), &data);
    }
}

/// A Data-Out that is wrong in one way, its length, and whether the target must not use its data.
fn twisted(r2t: &R2t, twist: &Twist) -> (DataOut, usize, bool) {
    let mut pdu = DataOut {
        final_bit: true,
        lun: r2t.lun,
        task_tag: r2t.task_tag,
        transfer_tag: r2t.transfer_tag,
        buffer_offset: r2t.buffer_offset,
        ..DataOut::default()
    };
    let mut length = r2t.desired_length;
    let before = (pdu, length);
    match twist {
        Twist::Offset(by) => pdu.buffer_offset = pdu.buffer_offset.wrapping_add_signed((*by).into()),
        Twist::TransferTag(change) => pdu.transfer_tag ^= u32::from(*change),
        Twist::TaskTag(change) => pdu.task_tag ^= u32::from(*change),
        Twist::Length(by) => length = length.saturating_add_signed((*by).into()),
        Twist::Number(number) => pdu.data_sn = (*number).into(),
        Twist::NotFinal | Twist::Never => {}
    }
    let poisoned = (pdu, length) != before;
    pdu.final_bit = !matches!(twist, Twist::NotFinal);
    (pdu, length as usize, poisoned)
}

fn ping(seat: &mut Seat, length: u16, unasked: bool) {
    if seat.peer.state != State::Full {
        return;
    }
    let pdu = NopOut {
        immediate: true,
        final_bit: true,
        task_tag: if unasked { RESERVED_TAG } else { OTHERS },
        transfer_tag: RESERVED_TAG,
        cmd_sn: seat.peer.cmd_sn,
        ..NopOut::default()
    };
    let data = vec![b'p'; usize::from(length).min(DATA_MAX)];
    seat.peer.send(pdu.build(), if unasked { &[] } else { &data });
}

fn text(seat: &mut Seat, pairs: &[(Word<'_>, Word<'_>)], goes_on: bool) {
    if seat.peer.state != State::Full {
        return;
    }
    // What it says may be against the rules.
    seat.peer.decent = false;
    let list: TextList = pairs.iter().take(16).map(|(key, value)| (key.key(), value.value())).collect();
    let mut bytes = list.encode();
    bytes.truncate(DATA_MAX);
    let pdu = Text {
        immediate: true,
        final_bit: !goes_on,
        continues: goes_on,
        task_tag: OTHERS,
        transfer_tag: RESERVED_TAG,
        cmd_sn: seat.peer.cmd_sn,
        ..Text::default()
    };
    seat.peer.send(pdu.build(), &bytes);
}

fn any(seat: &mut Seat, header: &[u8; Bhs::LEN], numbered: bool, data: &[u8]) {
    if matches!(seat.peer.state, State::Closed) {
        return;
    }
    seat.peer.decent = false;
    let mut header = Bhs(*header);
    header.0[4] = 0;
    if numbered {
        header.0[24..28].copy_from_slice(&seat.peer.cmd_sn.to_be_bytes());
        let immediate = header.0[0] & 0x40 != 0;
        seat.peer.cmd_sn = seat.peer.cmd_sn.wrapping_add(u32::from(!immediate));
    }
    seat.peer.send(header, &data[..data.len().min(DATA_MAX)]);
}

fn damaged(seat: &mut Seat, opcode: u8, at: u8, data: &[u8]) {
    let digests = seat.peer.agreed.digests;
    if seat.peer.state != State::Full || data.is_empty() || !digests.data {
        return;
    }
    seat.peer.decent = false;
    let mut bytes = Vec::new();
    write_pdu(&mut bytes, Bhs::new(opcode), &data[..data.len().min(DATA_MAX)], digests);
    // In the data or behind it: a header that is damaged ends the connection, digest or not.
    let data_at = Bhs::LEN + if digests.header { 4 } else { 0 };
    let at = data_at + usize::from(at) % (bytes.len() - data_at);
    bytes[at] ^= 1;
    seat.peer.send_bytes(&bytes);
}

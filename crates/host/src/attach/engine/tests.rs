//! The engine against a target that is a table: sessions are real, the network and the clock are not.

use super::*;
use cdb::BLOCK;
use umbra_iscsi::{
    initiator::Auth,
    pdu::{
        Digests, FrameReader, Lun, RESERVED_TAG, Request as Pdu, TextList,
        request::ScsiCommand,
        response::{DataIn, LoginResponse, ScsiResponse},
        write_pdu,
    },
};

const NAA: u64 = 0x3000_0000_0000_0007;
const SIZE: u64 = 1 << 18;

/// What the target does with the next commands that match.
type Rule = Box<dyn FnMut(&ScsiCommand) -> Option<(u8, u8, u8)>>;

struct Rig {
    engine: Engine,
    now: Instant,
    reader: FrameReader,
    stat_sn: u32,
    exp_cmd_sn: u32,
    disk: Vec<u8>,
    /// What was carried out: opcode and first block.
    log: Vec<(u8, u64)>,
    lens: Vec<u64>,
    held: Vec<(ScsiCommand, Vec<u8>)>,
    /// Reads, writes and flushes wait until [`Rig::release`].
    hold: bool,
    rule: Rule,
    naa: u64,
    present: bool,
    /// Page B0h, and whether what was unmapped reads as zeroes.
    limits: Vec<u8>,
    zeroing: bool,
}

impl Rig {
    fn new() -> Rig {
        Rig::with(unmapping(97, 64, 16), true)
    }

    fn with(limits: Vec<u8>, zeroing: bool) -> Rig {
        let config = Config::new("iqn.i".into(), "iqn.t".into(), Auth::None, [0x80; 6]);
        let expected = Designators { naa: Some(NAA), uuid: None };
        let mut rig = Rig {
            engine: Engine::new(config, Lun::from_number(1).unwrap().0, expected),
            now: Instant::default() + Duration::from_secs(1),
            reader: FrameReader::new(1 << 20),
            stat_sn: 1,
            exp_cmd_sn: 1,
            disk: vec![0; SIZE as usize],
            log: Vec::new(),
            lens: Vec::new(),
            held: Vec::new(),
            hold: false,
            rule: Box::new(|_| None),
            naa: NAA,
            present: true,
            limits,
            zeroing,
        };
        rig.connect();
        assert_eq!(rig.engine.phase().0, "up");
        rig.log.clear();
        rig
    }

    fn connect(&mut self) {
        self.reader = FrameReader::new(1 << 20);
        self.held.clear();
        self.exp_cmd_sn = 1;
        assert!(self.engine.wants_connection(self.now));
        self.engine.connected(self.now);
        self.turn();
    }

    fn cut(&mut self) {
        self.engine.disconnected(self.now, "cut".into());
        self.now = self.engine.next_deadline().unwrap();
    }

    /// Carries everything that is on the wire there and back until nothing moves.
    fn turn(&mut self) {
        loop {
            let bytes = self.engine.unsent().to_vec();
            if bytes.is_empty() {
                return;
            }
            self.engine.sent(bytes.len());
            self.reader.receive(&bytes);
            let mut list = Vec::new();
            while let Some(frame) = self.reader.next_frame().unwrap() {
                list.push((Pdu::parse(&frame.header).unwrap(), frame.data.to_vec()));
            }
            for (pdu, data) in list {
                self.handle(pdu, data);
            }
        }
    }

    fn handle(&mut self, pdu: Pdu, data: Vec<u8>) {
        match pdu {
            Pdu::Login(login) => {
                let text: TextList =
                    [("MaxRecvDataSegmentLength", "65536"), (umbra_iscsi::initiator::RESEND_KEY, "Yes")]
                        .into_iter()
                        .collect();
                let response = LoginResponse {
                    transit: true,
                    current_stage: login.current_stage,
                    next_stage: login.next_stage,
                    isid: login.isid,
                    stat_sn: self.stat_sn(),
                    exp_cmd_sn: 1,
                    max_cmd_sn: 64,
                    ..LoginResponse::default()
                };
                let data = if login.current_stage == 1 { text.encode() } else { Vec::new() };
                self.say(response.build(), &data);
            }
            Pdu::ScsiCommand(command) => {
                assert_eq!(command.cmd_sn, self.exp_cmd_sn);
                self.exp_cmd_sn += 1;
                let medium = matches!(command.cdb[0], 0x42 | 0x88 | 0x8a | 0x91 | 0x93);
                if self.hold && medium {
                    self.held.push((command, data))
                } else {
                    self.execute(command, data)
                }
            }
            Pdu::Logout(_) | Pdu::NopOut(_) => {}
            other => panic!("{other:?}"),
        }
    }

    fn release(&mut self) {
        self.hold = false;
        for (command, data) in std::mem::take(&mut self.held) {
            self.execute(command, data);
        }
        self.turn();
    }

    fn stat_sn(&mut self) -> u32 {
        self.stat_sn += 1;
        self.stat_sn - 1
    }

    fn say(&mut self, header: umbra_iscsi::pdu::Bhs, data: &[u8]) {
        let mut bytes = Vec::new();
        write_pdu(&mut bytes, header, data, Digests::default());
        while !bytes.is_empty() {
            let Some(space) = self.engine.space() else { return };
            let n = space.len().min(bytes.len());
            space[..n].copy_from_slice(&bytes[..n]);
            self.engine.received(self.now, n);
            bytes.drain(..n);
        }
    }

    fn status(&mut self, command: &ScsiCommand, status: u8, sense: &[u8]) {
        let header = ScsiResponse {
            final_bit: true,
            status,
            task_tag: command.task_tag,
            stat_sn: self.stat_sn(),
            exp_cmd_sn: self.exp_cmd_sn,
            max_cmd_sn: self.exp_cmd_sn + 63,
            ..ScsiResponse::default()
        };
        self.say(header.build(), sense);
    }

    fn data(&mut self, command: &ScsiCommand, data: &[u8]) {
        let header = DataIn {
            final_bit: true,
            has_status: true,
            task_tag: command.task_tag,
            transfer_tag: RESERVED_TAG,
            stat_sn: self.stat_sn(),
            exp_cmd_sn: self.exp_cmd_sn,
            max_cmd_sn: self.exp_cmd_sn + 63,
            ..DataIn::default()
        };
        self.say(header.build(), data);
    }

    fn execute(&mut self, command: ScsiCommand, data: Vec<u8>) {
        if let Some((key, asc, ascq)) = (self.rule)(&command) {
            let sense = [0, 18, 0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, asc, ascq, 0, 0, 0, 0];
            return if key == 0xff {
                self.status(&command, asc, &[])
            } else {
                self.status(&command, 2, &sense)
            };
        }
        let cdb = command.cdb;
        let (at, count) =
            if cdb[0] == 0x42 { (&data[8..16], &data[16..20]) } else { (&cdb[2..10], &cdb[10..14]) };
        let block = u64::from_be_bytes(at.try_into().unwrap());
        let len = u64::from(u32::from_be_bytes(count.try_into().unwrap())) * BLOCK;
        match cdb[0] {
            0xa0 => {
                let mut list = vec![0; 8];
                if self.present {
                    list[3] = 8;
                    list.extend(Lun::from_number(1).unwrap().0.to_be_bytes());
                }
                self.data(&command, &list);
            }
            0x12 if cdb[2] == 0x83 => {
                let mut page = vec![0, 0x83, 0, 12, 1, 3, 0, 8];
                page.extend(self.naa.to_be_bytes());
                self.data(&command, &page);
            }
            0x12 => {
                let page = self.limits.clone();
                self.data(&command, &page);
            }
            0x9e => {
                let mut answer = (SIZE / BLOCK - 1).to_be_bytes().to_vec();
                answer.extend([0, 0, 2, 0]);
                answer.resize(32, 0);
                answer[14] = if self.zeroing { 0xc0 } else { 0x80 };
                self.data(&command, &answer);
            }
            0x5a => self.data(&command, &[0; 8]),
            0x00 => self.status(&command, 0, &[]),
            opcode => {
                self.log.push((opcode, block));
                self.lens.push(len / BLOCK);
                let range = (block * BLOCK) as usize..(block * BLOCK + len) as usize;
                match opcode {
                    0x88 => {
                        let data = self.disk[range].to_vec();
                        self.data(&command, &data);
                    }
                    0x8a => self.disk[range].copy_from_slice(&data),
                    0x42 | 0x93 => self.disk[range].fill(0),
                    _ => {}
                }
                if opcode != 0x88 {
                    self.status(&command, 0, &[]);
                }
            }
        }
    }

    fn write(&mut self, id: RequestId, block: u64, byte: u8) {
        let data = vec![byte; BLOCK as usize].into();
        self.engine.request(id, Request::Write { offset: block * BLOCK, data });
        self.turn();
    }

    fn flush(&mut self, id: RequestId) {
        self.engine.request(id, Request::Flush);
        self.turn();
    }

    fn read(&mut self, id: RequestId, block: u64) {
        self.engine.request(id, Request::Read { offset: block * BLOCK, len: 512 });
        self.turn();
    }

    fn done(&mut self) -> Vec<(RequestId, bool)> {
        std::iter::from_fn(|| self.engine.next_done()).map(|done| (done.id, done.result.is_ok())).collect()
    }

    fn writes(&self) -> Vec<u64> {
        self.log.iter().filter(|(opcode, _)| *opcode == 0x8a).map(|(_, block)| *block).collect()
    }
}

/// A block limits page with the most that UNMAP takes, the granularity and its alignment; WRITE SAME takes 100 blocks.
fn unmapping(most: u32, granularity: u32, alignment: u32) -> Vec<u8> {
    let mut page = vec![0, 0xb0, 0, 60];
    page.resize(64, 0);
    for (at, field) in [(20, most), (24, 1), (28, granularity), (32, 1 << 31 | alignment), (36, 0), (40, 100)]
    {
        page[at..at + 4].copy_from_slice(&field.to_be_bytes());
    }
    page
}

/// A rule that strikes the first `times` commands of one opcode.
fn strike(opcode: u8, times: usize, sense: (u8, u8, u8)) -> Rule {
    let mut left = times;
    Box::new(move |command| {
        if command.cdb[0] != opcode || left == 0 {
            return None;
        }
        left -= 1;
        Some(sense)
    })
}

#[test]
fn the_acknowledged_comes_first_in_its_order_then_the_pending() {
    let mut rig = Rig::new();
    rig.write(1, 10, 1);
    rig.write(2, 11, 1);
    rig.hold = true;
    rig.write(3, 12, 1);
    rig.read(4, 10);
    rig.write(5, 13, 1);
    assert_eq!(rig.done(), [(1, true), (2, true)]);
    rig.cut();
    rig.hold = false;
    rig.log.clear();
    rig.connect();
    assert_eq!(rig.log, [(0x8a, 10), (0x8a, 11), (0x8a, 12), (0x88, 10), (0x8a, 13)]);
    assert_eq!(rig.done(), [(3, true), (4, true), (5, true)]);
    let status = rig.engine.status();
    assert_eq!((status.reconnects, status.resent), (1, 2));
}

#[test]
fn nothing_new_is_sent_while_the_old_is_written_again() {
    let mut rig = Rig::new();
    rig.write(1, 10, 1);
    rig.write(2, 10, 2);
    rig.write(3, 11, 1);
    rig.cut();
    rig.hold = true;
    rig.connect();
    rig.log.clear();
    rig.read(4, 10);
    assert_eq!(rig.held.len(), 1, "the second one overlaps the first, and nothing overtakes");
    rig.release();
    assert_eq!(rig.log, [(0x8a, 10), (0x8a, 10), (0x8a, 11), (0x88, 10)]);
    assert_eq!(rig.disk[(10 * BLOCK) as usize], 2);
}

#[test]
fn overlapping_writes_are_never_on_the_wire_together() {
    let mut rig = Rig::new();
    rig.hold = true;
    rig.write(1, 5, 1);
    rig.write(2, 5, 2);
    rig.write(3, 6, 3);
    assert_eq!(rig.held.len(), 1, "the second waits, and what came after it");
    rig.release();
    assert_eq!(rig.writes(), [5, 5, 6]);
    assert_eq!(rig.disk[(5 * BLOCK) as usize], 2);
    assert_eq!(rig.done().len(), 3);
}

#[test]
fn a_flush_that_got_no_answer_covers_nothing() {
    let mut rig = Rig::new();
    rig.write(1, 1, 1);
    rig.hold = true;
    rig.flush(2);
    rig.cut();
    rig.hold = false;
    rig.log.clear();
    rig.connect();
    assert_eq!(rig.log, [(0x8a, 1), (0x91, 0)]);
    assert_eq!(rig.engine.status().unflushed_bytes, 0);
    rig.cut();
    rig.log.clear();
    rig.connect();
    assert_eq!(rig.log, [], "now it is durable");
}

#[test]
fn a_reset_of_the_lun_means_writing_again() {
    let mut rig = Rig::new();
    rig.write(1, 1, 1);
    rig.log.clear();
    rig.rule = strike(0x88, 1, (6, 0x29, 0));
    rig.read(2, 1);
    assert_eq!(rig.log, [(0x8a, 1), (0x88, 1)]);
    assert_eq!(rig.done(), [(1, true), (2, true)]);
}

#[test]
fn attentions_and_a_busy_target_are_waited_out() {
    let mut rig = Rig::new();
    rig.rule = strike(0x8a, 3, (6, 0x3f, 0x0e));
    rig.write(1, 1, 1);
    assert_eq!(rig.done(), [(1, true)]);
    rig.rule = strike(0x8a, 1, (0xff, 0x28, 0));
    rig.write(2, 1, 2);
    assert_eq!(rig.done(), []);
    rig.now = rig.engine.next_deadline().unwrap();
    rig.engine.tick(rig.now);
    rig.turn();
    assert_eq!(rig.done(), [(2, true)]);
}

#[test]
fn a_full_pool_fails_the_write_and_promises_nothing() {
    let mut rig = Rig::new();
    rig.rule = strike(0x8a, 1, (7, 0x27, 0x07));
    rig.write(1, 1, 1);
    assert_eq!(rig.engine.next_done(), Some(Done { id: 1, result: Err(Failure::NoSpace) }));
    assert_eq!(rig.engine.status().unflushed_bytes, 0);
}

#[test]
fn another_lun_under_the_number_is_never_written_to() {
    let mut rig = Rig::new();
    rig.write(1, 1, 1);
    rig.hold = true;
    rig.write(2, 2, 1);
    rig.hold = false;
    rig.cut();
    rig.log.clear();
    rig.naa = NAA + 1;
    rig.connect();
    let mut rounds = 0;
    while rig.engine.phase().0 != "failed" {
        rig.now = rig.engine.next_deadline().unwrap();
        rig.connect();
        rounds += 1;
        assert!(rounds < 100);
    }
    assert_eq!(rig.log, []);
    assert_eq!(rig.done(), [(1, true), (2, false)]);
    rig.read(3, 1);
    assert_eq!(rig.done(), [(3, false)]);
}

#[test]
fn a_masked_lun_fails_at_once() {
    let mut rig = Rig::new();
    rig.present = false;
    rig.rule = strike(0x88, usize::MAX, (5, 0x25, 0));
    rig.read(1, 1);
    assert_eq!(rig.done(), [(1, false)]);
    assert_eq!(rig.engine.phase().0, "failed");
}

#[test]
fn an_array_that_is_not_ready_yet_is_asked_again() {
    let mut rig = Rig::new();
    rig.cut();
    rig.present = false;
    rig.connect();
    assert_eq!(rig.engine.phase().0, "down");
    rig.present = true;
    rig.now = rig.engine.next_deadline().unwrap();
    rig.connect();
    assert_eq!(rig.engine.phase().0, "up");
}

#[test]
fn a_resend_that_is_refused_fails_the_device() {
    let mut rig = Rig::new();
    rig.write(1, 1, 1);
    rig.cut();
    rig.rule = strike(0x8a, usize::MAX, (7, 0x27, 0));
    rig.connect();
    let (phase, reason) = rig.engine.phase();
    assert_eq!(phase, "failed");
    assert!(reason.unwrap().contains("acknowledged"));
}

#[test]
fn discards_go_as_unmap_and_end_where_the_targets_units_end() {
    let mut rig = Rig::new();
    rig.disk.fill(1);
    rig.engine.request(1, Request::Zero { offset: 20 * BLOCK, len: 300 * BLOCK, unmap: true });
    rig.turn();
    assert_eq!(rig.log, [(0x42, 20), (0x42, 80), (0x42, 144), (0x42, 208), (0x42, 272)]);
    assert_eq!(rig.lens[rig.lens.len() - 5..], [60, 64, 64, 64, 48]);
    let zeroes = (20 * BLOCK) as usize..(320 * BLOCK) as usize;
    assert!(rig.disk.iter().enumerate().all(|(at, byte)| (*byte == 0) == zeroes.contains(&at)));
    rig.cut();
    rig.log.clear();
    rig.connect();
    assert_eq!(rig.log.len(), 5, "what was not flushed is unmapped again");
}

#[test]
fn zeroes_and_discards_without_a_zeroing_unmap_go_as_write_same() {
    let unit = |most, zeroing| Rig::with(unmapping(most, 64, 0), zeroing);
    for (mut rig, unmap) in [(unit(0, true), true), (unit(97, false), true), (unit(97, true), false)] {
        rig.engine.request(1, Request::Zero { offset: 10 * BLOCK, len: 190 * BLOCK, unmap });
        rig.turn();
        assert_eq!(rig.log, [(0x93, 10), (0x93, 64), (0x93, 128)]);
        assert_eq!(rig.done(), [(1, true)]);
    }
}

#[test]
fn the_journal_is_bounded_by_flushes_of_its_own() {
    let mut rig = Rig::new();
    let mut most = 0;
    for id in 0..200 {
        let data: Arc<[u8]> = vec![id as u8; 1 << 16].into();
        for part in 0..10 {
            rig.engine.request(
                id * 10 + part,
                Request::Write { offset: (part % 4) << 16, data: Arc::clone(&data) },
            );
        }
        rig.turn();
        most = most.max(rig.engine.status().unflushed_bytes);
    }
    assert_eq!(rig.done().len(), 2000);
    assert!(most <= limits::JOURNAL_BYTES as u64, "{most}");
    assert!(rig.log.iter().any(|(opcode, _)| *opcode == 0x91), "nobody else asked for a flush");
}

#[test]
fn a_failed_flush_of_its_own_fails_the_device() {
    let mut rig = Rig::new();
    rig.rule = strike(0x91, usize::MAX, (3, 0x0c, 0));
    let data: Arc<[u8]> = vec![1; 1 << 16].into();
    for id in 0..600 {
        rig.engine.request(id, Request::Write { offset: (id % 4) << 16, data: Arc::clone(&data) });
        rig.turn();
    }
    assert_eq!(rig.engine.phase().0, "failed");
    assert!(rig.done().iter().any(|(_, good)| !good));
}

#[test]
fn cut_at_any_time_every_request_is_answered_once_and_the_last_write_wins() {
    for round in 0..30u64 {
        let mut random = random(round + 1);
        let mut rig = Rig::new();
        let mut model = vec![0u8; SIZE as usize];
        let mut asked = Vec::new();
        let mut answered = Vec::new();
        for id in 0..300u64 {
            let (offset, len) = (random(20_000), 1 + random(4999));
            let range = offset as usize..(offset + len) as usize;
            match random(10) {
                0 => rig.cut(),
                1 => rig.hold = true,
                2 => rig.release(),
                3 => rig.engine.request(id, Request::Flush),
                4 => {
                    model[range].fill(0);
                    rig.engine.request(id, Request::Zero { offset, len, unmap: random(2) == 0 });
                }
                _ => {
                    let byte = random(250) as u8 + 1;
                    model[range].fill(byte);
                    rig.engine.request(id, Request::Write { offset, data: vec![byte; len as usize].into() });
                }
            }
            asked.extend(rig.engine.parents.contains_key(&id).then_some(id));
            if rig.engine.wants_connection(rig.now) {
                rig.connect();
            }
            rig.turn();
            answered.extend(rig.done());
        }
        rig.release();
        answered.extend(rig.done());
        answered.sort_unstable();
        assert_eq!(answered, asked.iter().map(|id| (*id, true)).collect::<Vec<_>>());
        assert!(rig.disk == model, "round {round}");
    }
}

/// A machine that dies at any time takes what it had not flushed with it; nobody notices.
#[test]
fn a_machine_that_dies_loses_nothing_that_was_acknowledged() {
    for round in 0..30u64 {
        let mut random = random(round + 77);
        let mut rig = Rig::new();
        let mut model = vec![0u8; SIZE as usize];
        let mut durable = model.clone();
        for id in 0..200u64 {
            let block = random(32);
            let byte = random(250) as u8 + 1;
            model[(block * BLOCK) as usize..][..BLOCK as usize].fill(byte);
            rig.write(2 * id, block, byte);
            if random(10) == 0 {
                rig.flush(2 * id + 1);
                durable.clone_from(&rig.disk);
            }
            if random(20) == 0 {
                rig.cut();
                rig.disk.clone_from(&durable);
                rig.connect();
            }
            assert!(rig.disk == model, "round {round}");
        }
    }
}

fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |bound| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % bound
    }
}

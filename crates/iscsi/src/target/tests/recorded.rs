//! A recorded session with a bit of everything, cut anywhere and delivered in any portions.

use super::*;
use crate::chap;
use std::sync::LazyLock;

struct Recording {
    sent: Vec<u8>,
    /// Where the login ends.
    login: usize,
    output: Vec<u8>,
    /// Tags and data of the commands that were carried out.
    executed: Vec<(u32, Vec<u8>)>,
}

static RECORDING: LazyLock<Recording> = LazyLock::new(record);

fn target() -> Pair {
    let mut pair = Pair::new(Authentication::Chap);
    (pair.secret, pair.mutual, pair.diligent) = (Some("correct horse"), Some("battery staple"), true);
    pair
}

fn executed(pair: &Pair) -> Vec<(u32, Vec<u8>)> {
    pair.commands.iter().map(|taken| (taken.tag, taken.data.clone())).collect()
}

/// Sends a PDU; keeps what comes back in `output`.
struct Recorder {
    pair: Pair,
    output: Vec<u8>,
}

impl Recorder {
    fn send(&mut self, header: Bhs, data: &[u8]) -> Vec<R2t> {
        self.pair.send(header, data);
        self.hear()
    }

    fn hear(&mut self) -> Vec<R2t> {
        let bytes = self.pair.output();
        self.output.extend_from_slice(&bytes);
        let mut reader = FrameReader::new(1 << 20);
        reader.set_mode(self.pair.digests, 1 << 20);
        reader.receive(&bytes);
        let mut r2ts = Vec::new();
        while let Some(frame) = reader.next_frame().unwrap() {
            if let Some(Response::R2t(pdu)) = Response::parse(&frame.header) {
                r2ts.push(pdu);
            }
        }
        r2ts
    }

    fn login(&mut self, current: u8, next: Option<u8>, keys: &[(&str, &str)]) {
        let list: TextList = keys.iter().copied().collect();
        self.send(login(current, next, self.pair.cmd_sn).build(), &list.encode());
    }

    fn log_in(&mut self) {
        use stage::{FULL_FEATURE, OPERATIONAL, SECURITY};
        let names = [("InitiatorName", INITIATOR), ("TargetName", TARGET), ("AuthMethod", "CHAP")];
        let text = names.into_iter().collect::<TextList>().encode();
        let (first, rest) = text.split_at(40);
        self.send(Login { continues: true, ..login(SECURITY, None, 1) }.build(), first);
        self.send(login(SECURITY, None, 1).build(), rest);
        self.login(SECURITY, None, &[("CHAP_A", "5")]);
        let response = chap::response(CHALLENGE.id, &Secret::new("correct horse"), &CHALLENGE.bytes);
        let response = chap::encode_binary(&response);
        let keys = [("CHAP_N", "me"), ("CHAP_R", &response), ("CHAP_I", "3"), ("CHAP_C", "0x123456")];
        self.login(SECURITY, Some(OPERATIONAL), &keys);
        let keys = [
            ("HeaderDigest", "CRC32C"),
            ("DataDigest", "CRC32C"),
            ("InitialR2T", "No"),
            ("FirstBurstLength", "768"),
            ("MaxBurstLength", "768"),
            ("MaxOutstandingR2T", "2"),
            ("MaxRecvDataSegmentLength", "600"),
        ];
        self.login(OPERATIONAL, Some(FULL_FEATURE), &keys);
        self.pair.after_login(&keys);
    }

    /// A write: so much with the command, so much unasked, the rest as asked for.
    fn write(&mut self, tag: u32, immediate: usize, unasked: usize, total: usize) {
        let data = pattern(tag, total);
        let header = self.pair.command(tag, WRITE_10, total as u32);
        let mut r2ts =
            self.send(ScsiCommand { final_bit: unasked == 0, ..header }.build(), &data[..immediate]);
        if unasked > 0 {
            r2ts = self.data_out(tag, RESERVED_TAG, &data, immediate..immediate + unasked);
        }
        while !r2ts.is_empty() {
            let r2t = r2ts.remove(0);
            let from = r2t.buffer_offset as usize;
            let more = self.data_out(tag, r2t.transfer_tag, &data, from..from + r2t.desired_length as usize);
            r2ts.extend(more);
        }
    }

    fn data_out(&mut self, task_tag: u32, transfer_tag: u32, data: &[u8], range: Range<usize>) -> Vec<R2t> {
        let (mut at, mut data_sn, mut r2ts) = (range.start, 0, Vec::new());
        while at < range.end {
            let end = range.end.min(at + 333);
            let pdu = DataOut {
                final_bit: end == range.end,
                task_tag,
                transfer_tag,
                data_sn,
                buffer_offset: at as u32,
                ..DataOut::default()
            };
            r2ts.extend(self.send(pdu.build(), &data[at..end]));
            (at, data_sn) = (end, data_sn + 1);
        }
        r2ts
    }
}

fn record() -> Recording {
    let mut recorder = Recorder { pair: target(), output: Vec::new() };
    recorder.log_in();
    let login = recorder.pair.sent.len();
    recorder.write(1, 100, 0, 100);
    recorder.write(2, 300, 468, 768);
    recorder.write(3, 0, 0, 2000);
    recorder.write(4, 200, 500, 1500);
    for (tag, len) in [(5, 0), (6, 36), (7, 1700)] {
        let header = recorder.pair.command(tag, READ_10, len);
        recorder.send(header.build(), b"");
    }
    let cmd_sn = recorder.pair.cmd_sn;
    let ping =
        NopOut { immediate: true, task_tag: 50, transfer_tag: RESERVED_TAG, cmd_sn, ..NopOut::default() };
    recorder.send(ping.build(), b"ping");
    let text = Text {
        immediate: true,
        final_bit: true,
        task_tag: 51,
        transfer_tag: RESERVED_TAG,
        cmd_sn,
        ..Text::default()
    };
    recorder.send(text.build(), b"SendTargets=\0");

    // A write that is aborted halfway, and data that was on its way to it.
    let header = recorder.pair.command(8, WRITE_10, 1024);
    let r2ts = recorder.send(header.build(), b"");
    let data_out = DataOut { task_tag: 8, transfer_tag: r2ts[0].transfer_tag, ..DataOut::default() };
    recorder.send(data_out.build(), &[1; 100]);
    let abort = TaskManagement {
        immediate: true,
        final_bit: true,
        function: task_function::ABORT_TASK,
        task_tag: 52,
        referenced_task_tag: 8,
        cmd_sn: recorder.pair.cmd_sn,
        ..TaskManagement::default()
    };
    recorder.send(abort.build(), b"");
    recorder.send(DataOut { data_sn: 1, buffer_offset: 100, ..data_out }.build(), &[1; 100]);

    // A write whose data is damaged.
    let header = recorder.pair.command(9, WRITE_10, 64);
    let mut bytes = Vec::new();
    write_pdu(&mut bytes, header.build(), &[1; 64], recorder.pair.digests);
    bytes[60] ^= 1;
    recorder.pair.sent.extend_from_slice(&bytes);
    recorder.pair.feed(&bytes);
    recorder.hear();

    recorder.write(10, 64, 0, 64);
    let cmd_sn = recorder.pair.cmd_sn;
    let logout = Logout { immediate: true, final_bit: true, task_tag: 53, cmd_sn, ..Logout::default() };
    recorder.send(logout.build(), b"");
    assert_eq!(recorder.pair.closed(), "logged out");
    let executed = executed(&recorder.pair);
    assert_eq!(executed.iter().map(|(tag, _)| *tag).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 10]);
    assert!(executed.iter().all(|(tag, data)| *data == pattern(*tag, data.len())));
    Recording { sent: recorder.pair.sent, login, output: recorder.output, executed }
}

#[test]
fn a_session_cut_at_any_byte_carries_out_whole_commands_alone() {
    let recording = &*RECORDING;
    for cut in 0..=recording.sent.len() {
        let mut pair = target();
        pair.feed(&recording.sent[..cut]);
        let executed = executed(&pair);
        assert_eq!(executed, recording.executed[..executed.len()], "cut at {cut}");
        let output = pair.output();
        assert_eq!(output, recording.output[..output.len()], "cut at {cut}");
        let (mut ticks, whole) = (0, cut == recording.sent.len());
        assert_eq!(pair.target.closed().is_some(), whole, "cut at {cut}");
        while let Some(deadline) = pair.target.next_deadline() {
            assert!(ticks < 3, "cut at {cut}: a mute peer is not kept");
            pair.target.tick(Instant::from_nanos(deadline.as_nanos() - 1));
            assert!(pair.target.closed().is_none(), "cut at {cut}: not before its time");
            pair.target.tick(deadline);
            ticks += 1;
        }
        let reason = match cut {
            _ if whole => CloseReason::LoggedOut,
            _ if cut < recording.login => CloseReason::LoginTimeout { seconds: LOGIN_TIME.as_secs() },
            _ => CloseReason::PingTimeout { seconds: PING_ANSWER.as_secs() },
        };
        assert_eq!(pair.target.closed(), Some(&reason), "cut at {cut}");
    }
}

fn delivered_in(portions: impl Iterator<Item = usize>) -> Pair {
    let mut pair = target();
    let mut rest = RECORDING.sent.as_slice();
    for portion in portions {
        let (now, later) = rest.split_at(portion.min(rest.len()));
        pair.feed(now);
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    pair.feed(rest);
    pair
}

#[test]
fn byte_by_byte_a_session_gives_the_same_bytes() {
    let mut pair = delivered_in(std::iter::repeat(1));
    assert_eq!(executed(&pair), RECORDING.executed);
    assert_eq!(pair.output(), RECORDING.output);
}

proptest! {
    #[test]
    fn in_any_portions_a_session_gives_the_same_bytes(portions in prop::collection::vec(1usize..2000, 1..60)) {
        let mut pair = delivered_in(portions.into_iter());
        prop_assert_eq!(executed(&pair), RECORDING.executed.clone());
        prop_assert_eq!(pair.output(), RECORDING.output.clone());
    }

    #[test]
    fn a_damaged_session_stays_within_its_bounds(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        dropped in any::<prop::sample::Index>(),
    ) {
        let mut bytes = RECORDING.sent.clone();
        for (at, value) in &damage {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        bytes.drain(..dropped.index(4) * 8);
        let mut pair = target();
        pair.feed(&bytes);
        prop_assert!(pair.target.open_tasks().len() <= 4 + IMMEDIATE_COMMANDS);
        prop_assert!(pair.buffers.values().all(|buffer| buffer.len() <= COMMAND_DATA as usize));
    }
}

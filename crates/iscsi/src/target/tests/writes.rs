//! Data to the target: immediate, unsolicited, solicited.

use super::*;

#[test]
fn immediate_data_makes_a_command_complete() {
    let mut pair = Pair::logged_in(&[]);
    let header = pair.command(3, WRITE_10, 512);
    pair.send(header.build(), &[7; 512]);
    assert_eq!(pair.commands[0].data, [7; 512]);
    assert_eq!(pair.commands[0].read_length, 0);
    pair.good(3, &[]);
    assert_eq!(pair.status(3).0, 0);
    pair.good(3, &[]);
    assert!(pair.answers().is_empty(), "a task gets one response");
}

#[test]
fn solicited_data_comes_by_r2ts_of_one_burst_each() {
    let keys = [("MaxBurstLength", "1024"), ("ImmediateData", "No"), ("MaxOutstandingR2T", "2")];
    let mut pair = Pair::logged_in(&keys);
    let header = pair.command(3, WRITE_10, 2560);
    pair.send(header.build(), b"");
    let open = pair.r2ts();
    let ranges: Vec<_> = open.iter().map(|r2t| (r2t.r2t_sn, r2t.buffer_offset, r2t.desired_length)).collect();
    assert_eq!(ranges, [(0, 0, 1024), (1, 1024, 1024)]);
    pair.data_out(3, open[0].transfer_tag, 0, 0, &[1; 512], false);
    assert!(pair.answers().is_empty());
    pair.data_out(3, open[0].transfer_tag, 1, 512, &[1; 512], true);
    let next = pair.r2ts();
    assert_eq!((next[0].r2t_sn, next[0].buffer_offset, next[0].desired_length), (2, 2048, 512));
    pair.data_out(3, open[1].transfer_tag, 0, 1024, &[2; 1024], true);
    pair.data_out(3, next[0].transfer_tag, 0, 2048, &[3; 512], true);
    assert_eq!(pair.commands[0].data, [[1; 1024].as_slice(), &[2; 1024], &[3; 512]].concat());
    pair.good(3, &[]);
    let (Response::ScsiResponse(pdu), _) = pair.answer() else { panic!("no response") };
    assert_eq!((pdu.exp_data_sn, pdu.residual), (3, 0));
}

#[test]
fn unsolicited_data_fills_the_first_burst_and_r2ts_the_rest() {
    let keys = [("InitialR2T", "No"), ("FirstBurstLength", "1024")];
    let mut pair = Pair::logged_in(&keys);
    let header = ScsiCommand { final_bit: false, ..pair.command(3, WRITE_10, 2048) };
    pair.send(header.build(), &[1; 512]);
    pair.data_out(3, RESERVED_TAG, 0, 512, &[2; 256], false);
    pair.data_out(3, RESERVED_TAG, 1, 768, &[2; 256], true);
    let (Response::R2t(r2t), _) = pair.answer() else { panic!("no R2T") };
    assert_eq!((r2t.buffer_offset, r2t.desired_length), (1024, 1024));
    pair.data_out(3, r2t.transfer_tag, 0, 1024, &[3; 1024], true);
    assert_eq!(pair.commands[0].data, [[1; 512].as_slice(), &[2; 512], &[3; 1024]].concat());
}

#[test]
fn data_that_breaks_the_rules_ends_the_command_with_its_condition() {
    const UNEXPECTED: [u8; 3] = [0x0b, 0x0c, 0x0c];
    const AMOUNT: [u8; 3] = [0x0b, 0x0c, 0x0d];
    const SEQUENCE: [u8; 3] = [0x0b, 0x47, 0x05];
    let unsolicited: &'static [_] = &[("InitialR2T", "No"), ("FirstBurstLength", "1024")];
    type Script = fn(&mut Pair);
    type Case = (&'static str, &'static [(&'static str, &'static str)], Script, [u8; 3]);
    let scripts: [Case; 7] = [
        (
            "immediate data where there may be none",
            &[("ImmediateData", "No")],
            |pair| {
                let header = pair.command(3, WRITE_10, 512);
                pair.send(header.build(), &[0; 512]);
            },
            UNEXPECTED,
        ),
        (
            "unsolicited data where there may be none",
            &[],
            |pair| {
                let header = ScsiCommand { final_bit: false, ..pair.command(3, WRITE_10, 1024) };
                pair.send(header.build(), &[0; 512]);
            },
            UNEXPECTED,
        ),
        (
            "more than was announced",
            &[],
            |pair| {
                let header = pair.command(3, WRITE_10, 256);
                pair.send(header.build(), &[0; 512]);
            },
            AMOUNT,
        ),
        (
            "more than the first burst",
            unsolicited,
            |pair| {
                let header = ScsiCommand { final_bit: false, ..pair.command(3, WRITE_10, 2048) };
                pair.send(header.build(), &[0; 512]);
                pair.data_out(3, RESERVED_TAG, 0, 512, &[0; 1024], false);
            },
            AMOUNT,
        ),
        (
            "a data number twice",
            unsolicited,
            |pair| {
                let header = ScsiCommand { final_bit: false, ..pair.command(3, WRITE_10, 1024) };
                pair.send(header.build(), b"");
                pair.data_out(3, RESERVED_TAG, 0, 0, &[0; 512], false);
                pair.data_out(3, RESERVED_TAG, 0, 512, &[0; 512], true);
            },
            SEQUENCE,
        ),
        (
            "an offset out of order",
            unsolicited,
            |pair| {
                let header = ScsiCommand { final_bit: false, ..pair.command(3, WRITE_10, 1024) };
                pair.send(header.build(), b"");
                pair.data_out(3, RESERVED_TAG, 0, 512, &[0; 512], false);
            },
            SEQUENCE,
        ),
        (
            "more than we take",
            &[],
            |pair| {
                let header = pair.command(3, WRITE_10, COMMAND_DATA + 1);
                pair.send(header.build(), b"");
            },
            [0x05, 0x24, 0x00],
        ),
    ];
    for (what, keys, script, sense) in scripts {
        let mut pair = Pair::logged_in(keys);
        script(&mut pair);
        // What is still on its way is dropped, and the session goes on.
        let mut answers = pair.answers();
        pair.data_out(3, RESERVED_TAG, 5, 0, &[0; 512], true);
        answers.extend(pair.answers());
        assert_eq!(answers.len(), 1, "{what}");
        assert_eq!(status_of(answers.remove(0), 3), (CHECK, sense), "{what}");
        assert!(pair.commands.is_empty() && pair.buffers.is_empty(), "{what}");
        let header = pair.command(4, WRITE_10, 0);
        pair.send(header.build(), b"");
        assert_eq!(pair.commands.len(), 1, "{what}");
    }
}

#[test]
fn a_solicited_burst_that_ends_early_or_runs_over_is_refused() {
    for (len, last) in [(256, true), (1024, true)] {
        let mut pair = Pair::logged_in(&[("ImmediateData", "No"), ("MaxBurstLength", "512")]);
        let header = pair.command(3, WRITE_10, 2048);
        pair.send(header.build(), b"");
        let (Response::R2t(r2t), _) = pair.answer() else { panic!("no R2T") };
        pair.data_out(3, r2t.transfer_tag, 0, 0, &vec![0; len], last);
        assert_eq!(pair.status(3), (CHECK, [0x0b, 0x0c, 0x0d]));
    }
}

/// How an initiator that keeps to the rules sends a write.
struct Writer<'a> {
    rules: &'a Rules,
    data: Vec<u8>,
    tag: u32,
}

struct Rules {
    immediate: bool,
    initial_r2t: bool,
    first_burst: usize,
    max_burst: usize,
    outstanding: usize,
    segment: usize,
}

impl Rules {
    fn logged_in(&self) -> Pair {
        let yes = |yes| if yes { "Yes" } else { "No" };
        let [first, max, outstanding] =
            [self.first_burst, self.max_burst, self.outstanding].map(|value| value.to_string());
        Pair::logged_in(&[
            ("ImmediateData", yes(self.immediate)),
            ("InitialR2T", yes(self.initial_r2t)),
            ("MaxBurstLength", &max),
            ("FirstBurstLength", &first),
            ("MaxOutstandingR2T", &outstanding),
        ])
    }
}

impl Writer<'_> {
    /// Sends so much unasked as `eager` says, the rest as R2Ts ask for it; returns how many there were.
    fn write(&self, pair: &mut Pair, eager: bool) -> usize {
        let (rules, total) = (self.rules, self.data.len());
        let most = total.min(rules.first_burst);
        let immediate = if rules.immediate && eager { most.min(rules.segment) } else { 0 };
        let unasked = if rules.initial_r2t || !eager { immediate } else { most };
        let header = pair.command(self.tag, WRITE_10, total as u32);
        let header = ScsiCommand { final_bit: unasked == immediate, ..header };
        pair.send(header.build(), &self.data[..immediate]);
        self.sequence(pair, RESERVED_TAG, immediate..unasked);
        let (mut r2ts, mut asked) = (Vec::new(), unasked);
        loop {
            for r2t in pair.r2ts() {
                assert_eq!((r2t.r2t_sn as usize, r2t.buffer_offset as usize), (r2ts.len(), asked));
                assert!(r2t.desired_length as usize <= rules.max_burst);
                asked += r2t.desired_length as usize;
                r2ts.push(r2t);
            }
            let done: usize = r2ts.iter().take_while(|r2t| r2t.lun == u64::MAX).count();
            let Some(r2t) = r2ts.get_mut(done) else { return done };
            let (from, tag) = (r2t.buffer_offset as usize, r2t.transfer_tag);
            let to = from + r2t.desired_length as usize;
            r2t.lun = u64::MAX;
            assert!(r2ts.len() - done <= rules.outstanding, "no more are open than agreed");
            self.sequence(pair, tag, from..to);
        }
    }

    fn sequence(&self, pair: &mut Pair, transfer_tag: u32, range: Range<usize>) {
        let (mut at, mut data_sn) = (range.start, 0);
        while at < range.end {
            let end = range.end.min(at + self.rules.segment);
            pair.data_out(self.tag, transfer_tag, data_sn, at as u32, &self.data[at..end], end == range.end);
            (at, data_sn) = (end, data_sn + 1);
        }
    }
}

#[test]
fn every_legal_way_to_send_data_brings_all_of_it() {
    let mut tags = 0;
    for bits in 0..8 {
        for (first_burst, max_burst, segment) in [(512, 512, 512), (1024, 1536, 700), (2048, 4096, 1000)] {
            let rules = Rules {
                immediate: bits & 1 > 0,
                initial_r2t: bits & 2 > 0,
                first_burst,
                max_burst,
                outstanding: if bits & 4 > 0 { 4 } else { 1 },
                segment,
            };
            let mut pair = rules.logged_in();
            for (total, eager) in [0, 1, 511, 512, 513, 1024, 1536, 2048, 4096, 9001]
                .into_iter()
                .flat_map(|n| [(n, false), (n, true)])
            {
                tags += 1;
                let data: Vec<u8> = (0..total).map(|at| (at / 7) as u8).collect();
                let writer = Writer { rules: &rules, data, tag: tags };
                let r2ts = writer.write(&mut pair, eager);
                let taken = pair.commands.pop().unwrap_or_else(|| panic!("{bits} {total} {eager}"));
                assert_eq!((taken.tag, taken.data == writer.data), (tags, true), "{bits} {total} {eager}");
                pair.good(tags, &[]);
                let (Response::ScsiResponse(pdu), _) = pair.answer() else { panic!("no response") };
                assert_eq!((pdu.status, pdu.residual, pdu.exp_data_sn as usize), (0, 0, r2ts));
            }
            assert!(pair.buffers.is_empty() && pair.discarded.is_empty());
        }
    }
}

#[test]
fn no_r2t_goes_out_before_the_driver_has_room() {
    let mut pair = Pair::logged_in(&[]);
    pair.roomy = false;
    for tag in [3, 4] {
        let header = pair.command(tag, WRITE_10, 2048);
        pair.send(header.build(), &[1; 512]);
    }
    assert!(pair.answers().is_empty());
    assert_eq!(pair.solicits, [(3, 2048), (4, 2048)]);
    pair.target.solicit(4);
    assert_eq!(pair.r2ts()[0].task_tag, 4);
    pair.target.solicit(4);
    pair.target.solicit(99);
    assert!(pair.answers().is_empty(), "once");
    pair.target.solicit(3);
    let r2t = pair.r2ts()[0];
    assert_eq!((r2t.task_tag, r2t.buffer_offset, r2t.desired_length), (3, 512, 1536));
}

//! Sessions made of random acts of initiator and driver, legal and not: whatever happens, what the target sends keeps to
//! the rules, and what it holds keeps to its bounds.

use super::*;

#[derive(Debug, Clone)]
enum Act {
    Write {
        tag: u32,
        total: u32,
        immediate: usize,
        more: bool,
        now: bool,
    },
    Read {
        tag: u32,
        len: u32,
        now: bool,
    },
    /// Answers an R2T that is open, or pretends to.
    Data {
        which: usize,
        tag: u32,
        len: usize,
        last: bool,
        skew: u32,
    },
    Damage {
        tag: u32,
    },
    Ping {
        answered: bool,
        len: usize,
    },
    Manage {
        function: u8,
        tag: u32,
        ref_cmd_sn: u32,
    },
    Text {
        goes_on: bool,
        text: &'static str,
    },
    Stray {
        opcode: u8,
    },
    Skip {
        by: u32,
    },
    /// The driver's acts.
    Finish {
        which: usize,
        len: usize,
        status: u8,
    },
    Refuse {
        tag: u32,
    },
    Abort {
        tag: u32,
    },
    Solicit {
        tag: u32,
    },
    Wait {
        seconds: u64,
    },
}

const TAGS: Range<u32> = 0..12;

fn act() -> impl Strategy<Value = Act> {
    let len = prop::sample::select(vec![0, 1, 100, 512, 700, 1024, 1500]);
    let totals = prop::sample::select(vec![0, 1, 512, 1024, 3000, 9000, COMMAND_DATA + 1, u32::MAX]);
    prop_oneof![
        4 => (TAGS, totals.clone(), len.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(tag, total, immediate, more, now)| Act::Write { tag, total, immediate, more, now }),
        2 => (TAGS, totals, any::<bool>()).prop_map(|(tag, len, now)| Act::Read { tag, len, now }),
        8 => (0usize..4, TAGS, len.clone(), any::<bool>(), prop::sample::select(vec![0, 0, 0, 0, 1, u32::MAX]))
            .prop_map(|(which, tag, len, last, skew)| Act::Data { which, tag, len, last, skew }),
        1 => TAGS.prop_map(|tag| Act::Damage { tag }),
        1 => (any::<bool>(), len.clone()).prop_map(|(answered, len)| Act::Ping { answered, len }),
        2 => (0u8..10, TAGS, 0u32..40)
            .prop_map(|(function, tag, ref_cmd_sn)| Act::Manage { function, tag, ref_cmd_sn }),
        1 => (any::<bool>(), prop::sample::select(vec!["", "SendTargets=\0", "SendTargets=All\0", "x", "a=b\0"]))
            .prop_map(|(goes_on, text)| Act::Text { goes_on, text }),
        1 => prop::sample::select(vec![0x03, 0x10, 0x1c, 0x21, 0x3f]).prop_map(|opcode| Act::Stray { opcode }),
        1 => prop::sample::select(vec![0, 0, 100, u32::MAX]).prop_map(|by| Act::Skip { by }),
        6 => (0usize..4, len, prop::sample::select(vec![0, 0, 2, 8]))
            .prop_map(|(which, len, status)| Act::Finish { which, len, status }),
        1 => TAGS.prop_map(|tag| Act::Refuse { tag }),
        1 => TAGS.prop_map(|tag| Act::Abort { tag }),
        2 => TAGS.prop_map(|tag| Act::Solicit { tag }),
        1 => (0u64..20).prop_map(|seconds| Act::Wait { seconds }),
    ]
}

struct Chaos {
    pair: Pair,
    r2ts: Vec<R2t>,
    stat_sn: u32,
    window: (u32, u32),
    /// Commands sent and responses heard, by tag.
    sent: HashMap<u32, u32>,
    heard: HashMap<u32, u32>,
}

impl Chaos {
    fn new(digests: bool, roomy: bool) -> Self {
        let digest = if digests { "CRC32C" } else { "None" };
        let mut pair = Pair::logged_in(&[
            ("HeaderDigest", digest),
            ("DataDigest", digest),
            ("InitialR2T", "No"),
            ("FirstBurstLength", "1024"),
            ("MaxBurstLength", "1024"),
            ("MaxOutstandingR2T", "2"),
            ("MaxRecvDataSegmentLength", "700"),
        ]);
        pair.roomy = roomy;
        Chaos {
            pair,
            r2ts: Vec::new(),
            stat_sn: 101,
            window: (1, 4),
            sent: HashMap::new(),
            heard: HashMap::new(),
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Write { tag, total, immediate, more, now } => {
                let header = self.command(tag, WRITE_10, total, now);
                self.pair.send(ScsiCommand { final_bit: !more, ..header }.build(), &pattern(tag, immediate));
            }
            Act::Read { tag, len, now } => {
                let header = self.command(tag, READ_10, len, now);
                self.pair.send(header.build(), b"");
            }
            Act::Data { which, tag, len, last, skew } => self.data(which, tag, len, last, skew),
            Act::Damage { tag } => {
                let header = self.command(tag, WRITE_10, 100, false);
                let mut bytes = self.pair.pdu(header.build(), &[1; 100]);
                let at = bytes.len() - 1;
                bytes[at] ^= 1;
                self.pair.feed(&bytes);
            }
            Act::Ping { answered, len } => {
                let task_tag = if answered { 77 } else { RESERVED_TAG };
                let ping =
                    NopOut { immediate: true, task_tag, transfer_tag: RESERVED_TAG, ..NopOut::default() };
                self.pair.send(NopOut { cmd_sn: self.pair.cmd_sn, ..ping }.build(), &vec![1; len]);
            }
            Act::Manage { function, tag, ref_cmd_sn } => {
                let request = TaskManagement {
                    immediate: true,
                    function,
                    task_tag: 1000 + ref_cmd_sn,
                    referenced_task_tag: tag,
                    ref_cmd_sn,
                    cmd_sn: self.pair.cmd_sn,
                    ..TaskManagement::default()
                };
                self.pair.send(request.build(), b"");
            }
            Act::Text { goes_on, text } => {
                let transfer_tag = if goes_on { 1 } else { RESERVED_TAG };
                let cmd_sn = self.pair.cmd_sn;
                let request = Text {
                    immediate: true,
                    final_bit: true,
                    task_tag: 78,
                    transfer_tag,
                    cmd_sn,
                    ..Text::default()
                };
                self.pair.send(request.build(), text.as_bytes());
            }
            Act::Stray { opcode } => self.pair.send(Bhs::new(opcode), b"stray"),
            Act::Skip { by } => {
                let header = self.pair.command(5, READ_10, 512);
                self.pair.cmd_sn = header.cmd_sn;
                self.pair.send(ScsiCommand { cmd_sn: header.cmd_sn.wrapping_add(by), ..header }.build(), b"");
                self.pair.cmd_sn += u32::from(by == 0);
                *self.sent.entry(5).or_default() += 1;
            }
            Act::Finish { which, len, status } => {
                if !self.pair.commands.is_empty() {
                    let which = which % self.pair.commands.len();
                    let tag = self.pair.commands.remove(which).tag;
                    self.pair.complete(
                        tag,
                        &Completion { status, data_in: &pattern(tag, len), ..Completion::default() },
                    );
                }
            }
            Act::Refuse { tag } => {
                self.forget(tag);
                self.pair.complete(tag, &Completion { status: 0x28, ..Completion::default() });
            }
            Act::Abort { tag } => {
                self.forget(tag);
                self.pair.target.abort(tag);
            }
            Act::Solicit { tag } => self.pair.target.solicit(tag),
            Act::Wait { seconds } => {
                self.pair.now = self.pair.now + Duration::from_secs(seconds);
                self.pair.target.tick(self.pair.now);
            }
        }
    }

    fn forget(&mut self, tag: u32) {
        self.pair.commands.retain(|taken| taken.tag != tag);
        self.pair.buffers.remove(&tag);
    }

    fn command(&mut self, tag: u32, cdb: u8, len: u32, immediate: bool) -> ScsiCommand {
        *self.sent.entry(tag).or_default() += 1;
        let header = ScsiCommand { immediate, ..self.pair.command(tag, cdb, len) };
        if immediate {
            self.pair.cmd_sn = header.cmd_sn;
        }
        header
    }

    fn data(&mut self, which: usize, tag: u32, len: usize, last: bool, skew: u32) {
        let pdu = match self.r2ts.get(which) {
            Some(r2t) => {
                let len = r2t.desired_length as usize;
                let pdu = DataOut {
                    final_bit: last,
                    task_tag: r2t.task_tag,
                    transfer_tag: r2t.transfer_tag.wrapping_add(skew),
                    buffer_offset: r2t.buffer_offset,
                    ..DataOut::default()
                };
                self.pair.send(pdu.build(), &pattern(tag, len));
                self.r2ts.remove(which);
                return;
            }
            None => DataOut {
                final_bit: last,
                task_tag: tag,
                transfer_tag: RESERVED_TAG,
                data_sn: skew,
                buffer_offset: 512,
                ..DataOut::default()
            },
        };
        self.pair.send(pdu.build(), &pattern(tag, len));
    }

    /// What the target has sent since, held against the rules.
    fn check(&mut self) {
        for (answer, data) in self.pair.answers() {
            let bhs = answer.build();
            let word = |at: usize| u32::from_be_bytes(bhs.0[at..at + 4].try_into().unwrap());
            let (exp_cmd_sn, max_cmd_sn) = (word(28), word(32));
            assert!(exp_cmd_sn >= self.window.0 && max_cmd_sn >= self.window.1, "a window never goes back");
            assert!(max_cmd_sn + 1 - exp_cmd_sn <= 4, "nor beyond the depth of the queue");
            self.window = (exp_cmd_sn, max_cmd_sn);
            let status = match answer {
                Response::R2t(pdu) => {
                    self.r2ts.push(pdu);
                    assert_eq!(pdu.stat_sn, self.stat_sn);
                    false
                }
                Response::NopIn(pdu) => pdu.task_tag != RESERVED_TAG,
                Response::DataIn(pdu) => {
                    assert!(data.len() <= 700);
                    pdu.has_status
                }
                _ => true,
            };
            if status {
                assert_eq!(word(24), self.stat_sn, "{answer:?}");
                self.stat_sn += 1;
            }
            let ended = matches!(answer, Response::ScsiResponse(_))
                || matches!(answer, Response::DataIn(pdu) if pdu.has_status);
            if ended {
                let tag = bhs.task_tag();
                *self.heard.entry(tag).or_default() += 1;
                assert!(self.heard[&tag] <= self.sent[&tag], "one response for a command");
            }
        }
        let open: Vec<u32> = self.pair.target.open_tasks().into_iter().map(|(tag, _)| tag).collect();
        assert!(open.len() <= 4 + IMMEDIATE_COMMANDS);
        assert!(
            self.pair.commands.iter().all(|taken| open.contains(&taken.tag)),
            "what the driver has is open"
        );
        if self.pair.target.closed().is_none() {
            assert!(
                self.pair.buffers.keys().all(|tag| open.contains(tag)),
                "nothing is kept for what has ended"
            );
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_rules_are_kept(
        digests in any::<bool>(),
        roomy in any::<bool>(),
        acts in prop::collection::vec(act(), 1..120),
    ) {
        let mut chaos = Chaos::new(digests, roomy);
        for act in acts {
            chaos.act(act);
            chaos.check();
            if chaos.pair.target.closed().is_some() {
                break;
            }
        }
    }
}

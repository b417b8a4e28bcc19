//! A target connection, the driver's part, and the initiator's view of both.

use super::*;

/// The driver: cuts the stream, keeps payload, answers events; and what the initiator sends and hears.
pub struct Pair {
    pub now: Instant,
    pub target: Connection,
    receiver: Receiver,
    /// A header or trailer, not all of which has come.
    held: Vec<u8>,
    /// The PDU whose data comes.
    to: DataTo,
    here: Vec<u8>,
    /// Room for the data of commands that are not complete.
    pub buffers: HashMap<u32, Vec<u8>>,
    /// What commands were completed with.
    given: HashMap<u32, Vec<u8>>,
    from_target: FrameReader,
    /// Digests of what we send.
    pub digests: Digests,
    pub cmd_sn: u32,
    pub secret: Option<&'static str>,
    pub mutual: Option<&'static str>,
    pub known: bool,
    /// Whether no event is looked at.
    pub absent: bool,
    /// Whether [`Event::Solicit`] is answered at once, and whether all else is: reads with a pattern.
    pub roomy: bool,
    pub diligent: bool,
    pub solicits: Vec<(u32, u32)>,
    pub commands: Vec<Taken>,
    pub discarded: Vec<u32>,
    pub management: Vec<TaskManagementRequest>,
    pub logouts: usize,
    /// Everything sent, for recordings.
    pub sent: Vec<u8>,
}

/// A command with its data.
pub struct Taken {
    pub command: Command,
    pub data: Vec<u8>,
}

impl std::ops::Deref for Taken {
    type Target = Command;
    fn deref(&self) -> &Command {
        &self.command
    }
}

pub fn params(authentication: Authentication) -> Params {
    let portal = |address: &str, group| Portal { address: address.to_owned(), group };
    Params {
        target_name: TARGET.to_owned(),
        target_alias: None,
        authentication,
        portal_group_tag: 1,
        portals: vec![portal("192.0.2.1:3260", 1), portal("[2001:db8::1]:3260", 2)],
        queue_depth: 4,
    }
}

impl Pair {
    pub fn new(authentication: Authentication) -> Self {
        Pair::with(params(authentication))
    }

    pub fn with(params: Params) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        Pair {
            now,
            target: Connection::new(params, now),
            receiver: Receiver::new(LOGIN_DATA_SEGMENT),
            held: Vec::new(),
            to: DataTo::Skip,
            here: Vec::new(),
            buffers: HashMap::new(),
            given: HashMap::new(),
            from_target: FrameReader::new(1 << 20),
            digests: Digests::default(),
            cmd_sn: 1,
            secret: None,
            mutual: None,
            known: true,
            absent: false,
            roomy: true,
            diligent: false,
            solicits: Vec::new(),
            commands: Vec::new(),
            discarded: Vec::new(),
            management: Vec::new(),
            logouts: 0,
            sent: Vec::new(),
        }
    }

    /// Logged in with these operational keys.
    pub fn logged_in(keys: &[(&str, &str)]) -> Self {
        let mut pair = Pair::new(Authentication::None);
        let mut all = vec![("InitiatorName", INITIATOR), ("TargetName", TARGET), ("SessionType", "Normal")];
        all.extend_from_slice(keys);
        let (answer, _) = pair.login(stage::OPERATIONAL, Some(stage::FULL_FEATURE), &all);
        assert_eq!((answer.status, answer.tsih, answer.transit), (login_status::SUCCESS, 7, true));
        pair.after_login(keys);
        pair
    }

    pub fn after_login(&mut self, keys: &[(&str, &str)]) {
        self.digests.header = keys.contains(&("HeaderDigest", "CRC32C"));
        self.digests.data = keys.contains(&("DataDigest", "CRC32C"));
        self.from_target.set_mode(self.digests, 1 << 20);
    }

    pub fn send(&mut self, header: Bhs, data: &[u8]) {
        let bytes = self.pdu(header, data);
        self.feed(&bytes);
    }

    /// The bytes of a PDU, recorded as sent.
    pub fn pdu(&mut self, header: Bhs, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_pdu(&mut bytes, header, data, self.digests);
        self.sent.extend_from_slice(&bytes);
        bytes
    }

    /// Bytes as the driver would hand them in.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.target.closed().is_none() {
            let used = match self.receiver.expects() {
                Expects::Header { len } => self.header(len, bytes),
                Expects::Data { left } => self.data(left, bytes),
                Expects::Trailer { len } => self.trailer(len, bytes),
            };
            bytes = &bytes[used..];
            self.drive();
        }
    }

    /// Adds to what is held until there are `len` bytes; how many were used.
    fn hold(&mut self, len: usize, bytes: &[u8]) -> usize {
        let used = bytes.len().min(len - self.held.len());
        self.held.extend_from_slice(&bytes[..used]);
        used
    }

    fn header(&mut self, len: usize, bytes: &[u8]) -> usize {
        let used = self.hold(len, bytes);
        if self.held.len() == len {
            match self.receiver.header(&self.held) {
                Ok(HeaderStep::Longer) => return used,
                Ok(HeaderStep::Whole { bhs, ahs }) => self.to = self.target.header(self.now, &bhs, ahs),
                Err(error) => self.target.broken(error),
            }
            self.held.clear();
            self.whole(Ok(()));
        }
        used
    }

    fn data(&mut self, left: usize, bytes: &[u8]) -> usize {
        let used = bytes.len().min(left);
        let bytes = &bytes[..used];
        match &mut self.to {
            DataTo::Here => self.here.extend_from_slice(bytes),
            DataTo::Task { tag, offset, total } => {
                let buffer = self.buffers.entry(*tag).or_default();
                buffer.resize(*total as usize, 0);
                let at = *offset as usize;
                buffer[at..at + used].copy_from_slice(bytes);
                *offset += used as u32;
            }
            DataTo::Skip => {}
        }
        self.receiver.data(bytes);
        self.whole(Ok(()));
        used
    }

    fn trailer(&mut self, len: usize, bytes: &[u8]) -> usize {
        let used = self.hold(len, bytes);
        if self.held.len() == len {
            let whole = self.receiver.trailer(&self.held);
            self.held.clear();
            self.whole(whole);
        }
        used
    }

    /// Tells the machine of a PDU all of which has come.
    fn whole(&mut self, digest: Result<(), FrameError>) {
        if !matches!(self.receiver.expects(), Expects::Header { .. }) {
            return;
        }
        match digest {
            Ok(()) => self.target.arrived(self.now, &self.here),
            Err(_) => self.target.digest_failed(self.now),
        }
        self.here.clear();
        self.drive();
        let (digests, max_data) = self.target.framing();
        self.receiver.set_mode(digests, max_data);
    }

    pub fn drive(&mut self) {
        while !self.absent
            && let Some(event) = self.target.next_event()
        {
            match event {
                Event::Identify { .. } => {
                    let who = match self.known {
                        true => Initiator::Known {
                            secret: self.secret.map(Secret::new),
                            mutual: self.mutual.map(|secret| Mutual {
                                name: "the-array".to_owned(),
                                secret: Secret::new(secret),
                            }),
                        },
                        false => Initiator::Unknown,
                    };
                    self.target.admit(who, CHALLENGE);
                }
                Event::SessionReady(_) => self.target.accept(self.now, 7),
                Event::Solicit { tag, total } => {
                    self.solicits.push((tag, total));
                    if self.roomy {
                        self.target.solicit(tag);
                    }
                }
                Event::Command(command) => {
                    let data = self.buffers.remove(&command.tag).unwrap_or_default();
                    assert_eq!(data.len(), command.write_length as usize);
                    self.commands.push(Taken { command, data });
                    if self.diligent {
                        self.good(command.tag, &pattern(command.tag, command.read_length as usize));
                    }
                }
                Event::Discard { tag } => {
                    self.buffers.remove(&tag);
                    self.discarded.push(tag);
                }
                Event::TaskManagement(request) => {
                    self.management.push(request);
                    if self.diligent {
                        self.manage(&request);
                    }
                }
                Event::Logout => {
                    self.logouts += 1;
                    if self.diligent {
                        self.target.logout_done();
                    }
                }
            }
        }
    }

    /// Ends the tasks that a request names.
    fn manage(&mut self, request: &TaskManagementRequest) {
        for (tag, lun) in self.target.open_tasks() {
            let named = request.function == task_function::ABORT_TASK && tag == request.referenced_tag;
            if named || (request.function != task_function::ABORT_TASK && lun == request.lun) {
                self.target.abort(tag);
                self.buffers.remove(&tag);
            }
        }
        self.target.task_management_done(request.tag, task_response::COMPLETE);
    }

    /// The bytes that the target has to send.
    pub fn output(&mut self) -> Vec<u8> {
        let mut gather = Gather { given: &self.given, bytes: Vec::new() };
        self.target.transmit(&mut gather);
        gather.bytes
    }

    /// Everything that the target has sent since.
    pub fn answers(&mut self) -> Vec<(Response, Vec<u8>)> {
        let bytes = self.output();
        self.from_target.receive(&bytes);
        let mut answers = Vec::new();
        while let Some(frame) = self.from_target.next_frame().unwrap() {
            answers.push((Response::parse(&frame.header).unwrap(), frame.data.to_vec()));
        }
        answers
    }

    pub fn answer(&mut self) -> (Response, Vec<u8>) {
        let mut answers = self.answers();
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers.remove(0)
    }

    pub fn login(
        &mut self,
        current: u8,
        next: Option<u8>,
        keys: &[(&str, &str)],
    ) -> (LoginResponse, TextList) {
        let list: TextList = keys.iter().copied().collect();
        self.login_raw(current, next, &list.encode())
    }

    pub fn login_raw(&mut self, current: u8, next: Option<u8>, text: &[u8]) -> (LoginResponse, TextList) {
        self.send(login(current, next, self.cmd_sn).build(), text);
        match self.answer() {
            (Response::LoginResponse(pdu), data) => (pdu, TextList::parse(&data).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    pub fn command(&mut self, tag: u32, cdb: u8, expected: u32) -> ScsiCommand {
        let mut bytes = [0; 16];
        bytes[0] = cdb;
        let header = ScsiCommand {
            final_bit: true,
            read: cdb == READ_10,
            write: cdb == WRITE_10,
            attribute: 1,
            task_tag: tag,
            expected_data_length: expected,
            cmd_sn: self.cmd_sn,
            cdb: bytes,
            ..ScsiCommand::default()
        };
        self.cmd_sn = self.cmd_sn.wrapping_add(1);
        header
    }

    pub fn data_out(
        &mut self,
        tag: u32,
        transfer_tag: u32,
        data_sn: u32,
        offset: u32,
        data: &[u8],
        last: bool,
    ) {
        let pdu = DataOut {
            final_bit: last,
            task_tag: tag,
            transfer_tag,
            data_sn,
            buffer_offset: offset,
            ..DataOut::default()
        };
        self.send(pdu.build(), data);
    }

    pub fn good(&mut self, tag: u32, data: &[u8]) {
        self.complete(tag, &Completion { data_in: data, ..Completion::default() });
    }

    pub fn complete(&mut self, tag: u32, done: &Completion<'_>) {
        self.given.insert(tag, done.data_in.to_vec());
        self.target.complete(tag, done);
    }

    pub fn closed(&self) -> String {
        self.target.closed().map(ToString::to_string).unwrap_or_default()
    }

    /// The status and sense (key, code, qualifier) that a command got.
    pub fn status(&mut self, tag: u32) -> (u8, [u8; 3]) {
        status_of(self.answer(), tag)
    }

    /// Sends an immediate request and returns what answers it.
    pub fn ask(&mut self, header: Bhs, data: &[u8]) -> (Response, Vec<u8>) {
        self.send(header, data);
        self.answer()
    }

    /// The reason with which the last PDU was rejected.
    pub fn rejected(&mut self) -> u8 {
        match self.answer() {
            (Response::Reject(pdu), _) => pdu.reason,
            other => panic!("{other:?}"),
        }
    }

    /// The R2Ts that the target has sent since, and nothing else.
    pub fn r2ts(&mut self) -> Vec<R2t> {
        let answers = self.answers().into_iter();
        let r2ts = answers.map(|(answer, _)| match answer {
            Response::R2t(pdu) => pdu,
            other => panic!("{other:?}"),
        });
        r2ts.collect()
    }
}

/// Data that tells where it belongs.
pub fn pattern(tag: u32, len: usize) -> Vec<u8> {
    (0..len).map(|at| (tag as usize * 31 + at / 3) as u8).collect()
}

pub fn status_of((response, data): (Response, Vec<u8>), tag: u32) -> (u8, [u8; 3]) {
    let Response::ScsiResponse(pdu) = response else { panic!("{response:?}") };
    assert_eq!(pdu.task_tag, tag);
    let sense = if data.is_empty() { [0; 3] } else { [data[4], data[14], data[15]] };
    (pdu.status, sense)
}

struct Gather<'a> {
    given: &'a HashMap<u32, Vec<u8>>,
    bytes: Vec<u8>,
}

impl Transmit for Gather<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn data(&mut self, tag: u32, range: Range<usize>) {
        self.bytes.extend_from_slice(&self.given[&tag][range]);
    }
}

pub fn login(current: u8, next: Option<u8>, cmd_sn: u32) -> Login {
    Login {
        immediate: true,
        transit: next.is_some(),
        current_stage: current,
        next_stage: next.unwrap_or(0),
        isid: [0x40, 0, 0, 1, 0, 0],
        task_tag: 1,
        cmd_sn,
        exp_stat_sn: 100,
        ..Login::default()
    }
}

//! An initiator of bare PDUs, so that tests can send what a decent one would not.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use umbra_iscsi::chap;
use umbra_iscsi::pdu::request::{DataOut, Login, Logout, NopOut, ScsiCommand, TaskManagement, stage};
use umbra_iscsi::pdu::response::{LoginResponse, R2t};
use umbra_iscsi::pdu::{Bhs, Digests, FrameReader, Lun, RESERVED_TAG, Response, TextList, write_pdu};
use umbra_target::Secret;

/// Longest that a test waits for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

pub struct Raw {
    stream: Box<dyn Stream>,
    reader: FrameReader,
    pub isid: [u8; 6],
    /// Task attribute of what is started from now on: 1 is simple, 2 ordered, 3 head of queue.
    pub attribute: u8,
    cmd_sn: u32,
    next_tag: u32,
    /// Statuses that came while another was waited for, and data so far.
    done: HashMap<u32, Done>,
    data: HashMap<u32, Vec<u8>>,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    pub status: u8,
    /// Key, code, qualifier.
    pub sense: [u8; 3],
    pub data: Vec<u8>,
}

impl Done {
    pub fn is_good(&self) -> bool {
        self.status == 0
    }
}

impl Raw {
    pub fn connect(addr: SocketAddr) -> Raw {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Raw::over(Box::new(stream))
    }

    pub fn connect_unix(path: &Path) -> Raw {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Raw::over(Box::new(stream))
    }

    fn over(stream: Box<dyn Stream>) -> Raw {
        static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(1);
        let [high, low] = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_be_bytes();
        Raw {
            stream,
            reader: FrameReader::new(1 << 20),
            isid: [0x80, 0, 0, high, low, 0],
            attribute: 1,
            cmd_sn: 1,
            next_tag: 1,
            done: HashMap::new(),
            data: HashMap::new(),
        }
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends; a peer that has closed already is no failure here.
    pub fn try_send_bytes(&mut self, bytes: &[u8]) {
        let _closed_already = self.stream.write_all(bytes);
    }

    pub fn send(&mut self, header: Bhs, data: &[u8]) {
        let mut bytes = Vec::new();
        write_pdu(&mut bytes, header, data, Digests::default());
        self.send_bytes(&bytes);
    }

    /// The next PDU; `None` when the target has closed the connection.
    pub fn receive(&mut self) -> Option<(Response, Vec<u8>)> {
        loop {
            if let Some(frame) = self.reader.next_frame().unwrap() {
                return Some((Response::parse(&frame.header).unwrap(), frame.data.to_vec()));
            }
            match self.stream.read(self.reader.space()) {
                Ok(0) => return None,
                Ok(n) => self.reader.filled(n),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no answer in {PATIENCE:?}: {error}"),
            }
        }
    }

    /// Waits for the target to close.
    pub fn expect_closed(&mut self) {
        while self.receive().is_some() {}
    }

    pub fn login_step(
        &mut self,
        current: u8,
        next: Option<u8>,
        keys: &[(&str, &str)],
    ) -> (LoginResponse, TextList) {
        let pdu = Login {
            immediate: true,
            transit: next.is_some(),
            current_stage: current,
            next_stage: next.unwrap_or(0),
            isid: self.isid,
            task_tag: 0x1000,
            cmd_sn: self.cmd_sn,
            ..Login::default()
        };
        let list: TextList = keys.iter().copied().collect();
        self.send(pdu.build(), &list.encode());
        match self.receive() {
            Some((Response::LoginResponse(pdu), data)) => (pdu, TextList::parse(&data).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    /// A login without authentication; its status.
    pub fn try_login(&mut self, host: &str, keys: &[(&str, &str)]) -> u16 {
        let mut all = vec![("InitiatorName", host), ("TargetName", crate::lab::TARGET)];
        all.extend_from_slice(keys);
        self.login_step(stage::OPERATIONAL, Some(stage::FULL_FEATURE), &all).0.status
    }

    pub fn login(&mut self, host: &str, keys: &[(&str, &str)]) {
        assert_eq!(self.try_login(host, keys), 0);
    }

    /// A login with CHAP; its status.
    pub fn chap_login(&mut self, host: &str, secret: &str) -> u16 {
        self.chap_login_asking(host, secret, &[]).0
    }

    /// A login with CHAP in which the target has to prove itself as well; its status, and whether it did.
    pub fn mutual_chap_login(&mut self, host: &str, secret: &str, targets: (&str, &str)) -> (u16, bool) {
        const CHALLENGE: [u8; 16] = *b"prove who you ar";
        let challenge = chap::encode_binary(&CHALLENGE);
        let (status, answers) =
            self.chap_login_asking(host, secret, &[("CHAP_I", "77"), ("CHAP_C", &challenge)]);
        let proof = chap::encode_binary(&chap::response(77, &Secret::new(targets.1), &CHALLENGE));
        let same = |text: &str| chap::decode_binary(text, 1024) == chap::decode_binary(&proof, 1024);
        let proven = answers.get("CHAP_N") == Some(targets.0) && answers.get("CHAP_R").is_some_and(same);
        (status, proven)
    }

    fn chap_login_asking(&mut self, host: &str, secret: &str, asked: &[(&str, &str)]) -> (u16, TextList) {
        let keys = [("InitiatorName", host), ("TargetName", crate::lab::TARGET), ("AuthMethod", "CHAP")];
        let (pdu, answers) = self.login_step(stage::SECURITY, None, &keys);
        if pdu.status != 0 {
            return (pdu.status, answers);
        }
        let (_, answers) = self.login_step(stage::SECURITY, None, &[("CHAP_A", "5")]);
        let id: u8 = answers.get("CHAP_I").unwrap().parse().unwrap();
        let challenge = chap::decode_binary(answers.get("CHAP_C").unwrap(), 1024).unwrap();
        let response = chap::encode_binary(&chap::response(id, &Secret::new(secret), &challenge));
        let mut keys = vec![("CHAP_N", host), ("CHAP_R", response.as_str())];
        keys.extend_from_slice(asked);
        let (pdu, answers) = self.login_step(stage::SECURITY, Some(stage::FULL_FEATURE), &keys);
        (pdu.status, answers)
    }

    pub fn start(&mut self, lun: u16, cdb: &[u8], out: Option<&[u8]>, length: u32) -> u32 {
        let mut bytes = [0; 16];
        bytes[..cdb.len()].copy_from_slice(cdb);
        let tag = self.next_tag;
        let pdu = ScsiCommand {
            final_bit: true,
            read: out.is_none() && length > 0,
            write: out.is_some(),
            attribute: self.attribute,
            lun: Lun::from_number(lun).unwrap().0,
            task_tag: tag,
            expected_data_length: out.map_or(length, |data| data.len() as u32),
            cmd_sn: self.cmd_sn,
            cdb: bytes,
            ..ScsiCommand::default()
        };
        (self.next_tag, self.cmd_sn) = (tag + 1, self.cmd_sn + 1);
        self.send(pdu.build(), out.unwrap_or(&[]));
        tag
    }

    /// Waits for the status of a command.
    pub fn finish(&mut self, tag: u32) -> Done {
        loop {
            if let Some(done) = self.done.remove(&tag) {
                return done;
            }
            let (pdu, data) = self.receive().expect("the target closed the connection");
            self.note(pdu, data);
        }
    }

    /// Whether the status of a command has come; what arrives later is not looked at.
    pub fn has_finished(&self, tag: u32) -> bool {
        self.done.contains_key(&tag)
    }

    fn note(&mut self, pdu: Response, bytes: Vec<u8>) {
        match pdu {
            Response::DataIn(pdu) => {
                self.data.entry(pdu.task_tag).or_default().extend(bytes);
                if pdu.has_status {
                    let data = self.data.remove(&pdu.task_tag).unwrap_or_default();
                    self.done.insert(pdu.task_tag, Done { status: pdu.status, sense: [0; 3], data });
                }
            }
            Response::ScsiResponse(pdu) => {
                let data = self.data.remove(&pdu.task_tag).unwrap_or_default();
                let sense = if bytes.len() >= 16 { [bytes[4] & 15, bytes[14], bytes[15]] } else { [0; 3] };
                self.done.insert(pdu.task_tag, Done { status: pdu.status, sense, data });
            }
            Response::NopIn(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    }

    pub fn run(&mut self, lun: u16, cdb: &[u8], out: Option<&[u8]>, length: u32) -> Done {
        let tag = self.start(lun, cdb, out, length);
        self.finish(tag)
    }

    /// Starts a WRITE (10).
    pub fn start_write(&mut self, lun: u16, lba: u8, data: &[u8]) -> u32 {
        self.start(lun, &[0x2a, 0, 0, 0, 0, lba, 0, 0, (data.len() / 512) as u8, 0], Some(data), 0)
    }

    pub fn write(&mut self, lun: u16, lba: u8, data: &[u8]) -> Done {
        let tag = self.start_write(lun, lba, data);
        self.finish(tag)
    }

    pub fn read(&mut self, lun: u16, lba: u8, blocks: u8) -> Done {
        self.run(lun, &[0x28, 0, 0, 0, 0, lba, 0, 0, blocks, 0], None, u32::from(blocks) * 512)
    }

    pub fn test_unit_ready(&mut self, lun: u16) -> Done {
        self.run(lun, &[0; 6], None, 0)
    }

    /// Numbers below 256 only.
    pub fn report_luns(&mut self) -> Vec<u16> {
        let done = self.run(0, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0], None, 4096);
        assert!(done.is_good(), "{done:?}");
        done.data[8..].chunks(8).map(|field| u16::from(field[1])).collect()
    }

    pub fn clear_attentions(&mut self) {
        for lun in self.report_luns() {
            while self.test_unit_ready(lun).sense[0] == 6 {}
        }
    }

    pub fn start_management(&mut self, function: u8, lun: u16, referenced: u32) {
        self.start_management_as(0x2000, function, lun, referenced);
    }

    /// The same with a tag, for more than one at a time.
    pub fn start_management_as(&mut self, task_tag: u32, function: u8, lun: u16, referenced: u32) {
        let pdu = TaskManagement {
            immediate: true,
            final_bit: true,
            function,
            lun: Lun::from_number(lun).unwrap().0,
            task_tag,
            referenced_task_tag: referenced,
            cmd_sn: self.cmd_sn,
            ..TaskManagement::default()
        };
        self.send(pdu.build(), &[]);
    }

    /// Waits for the answer to task management.
    pub fn managed(&mut self) -> u8 {
        loop {
            match self.receive().expect("the target closed the connection") {
                (Response::TaskManagementResponse(pdu), _) => return pdu.response,
                (pdu, data) => self.note(pdu, data),
            }
        }
    }

    pub fn manage(&mut self, function: u8, lun: u16, referenced: u32) -> u8 {
        self.start_management(function, lun, referenced);
        self.managed()
    }

    /// Returns when the target has handled everything sent before.
    pub fn ping(&mut self) {
        assert_eq!(self.requests_until_ping(), 0);
    }

    /// How many R2Ts come before the answer to a ping.
    pub fn requests_until_ping(&mut self) -> usize {
        let pdu = NopOut {
            immediate: true,
            final_bit: true,
            task_tag: 0x4000,
            transfer_tag: RESERVED_TAG,
            cmd_sn: self.cmd_sn,
            ..NopOut::default()
        };
        self.send(pdu.build(), b"ping");
        let mut requests = 0;
        loop {
            match self.receive().expect("the target closed the connection") {
                (Response::NopIn(pdu), data) if pdu.task_tag == 0x4000 => {
                    assert_eq!(data, b"ping");
                    return requests;
                }
                (Response::R2t(_), _) => requests += 1,
                (pdu, data) => self.note(pdu, data),
            }
        }
    }

    /// Round trips in which other threads would have done what they wrongly do.
    pub fn give_others_time(&mut self) {
        (0..300).for_each(|_| self.ping());
    }

    pub fn logout(&mut self) {
        let pdu = Logout {
            immediate: true,
            final_bit: true,
            task_tag: 0x3000,
            cmd_sn: self.cmd_sn,
            ..Logout::default()
        };
        self.send(pdu.build(), &[]);
        loop {
            match self.receive() {
                Some((Response::LogoutResponse(pdu), _)) => return assert_eq!(pdu.response, 0),
                Some(_) => {}
                None => panic!("no answer to the logout"),
            }
        }
    }

    /// Starts a write whose data is asked for by R2T.
    pub fn start_solicited(&mut self, lun: u16, lba: u8, len: usize) -> u32 {
        let blocks = (len / 512) as u16;
        let [high, low] = blocks.to_be_bytes();
        let mut cdb = [0; 16];
        cdb[..10].copy_from_slice(&[0x2a, 0, 0, 0, 0, lba, 0, high, low, 0]);
        let tag = self.next_tag;
        let pdu = ScsiCommand {
            final_bit: true,
            write: true,
            attribute: self.attribute,
            lun: Lun::from_number(lun).unwrap().0,
            task_tag: tag,
            expected_data_length: len as u32,
            cmd_sn: self.cmd_sn,
            cdb,
            ..ScsiCommand::default()
        };
        (self.next_tag, self.cmd_sn) = (tag + 1, self.cmd_sn + 1);
        self.send(pdu.build(), &[]);
        tag
    }

    /// The next R2T of a write.
    pub fn asked(&mut self, tag: u32) -> R2t {
        loop {
            match self.receive().expect("the target closed the connection") {
                (Response::R2t(r2t), _) if r2t.task_tag == tag => return r2t,
                (pdu, bytes) => self.note(pdu, bytes),
            }
        }
    }

    /// Sends what an R2T asks for, in pieces of `step`.
    pub fn send_data(&mut self, r2t: &R2t, data: &[u8], step: usize) {
        let from = r2t.buffer_offset as usize;
        let pieces = data[from..from + r2t.desired_length as usize].chunks(step);
        let count = pieces.len();
        for (n, piece) in pieces.enumerate() {
            let pdu = DataOut {
                final_bit: n + 1 == count,
                task_tag: r2t.task_tag,
                transfer_tag: r2t.transfer_tag,
                data_sn: n as u32,
                buffer_offset: (from + n * step) as u32,
                ..DataOut::default()
            };
            self.send(pdu.build(), piece);
        }
    }

    /// A write whose data is asked for by R2T and sent from here, in pieces of `step`.
    pub fn write_solicited(&mut self, lun: u16, lba: u8, data: &[u8], step: usize) -> Done {
        let tag = self.start_solicited(lun, lba, data.len());
        loop {
            match self.receive().expect("the target closed the connection") {
                (Response::R2t(r2t), _) => {
                    assert_ne!(r2t.transfer_tag, RESERVED_TAG);
                    self.send_data(&r2t, data, step);
                }
                (pdu, bytes) => {
                    self.note(pdu, bytes);
                    if let Some(done) = self.done.remove(&tag) {
                        return done;
                    }
                }
            }
        }
    }
}

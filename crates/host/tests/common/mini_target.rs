//! A small iSCSI target with one LUN in memory, whose connections and memory can be lost on demand.
//!
//! Its LUN has a volatile cache: `disk` is what reads see, `durable` what a flush has reached. It writes down every
//! change in the order in which it carried it out.

use std::{
    collections::HashMap,
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};
use umbra_iscsi::pdu::{
    Bhs, Digests, FrameReader, Lun, RESERVED_TAG, Request, TextList,
    request::{DataOut, Login, ScsiCommand, stage},
    response::{DataIn, LoginResponse, LogoutResponse, NopIn, R2t, ScsiResponse},
    write_pdu,
};

pub const NAA: u64 = 0x3000_0000_0000_0001;
const NUMBER: u16 = 3;
const FIRST_BURST: usize = 65536;
const MAX_BURST: usize = 128 << 10;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub session: u64,
    pub offset: u64,
    pub len: u64,
    pub first_byte: u8,
}

pub struct Lu {
    pub disk: Vec<u8>,
    pub durable: Vec<u8>,
    dirty: Vec<std::ops::Range<usize>>,
    pub changes: Vec<Change>,
    pub flushes: u64,
    /// Counts down with each write; at zero the connection is cut after the write, before its answer.
    pub cut_after_writes: Option<u64>,
    pub naa: u64,
    pub present: bool,
    pub write_protected: bool,
    /// Sense (key, asc, ascq) that the next command gets.
    pub attention: Option<(u8, u8, u8)>,
}

pub struct MiniTarget {
    pub lu: Arc<Mutex<Lu>>,
    path: PathBuf,
    stop: Arc<AtomicBool>,
    sessions: Arc<AtomicU64>,
    connections: Arc<Mutex<Vec<UnixStream>>>,
    thread: Option<JoinHandle<()>>,
}

impl MiniTarget {
    pub fn start(path: &Path, size: usize) -> MiniTarget {
        let lu = Lu {
            disk: vec![0; size],
            durable: vec![0; size],
            dirty: Vec::new(),
            changes: Vec::new(),
            flushes: 0,
            cut_after_writes: None,
            naa: NAA,
            present: true,
            write_protected: false,
            attention: None,
        };
        let mut target = MiniTarget {
            lu: Arc::new(Mutex::new(lu)),
            path: path.to_owned(),
            stop: Arc::default(),
            sessions: Arc::default(),
            connections: Arc::default(),
            thread: None,
        };
        target.listen();
        target
    }

    /// Takes connections (again).
    pub fn listen(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        let listener = UnixListener::bind(&self.path).unwrap();
        self.stop = Arc::default();
        let (lu, stop) = (Arc::clone(&self.lu), Arc::clone(&self.stop));
        let (sessions, connections) = (Arc::clone(&self.sessions), Arc::clone(&self.connections));
        self.thread = Some(std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let stream = stream.unwrap();
                connections.lock().unwrap().push(stream.try_clone().unwrap());
                let lu = Arc::clone(&lu);
                let session = sessions.fetch_add(1, Ordering::SeqCst) + 1;
                std::thread::spawn(move || Connection::new(stream, lu, session).run());
            }
        }));
    }

    pub fn sessions(&self) -> u64 {
        self.sessions.load(Ordering::SeqCst)
    }

    /// Cuts every connection; new ones are taken.
    pub fn cut(&self) {
        for stream in self.connections.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    /// The machine dies: what no flush has reached is lost.
    pub fn crash(&mut self) {
        self.stop();
        let mut lu = self.lu.lock().unwrap();
        lu.disk = lu.durable.clone();
        lu.dirty.clear();
    }

    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = UnixStream::connect(&self.path);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        self.cut();
    }
}

impl Drop for MiniTarget {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.stop();
        }
    }
}

struct Incoming {
    command: ScsiCommand,
    data: Vec<u8>,
    solicited: usize,
}

struct Connection {
    stream: UnixStream,
    lu: Arc<Mutex<Lu>>,
    session: u64,
    stat_sn: u32,
    exp_cmd_sn: u32,
    writes: HashMap<u32, Incoming>,
}

enum End {
    Closed,
}

impl Connection {
    fn new(stream: UnixStream, lu: Arc<Mutex<Lu>>, session: u64) -> Self {
        Connection { stream, lu, session, stat_sn: 1, exp_cmd_sn: 1, writes: HashMap::new() }
    }

    fn run(mut self) {
        let mut reader = FrameReader::new(1 << 20);
        let mut buffer = vec![0; 256 << 10];
        loop {
            let n = match self.stream.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(n) => n,
            };
            reader.receive(&buffer[..n]);
            while let Some(frame) = reader.next_frame().unwrap() {
                let request = Request::parse(&frame.header).unwrap();
                let data = frame.data.to_vec();
                if self.handle(request, &data).is_err() {
                    let _ = self.stream.shutdown(std::net::Shutdown::Both);
                    return;
                }
            }
        }
    }

    fn send(&mut self, header: Bhs, data: &[u8]) -> Result<(), End> {
        let mut out = Vec::new();
        write_pdu(&mut out, header, data, Digests::default());
        self.stream.write_all(&out).map_err(|_| End::Closed)
    }

    fn handle(&mut self, request: Request, data: &[u8]) -> Result<(), End> {
        if let Some((cmd_sn, false)) = request.cmd_sn() {
            assert_eq!(cmd_sn, self.exp_cmd_sn, "commands come in order");
            self.exp_cmd_sn = self.exp_cmd_sn.wrapping_add(1);
        }
        match request {
            Request::Login(login) => self.login(login, data),
            Request::ScsiCommand(command) => self.command(command, data),
            Request::DataOut(out) => self.data_out(out, data),
            Request::NopOut(nop) if nop.task_tag != RESERVED_TAG => {
                let (stat_sn, exp_cmd_sn, max_cmd_sn) = self.numbers();
                let header = NopIn {
                    final_bit: true,
                    task_tag: nop.task_tag,
                    transfer_tag: RESERVED_TAG,
                    stat_sn,
                    exp_cmd_sn,
                    max_cmd_sn,
                    ..NopIn::default()
                };
                self.send(header.build(), &[])
            }
            Request::Logout(logout) => {
                let (stat_sn, exp_cmd_sn, max_cmd_sn) = self.numbers();
                let header = LogoutResponse {
                    final_bit: true,
                    task_tag: logout.task_tag,
                    stat_sn,
                    exp_cmd_sn,
                    max_cmd_sn,
                    ..LogoutResponse::default()
                };
                self.send(header.build(), &[])
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    fn numbers(&mut self) -> (u32, u32, u32) {
        let stat_sn = self.stat_sn;
        self.stat_sn = self.stat_sn.wrapping_add(1);
        (stat_sn, self.exp_cmd_sn, self.exp_cmd_sn.wrapping_add(15))
    }

    fn login(&mut self, login: Login, data: &[u8]) -> Result<(), End> {
        let text = TextList::parse(data).unwrap();
        let mut answer = TextList::new();
        if login.current_stage == stage::OPERATIONAL {
            assert_eq!(text.get("X-io.umbra.Resend"), Some("Yes"));
            for (key, value) in [
                ("InitialR2T", "No"),
                ("ImmediateData", "Yes"),
                ("FirstBurstLength", "65536"),
                ("MaxBurstLength", "131072"),
                ("MaxRecvDataSegmentLength", "32768"),
                ("X-io.umbra.Resend", "Yes"),
            ] {
                answer.push(key, value);
            }
        } else {
            answer.push("AuthMethod", "None");
        }
        self.exp_cmd_sn = login.cmd_sn;
        let (stat_sn, exp_cmd_sn, max_cmd_sn) = self.numbers();
        let header = LoginResponse {
            transit: login.transit,
            current_stage: login.current_stage,
            next_stage: login.next_stage,
            isid: login.isid,
            tsih: 1,
            task_tag: login.task_tag,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            ..LoginResponse::default()
        };
        self.send(header.build(), &answer.encode())
    }

    fn command(&mut self, command: ScsiCommand, data: &[u8]) -> Result<(), End> {
        if !command.write {
            return self.execute(command, Vec::new());
        }
        let incoming = Incoming { command, data: data.to_vec(), solicited: 0 };
        self.writes.insert(command.task_tag, incoming);
        if command.final_bit { self.more(command.task_tag) } else { Ok(()) }
    }

    fn data_out(&mut self, out: DataOut, data: &[u8]) -> Result<(), End> {
        let incoming = self.writes.get_mut(&out.task_tag).unwrap();
        assert_eq!(out.buffer_offset as usize, incoming.data.len(), "data comes in order");
        incoming.data.extend_from_slice(data);
        if out.transfer_tag == RESERVED_TAG {
            assert!(incoming.data.len() <= FIRST_BURST);
        }
        if out.final_bit { self.more(out.task_tag) } else { Ok(()) }
    }

    fn more(&mut self, tag: u32) -> Result<(), End> {
        let incoming = self.writes.get_mut(&tag).unwrap();
        let missing = incoming.command.expected_data_length as usize - incoming.data.len();
        if missing == 0 {
            let incoming = self.writes.remove(&tag).unwrap();
            return self.execute(incoming.command, incoming.data);
        }
        incoming.solicited += 1;
        let header = R2t {
            final_bit: true,
            lun: incoming.command.lun,
            task_tag: tag,
            transfer_tag: 7,
            stat_sn: self.stat_sn,
            exp_cmd_sn: self.exp_cmd_sn,
            max_cmd_sn: self.exp_cmd_sn.wrapping_add(15),
            r2t_sn: incoming.solicited as u32 - 1,
            buffer_offset: incoming.data.len() as u32,
            desired_length: missing.min(MAX_BURST) as u32,
        };
        self.send(header.build(), &[])
    }

    fn sense(&mut self, command: &ScsiCommand, (key, asc, ascq): (u8, u8, u8)) -> Result<(), End> {
        let mut sense = vec![0, 18, 0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, asc, ascq];
        sense.resize(20, 0);
        self.respond(command, 2, &sense)
    }

    fn respond(&mut self, command: &ScsiCommand, status: u8, data: &[u8]) -> Result<(), End> {
        let (stat_sn, exp_cmd_sn, max_cmd_sn) = self.numbers();
        let header = ScsiResponse {
            final_bit: true,
            status,
            task_tag: command.task_tag,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            ..ScsiResponse::default()
        };
        self.send(header.build(), data)
    }

    fn answer(&mut self, command: &ScsiCommand, data: &[u8]) -> Result<(), End> {
        let data = &data[..data.len().min(command.expected_data_length as usize)];
        let pieces: Vec<_> = data.chunks(64 << 10).collect();
        for (index, piece) in pieces.iter().enumerate() {
            let last = index + 1 == pieces.len();
            let (stat_sn, exp_cmd_sn, max_cmd_sn) =
                if last { self.numbers() } else { (0, self.exp_cmd_sn, self.exp_cmd_sn.wrapping_add(15)) };
            let header = DataIn {
                final_bit: last,
                has_status: last,
                underflow: last && data.len() < command.expected_data_length as usize,
                residual: command.expected_data_length - data.len() as u32,
                task_tag: command.task_tag,
                transfer_tag: RESERVED_TAG,
                stat_sn,
                exp_cmd_sn,
                max_cmd_sn,
                data_sn: index as u32,
                buffer_offset: (index * (64 << 10)) as u32,
                ..DataIn::default()
            };
            self.send(header.build(), piece)?;
        }
        Ok(())
    }

    fn execute(&mut self, command: ScsiCommand, data: Vec<u8>) -> Result<(), End> {
        let lu = Arc::clone(&self.lu);
        let mut lu = lu.lock().unwrap();
        let cdb = command.cdb;
        if cdb[0] == 0xa0 {
            let mut list = vec![0u8; 16];
            if lu.present {
                list.extend(Lun::from_number(NUMBER).unwrap().0.to_be_bytes());
            }
            let len = (list.len() - 8) as u32;
            list[..4].copy_from_slice(&len.to_be_bytes());
            return self.answer(&command, &list);
        }
        if !lu.present {
            return self.sense(&command, (5, 0x25, 0));
        }
        if let Some(sense) = lu.attention.take() {
            return self.sense(&command, sense);
        }
        let number =
            |at: usize, n: usize| cdb[at..at + n].iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        // Only of use for commands with a range.
        let (offset, len) = (number(2, 8).wrapping_mul(512), number(10, 4) * 512);
        let range = offset as usize..offset.wrapping_add(len) as usize;
        match cdb[0] {
            0x00 => self.respond(&command, 0, &[]),
            0x12 if cdb[2] == 0x83 => {
                let mut page = vec![0, 0x83, 0, 12, 0x01, 0x03, 0, 8];
                page.extend(lu.naa.to_be_bytes());
                self.answer(&command, &page)
            }
            0x12 if cdb[2] == 0xb0 => {
                let mut page = vec![0, 0xb0, 0, 60];
                page.resize(64, 0);
                self.answer(&command, &page)
            }
            0x9e => {
                let mut answer = (lu.disk.len() as u64 / 512 - 1).to_be_bytes().to_vec();
                answer.extend(512u32.to_be_bytes());
                answer.resize(32, 0);
                self.answer(&command, &answer)
            }
            0x5a => {
                let protected = if lu.write_protected { 0x80 } else { 0 };
                self.answer(&command, &[0, 6, 0, protected, 0, 0, 0, 0])
            }
            0x88 => {
                let data = lu.disk[range].to_vec();
                drop(lu);
                self.answer(&command, &data)
            }
            0x91 => {
                let Lu { disk, durable, dirty, flushes, .. } = &mut *lu;
                for range in dirty.drain(..) {
                    durable[range.clone()].copy_from_slice(&disk[range]);
                }
                *flushes += 1;
                self.respond(&command, 0, &[])
            }
            0x8a | 0x93 => {
                if lu.write_protected {
                    return self.sense(&command, (7, 0x27, 0));
                }
                lu.dirty.push(range.clone());
                if cdb[0] == 0x8a {
                    lu.disk[range].copy_from_slice(&data);
                } else {
                    lu.disk[range].fill(0);
                }
                let first_byte = lu.disk[offset as usize];
                let session = self.session;
                lu.changes.push(Change { session, offset, len, first_byte });
                if let Some(left) = &mut lu.cut_after_writes {
                    *left -= 1;
                    if *left == 0 {
                        lu.cut_after_writes = None;
                        return Err(End::Closed);
                    }
                }
                self.respond(&command, 0, &[])
            }
            other => panic!("unexpected command {other:#04x}"),
        }
    }
}

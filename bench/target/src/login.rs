//! The way into full feature phase, step by step: nobody measures it.

use crate::{
    iscsi::{Iscsi, lun},
    serve::TARGET,
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicU16, Ordering},
};
use umbra_iscsi::{
    pdu::{
        Bhs, Digests, FrameReader, Response, TextList,
        request::{Login, ScsiCommand, stage},
        write_pdu,
    },
    target::RESEND_KEY,
};

const INITIATOR: &str = "iqn.2026-01.bench.umbra:initiator";
/// Attentions that a new session may meet before its LUN is ready.
const ATTENTIONS: u32 = 8;
/// RFC 7143 section 13: what the standard has without negotiation.
const DEFAULT_SEGMENT: usize = 8192;
const FIRST_BURST: usize = 65_536;
/// Requests of a login.
const STEPS: u32 = 8;

/// What is asked for: data with commands, no R2T for the first burst, long segments, the write cache.
const WISHES: [(&str, &str); 14] = [
    ("InitiatorName", INITIATOR),
    ("TargetName", TARGET),
    ("SessionType", "Normal"),
    ("HeaderDigest", "None"),
    ("DataDigest", "None"),
    ("MaxConnections", "1"),
    ("InitialR2T", "No"),
    ("ImmediateData", "Yes"),
    ("MaxRecvDataSegmentLength", "262144"),
    ("MaxBurstLength", "1048576"),
    ("FirstBurstLength", "65536"),
    ("MaxOutstandingR2T", "1"),
    ("ErrorRecoveryLevel", "0"),
    (RESEND_KEY, "Yes"),
];

/// Logs in, and waits until the LUN is ready.
pub fn login(stream: &mut TcpStream) -> Result<Iscsi> {
    let mut talk = Talk { stream, reader: FrameReader::new(1 << 18) };
    let (granted, exp_stat_sn) = talk.negotiate().context("log in")?;
    let number = |key| granted.iter().find(|(name, _)| name == key).and_then(|(_, value)| value.parse().ok());
    let segment: usize = number("MaxRecvDataSegmentLength").unwrap_or(DEFAULT_SEGMENT);
    let first_burst: usize = number("FirstBurstLength").unwrap_or(FIRST_BURST);
    let refused = granted.iter().any(|(key, value)| key == "ImmediateData" && value == "No");
    let immediate = if refused { 0 } else { first_burst.min(segment) };
    let mut wire = Iscsi { cmd_sn: 1, exp_stat_sn, segment, immediate };
    for _ in 0..ATTENTIONS {
        if talk.is_ready(&mut wire)? {
            return Ok(wire);
        }
    }
    bail!("the LUN does not become ready")
}

/// PDUs one after the other.
struct Talk<'a> {
    stream: &'a mut TcpStream,
    reader: FrameReader,
}

impl Talk<'_> {
    /// All that the target granted and declared, and the next StatSN.
    fn negotiate(&mut self) -> Result<(Vec<(String, String)>, u32)> {
        static SESSIONS: AtomicU16 = AtomicU16::new(1);
        let [high, low] = SESSIONS.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let mut pdu = Login {
            immediate: true,
            transit: true,
            current_stage: stage::OPERATIONAL,
            next_stage: stage::FULL_FEATURE,
            isid: [0x80, 0, 0, high, low, 0],
            task_tag: 1,
            cmd_sn: 1,
            ..Login::default()
        };
        let mut text = WISHES.into_iter().collect::<TextList>().encode();
        let mut granted = Vec::new();
        for _ in 0..STEPS {
            self.send(pdu.build(), &text)?;
            let (Response::LoginResponse(answer), told) = self.receive()? else {
                bail!("the answer is none to a login");
            };
            ensure!(answer.status == 0, "refused with status {:#06x}", answer.status);
            let told = TextList::parse(&told)?;
            granted.extend(told.iter().map(|(key, value)| (key.to_owned(), value.to_owned())));
            pdu.exp_stat_sn = answer.stat_sn.wrapping_add(1);
            if answer.transit && answer.next_stage == stage::FULL_FEATURE {
                return Ok((granted, pdu.exp_stat_sn));
            }
            // It had something to declare first.
            text.clear();
        }
        bail!("it takes more than {STEPS} steps")
    }

    fn send(&mut self, header: Bhs, data: &[u8]) -> Result<()> {
        let mut bytes = Vec::new();
        write_pdu(&mut bytes, header, data, Digests::default());
        Ok(self.stream.write_all(&bytes)?)
    }

    fn receive(&mut self) -> Result<(Response, Vec<u8>)> {
        loop {
            if let Some(frame) = self.reader.next_frame()? {
                let response = Response::parse(&frame.header).context("a PDU that no target sends")?;
                return Ok((response, frame.data.to_vec()));
            }
            let received = self.stream.read(self.reader.space())?;
            ensure!(received > 0, "the target closed the connection");
            self.reader.filled(received);
        }
    }

    /// TEST UNIT READY: attentions of a new session are taken by it.
    fn is_ready(&mut self, wire: &mut Iscsi) -> Result<bool> {
        let pdu = ScsiCommand {
            final_bit: true,
            attribute: 1,
            lun: lun(),
            task_tag: 1,
            cmd_sn: wire.cmd_sn,
            exp_stat_sn: wire.exp_stat_sn,
            ..ScsiCommand::default()
        };
        wire.cmd_sn = wire.cmd_sn.wrapping_add(1);
        self.send(pdu.build(), &[])?;
        match self.receive()?.0 {
            Response::ScsiResponse(response) => {
                wire.exp_stat_sn = response.stat_sn.wrapping_add(1);
                Ok(response.status == 0)
            }
            other => bail!("TEST UNIT READY was answered by {other:?}"),
        }
    }
}

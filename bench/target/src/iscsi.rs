//! iSCSI as a lean initiator speaks it (RFC 7143): PDUs are encoded once, and a command sets four numbers in its own.
//!
//! What always holds: nothing but pings and what the measured commands need is understood; any other PDU, any status but GOOD and
//! any residual ends the measurement with an error.

use crate::wire::{Answer, HEADER, Header, Wanted, Way, Wire, set_word, word};
use anyhow::{Result, ensure};
use umbra_iscsi::pdu::{
    Lun, RESERVED_TAG, opcode,
    request::{DataOut, NopOut, ScsiCommand},
};

/// The LUN that is measured.
pub const LUN: u16 = 1;
/// Bytes of a logical block.
const BLOCK: u64 = 512;

const TASK_TAG: usize = 16;
const TRANSFER_TAG: usize = 20;
const CMD_SN: usize = 24;
const EXP_STAT_SN: usize = 28;
const LBA: usize = 32 + 2;

/// A session in full feature phase.
#[derive(Debug)]
pub struct Iscsi {
    /// Of the next command.
    pub cmd_sn: u32,
    /// The next that the target will use.
    pub exp_stat_sn: u32,
    /// Longest data segment that the target takes.
    pub segment: usize,
    /// Data that may go with a command unasked.
    pub immediate: usize,
}

/// The LUN as headers name it.
pub fn lun() -> u64 {
    Lun::from_number(LUN).map_or(0, |lun| lun.0)
}

impl Wire for Iscsi {
    fn template(&self, way: Way, slot: usize, len: usize) -> (Header, usize) {
        let [high, low] = ((len as u64 / BLOCK) as u16).to_be_bytes();
        let mut cdb = [0; 16];
        // READ (10), WRITE (10): SBC-3 sections 5.11 and 5.36.
        (cdb[0], cdb[7], cdb[8]) = (if way == Way::Read { 0x28 } else { 0x2a }, high, low);
        let command = ScsiCommand {
            final_bit: true,
            read: way == Way::Read,
            write: way == Way::Write,
            attribute: 1,
            lun: lun(),
            task_tag: slot as u32,
            expected_data_length: len as u32,
            cdb,
            ..ScsiCommand::default()
        };
        let mut header = command.build();
        let immediate = if way == Way::Write { len.min(self.immediate) } else { 0 };
        header.set_data_len(immediate);
        (header.0, immediate)
    }

    fn request(&mut self, header: &mut Header, offset: u64) {
        set_word(header, CMD_SN, self.cmd_sn);
        set_word(header, EXP_STAT_SN, self.exp_stat_sn);
        set_word(header, LBA, (offset / BLOCK) as u32);
        self.cmd_sn = self.cmd_sn.wrapping_add(1);
    }

    fn data_out(&self, wanted: &Wanted, number: u32, at: usize, len: usize, last: bool) -> Header {
        let pdu = DataOut {
            final_bit: last,
            lun: lun(),
            task_tag: wanted.slot as u32,
            transfer_tag: wanted.transfer_tag,
            exp_stat_sn: self.exp_stat_sn,
            data_sn: number,
            buffer_offset: at as u32,
        };
        let mut header = pdu.build();
        header.set_data_len(len);
        header.0
    }

    fn segment(&self) -> usize {
        self.segment
    }

    fn answer(&mut self, header: &Header) -> Result<Answer> {
        let slot = word(header, TASK_TAG) as usize;
        match header[0] & 0x3f {
            opcode::DATA_IN => {
                let has_status = header[1] & 0x01 != 0;
                if has_status {
                    self.status(header)?;
                }
                let at = word(header, 40) as usize;
                Ok(Answer::Data { slot, at, len: data_len(header), last: has_status })
            }
            opcode::SCSI_RESPONSE => {
                ensure!(header[2] == 0, "the target failed with response {:#04x}", header[2]);
                self.status(header)?;
                Ok(Answer::Done { slot })
            }
            opcode::R2T => {
                let (transfer_tag, at, len) = (word(header, 20), word(header, 40), word(header, 44));
                Ok(Answer::Wanted { slot, transfer_tag, at: at as usize, len: len as usize })
            }
            opcode::NOP_IN if word(header, TRANSFER_TAG) != RESERVED_TAG => {
                ensure!(data_len(header) == 0, "a ping with data, which is not looked for");
                let pong = NopOut {
                    immediate: true,
                    final_bit: true,
                    lun: u64::from(word(header, 8)) << 32 | u64::from(word(header, 12)),
                    task_tag: RESERVED_TAG,
                    transfer_tag: word(header, TRANSFER_TAG),
                    cmd_sn: self.cmd_sn,
                    exp_stat_sn: self.exp_stat_sn,
                };
                Ok(Answer::Pinged(pong.build().0))
            }
            other => anyhow::bail!("an unexpected PDU with opcode {other:#04x}: {header:02x?}"),
        }
    }
}

impl Iscsi {
    /// Takes status and StatSN of a PDU that carries them.
    fn status(&mut self, header: &Header) -> Result<()> {
        ensure!(header[3] == 0, "a command ended with status {:#04x}", header[3]);
        ensure!(header[1] & 0x06 == 0, "a command has a residual of {}", word(header, 44));
        self.exp_stat_sn = word(header, 24).wrapping_add(1);
        Ok(())
    }
}

fn data_len(header: &Header) -> usize {
    const { assert!(HEADER == 48) };
    (word(header, 4) & 0xff_ffff) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use umbra_iscsi::pdu::{
        Bhs, Request, Response,
        response::{DataIn, NopIn, R2t, ScsiResponse},
    };

    fn wire() -> Iscsi {
        Iscsi { cmd_sn: 9, exp_stat_sn: 3, segment: 1 << 18, immediate: 1 << 16 }
    }

    #[test]
    fn a_command_says_what_it_was_told() {
        let mut wire = wire();
        let (mut header, immediate) = wire.template(Way::Write, 5, 1 << 20);
        wire.request(&mut header, 7 << 20);
        let Some(Request::ScsiCommand(command)) = Request::parse(&Bhs(header)) else { panic!() };
        assert_eq!((immediate, Bhs(header).data_len()), (1 << 16, 1 << 16));
        assert_eq!((command.task_tag, command.cmd_sn, command.exp_stat_sn), (5, 9, 3));
        assert_eq!((command.expected_data_length, command.write, command.read), (1 << 20, true, false));
        assert_eq!(command.cdb[..10], [0x2a, 0, 0, 0, 0x38, 0, 0, 8, 0, 0]);
        assert_eq!((wire.cmd_sn, Lun(command.lun).number()), (10, Some(LUN)));
    }

    #[test]
    fn answers_are_taken_for_what_they_are() {
        let mut wire = wire();
        let data = DataIn { has_status: true, task_tag: 4, stat_sn: 3, ..DataIn::default() };
        let mut bhs = Response::from(data).build();
        bhs.set_data_len(4096);
        let answer = wire.answer(&bhs.0).unwrap();
        assert_eq!(answer, Answer::Data { slot: 4, at: 0, len: 4096, last: true });
        assert_eq!(wire.exp_stat_sn, 4);
        let done = ScsiResponse { task_tag: 2, stat_sn: 4, ..ScsiResponse::default() };
        assert_eq!(wire.answer(&done.build().0).unwrap(), Answer::Done { slot: 2 });
        let r2t =
            R2t { task_tag: 1, transfer_tag: 8, buffer_offset: 64, desired_length: 32, ..R2t::default() };
        let wanted = Answer::Wanted { slot: 1, transfer_tag: 8, at: 64, len: 32 };
        assert_eq!(wire.answer(&r2t.build().0).unwrap(), wanted);
    }

    #[test]
    fn a_ping_is_answered_and_takes_no_number() {
        let mut wire = wire();
        let ping = NopIn { task_tag: RESERVED_TAG, transfer_tag: 7, stat_sn: 3, ..NopIn::default() };
        let Ok(Answer::Pinged(pong)) = wire.answer(&ping.build().0) else { panic!() };
        let Some(Request::NopOut(pong)) = Request::parse(&Bhs(pong)) else { panic!() };
        assert_eq!((pong.task_tag, pong.transfer_tag, pong.immediate), (RESERVED_TAG, 7, true));
        assert_eq!((pong.cmd_sn, wire.cmd_sn), (9, 9));
        let answer = NopIn { task_tag: RESERVED_TAG, transfer_tag: RESERVED_TAG, ..ping };
        assert!(wire.answer(&answer.build().0).is_err(), "nobody asked");
    }

    #[test]
    fn what_went_wrong_is_an_error() {
        let status = |pdu: ScsiResponse| wire().answer(&pdu.build().0);
        assert!(status(ScsiResponse { status: 2, ..ScsiResponse::default() }).is_err());
        assert!(status(ScsiResponse { response: 1, ..ScsiResponse::default() }).is_err());
        assert!(status(ScsiResponse { underflow: true, residual: 1, ..ScsiResponse::default() }).is_err());
        assert!(wire().answer(&[0x3f; 48]).is_err());
    }
}

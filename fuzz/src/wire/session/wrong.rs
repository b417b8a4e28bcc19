//! Commands that are wrong in one way.

use super::command::Built;
use super::peer::{Peer, State};
use super::script::Bytes;
use arbitrary::Arbitrary;
use umbra_iscsi::pdu::request::ScsiCommand;
use umbra_iscsi::pdu::{Bhs, Lun, write_pdu};

/// What is wrong.
#[derive(Debug, Arbitrary)]
pub(super) enum Wrong<'a> {
    /// The tag is that of a command that is open.
    TagInUse(u8),
    /// CmdSN is not the next one.
    Number(i8),
    /// The LUN field is anything.
    Lun(u64),
    /// Data is announced, and never comes.
    MoreToCome,
    BothWays,
    /// Expected data transfer length: anything.
    Expected(u32),
    /// All data comes at once, whatever was agreed on.
    AllAtOnce,
    /// The header announces another length than what comes.
    Announced(i16),
    Additional(Bytes<'a>),
    /// The connection is cut after so many bytes of the PDU.
    Cut(u16),
}

/// Whether the connection stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Stays,
    IsCut,
}

/// Sends a command.
pub(super) fn send(peer: &mut Peer, lun: u8, built: &Built, wrong: &Wrong<'_>) -> Then {
    peer.decent = false;
    let data = built.data.as_deref().unwrap_or_default();
    let mut pdu = ScsiCommand {
        final_bit: true,
        read: built.data.is_none() && built.length > 0,
        write: built.data.is_some(),
        attribute: 1,
        lun: Lun::from_number(lun.into()).expect("small").0,
        task_tag: peer.fresh_tag(),
        expected_data_length: built.length.max(data.len() as u32),
        cmd_sn: peer.cmd_sn,
        cdb: built.cdb,
        ..ScsiCommand::default()
    };
    match wrong {
        Wrong::TagInUse(which) => pdu.task_tag = peer.reuse_tag(*which).unwrap_or(pdu.task_tag),
        Wrong::Number(by) => pdu.cmd_sn = pdu.cmd_sn.wrapping_add_signed((*by).into()),
        Wrong::Lun(field) => pdu.lun = *field,
        Wrong::MoreToCome => pdu.final_bit = false,
        Wrong::BothWays => (pdu.read, pdu.write) = (true, true),
        Wrong::Expected(length) => pdu.expected_data_length = *length,
        Wrong::AllAtOnce | Wrong::Announced(_) | Wrong::Additional(_) | Wrong::Cut(_) => {}
    }
    if pdu.cmd_sn == peer.cmd_sn {
        peer.cmd_sn = peer.cmd_sn.wrapping_add(1);
    }
    let most = if matches!(wrong, Wrong::AllAtOnce) { peer.agreed.segment } else { peer.immediate_most() };
    let mut bytes = Vec::new();
    write_pdu(&mut bytes, pdu.build(), &data[..data.len().min(most)], peer.agreed.digests);
    let then = spoil(&mut bytes, wrong);
    if matches!(wrong, Wrong::Announced(_)) {
        // Nobody knows how the other side cuts what comes from now on.
        peer.state = State::Lost;
    }
    peer.send_bytes(&bytes);
    then
}

/// What is wrong with the bytes of a PDU rather than with what it says.
fn spoil(bytes: &mut Vec<u8>, wrong: &Wrong<'_>) -> Then {
    match wrong {
        Wrong::Announced(by) => {
            let length =
                u32::from_be_bytes([0, bytes[5], bytes[6], bytes[7]]).wrapping_add_signed((*by).into());
            bytes[5..8].copy_from_slice(&length.to_be_bytes()[1..]);
        }
        Wrong::Additional(segments) => {
            let mut segments = segments.0.to_vec();
            segments.resize(segments.len().next_multiple_of(4), 0);
            bytes[4] = (segments.len() / 4) as u8;
            bytes.splice(Bhs::LEN..Bhs::LEN, segments);
        }
        Wrong::Cut(after) => {
            bytes.truncate((*after).into());
            return Then::IsCut;
        }
        _ => {}
    }
    Then::Stays
}

//! PDUs from initiator to target (RFC 7143 sections 11.3, 11.5, 11.7, 11.10, 11.12, 11.14, 11.16, 11.18).
//!
//! Fields carry the standard's names. `immediate` is the I bit: such a request does not advance CmdSN.

use super::bhs::{Bhs, direction, opcode, pdus};

direction! {
    /// What an initiator can send.
    Request { NopOut, ScsiCommand, TaskManagement, Login, Text, DataOut, Logout, Snack, }
}

impl Request {
    /// CmdSN and the I bit, of the PDUs that carry them (all but Data-Out and SNACK).
    pub fn cmd_sn(&self) -> Option<(u32, bool)> {
        match self {
            Request::NopOut(p) => Some((p.cmd_sn, p.immediate)),
            Request::ScsiCommand(p) => Some((p.cmd_sn, p.immediate)),
            Request::TaskManagement(p) => Some((p.cmd_sn, p.immediate)),
            Request::Login(p) => Some((p.cmd_sn, true)),
            Request::Text(p) => Some((p.cmd_sn, p.immediate)),
            Request::Logout(p) => Some((p.cmd_sn, p.immediate)),
            Request::DataOut(_) | Request::Snack(_) => None,
        }
    }
}

pdus! {
    /// Section 11.18. A ping (`task_tag` set) or the answer to the target's ping (`transfer_tag` set).
    NopOut = opcode::NOP_OUT, {
        immediate: flag(0x40) @ 0,
        final_bit: flag(0x80) @ 1,
        lun: u64 @ 8,
        task_tag: u32 @ 16,
        transfer_tag: u32 @ 20,
        cmd_sn: u32 @ 24,
        exp_stat_sn: u32 @ 28,
    }
    /// Section 11.3.
    ScsiCommand = opcode::SCSI_COMMAND, {
        immediate: flag(0x40) @ 0,
        /// F: no unsolicited Data-Out follows.
        final_bit: flag(0x80) @ 1,
        read: flag(0x40) @ 1,
        write: flag(0x20) @ 1,
        /// Task attribute: 0 untagged, 1 simple, 2 ordered, 3 head of queue, 4 ACA.
        attribute: bits(0x07) @ 1,
        lun: u64 @ 8,
        task_tag: u32 @ 16,
        expected_data_length: u32 @ 20,
        cmd_sn: u32 @ 24,
        exp_stat_sn: u32 @ 28,
        cdb: [u8; 16] @ 32,
    }
    /// Section 11.5.
    TaskManagement = opcode::TASK_MANAGEMENT, {
        immediate: flag(0x40) @ 0,
        final_bit: flag(0x80) @ 1,
        /// One of [`task_function`].
        function: bits(0x7f) @ 1,
        lun: u64 @ 8,
        task_tag: u32 @ 16,
        referenced_task_tag: u32 @ 20,
        cmd_sn: u32 @ 24,
        exp_stat_sn: u32 @ 28,
        ref_cmd_sn: u32 @ 32,
        exp_data_sn: u32 @ 36,
    }
    /// Section 11.12.
    Login = opcode::LOGIN, {
        immediate: flag(0x40) @ 0,
        transit: flag(0x80) @ 1,
        continues: flag(0x40) @ 1,
        /// Current stage, one of [`stage`].
        current_stage: bits(0x0c >> 2) @ 1,
        next_stage: bits(0x03) @ 1,
        version_max: u8 @ 2,
        version_min: u8 @ 3,
        isid: [u8; 6] @ 8,
        tsih: u16 @ 14,
        task_tag: u32 @ 16,
        cid: u16 @ 20,
        cmd_sn: u32 @ 24,
        exp_stat_sn: u32 @ 28,
    }
    /// Section 11.10.
    Text = opcode::TEXT, {
        immediate: flag(0x40) @ 0,
        final_bit: flag(0x80) @ 1,
        continues: flag(0x40) @ 1,
        lun: u64 @ 8,
        task_tag: u32 @ 16,
        transfer_tag: u32 @ 20,
        cmd_sn: u32 @ 24,
        exp_stat_sn: u32 @ 28,
    }
    /// Section 11.7. Unsolicited while `transfer_tag` is the reserved tag.
    DataOut = opcode::DATA_OUT, {
        final_bit: flag(0x80) @ 1,
        lun: u64 @ 8,
        task_tag: u32 @ 16,
        transfer_tag: u32 @ 20,
        exp_stat_sn: u32 @ 28,
        data_sn: u32 @ 36,
        buffer_offset: u32 @ 40,
    }
    /// Section 11.14.
    Logout = opcode::LOGOUT, {
        immediate: flag(0x40) @ 0,
        final_bit: flag(0x80) @ 1,
        /// 0 close session, 1 close connection, 2 remove connection for recovery.
        reason: bits(0x7f) @ 1,
        task_tag: u32 @ 16,
        cid: u16 @ 20,
        cmd_sn: u32 @ 24,
        exp_stat_sn: u32 @ 28,
    }
    /// Section 11.16. Needs ErrorRecoveryLevel 1.
    Snack = opcode::SNACK, {
        final_bit: flag(0x80) @ 1,
        kind: bits(0x0f) @ 1,
        lun: u64 @ 8,
        task_tag: u32 @ 16,
        transfer_tag: u32 @ 20,
        exp_stat_sn: u32 @ 28,
        beg_run: u32 @ 40,
        run_length: u32 @ 44,
    }
}

/// Login stages (section 11.12.3).
pub mod stage {
    pub const SECURITY: u8 = 0;
    pub const OPERATIONAL: u8 = 1;
    pub const FULL_FEATURE: u8 = 3;
}

/// Task attributes (section 11.3.1, SAM-5 section 8.6).
pub mod task_attribute {
    pub const ORDERED: u8 = 2;
    pub const HEAD_OF_QUEUE: u8 = 3;
}

/// Task management functions (section 11.5.1).
pub mod task_function {
    pub const ABORT_TASK: u8 = 1;
    pub const ABORT_TASK_SET: u8 = 2;
    pub const CLEAR_ACA: u8 = 3;
    pub const CLEAR_TASK_SET: u8 = 4;
    pub const LOGICAL_UNIT_RESET: u8 = 5;
    pub const TARGET_WARM_RESET: u8 = 6;
    pub const TARGET_COLD_RESET: u8 = 7;
    pub const TASK_REASSIGN: u8 = 8;
}

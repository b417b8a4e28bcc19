//! PDUs from target to initiator (RFC 7143 sections 11.4, 11.6, 11.7, 11.8, 11.9, 11.11, 11.13, 11.15, 11.17, 11.19).

use super::bhs::{Bhs, direction, opcode, pdus};

direction! {
    /// What a target can send.
    Response {
        NopIn, ScsiResponse, TaskManagementResponse, LoginResponse, TextResponse, DataIn, LogoutResponse, R2t,
        AsyncMessage, Reject,
    }
}

pdus! {
    /// Section 11.19. An answer to a ping (`task_tag` set), a ping (`transfer_tag` set), or neither.
    NopIn = opcode::NOP_IN, {
        final_bit: flag(0x80) @ 1,
        lun: u64 @ 8,
        task_tag: u32 @ 16,
        transfer_tag: u32 @ 20,
        stat_sn: u32 @ 24,
        exp_cmd_sn: u32 @ 28,
        max_cmd_sn: u32 @ 32,
    }
    /// Section 11.4. Its data segment is a 2-byte length and sense data.
    ScsiResponse = opcode::SCSI_RESPONSE, {
        final_bit: flag(0x80) @ 1,
        bidi_overflow: flag(0x10) @ 1,
        bidi_underflow: flag(0x08) @ 1,
        /// O: the initiator expected less than there was.
        overflow: flag(0x04) @ 1,
        /// U: the initiator expected more than there was.
        underflow: flag(0x02) @ 1,
        /// 0 command completed at target, 1 target failure.
        response: u8 @ 2,
        /// SAM status; valid when `response` is 0.
        status: u8 @ 3,
        task_tag: u32 @ 16,
        snack_tag: u32 @ 20,
        stat_sn: u32 @ 24,
        exp_cmd_sn: u32 @ 28,
        max_cmd_sn: u32 @ 32,
        exp_data_sn: u32 @ 36,
        bidi_residual: u32 @ 40,
        residual: u32 @ 44,
    }
    /// Section 11.6.
    TaskManagementResponse = opcode::TASK_MANAGEMENT_RESPONSE, {
        final_bit: flag(0x80) @ 1,
        /// One of [`task_response`].
        response: u8 @ 2,
        task_tag: u32 @ 16,
        stat_sn: u32 @ 24,
        exp_cmd_sn: u32 @ 28,
        max_cmd_sn: u32 @ 32,
    }
    /// Section 11.13.
    LoginResponse = opcode::LOGIN_RESPONSE, {
        transit: flag(0x80) @ 1,
        continues: flag(0x40) @ 1,
        current_stage: bits(0x0c >> 2) @ 1,
        next_stage: bits(0x03) @ 1,
        version_max: u8 @ 2,
        version_active: u8 @ 3,
        isid: [u8; 6] @ 8,
        tsih: u16 @ 14,
        task_tag: u32 @ 16,
        stat_sn: u32 @ 24,
        exp_cmd_sn: u32 @ 28,
        max_cmd_sn: u32 @ 32,
        /// Class in the high byte, detail in the low one: one of [`login_status`].
        status: u16 @ 36,
    }
    /// Section 11.11.
    TextResponse = opcode::TEXT_RESPONSE, {
        final_bit: flag(0x80) @ 1,
        continues: flag(0x40) @ 1,
        lun: u64 @ 8,
        task_tag: u32 @ 16,
        transfer_tag: u32 @ 20,
        stat_sn: u32 @ 24,
        exp_cmd_sn: u32 @ 28,
        max_cmd_sn: u32 @ 32,
    }
    /// Section 11.7. `stat_sn`, `status` and the residual count only while `has_status` (S) is set.
    DataIn = opcode::DATA_IN, {
        final_bit: flag(0x80) @ 1,
        acknowledge: flag(0x40) @ 1,
        overflow: flag(0x04) @ 1,
        underflow: flag(0x02) @ 1,
        has_status: flag(0x01) @ 1,
        status: u8 @ 3,
        lun: u64 @ 8,
        task_tag: u32 @ 16,
        transfer_tag: u32 @ 20,
        stat_sn: u32 @ 24,
        exp_cmd_sn: u32 @ 28,
        max_cmd_sn: u32 @ 32,
        data_sn: u32 @ 36,
        buffer_offset: u32 @ 40,
        residual: u32 @ 44,
    }
    /// Section 11.15.
    LogoutResponse = opcode::LOGOUT_RESPONSE, {
        final_bit: flag(0x80) @ 1,
        /// One of [`logout_response`].
        response: u8 @ 2,
        task_tag: u32 @ 16,
        stat_sn: u32 @ 24,
        exp_cmd_sn: u32 @ 28,
        max_cmd_sn: u32 @ 32,
        time2wait: u16 @ 40,
        time2retain: u16 @ 42,
    }
    /// Section 11.8.
    R2t = opcode::R2T, {
        final_bit: flag(0x80) @ 1,
        lun: u64 @ 8,
        task_tag: u32 @ 16,
        transfer_tag: u32 @ 20,
        /// The next StatSN; not advanced by this PDU.
        stat_sn: u32 @ 24,
        exp_cmd_sn: u32 @ 28,
        max_cmd_sn: u32 @ 32,
        r2t_sn: u32 @ 36,
        buffer_offset: u32 @ 40,
        desired_length: u32 @ 44,
    }
    /// Section 11.9.
    AsyncMessage = opcode::ASYNC_MESSAGE, {
        final_bit: flag(0x80) @ 1,
        lun: u64 @ 8,
        /// Always the reserved tag.
        task_tag: u32 @ 16,
        stat_sn: u32 @ 24,
        exp_cmd_sn: u32 @ 28,
        max_cmd_sn: u32 @ 32,
        /// 0 SCSI event, 1 logout requested, 2 connection dropped, 3 session dropped, 4 negotiate again, 255 vendor.
        event: u8 @ 36,
        vendor_code: u8 @ 37,
        parameter1: u16 @ 38,
        parameter2: u16 @ 40,
        parameter3: u16 @ 42,
    }
    /// Section 11.17. Its data segment is the header of the rejected PDU.
    Reject = opcode::REJECT, {
        final_bit: flag(0x80) @ 1,
        /// One of [`reject_reason`].
        reason: u8 @ 2,
        /// Always the reserved tag.
        task_tag: u32 @ 16,
        stat_sn: u32 @ 24,
        exp_cmd_sn: u32 @ 28,
        max_cmd_sn: u32 @ 32,
        data_sn: u32 @ 36,
    }
}

/// Responses to task management (section 11.6.1).
pub mod task_response {
    pub const COMPLETE: u8 = 0;
    pub const TASK_DOES_NOT_EXIST: u8 = 1;
    pub const LUN_DOES_NOT_EXIST: u8 = 2;
    pub const TASK_STILL_ALLEGIANT: u8 = 3;
    pub const REASSIGNMENT_NOT_SUPPORTED: u8 = 4;
    pub const NOT_SUPPORTED: u8 = 5;
    pub const AUTHORIZATION_FAILED: u8 = 6;
    pub const REJECTED: u8 = 255;
}

/// Responses to a logout (section 11.15.1).
pub mod logout_response {
    pub const CLOSED: u8 = 0;
    pub const CID_NOT_FOUND: u8 = 1;
    pub const RECOVERY_NOT_SUPPORTED: u8 = 2;
    pub const CLEANUP_FAILED: u8 = 3;
}

/// Status class and detail of a login response (section 11.13.5).
pub mod login_status {
    pub const SUCCESS: u16 = 0x0000;
    pub const INITIATOR_ERROR: u16 = 0x0200;
    pub const AUTHENTICATION_FAILURE: u16 = 0x0201;
    pub const AUTHORIZATION_FAILURE: u16 = 0x0202;
    pub const NOT_FOUND: u16 = 0x0203;
    pub const TARGET_REMOVED: u16 = 0x0204;
    pub const UNSUPPORTED_VERSION: u16 = 0x0205;
    pub const TOO_MANY_CONNECTIONS: u16 = 0x0206;
    pub const MISSING_PARAMETER: u16 = 0x0207;
    pub const CANNOT_INCLUDE_IN_SESSION: u16 = 0x0208;
    pub const SESSION_TYPE_NOT_SUPPORTED: u16 = 0x0209;
    pub const SESSION_DOES_NOT_EXIST: u16 = 0x020a;
    pub const INVALID_DURING_LOGIN: u16 = 0x020b;
    pub const TARGET_ERROR: u16 = 0x0300;
    pub const SERVICE_UNAVAILABLE: u16 = 0x0301;
    pub const OUT_OF_RESOURCES: u16 = 0x0302;
}

/// Reasons of a reject (section 11.17.1).
pub mod reject_reason {
    pub const DATA_DIGEST_ERROR: u8 = 0x02;
    pub const SNACK_REJECT: u8 = 0x03;
    pub const PROTOCOL_ERROR: u8 = 0x04;
    pub const COMMAND_NOT_SUPPORTED: u8 = 0x05;
    pub const IMMEDIATE_COMMAND_REJECT: u8 = 0x06;
    pub const TASK_IN_PROGRESS: u8 = 0x07;
    pub const INVALID_DATA_ACK: u8 = 0x08;
    pub const INVALID_PDU_FIELD: u8 = 0x09;
    pub const LONG_OPERATION_REJECT: u8 = 0x0a;
    pub const WAITING_FOR_LOGOUT: u8 = 0x0c;
}

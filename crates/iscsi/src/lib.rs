//! iSCSI protocol data units, login and session machines: bytes in, bytes out.

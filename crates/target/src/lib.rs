//! Drives iscsi and scsi over sockets for any set of logical units.

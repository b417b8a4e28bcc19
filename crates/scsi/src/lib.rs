//! SCSI commands, sense data and vital product data of a disk: pure logic.

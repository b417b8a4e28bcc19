//! The smallest pool, byte for byte as in the reference's appendix A.

use crate::disk::Disk;
use umbra_thin::{Format, format};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn a_new_pool_has_the_bytes_of_the_reference() {
    let disk = Disk::new(512);
    let wish = Format { uuid: [0; 16], data_block_sectors: 128, data_blocks: 1000, metadata_blocks: 512 };
    let commit = format(&wish).unwrap();
    assert_eq!(commit.blocks.len(), 8);
    disk.write(&commit);
    let image = disk.image();
    let table = [
        (0, "42bb7e43 00000000 0000000000000000 00000000000000000000000000000000 ba529c0100000000 02000000 00000000
             0000000000000000 0000000000000000"),
        (64, "e803000000000000 0000000000000000 0500000000000000 0400000000000000"),
        (192, "0002000000000000 0900000000000000 0800000000000000 0300000000000000"),
        (320, "0100000000000000 0200000000000000 80000000 08000000 0002000000000000 00000000 00000000 00000000"),
        (0x1000, "6394e249 02000000 0100000000000000 00000000 fc000000 08000000 00000000"),
        (0x2000, "0f130a33 02000000 0200000000000000 00000000 7e000000 18000000 00000000"),
        (0x3000, "25789841 02000000 0300000000000000 00000000 50010000 04000000 00000000"),
        (0x4000, "733647c3 02000000 0400000000000000 00000000 50010000 04000000 00000000"),
        (0x5000, "7d4168ff 02000000 0500000000000000 01000000 a8000000 10000000 00000000"),
        (0x6000, "3bd9e958 00000000 0600000000000000"),
        (0x7000, "76a9d9c6 00000000 0700000000000000 aaaa02"),
        (0x8000, "ad2f85f3 00000000 0800000000000000 0700000000000000 b73f0000 09000000"),
    ];
    for (at, bytes) in table {
        let bytes = hex(bytes);
        assert_eq!(image[at..at + bytes.len()], bytes, "at {at:#x}");
    }
    disk.check_twice();
}

#[test]
fn what_cannot_be_a_pool_is_refused() {
    let wish = Format { uuid: [0; 16], data_block_sectors: 128, data_blocks: 1000, metadata_blocks: 512 };
    for bad in [
        Format { data_block_sectors: 100, ..wish.clone() },
        Format { data_block_sectors: 0, ..wish.clone() },
        Format { data_block_sectors: 1 << 22, ..wish.clone() },
        Format { metadata_blocks: 10, ..wish.clone() },
        Format { data_blocks: 1 << 41, ..wish },
    ] {
        assert_eq!(format(&bad).unwrap_err().code(), umbra_base::ErrorCode::InvalidArgument, "{bad:?}");
    }
}

//! Files: what is written reads back, whatever the split; what fails says so and gives its buffers back.

use crate::lab::{LOST, Lab, backends, config, with_both};
use rustix::fs::{MemfdFlags, OFlags, SealFlags, fcntl_add_seals, memfd_create};
use std::{
    fs,
    io::{ErrorKind, Read},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            fs::{FileExt, OpenOptionsExt},
            net::UnixStream,
        },
    },
};
use umbra_ring::{Config, File, MAX_PARTS, PAGE, Parts};

fn scratch() -> (fs::File, OwnedFd) {
    let file = tempfile::tempfile().unwrap();
    let fd = file.try_clone().unwrap().into();
    (file, fd)
}

fn with_file(test: impl Fn(&mut Lab, &fs::File, &File)) {
    with_both(|lab| {
        let (plain, fd) = scratch();
        let file = lab.shard.file(fd);
        test(lab, &plain, &file);
    });
}

#[test]
fn what_is_written_in_parts_reads_back_in_other_parts() {
    with_file(|lab, _, file| {
        let mut whole = lab.shard.buffer(64 * PAGE).unwrap();
        for number in 0..64_u8 {
            whole.append(&[number; PAGE]);
        }
        let mut parts = Vec::new();
        while whole.room() > 0 {
            parts.push(whole.split_to((5000).min(whole.room())));
        }
        let mut offset = 0;
        for (token, part) in parts.into_iter().enumerate() {
            let len = part.len() as u64;
            lab.shard.write(token as u64, file, offset, part);
            offset += len;
        }
        let writes = offset.div_ceil(5000) as usize;
        for (token, completion) in lab.take(writes).into_iter().enumerate() {
            assert_eq!(completion.token, token as u64);
            assert_eq!(completion.result.unwrap() as usize, completion.payload.parts().unwrap().bytes());
        }

        let mut rest = lab.shard.buffer(64 * PAGE).unwrap();
        let mut read = rest.split_to(0);
        for token in 0..16 {
            let part = rest.split_to(4 * PAGE);
            lab.shard.read(token, file, token * 4 * PAGE as u64, part);
        }
        for completion in lab.take(16) {
            assert_eq!(completion.result.unwrap() as usize, 4 * PAGE);
            read.join(completion.payload.buf().unwrap()).unwrap();
        }
        for (number, page) in read.chunks(PAGE).enumerate() {
            assert!(page.iter().all(|byte| usize::from(*byte) == number), "page {number}");
        }
    });
}

#[test]
fn a_gather_list_is_written_in_order_and_comes_back_whole() {
    with_file(|lab, plain, file| {
        for parts in [1, 2, MAX_PARTS] {
            let mut list = Parts::with_capacity();
            let expected: Vec<u8> =
                (0..parts).flat_map(|number| vec![number as u8 + 1; number + 7]).collect();
            for number in 0..parts {
                let part = lab.filled(&vec![number as u8 + 1; number + 7]);
                list.push(part).unwrap();
            }
            lab.shard.write(1, file, 3, list);
            let done = lab.next();
            assert_eq!(done.result.unwrap() as usize, expected.len());
            assert_eq!(done.payload.parts().unwrap().count(), parts);
            let mut found = vec![0; expected.len()];
            plain.read_exact_at(&mut found, 3).unwrap();
            assert_eq!(found, expected);
        }
    });
}

#[test]
fn a_read_over_the_end_of_the_file_is_an_error_and_keeps_what_it_read() {
    with_file(|lab, plain, file| {
        plain.write_all_at(b"0123456789", 0).unwrap();
        for (offset, left) in [(4, &b"456789"[..]), (10, b""), (1 << 40, b"")] {
            let buf = lab.shard.buffer(100).unwrap();
            lab.shard.read(7, file, offset, buf);
            let done = lab.next();
            assert_eq!(done.result.unwrap_err().kind(), ErrorKind::UnexpectedEof);
            assert_eq!(&done.payload.buf().unwrap()[..], left);
        }
    });
}

#[test]
fn what_is_read_here_and_now_is_whole_or_the_engine_goes_on_behind_it() {
    with_both(|lab| {
        // In memory: nothing there can block.
        let file = lab.shard.file(memfd_create(c"now", MemfdFlags::CLOEXEC).unwrap());
        assert!(lab.shard.write_now(&file, 3, b"0123456789"));
        let mut buf = lab.shard.buffer(5).unwrap();
        buf.append(b"x");
        assert!(lab.shard.read_now(&file, 5, &mut buf));
        assert_eq!(&buf[..], b"x2345");
        for (past, there) in [(11, "x89"), (13, "x"), (1 << 40, "x")] {
            buf.truncate(1);
            assert!(!lab.shard.read_now(&file, past, &mut buf), "{past}");
            assert_eq!(&buf[..], there.as_bytes());
        }
        // The file has grown since.
        buf.truncate(1);
        assert!(!lab.shard.read_now(&file, 11, &mut buf));
        assert!(lab.shard.write_now(&file, 13, b"abcd"));
        lab.shard.submit_read(1, &file, 13, buf);
        let done = lab.next();
        assert_eq!((done.result.unwrap(), &done.payload.buf().unwrap()[..]), (2, &b"x89ab"[..]));
        // A read that began here and ends there counts as one.
        let buf = lab.shard.buffer(5).unwrap();
        lab.shard.read(2, &file, 14, buf);
        let done = lab.next();
        assert_eq!(done.result.unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(&done.payload.buf().unwrap()[..], b"bcd");
    });
}

#[test]
fn a_read_appends_to_what_its_buffer_holds() {
    with_file(|lab, plain, file| {
        plain.write_all_at(b"world", 0).unwrap();
        let mut buf = lab.shard.buffer(11).unwrap();
        buf.append(b"hello ");
        lab.shard.read(1, file, 0, buf);
        let done = lab.next();
        assert_eq!(done.result.unwrap(), 5);
        assert_eq!(&done.payload.buf().unwrap()[..], b"hello world");
    });
}

#[test]
fn nothing_to_move_completes_at_once() {
    with_file(|lab, _, file| {
        let (empty, full) = (lab.shard.buffer(10).unwrap(), lab.filled(b"x"));
        lab.shard.write(1, file, 5, empty);
        lab.shard.read(2, file, 5, full);
        for done in lab.take(2) {
            assert_eq!(done.result.unwrap(), 0);
        }
    });
}

/// The last offset means a file's cursor to some calls of the kernel.
#[test]
fn offsets_that_no_file_has_are_refused() {
    with_both(|lab| {
        let memory = memfd_create(c"refused", MemfdFlags::CLOEXEC).unwrap();
        for fd in [scratch().1, memory] {
            let plain = fs::File::from(fd.try_clone().unwrap());
            plain.write_all_at(b"kept", 0).unwrap();
            let file = lab.shard.file(fd);
            for offset in [u64::MAX, u64::MAX - 1, i64::MAX as u64 - 3, 1 << 63] {
                let mut pair = Parts::from(lab.filled(b"ev"));
                pair.push(lab.filled(b"il")).unwrap();
                let (one, room) = (lab.filled(b"evil"), lab.shard.buffer(4).unwrap());
                lab.shard.write(1, &file, offset, pair);
                lab.shard.write(2, &file, offset, one);
                lab.shard.read(3, &file, offset, room);
                for done in lab.take(3) {
                    let bytes = done.result.map_err(|error| error.kind());
                    assert_eq!(bytes, Err(ErrorKind::InvalidInput), "{} at {offset}", done.token);
                    match done.token {
                        3 => assert!(done.payload.buf().unwrap().is_empty()),
                        _ => assert_eq!(done.payload.parts().unwrap().bytes(), 4),
                    }
                }
                let mut buf = lab.shard.buffer(4).unwrap();
                assert!(!lab.shard.read_now(&file, offset, &mut buf) && buf.is_empty());
                assert!(!lab.shard.write_now(&file, offset, b"evil"));
            }
            assert_eq!(fs::read(format!("/proc/self/fd/{}", plain.as_raw_fd())).unwrap(), b"kept");
        }
    });
}

#[test]
fn a_file_that_is_open_in_one_direction_refuses_the_other() {
    with_both(|lab| {
        let place = tempfile::NamedTempFile::new().unwrap();
        let (reader, writer) = (
            lab.shard.file(fs::File::open(place.path()).unwrap()),
            lab.shard.file(fs::File::options().write(true).open(place.path()).unwrap()),
        );
        let (full, empty) = (lab.filled(b"x"), lab.shard.buffer(1).unwrap());
        lab.shard.write(1, &reader, 0, full);
        lab.shard.read(2, &writer, 0, empty);
        for done in lab.take(2) {
            assert_eq!(done.result.unwrap_err().raw_os_error(), Some(9), "EBADF");
        }
    });
}

/// A file that ends at `len` bytes for good, in memory.
fn sealed(len: u64) -> OwnedFd {
    let memory = memfd_create("sealed", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&memory, len).unwrap();
    fcntl_add_seals(&memory, SealFlags::GROW | SealFlags::SHRINK).unwrap();
    memory
}

#[test]
fn a_write_that_is_cut_short_goes_on_and_ends_with_the_error_that_it_meets() {
    with_both(|lab| {
        // The first is done at once, the second is long enough for the engine.
        for room in [PAGE, 64 * PAGE] {
            let memory = sealed(room as u64);
            let file = lab.shard.file(memory.try_clone().unwrap());
            let mut list = Parts::default();
            for number in 1..=4 {
                let part = lab.filled(&vec![number; room / 2]);
                list.push(part).unwrap();
            }
            lab.shard.write(1, &file, 0, list);
            let done = lab.next();
            assert_eq!(done.result.unwrap_err().raw_os_error(), Some(1), "EPERM of the seal");
            assert_eq!(done.payload.parts().unwrap().bytes(), 2 * room);
            let mut found = vec![0; room];
            fs::File::from(memory).read_exact_at(&mut found, 0).unwrap();
            assert!(found[..room / 2].iter().all(|byte| *byte == 1), "{room}");
            assert!(found[room / 2..].iter().all(|byte| *byte == 2), "{room}");
        }
    });
}

#[test]
fn direct_io_reads_what_direct_io_wrote() {
    let place = tempfile::NamedTempFile::new().unwrap();
    let open = || {
        let mut options = fs::File::options();
        options.read(true).write(true).custom_flags(OFlags::DIRECT.bits() as i32).open(place.path())
    };
    if let Err(why) = open() {
        eprintln!("SKIPPED: direct I/O, as the temporary folder has none: {why}");
        return;
    }
    with_both(|lab| {
        let file = lab.shard.file(open().unwrap());
        for token in 0..16 {
            let buf = lab.filled(&[token as u8 + 1; 2 * PAGE]);
            lab.shard.write(token, &file, token * 2 * PAGE as u64, buf);
        }
        assert!(lab.take(16).iter().all(|done| *done.result.as_ref().unwrap() == 2 * PAGE as u32));
        lab.shard.sync(99, &file, true);
        assert_eq!(lab.next().result.unwrap(), 0);
        for token in 0..32 {
            let buf = lab.shard.buffer(PAGE).unwrap();
            lab.shard.read(token, &file, token * PAGE as u64, buf);
        }
        for done in lab.take(32) {
            let expected = [done.token as u8 / 2 + 1; PAGE];
            assert_eq!(&done.payload.buf().unwrap()[..], &expected);
        }
        let buf = lab.shard.buffer(2 * PAGE).unwrap();
        lab.shard.read(1, &file, 31 * PAGE as u64, buf);
        let done = lab.next();
        assert_eq!(done.result.unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(done.payload.buf().unwrap().len(), PAGE);
    });
}

#[test]
fn a_file_that_cannot_grow_takes_what_fits_and_then_fails() {
    with_both(|lab| {
        let file = lab.shard.file(sealed(PAGE as u64));
        let inside = lab.filled(&[1; 100]);
        lab.shard.write(1, &file, PAGE as u64 - 100, inside);
        assert_eq!(lab.next().result.unwrap(), 100);
        let beyond = lab.filled(&[2; 10]);
        lab.shard.write(2, &file, PAGE as u64, beyond);
        let done = lab.next();
        assert_eq!(done.result.unwrap_err().raw_os_error(), Some(1), "EPERM of the seal");
        assert_eq!(&*done.payload.parts().unwrap().drain().next().unwrap(), &[2; 10]);
    });
}

#[test]
fn a_device_without_space_says_so() {
    with_both(|lab| {
        let full = lab.shard.file(fs::File::options().write(true).open("/dev/full").unwrap());
        let buf = lab.filled(b"x");
        lab.shard.write(1, &full, 0, buf);
        assert_eq!(lab.next().result.unwrap_err().kind(), ErrorKind::StorageFull);
    });
}

#[test]
fn syncs_of_both_kinds_complete_and_those_of_what_cannot_sync_fail() {
    with_file(|lab, _, file| {
        let memory = lab.shard.file(std::io::pipe().unwrap().1);
        lab.shard.sync(1, file, true);
        lab.shard.sync(2, file, false);
        lab.shard.sync(3, &memory, true);
        let done = lab.take(3);
        assert_eq!((done[0].result.as_ref().unwrap(), done[1].result.as_ref().unwrap()), (&0, &0));
        assert_eq!(done[2].result.as_ref().unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn more_operations_than_the_shard_was_made_for_are_refused_with_their_buffers() {
    with_both(|lab| {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let socket = lab.shard.socket(ours).unwrap();
        let room = 64 - lab.shard.in_flight() as u64;
        for token in 0..=room {
            let buf = lab.shard.buffer(16).unwrap();
            lab.shard.recv(token, &socket, buf);
        }
        let done = lab.next();
        assert_eq!((done.token, done.result.unwrap_err().kind()), (room, ErrorKind::ResourceBusy));
        assert_eq!(done.payload.buf().unwrap().spare(), 16);
        assert!(lab.is_quiet(), "the others wait");
    });
}

#[test]
fn a_shard_that_ends_with_writes_in_flight_has_done_or_dropped_each_whole() {
    for backend in backends() {
        let (plain, fd) = scratch();
        let mut lab = Lab::with(&Config { buffers: 64 << 20, ..config(backend) });
        let file = lab.shard.file(fd);
        for token in 0..32 {
            let mut buf = lab.shard.buffer(256 * PAGE).unwrap();
            buf.spare_mut().fill(token as u8 + 1);
            buf.advance(256 * PAGE);
            lab.shard.write(token, &file, token * 256 * PAGE as u64, buf);
        }
        lab.start();
        drop((file, lab));
        // What was not cancelled has ended with the shard.
        let mut bytes = vec![0; plain.metadata().unwrap().len() as usize];
        plain.read_exact_at(&mut bytes, 0).unwrap();
        for (number, chunk) in bytes.chunks(256 * PAGE).enumerate() {
            assert!(chunk.iter().all(|byte| *byte == number as u8 + 1 || *byte == 0), "{backend}: {number}");
        }
    }
}

#[test]
fn a_file_closes_when_its_last_handle_and_operation_are_gone() {
    with_both(|lab| {
        let (ours, mut peer) = UnixStream::pair().unwrap();
        peer.set_read_timeout(Some(LOST)).unwrap();
        let file = lab.shard.file(ours);
        drop(file);
        lab.start();
        // Unlike a single read, this goes on when the kernel's own work for the ring interrupts it.
        assert_eq!(peer.read_to_end(&mut Vec::new()).unwrap(), 0, "the other end is closed");
    });
}

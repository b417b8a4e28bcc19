//! Who and what is kept away from the management socket (X1), and that it disturbs nobody else.

use crate::bench::{Bench, Client, MIB, code, eventually};
use std::{
    fs::{self, Permissions},
    io::{ErrorKind, Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    time::Duration,
};
use umbra_base::ErrorCode;

const NOBODY: u32 = 65_534;

/// Runs `work` on a thread whose user is nobody; `None` (said loudly) where we may not become another user.
fn as_nobody<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    let thread = || {
        let nobody = rustix::process::Uid::from_raw(NOBODY);
        match rustix::thread::set_thread_res_uid(nobody, nobody, nobody) {
            Ok(()) => Some(work()),
            Err(error) => {
                eprintln!("SKIPPED: becoming user {NOBODY}: {error}");
                None
            }
        }
    };
    std::thread::scope(|scope| scope.spawn(thread).join().unwrap())
}

fn answers(bench: &Bench) {
    Client::connect(bench.dir.path()).lun("data").unwrap();
}

fn connect(dir: &Path) -> UnixStream {
    let stream = UnixStream::connect(dir.join("array.sock")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Whether the other end closes the connection; what it says before is read and forgotten.
fn is_cut_off(stream: &mut UnixStream) -> bool {
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn another_user_reaches_neither_socket() {
    let bench = Bench::with_lun("data", MIB);
    let dir = bench.dir.path().to_owned();
    let reached = as_nobody(|| {
        ["array.sock", "iscsi.sock"].map(|socket| UnixStream::connect(dir.join(socket)).map_err(|e| e.kind()))
    });
    for result in reached.into_iter().flatten() {
        assert_eq!(result.unwrap_err(), ErrorKind::PermissionDenied);
    }
}

#[test]
fn another_user_is_not_answered_even_where_the_files_would_let_him() {
    let bench = Bench::with_lun("data", MIB);
    let dir = bench.dir.path().to_owned();
    fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(dir.join("array.sock"), Permissions::from_mode(0o666)).unwrap();
    let asked = as_nobody(|| Client::connect(&dir).lun("data").map_err(|error| error.code()));
    if let Some(answer) = asked {
        assert_eq!(answer.unwrap_err(), ErrorCode::AccessDenied);
    }
    answers(&bench);
}

#[test]
fn garbage_is_cut_off_at_once() {
    let bench = Bench::with_lun("data", MIB);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let huge_frame = [&preface[..], &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat();
    let wrong_frame = [&preface[..], &[0, 0, 5, 4, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5]].concat();
    let noise: Vec<u8> = (0..10_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 100], &noise, &huge_frame, &wrong_frame] {
        let mut stream = connect(bench.dir.path());
        // It may be gone before all is written.
        let _cut_short = stream.write_all(bytes);
        assert!(is_cut_off(&mut stream), "{:?}...", &bytes[..10]);
        answers(&bench);
    }
}

#[test]
fn who_connects_and_says_nothing_is_cut_off_and_makes_room() {
    let bench = Bench::with_lun("data", MIB);
    let half = |n: usize| {
        let mut stream = connect(bench.dir.path());
        stream.write_all(&b"PRI * HTTP/2.0\r\n"[..n % 10]).unwrap();
        stream
    };
    // More than the bound on connections: all wait for a preface, and the last ones for a place.
    let mut silent: Vec<_> = (0..umbra_array::limits::CONNECTIONS + 8).map(half).collect();
    eventually("the array answers again", || Client::connect(bench.dir.path()).lun("data").is_ok());
    assert!(is_cut_off(&mut silent[0]));
}

#[test]
fn a_request_beyond_the_bounds_is_refused_and_the_next_is_answered() {
    let bench = Bench::with_lun("data", MIB);
    let long = "x".repeat(umbra_array::limits::REQUEST_BYTES + 1);
    bench.client.lun(&long).unwrap_err();
    assert_eq!(code(bench.client.lun(&"y".repeat(100_000))), ErrorCode::ObjectNotFound);
    bench.client.lun("data").unwrap();
}

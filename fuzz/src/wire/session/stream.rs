//! A connection's bytes, with a limit on how long anything may take.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Longest that the target may take for anything: less than the fuzzer's own limit, so that it is known what hangs.
const PATIENCE: Duration = Duration::from_secs(7);
/// How often it is looked whether that is over: libFuzzer's own clock interrupts what waits.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    pub(super) fn tcp(address: SocketAddr) -> Stream {
        const WORKS: &str = "the target listens";
        let stream = TcpStream::connect(address).expect(WORKS);
        stream.set_read_timeout(Some(LOOK)).expect(WORKS);
        stream.set_write_timeout(Some(PATIENCE)).expect(WORKS);
        stream.set_nodelay(true).expect(WORKS);
        // A connection that is cut leaves nothing: thousands of them a minute would use up all ports.
        let linger = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
        linger.expect(WORKS);
        Stream::Tcp(stream)
    }

    pub(super) fn unix(path: &Path) -> Stream {
        const WORKS: &str = "the target listens";
        let stream = UnixStream::connect(path).expect(WORKS);
        stream.set_read_timeout(Some(LOOK)).expect(WORKS);
        stream.set_write_timeout(Some(PATIENCE)).expect(WORKS);
        Stream::Unix(stream)
    }

    /// Whether the other side still takes bytes.
    pub(super) fn send(&mut self, bytes: &[u8]) -> bool {
        let sent = match self {
            Stream::Tcp(stream) => stream.write_all(bytes),
            Stream::Unix(stream) => stream.write_all(bytes),
        };
        sent.map_err(|error| assert!(!is_late(&error), "the target takes nothing")).is_ok()
    }

    /// How many bytes came; 0 at the end.
    pub(super) fn receive(&mut self, into: &mut [u8], waited_for: &str) -> usize {
        let began = Instant::now();
        loop {
            let received = match self {
                Stream::Tcp(stream) => stream.read(into),
                Stream::Unix(stream) => stream.read(into),
            };
            match received {
                Ok(count) => return count,
                Err(error) if is_late(&error) || error.kind() == io::ErrorKind::Interrupted => {
                    assert!(began.elapsed() < PATIENCE, "no {waited_for} within {PATIENCE:?}");
                }
                Err(_) => return 0,
            }
        }
    }
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

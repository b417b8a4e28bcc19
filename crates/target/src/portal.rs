//! Listening sockets: made here, served by a shard.

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use umbra_base::{Error, ErrorCode, Result};

/// How long an address may still be taken by a predecessor that was killed: the kernel takes the ring of a dead process
/// apart in the background, and its socket listens until then.
const TAKEN_TIME: Duration = Duration::from_secs(3);
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// Listens on a TCP address; port 0 takes a free one. Returns the address. Waits a moment for one that is taken.
pub(crate) fn tcp(address: SocketAddr) -> Result<(OwnedFd, SocketAddr)> {
    tcp_after(address, || thread::sleep(TRY_AGAIN))
}

/// The same, with what is done between two attempts.
fn tcp_after(address: SocketAddr, mut pause: impl FnMut()) -> Result<(OwnedFd, SocketAddr)> {
    let listen = || {
        let listener = TcpListener::bind(address)?;
        let bound = listener.local_addr()?;
        Ok::<_, io::Error>((OwnedFd::from(listener), bound))
    };
    let until = Instant::now() + TAKEN_TIME;
    loop {
        match listen() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                pause();
            }
            done => return done.map_err(|error| Error::io(format!("listen on {address}"), error)),
        }
    }
}

/// Listens on a unix socket of mode 0600. A socket that nobody listens on is replaced.
pub(crate) fn unix(path: &Path) -> Result<OwnedFd> {
    remove_stale(path)?;
    let listener =
        bind_private(path).map_err(|error| Error::io(format!("listen on {}", path.display()), error))?;
    Ok(OwnedFd::from(listener))
}

/// The mode is set on the socket before it gets its name, so that there is no moment at which others may connect.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let socket: OwnedFd =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::fs::fchmod(socket.as_fd(), rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, 64)?;
    Ok(UnixListener::from(socket))
}

fn remove_stale(path: &Path) -> Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    let name = path.display();
    if !found.file_type().is_socket() {
        let taken = Error::new(ErrorCode::ObjectAlreadyExists, format!("{name} exists and is not a socket"));
        return Err(taken.hint("move it away, or name another socket"));
    }
    if UnixStream::connect(path).is_ok() {
        let taken = Error::new(ErrorCode::ObjectAlreadyExists, format!("somebody listens on {name}"));
        return Err(taken.hint("another array runs there; stop it first"));
    }
    fs::remove_file(path).map_err(|error| Error::io(format!("remove the stale socket {name}"), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_a_dying_predecessor_still_has_is_taken_over_when_it_lets_go() {
        let predecessor = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = predecessor.local_addr().unwrap();
        let mut held = Some(predecessor);
        let (_listener, bound) = tcp_after(address, || drop(held.take())).unwrap();
        assert_eq!((bound, held.is_none()), (address, true));
    }
}

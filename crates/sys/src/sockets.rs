//! What a stream socket tells of its peer beyond std and rustix.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

/// Bytes given to the socket that its peer has not acknowledged yet (tcp(7), SIOCOUTQ; of a Unix socket: that are not read).
pub fn unacknowledged(socket: impl AsFd) -> io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ, which is SIOCOUTQ, writes one int; the descriptor is open for the duration of the call.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(u64::try_from(bytes).unwrap_or(0)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn what_a_peer_does_not_take_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while let Ok(more) = ours.write(&[0; 65536]) {
            sent += more;
        }
        assert!(unacknowledged(&ours).unwrap() > 0, "of {sent} bytes some are here still");
        theirs.read_exact(&mut vec![0; sent]).unwrap();
        while unacknowledged(&ours).unwrap() > 0 {
            std::thread::yield_now();
        }
    }
}

//! The two kinds of stream that a session runs over, behind one type.

use crate::limits::{SEND_TIME, TICK};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::os::unix::net::UnixStream;

/// A connected stream. Reads time out after [`TICK`], writes after [`SEND_TIME`].
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Whose connections are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum PeerKey {
    Address(IpAddr),
    Local,
}

impl Socket {
    pub fn prepare(&self) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(TICK))?;
                stream.set_write_timeout(Some(SEND_TIME))
            }
            Socket::Unix(stream) => {
                stream.set_read_timeout(Some(TICK))?;
                stream.set_write_timeout(Some(SEND_TIME))
            }
        }
    }

    pub fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => (&mut &*stream).read(buf),
            Socket::Unix(stream) => (&mut &*stream).read(buf),
        }
    }

    pub fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => (&mut &*stream).write_all(bytes),
            Socket::Unix(stream) => (&mut &*stream).write_all(bytes),
        }
    }

    /// Ends both directions: whoever reads or writes returns.
    pub fn shutdown(&self) {
        let _already_gone = match self {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }

    /// Ends receiving: whoever reads returns; what is being sent goes on.
    pub fn stop_receiving(&self) {
        let _already_gone = match self {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Read),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Read),
        };
    }

    pub fn peer(&self) -> String {
        match self {
            Socket::Tcp(stream) => {
                stream.peer_addr().map_or_else(|_| "tcp".to_owned(), |addr| addr.to_string())
            }
            Socket::Unix(_) => "unix".to_owned(),
        }
    }

    pub fn peer_key(&self) -> PeerKey {
        match self {
            Socket::Tcp(stream) => {
                // A peer that is gone already counts as a stranger.
                PeerKey::Address(stream.peer_addr().map_or(IpAddr::from([0, 0, 0, 0]), |addr| addr.ip()))
            }
            Socket::Unix(_) => PeerKey::Local,
        }
    }

    /// The address that the peer reached us at.
    pub fn local(&self) -> Option<String> {
        match self {
            Socket::Tcp(stream) => stream.local_addr().ok().map(|addr| addr.to_string()),
            Socket::Unix(_) => None,
        }
    }
}

//! Portals: listening sockets, one thread each.

use crate::config::PortalAuth;
use crate::limits::STACK_BYTES;
use crate::socket::Socket;
use crate::target::Target;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use umbra_base::{Error, ErrorCode, Result};
use umbra_iscsi::target::Authentication;

/// A listening socket and its thread; closed by [`Portal::close`].
#[derive(Debug)]
pub(crate) struct Portal {
    listener: Arc<Listener>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener, Authentication),
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// The next connection that may come in.
    fn accept(&self) -> io::Result<Option<(Socket, Authentication)>> {
        match self {
            Listener::Tcp(listener, authentication) => {
                Ok(Some((Socket::Tcp(listener.accept()?.0), *authentication)))
            }
            Listener::Unix(listener, _) => {
                let stream = listener.accept()?.0;
                Ok(trusted(&stream).then_some((Socket::Unix(stream), Authentication::None)))
            }
        }
    }

    /// Wakes the thread that accepts; Linux ends its call with an error.
    fn close(&self) {
        let _already_closed = match self {
            Listener::Tcp(listener, _) => rustix::net::shutdown(listener, rustix::net::Shutdown::Both),
            Listener::Unix(listener, _) => rustix::net::shutdown(listener, rustix::net::Shutdown::Both),
        };
        if let Listener::Unix(_, path) = self {
            let _already_gone = fs::remove_file(path);
        }
    }
}

/// Whether the process at the other end runs as root or as we do (design X1).
fn trusted(stream: &UnixStream) -> bool {
    let ours = rustix::process::geteuid();
    match socket_peercred(stream) {
        Ok(peer) if peer.uid == ours || peer.uid.is_root() => true,
        Ok(peer) => {
            tracing::warn!(uid = peer.uid.as_raw(), "connection refused: wrong user");
            false
        }
        Err(error) => {
            tracing::warn!(%error, "connection refused: no peer credentials");
            false
        }
    }
}

impl Portal {
    /// Listens on a TCP address; port 0 takes a free one. Returns the address.
    pub fn tcp(target: &Arc<Target>, addr: SocketAddr, auth: PortalAuth) -> Result<(Portal, SocketAddr)> {
        let authentication = match auth {
            PortalAuth::Chap => Authentication::Chap,
            PortalAuth::InsecureNone => Authentication::None,
        };
        let listen = || {
            let listener = TcpListener::bind(addr)?;
            let bound = listener.local_addr()?;
            Ok::<_, io::Error>((listener, bound))
        };
        let (listener, bound) = listen().map_err(|error| Error::io(format!("listen on {addr}"), error))?;
        Ok((Portal::start(target, Listener::Tcp(listener, authentication))?, bound))
    }

    /// Listens on a unix socket of mode 0600. A socket that nobody listens on is replaced.
    pub fn unix(target: &Arc<Target>, path: &Path) -> Result<Portal> {
        remove_stale(path)?;
        let listener =
            bind_private(path).map_err(|error| Error::io(format!("listen on {}", path.display()), error))?;
        Portal::start(target, Listener::Unix(listener, path.to_owned()))
    }

    fn start(target: &Arc<Target>, listener: Listener) -> Result<Portal> {
        let listener = Arc::new(listener);
        let (ours, target) = (Arc::clone(&listener), Arc::downgrade(target));
        let thread = thread::Builder::new().name("iscsi-portal".to_owned()).stack_size(STACK_BYTES);
        let thread = thread
            .spawn(move || accept_loop(&target, &ours))
            .map_err(|error| Error::io("start the thread of a portal", error))?;
        Ok(Portal { listener, thread: Some(thread) })
    }

    /// Stops listening; connections stay.
    pub fn close(mut self) {
        self.listener.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of a portal panicked");
        }
    }
}

fn accept_loop(target: &Weak<Target>, listener: &Listener) {
    loop {
        let accepted = listener.accept();
        let Some(target) = target.upgrade().filter(|target| !target.is_stopping()) else { return };
        match accepted {
            Ok(Some((socket, authentication))) => target.welcome(socket, authentication),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                // Out of descriptors or memory: wait for connections to end rather than spin.
                thread::sleep(Duration::from_millis(100));
            }
        }
    }
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

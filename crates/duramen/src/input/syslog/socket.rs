//! Sockets that syslog comes through. Owns how an address is taken and left, and the kernel's count of what it dropped; knows no syslog.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a unix socket is a name in the file system, and the kernel tells what it dropped in a file"
)]

use std::fmt;
use std::io::{self, Read as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;

/// Bytes that the kernel is asked to keep for a socket from which datagrams are read.
const RECEIVE_BYTES: usize = 8 << 20;

/// Where syslog is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `ADDRESS:PORT`; port 0 takes a free one.
    Udp(String),
    /// Likewise.
    Tcp(String),
    /// A name in the file system, for datagrams: what `/dev/log` is.
    UnixDatagram(PathBuf),
    /// The same, for connections.
    UnixStream(PathBuf),
}

impl Address {
    /// A unix socket as it is typed: its path, for datagrams; `stream:PATH` for connections.
    pub fn unix(text: &str) -> Address {
        match text.strip_prefix("stream:") {
            Some(path) => Address::UnixStream(path.into()),
            None => Address::UnixDatagram(text.into()),
        }
    }
}

/// A socket that listens.
pub struct Socket {
    door: Door,
    /// The name in the file system, with what stands for it there.
    name: Option<(PathBuf, (u64, u64))>,
    shown: String,
    inode: Option<u64>,
}

enum Door {
    Udp(UdpSocket),
    Tcp(TcpListener),
    UnixDatagram(UnixDatagram),
    UnixStream(UnixListener),
}

/// A connection.
pub struct Connection {
    stream: Stream,
    sender: String,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// What reading gave.
pub enum Read {
    /// So many bytes.
    Bytes(usize),
    /// Nothing is there now.
    Nothing,
    /// The connection has ended, well or not.
    End,
}

impl Socket {
    /// Takes an address. A name that a dead process left is taken over, a living one's is not.
    ///
    /// # Errors
    /// The address is taken, or cannot be had; the words say which.
    pub fn bind(address: &Address) -> anyhow::Result<Socket> {
        let (door, name, shown) = match address {
            Address::Udp(text) => {
                let socket =
                    UdpSocket::bind(text).with_context(|| format!("cannot take syslog's address udp {text}"))?;
                socket.set_nonblocking(true)?;
                let shown = format!("udp on {}", socket.local_addr()?);
                (Door::Udp(socket), None, shown)
            }
            Address::Tcp(text) => {
                let listener =
                    TcpListener::bind(text).with_context(|| format!("cannot take syslog's address tcp {text}"))?;
                listener.set_nonblocking(true)?;
                let shown = format!("tcp on {}", listener.local_addr()?);
                (Door::Tcp(listener), None, shown)
            }
            Address::UnixDatagram(path) => {
                let socket = take_name(path, || UnixDatagram::bind(path))?;
                socket.set_nonblocking(true)?;
                (Door::UnixDatagram(socket), Some(path.clone()), format!("unix on {}", path.display()))
            }
            Address::UnixStream(path) => {
                let listener = take_name(path, || UnixListener::bind(path))?;
                listener.set_nonblocking(true)?;
                (Door::UnixStream(listener), Some(path.clone()), format!("unix on stream:{}", path.display()))
            }
        };
        let name = match name {
            Some(path) => {
                // Every program of the machine may log, as with the system's own.
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))
                    .with_context(|| format!("cannot open {} to all programs", path.display()))?;
                let identity = identity(&path).context("the socket's name is gone")?;
                Some((path, identity))
            }
            None => None,
        };
        let mut socket = Socket { door, name, shown, inode: None };
        if socket.is_datagram() {
            // Beyond the system's bound only with a privilege; each helps, neither is needed.
            let _ = sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BYTES);
            let _ = sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BYTES);
        }
        if let Door::Udp(udp) = &socket.door {
            socket.inode = rustix::fs::fstat(udp).ok().map(|stat| stat.st_ino);
        }
        Ok(socket)
    }

    /// One word for it.
    pub fn kind(&self) -> &'static str {
        match self.door {
            Door::Udp(_) => "udp",
            Door::Tcp(_) => "tcp",
            Door::UnixDatagram(_) | Door::UnixStream(_) => "unix",
        }
    }

    /// Whether messages come without connections.
    pub fn is_datagram(&self) -> bool {
        matches!(self.door, Door::Udp(_) | Door::UnixDatagram(_))
    }

    /// Takes a datagram and its sender's address; `None`: there is none.
    ///
    /// # Errors
    /// The socket's.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, String)>> {
        loop {
            let received = match &self.door {
                Door::Udp(socket) => socket.recv_from(buffer).map(|(count, sender)| (count, sender.ip().to_string())),
                Door::UnixDatagram(socket) => socket.recv(buffer).map(|count| (count, String::new())),
                Door::Tcp(_) | Door::UnixStream(_) => return Ok(None),
            };
            match received {
                Ok(received) => return Ok(Some(received)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether somebody waits to be connected.
    pub fn has_guest(&self) -> bool {
        let mut door = [PollFd::new(self, PollFlags::IN)];
        poll(&mut door, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// Connects whoever waits; `None`: nobody does.
    ///
    /// # Errors
    /// No descriptor is left, or the guest is gone already.
    pub fn accept(&self) -> io::Result<Option<Connection>> {
        let accepted = match &self.door {
            Door::Tcp(listener) => listener.accept().map(|(stream, sender)| {
                // A sender that lost its power says no farewell.
                let _ = sockopt::set_socket_keepalive(&stream, true);
                (Stream::Tcp(stream), sender.ip().to_string())
            }),
            Door::UnixStream(listener) => listener.accept().map(|(stream, _)| (Stream::Unix(stream), String::new())),
            Door::Udp(_) | Door::UnixDatagram(_) => return Ok(None),
        };
        let (stream, sender) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        match &stream {
            Stream::Tcp(stream) => stream.set_nonblocking(true)?,
            Stream::Unix(stream) => stream.set_nonblocking(true)?,
        }
        Ok(Some(Connection { stream, sender }))
    }

    /// Datagrams that the kernel dropped because the buffer was full, since the socket was made; `None`: it counts none.
    pub fn dropped(&self) -> Option<u64> {
        let inode = self.inode?;
        ["/proc/net/udp", "/proc/net/udp6"].iter().find_map(|table| drops(&std::fs::read_to_string(table).ok()?, inode))
    }

    /// Takes the name out of the file system, if it is still this socket's.
    pub fn leave(&mut self) {
        if let Some((path, own)) = self.name.take()
            && identity(&path) == Some(own)
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.door {
            Door::Udp(socket) => socket.as_fd(),
            Door::Tcp(listener) => listener.as_fd(),
            Door::UnixDatagram(socket) => socket.as_fd(),
            Door::UnixStream(listener) => listener.as_fd(),
        }
    }
}

impl Connection {
    /// The sender's address; empty on this machine.
    pub fn sender(&self) -> &str {
        &self.sender
    }

    /// Reads what is there.
    pub fn read(&mut self, buffer: &mut [u8]) -> Read {
        loop {
            let read = match &mut self.stream {
                Stream::Tcp(stream) => stream.read(buffer),
                Stream::Unix(stream) => stream.read(buffer),
            };
            return match read {
                Ok(0) => Read::End,
                Ok(count) => Read::Bytes(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Read::Nothing,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => Read::End,
            };
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Binds to a name, and takes it from a process that died and left it.
fn take_name<T>(path: &Path, bind: impl Fn() -> io::Result<T>) -> anyhow::Result<T> {
    let what = || format!("cannot take syslog's socket {}", path.display());
    match bind() {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
        other => return other.with_context(what),
    }
    let metadata = std::fs::symlink_metadata(path).with_context(what)?;
    anyhow::ensure!(metadata.file_type().is_socket(), "{}: there is something that is no socket", what());
    // Nobody behind it refuses; somebody of either kind does not.
    let answer = UnixStream::connect(path);
    let dead = answer.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    anyhow::ensure!(dead, "{}: another program listens there", what());
    std::fs::remove_file(path).with_context(what)?;
    bind().with_context(what)
}

/// The last column of the line of a socket in the kernel's table.
fn drops(table: &str, inode: u64) -> Option<u64> {
    let inode = inode.to_string();
    let line = table.lines().skip(1).find(|line| line.split_whitespace().nth(9) == Some(&inode))?;
    line.split_whitespace().last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_count_is_found_by_inode() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
            \x20 500: 0100007F:0202 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 00000000 0\n\
            \x20 501: 0100007F:0203 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4712 2 00000000 17\n";
        assert_eq!((drops(table, 4711), drops(table, 4712), drops(table, 4713)), (Some(0), Some(17), None));
    }

    #[test]
    fn unix_sockets_are_of_two_kinds() {
        assert_eq!(Address::unix("/run/log"), Address::UnixDatagram("/run/log".into()));
        assert_eq!(Address::unix("stream:/run/log"), Address::UnixStream("/run/log".into()));
    }
}

//! A client that asks an echo server, over TCP or UDP, from an address of its
//! choice.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use socket2::{Domain, Protocol, Socket, Type};

use super::PATIENCE;
use crate::host::Host;

/// An open conversation with an echo server.
#[derive(Debug)]
pub enum Conversation {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over UDP.
    Udp(UdpSocket),
}

impl Conversation {
    /// Connects over TCP; `None` if there is no answer within `limit`.
    ///
    /// # Errors
    ///
    /// If there is no socket to be had, or the source is not the host's.
    pub fn tcp_within(
        host: &Host,
        from: Option<IpAddr>,
        to: SocketAddr,
        limit: Duration,
    ) -> Result<Option<Self>> {
        let socket = socket(host, from, to, Type::STREAM)?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect_timeout(&to.into(), limit) {
            Ok(()) => Ok(Some(Self::Tcp(socket.into()))),
            Err(_) => Ok(None),
        }
    }

    /// Connects over TCP, which must work.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub fn tcp(host: &Host, from: Option<IpAddr>, to: SocketAddr) -> Result<Self> {
        Self::tcp_within(host, from, to, PATIENCE)?
            .with_context(|| format!("{}: no TCP connection to {to}", host.name()))
    }

    /// Prepares to talk over UDP; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// If there is no socket to be had, or the source is not the host's.
    pub fn udp(host: &Host, from: Option<IpAddr>, to: SocketAddr) -> Result<Self> {
        let socket = socket(host, from, to, Type::DGRAM)?;
        socket.connect(&to.into())?;
        Ok(Self::Udp(socket.into()))
    }

    /// This end.
    ///
    /// # Errors
    ///
    /// If the kernel does not tell.
    pub fn local(&self) -> Result<SocketAddr> {
        Ok(match self {
            Self::Tcp(stream) => stream.local_addr()?,
            Self::Udp(socket) => socket.local_addr()?,
        })
    }

    /// Sends `length` bytes and waits for all of them to come back; whether they
    /// do within `limit`. A datagram is sent once.
    pub fn asks_within(&mut self, length: usize, limit: Duration) -> bool {
        let message: Vec<u8> = (0_u8..=250).cycle().take(length).collect();
        let start = Instant::now();
        let mut answer = vec![0; length.max(1)];
        let mut got = 0;
        match self {
            Self::Tcp(stream) => {
                if stream.set_write_timeout(Some(limit)).is_err()
                    || stream.write_all(&message).is_err()
                {
                    return false;
                }
                while got < length {
                    let Some(left) = limit.checked_sub(start.elapsed()) else { return false };
                    let _slow = stream.set_read_timeout(Some(left.max(Duration::from_millis(1))));
                    match stream.read(answer.get_mut(got..).unwrap_or_default()) {
                        Ok(more @ 1..) => got += more,
                        _ => return false,
                    }
                }
            }
            Self::Udp(socket) => {
                let _slow = socket.set_read_timeout(Some(limit));
                if socket.send(&message).is_err() {
                    return false;
                }
                got = socket.recv(&mut answer).unwrap_or_default();
            }
        }
        answer.get(..got) == Some(message.as_slice())
    }

    /// Whether an answer comes, given time.
    pub fn asks(&mut self) -> bool {
        self.asks_within(8, PATIENCE)
    }

    /// The TCP stream.
    ///
    /// # Errors
    ///
    /// If it is UDP.
    pub fn stream(&mut self) -> Result<&mut TcpStream> {
        match self {
            Self::Tcp(stream) => Ok(stream),
            Self::Udp(_) => bail!("this conversation is over UDP"),
        }
    }
}

/// Whether a TCP connection comes about within `limit`.
///
/// # Errors
///
/// As [`Conversation::tcp_within`].
pub fn connects(
    host: &Host,
    from: Option<IpAddr>,
    to: SocketAddr,
    limit: Duration,
) -> Result<bool> {
    Ok(Conversation::tcp_within(host, from, to, limit)?.is_some())
}

fn socket(host: &Host, from: Option<IpAddr>, to: SocketAddr, kind: Type) -> Result<Socket> {
    let protocol = if kind == Type::STREAM { Protocol::TCP } else { Protocol::UDP };
    let socket = host.enter(|| Socket::new(Domain::for_address(to), kind, Some(protocol)))??;
    if let Some(from) = from {
        let address = SocketAddr::new(from, 0);
        socket
            .bind(&address.into())
            .with_context(|| format!("{}: cannot send from {from}", host.name()))?;
    }
    Ok(socket)
}

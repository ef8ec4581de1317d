//! Frames as they are, past the sender's own stack: an `AF_PACKET` socket.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::host::Host;
use crate::packet::Frame;

/// A socket on one interface of a host.
#[derive(Debug)]
pub struct Raw {
    socket: Socket,
}

impl Raw {
    /// Opens one that sends and receives on `interface`.
    ///
    /// # Errors
    ///
    /// If there is no such interface, or no right to do so.
    pub fn on(host: &Host, interface: &str) -> Result<Self> {
        Self::with(on(host, interface)?)
    }

    /// Opens one that only sends: it costs nothing where there is much traffic.
    ///
    /// # Errors
    ///
    /// As [`Raw::on`].
    pub fn sender(host: &Host, interface: &str) -> Result<Self> {
        Self::with(open(host, interface, 0)?)
    }

    fn with(socket: Socket) -> Result<Self> {
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        Ok(Self { socket })
    }

    /// Sends a frame; whether it was taken. It is not if the queue is full, or if
    /// somebody at the sender's own egress drops it.
    ///
    /// # Errors
    ///
    /// If the interface is down, or the frame too long.
    pub fn send(&self, frame: &Frame) -> Result<bool> {
        self.send_bytes(&frame.bytes())
    }

    /// As [`Raw::send`], for the bytes of a frame.
    ///
    /// # Errors
    ///
    /// As [`Raw::send`].
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<bool> {
        match self.socket.send(bytes) {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(false),
            Err(error) => Err(error).context("cannot send a frame"),
        }
    }

    /// Sends a frame once, whatever becomes of it: a frame that the sender's own
    /// egress hook drops looks like one that found no room.
    ///
    /// # Errors
    ///
    /// As [`Raw::send`].
    pub fn offer(&self, frame: &Frame) -> Result<()> {
        match self.socket.send(&frame.bytes()) {
            Err(error) if error.raw_os_error() != Some(libc::ENOBUFS) => {
                Err(error).context("cannot send a frame")
            }
            _ => Ok(()),
        }
    }

    /// The next frame that passes the interface, either way; `None` if there is
    /// none within `limit`.
    #[must_use]
    pub fn next(&self, limit: Duration) -> Option<Vec<u8>> {
        let start = Instant::now();
        let mut frame = vec![std::mem::MaybeUninit::<u8>::uninit(); 65_536];
        loop {
            match self.socket.recv(&mut frame) {
                Ok(length) => {
                    let bytes = frame.get(..length)?;
                    // SAFETY: the kernel has just written these bytes.
                    return Some(bytes.iter().map(|byte| unsafe { byte.assume_init() }).collect());
                }
                Err(error) if is_timeout(&error) && start.elapsed() < limit => {}
                Err(_) => return None,
            }
        }
    }

    /// Waits for a frame of which `wanted` is true.
    #[must_use]
    pub fn wait_for(&self, limit: Duration, wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let start = Instant::now();
        while let Some(left) = limit.checked_sub(start.elapsed()) {
            let frame = self.next(left)?;
            if wanted(&frame) {
                return Some(frame);
            }
        }
        None
    }
}

/// A socket for all that passes an interface.
pub(super) fn on(host: &Host, interface: &str) -> Result<Socket> {
    open(host, interface, u16::try_from(libc::ETH_P_ALL)?)
}

fn open(host: &Host, interface: &str, protocol: u16) -> Result<Socket> {
    let index =
        host.enter(|| std::fs::read_to_string(format!("/sys/class/net/{interface}/ifindex")))?;
    let index = index.with_context(|| format!("{}: no {interface}", host.name()))?;
    // Without a protocol it hears nothing, of other interfaces neither, before it
    // is bound to this one.
    let socket = host
        .enter(|| Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0))))?
        .with_context(|| format!("{}: no raw socket", host.name()))?;
    socket.bind(&link_address(index.trim().parse()?, protocol.to_be())?)?;
    Ok(socket)
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// `packet(7)`'s address of an interface.
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "one write through the pointers lent")]
fn link_address(index: i32, protocol: u16) -> Result<SockAddr> {
    // SAFETY: a `sockaddr_ll` of zeros is a valid one.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET)?;
    address.sll_protocol = protocol;
    address.sll_ifindex = index;
    // SAFETY: the storage is larger than a `sockaddr_ll`, and aligned for any
    // address; all its bytes that count are written.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            storage.cast::<libc::sockaddr_ll>().write(address);
            *length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or_default();
            Ok(())
        })?
    };
    Ok(address)
}

//! A bad cable: what passes is lost, comes twice, or comes late.
//!
//! A thread carries frames between the two interfaces of a host in the middle, as
//! many kernels know no `netem`. Checksums and super-packets that the sender has
//! left to his card go along with the frame (`PACKET_VNET_HDR`).

use std::mem::MaybeUninit;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use socket2::Socket;

use super::raw;
use crate::host::Host;

/// How bad it is: of a thousand frames so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Are lost.
    pub lost: u64,
    /// Come twice.
    pub doubled: u64,
    /// Are overtaken by those that follow within two milliseconds.
    pub late: u64,
}

/// Frames that a cable has treated badly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Carried at all.
    pub frames: u64,
    /// Lost.
    pub lost: u64,
    /// Sent twice.
    pub doubled: u64,
    /// Sent late.
    pub late: u64,
}

/// A cable at work, until it is dropped.
#[derive(Debug)]
pub struct Cable {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Damage>>,
}

/// How late is late.
const DELAY: Duration = Duration::from_millis(2);

/// `virtio_net_hdr` and the largest super-packet.
const LARGEST: usize = 10 + 14 + 65_536;

impl Cable {
    /// Joins two interfaces of a host that has no addresses on them.
    ///
    /// # Errors
    ///
    /// If there are no such interfaces.
    pub fn between(host: &Host, interfaces: [&str; 2], faults: Faults) -> Result<Self> {
        let ends = [end(host, interfaces[0])?, end(host, interfaces[1])?];
        let stop = Arc::<AtomicBool>::default();
        let its_stop = Arc::clone(&stop);
        let thread = thread::spawn(move || carry(&ends, faults, &its_stop));
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Cuts it, and tells what it has done.
    #[must_use]
    pub fn cut(mut self) -> Damage {
        self.end()
    }

    fn end(&mut self) -> Damage {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.end();
    }
}

fn end(host: &Host, interface: &str) -> Result<Socket> {
    let socket = raw::on(host, interface)?;
    for option in [libc::PACKET_VNET_HDR, libc::PACKET_IGNORE_OUTGOING] {
        let on: libc::c_int = 1;
        // SAFETY: the kernel reads one `int`.
        let failed = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                option,
                (&raw const on).cast(),
                libc::socklen_t::try_from(size_of_val(&on))?,
            )
        };
        ensure!(failed == 0, "packet option {option}: {}", std::io::Error::last_os_error());
    }
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(8 << 20).context("no room for frames")?;
    Ok(socket)
}

/// A frame that waits, and the end it goes to.
type Late = (Instant, usize, Vec<u8>);

fn carry(ends: &[Socket; 2], faults: Faults, stop: &AtomicBool) -> Damage {
    let mut damage = Damage::default();
    let mut late: Vec<Late> = Vec::new();
    let mut dice = Dice(0x5eed);
    let mut buffer = vec![MaybeUninit::<u8>::uninit(); LARGEST];
    while !stop.load(Ordering::Relaxed) {
        wait(ends);
        late.retain(|(due, to, frame)| {
            let waits = Instant::now() < *due;
            if !waits {
                send(ends, *to, frame);
            }
            waits
        });
        for (from, to) in [(0, 1), (1, 0)] {
            // In turns, so that neither direction starves the other.
            for _ in 0..64 {
                let Some(Ok(length)) = ends.get(from).map(|end| end.recv(&mut buffer)) else {
                    break;
                };
                let bytes = buffer.get(..length).unwrap_or_default();
                // SAFETY: the kernel has just written these bytes.
                let frame: Vec<u8> = bytes.iter().map(|b| unsafe { b.assume_init() }).collect();
                damage.frames += 1;
                let fate = dice.below(1000);
                if fate < faults.lost {
                    damage.lost += 1;
                } else if fate < faults.lost + faults.late {
                    damage.late += 1;
                    late.push((Instant::now() + DELAY, to, frame));
                } else {
                    send(ends, to, &frame);
                    if fate >= 1000 - faults.doubled {
                        damage.doubled += 1;
                        send(ends, to, &frame);
                    }
                }
            }
        }
    }
    damage
}

/// Waits for a frame at either end, at most a millisecond.
fn wait(ends: &[Socket; 2]) {
    let mut ready = ends.each_ref().map(|end| libc::pollfd {
        fd: end.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    });
    // SAFETY: two descriptors, which stay open.
    let _ready = unsafe { libc::poll(ready.as_mut_ptr(), 2, 1) };
}

/// A frame that finds no room is lost, as on any cable.
fn send(ends: &[Socket; 2], to: usize, frame: &[u8]) {
    let _lost = ends.get(to).map(|end| end.send(frame));
}

/// Numbers that look random.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % end
    }
}

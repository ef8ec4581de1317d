//! Servers that send back what they get.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::host::Host;

/// How often a server looks whether it should end.
const LOOK: Duration = Duration::from_millis(20);

/// A running echo server, of TCP or UDP. Dropping it ends it, and its
/// connections.
#[derive(Debug)]
pub struct Echo {
    stop: Arc<AtomicBool>,
    seen: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Serves TCP on both families.
    ///
    /// # Errors
    ///
    /// If the port is taken.
    pub fn tcp(host: &Host, port: u16) -> Result<Self> {
        let listener = host
            .enter(|| TcpListener::bind(("::", port)))?
            .with_context(|| format!("{}: cannot listen on TCP {port}", host.name()))?;
        listener.set_nonblocking(true)?;
        Ok(Self::start(move |stop, seen| accept(&listener, stop, seen)))
    }

    /// Serves UDP on both families.
    ///
    /// # Errors
    ///
    /// If the port is taken.
    pub fn udp(host: &Host, port: u16) -> Result<Self> {
        let socket = host
            .enter(|| UdpSocket::bind(("::", port)))?
            .with_context(|| format!("{}: cannot bind UDP {port}", host.name()))?;
        socket.set_read_timeout(Some(LOOK))?;
        Ok(Self::start(move |stop, seen| {
            let mut buffer = vec![0; 65_536];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    seen.fetch_add(1, Ordering::Relaxed);
                    let _gone = socket.send_to(buffer.get(..length).unwrap_or_default(), from);
                }
            }
        }))
    }

    fn start(work: impl FnOnce(&Arc<AtomicBool>, &Arc<AtomicU64>) + Send + 'static) -> Self {
        let (stop, seen) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (its_stop, its_seen) = (Arc::clone(&stop), Arc::clone(&seen));
        let thread = thread::spawn(move || work(&its_stop, &its_seen));
        Self { stop, seen, thread: Some(thread) }
    }

    /// Connections accepted, or datagrams received, so far.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, stop: &Arc<AtomicBool>, seen: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                seen.fetch_add(1, Ordering::Relaxed);
                let stop = Arc::clone(stop);
                thread::spawn(move || answer(stream, &stop));
            }
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn answer(mut stream: TcpStream, stop: &AtomicBool) {
    let mut buffer = vec![0; 65_536];
    // Inherited from the listener on some systems, not on others.
    let ready = stream.set_nonblocking(false).and_then(|()| stream.set_read_timeout(Some(LOOK)));
    let _slower = stream.set_nodelay(true);
    while ready.is_ok() && !stop.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                if stream.write_all(buffer.get(..length).unwrap_or_default()).is_err() {
                    return;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}

//! A listener that answers one line: where somebody listens, a connection that
//! fails has been stopped on its way.

use std::io::Write as _;
use std::net::{TcpListener, UdpSocket};
use std::thread;

use anyhow::{Context as _, Result};

/// Listens until it is killed.
pub(crate) fn run(ports: &[String]) -> Result<()> {
    let listeners = ports.iter().map(|port| listen(port)).collect::<Result<Vec<_>>>()?;
    for listener in listeners {
        // They never end.
        let _ = listener.join();
    }
    Ok(())
}

fn listen(port: &str) -> Result<thread::JoinHandle<()>> {
    let context = || format!("cannot listen on {port}");
    if let Some(port) = port.strip_suffix("/udp") {
        let socket = UdpSocket::bind(("::", port.parse()?)).with_context(context)?;
        return Ok(thread::spawn(move || {
            let mut packet = [0; 1500];
            while let Ok((_, client)) = socket.recv_from(&mut packet) {
                let _ = socket.send_to(b"you got here\n", client);
            }
        }));
    }
    let listener = TcpListener::bind(("::", port.parse()?)).with_context(context)?;
    Ok(thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"you got here\n");
        }
    }))
}

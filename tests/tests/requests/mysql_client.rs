//! As much of a MySQL client as it takes to send packets cut in any way.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use firewall_tests::host::Host;
use firewall_tests::traffic::PATIENCE;

/// `COM_QUERY`.
pub(crate) const QUERY: u8 = 3;
/// `COM_PING`.
pub(crate) const PING: u8 = 14;

/// A connection that has logged in.
pub(crate) struct Client {
    stream: TcpStream,
}

impl Client {
    /// Logs in as a user without a password.
    pub(crate) fn login(host: &Host, to: SocketAddr, user: &str) -> Result<Self> {
        let stream = host.enter(|| TcpStream::connect_timeout(&to, PATIENCE))??;
        stream.set_read_timeout(Some(4 * PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut client = Self { stream };
        client.answer().context("no greeting")?;
        // Protocol 4.1, secure connection, plugin authentication; packets of 1 GiB.
        let mut body = 0x0008_8201_u32.to_le_bytes().to_vec();
        body.extend((1_u32 << 30).to_le_bytes());
        body.push(45);
        body.extend([0; 23]);
        body.extend(user.bytes().chain([0, 0]));
        body.extend(b"mysql_native_password\0");
        client.stream.write_all(&packets(1, &body))?;
        let answer = client.answer()?;
        ensure!(answer.first() == Some(&0), "login refused: {}", String::from_utf8_lossy(&answer));
        Ok(client)
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Sends bytes in two segments, cut at `place`.
    pub(crate) fn send_cut(&mut self, bytes: &[u8], place: usize) -> Result<()> {
        let (first, second) = bytes.split_at(place);
        self.stream.write_all(first)?;
        std::thread::sleep(Duration::from_millis(3));
        Ok(self.stream.write_all(second)?)
    }

    /// Reads one packet.
    pub(crate) fn answer(&mut self) -> Result<Vec<u8>> {
        let mut header = [0; 4];
        self.stream.read_exact(&mut header)?;
        let [a, b, c, _sequence] = header;
        let mut body = vec![0; u32::from_le_bytes([a, b, c, 0]) as usize];
        self.stream.read_exact(&mut body)?;
        Ok(body)
    }

    /// Reads the answer to a statement that returns no rows.
    pub(crate) fn done(&mut self) -> Result<()> {
        let answer = self.answer()?;
        ensure!(answer.first() == Some(&0), "refused: {}", String::from_utf8_lossy(&answer));
        Ok(())
    }
}

/// A command as it goes over the wire: packets of at most 16 MiB less a byte.
pub(crate) fn command(command: u8, text: &[u8]) -> Vec<u8> {
    let mut body = vec![command];
    body.extend_from_slice(text);
    packets(0, &body)
}

fn packets(first: u8, body: &[u8]) -> Vec<u8> {
    const MOST: usize = (1 << 24) - 1;
    let mut bytes = Vec::with_capacity(body.len() + 8);
    let mut sequence = first;
    let mut rest = body;
    loop {
        let (piece, after) = rest.split_at(rest.len().min(MOST));
        let [a, b, c, ..] = u32::try_from(piece.len()).unwrap_or_default().to_le_bytes();
        bytes.extend([a, b, c, sequence]);
        bytes.extend_from_slice(piece);
        if piece.len() < MOST {
            return bytes;
        }
        (rest, sequence) = (after, sequence.wrapping_add(1));
    }
}

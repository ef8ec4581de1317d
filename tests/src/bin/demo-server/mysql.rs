//! As much of MySQL's protocol as the application speaks: log in, send a
//! statement as text, read its rows.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html>

use std::io::{BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::sha1::sha1;

/// Longest time to wait for the server.
const PATIENCE: Duration = Duration::from_secs(5);

// Capabilities of the client.
const LONG_PASSWORD: u32 = 1;
const CONNECT_WITH_DB: u32 = 1 << 3;
const PROTOCOL_41: u32 = 1 << 9;
const SECURE_CONNECTION: u32 = 1 << 15;
const PLUGIN_AUTH: u32 = 1 << 19;

const COM_QUERY: u8 = 3;
const UTF8MB4: u8 = 45;

/// Whom to log in as.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    /// Name of the user.
    pub(crate) user: String,
    /// Password of the user.
    pub(crate) password: String,
    /// Database to use.
    pub(crate) database: String,
}

/// What a statement left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Rows of columns; NULL is an empty text.
    pub(crate) rows: Vec<Vec<String>>,
    /// Number that `AUTO_INCREMENT` gave.
    pub(crate) last_id: u64,
}

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    sequence: u8,
}

impl Connection {
    /// Connects and logs in.
    pub(crate) fn open(server: SocketAddr, login: &Login) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&server, PATIENCE)
            .with_context(|| format!("cannot connect to {server}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut connection = Self { stream: BufReader::new(stream), sequence: 0 };
        let nonce = nonce_of(&connection.read()?)?;
        connection.write(&login_packet(login, &nonce))?;
        let mut answer = connection.read()?;
        if let [0xfe, rest @ ..] = answer.as_slice() {
            // The server wants the password in another way; it is the same way.
            let nonce = rest.split(|byte| *byte == 0).nth(1).context("a switch without a nonce")?;
            let scrambled = scrambled(&login.password, nonce);
            connection.write(&scrambled)?;
            answer = connection.read()?;
        }
        refuse_error(&answer)?;
        Ok(connection)
    }

    /// Runs a statement.
    pub(crate) fn query(&mut self, statement: &str) -> Result<Answer> {
        self.sequence = 0;
        self.write(&[&[COM_QUERY], statement.as_bytes()].concat())?;
        let head = self.read()?;
        refuse_error(&head)?;
        let mut reader = head.as_slice();
        let columns = length(&mut reader)?.unwrap_or(0);
        if columns == 0 {
            let _affected = length(&mut reader)?;
            return Ok(Answer { rows: Vec::new(), last_id: length(&mut reader)?.unwrap_or(0) });
        }
        for _ in 0..columns {
            self.read()?;
        }
        self.read()?;
        let mut rows = Vec::new();
        loop {
            let packet = self.read()?;
            refuse_error(&packet)?;
            if packet.first() == Some(&0xfe) && packet.len() < 9 {
                return Ok(Answer { rows, last_id: 0 });
            }
            let mut reader = packet.as_slice();
            let row = (0..columns).map(|_| text(&mut reader)).collect::<Result<_>>()?;
            rows.push(row);
        }
    }

    /// Reads a packet: three bytes of length, one of sequence, then the payload.
    fn read(&mut self) -> Result<Vec<u8>> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).context("the server does not answer")?;
        let [low, middle, high, sequence] = head;
        self.sequence = sequence.wrapping_add(1);
        let mut payload = vec![0; u32::from_le_bytes([low, middle, high, 0]) as usize];
        self.stream.read_exact(&mut payload)?;
        Ok(payload)
    }

    fn write(&mut self, payload: &[u8]) -> Result<()> {
        let length = u32::try_from(payload.len())?.to_le_bytes();
        if length[3] != 0 {
            bail!("a statement of {} bytes is too long", payload.len());
        }
        let packet = [&length[..3], &[self.sequence], payload].concat();
        self.stream.get_mut().write_all(&packet)?;
        Ok(())
    }
}

/// A statement's literal for a text: as hexadecimal, so nothing needs escaping.
pub(crate) fn literal(text: &str) -> String {
    let digits = text.bytes().fold(String::new(), |digits, byte| digits + &format!("{byte:02x}"));
    format!("x'{digits}'")
}

/// The 20 random bytes of the server's greeting.
fn nonce_of(greeting: &[u8]) -> Result<[u8; 20]> {
    refuse_error(greeting)?;
    let [10, rest @ ..] = greeting else { bail!("a greeting of another protocol") };
    let version = rest.iter().position(|byte| *byte == 0).context("a greeting cut short")?;
    // Behind the version: thread (4), nonce (8), then 19 bytes of capabilities,
    // character set and filler, then the rest of the nonce (12).
    let rest = rest.get(version + 5..).unwrap_or_default();
    let (first, second) = (rest.get(..8), rest.get(27..39));
    let (Some(first), Some(second)) = (first, second) else { bail!("a greeting cut short") };
    let mut nonce = [0; 20];
    nonce[..8].copy_from_slice(first);
    nonce[8..].copy_from_slice(second);
    Ok(nonce)
}

fn login_packet(login: &Login, nonce: &[u8]) -> Vec<u8> {
    let capabilities =
        LONG_PASSWORD | CONNECT_WITH_DB | PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH;
    let mut packet = Vec::new();
    packet.extend(capabilities.to_le_bytes());
    packet.extend((1_u32 << 24).to_le_bytes());
    packet.push(UTF8MB4);
    packet.extend([0; 23]);
    packet.extend([login.user.as_bytes(), b"\0"].concat());
    packet.push(20);
    packet.extend(scrambled(&login.password, nonce));
    packet.extend([login.database.as_bytes(), b"\0mysql_native_password\0"].concat());
    packet
}

/// The password as it crosses the wire: SHA1(p) xor SHA1(nonce, SHA1(SHA1(p))).
fn scrambled(password: &str, nonce: &[u8]) -> [u8; 20] {
    let once = sha1(&[password.as_bytes()]);
    let mut mask = sha1(&[nonce, &sha1(&[&once])]);
    for (byte, key) in mask.iter_mut().zip(once) {
        *byte ^= key;
    }
    mask
}

fn refuse_error(packet: &[u8]) -> Result<()> {
    if let [0xff, low, high, rest @ ..] = packet {
        let code = u16::from_le_bytes([*low, *high]);
        bail!("the server says {code}: {}", String::from_utf8_lossy(rest));
    }
    Ok(())
}

/// A length-encoded number; `None` is NULL.
fn length(reader: &mut &[u8]) -> Result<Option<u64>> {
    let mut take = |count: usize| -> Result<u64> {
        let (bytes, rest) = reader.split_at_checked(count).context("a packet cut short")?;
        *reader = rest;
        Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    Ok(Some(match take(1)? {
        0xfb => return Ok(None),
        0xfc => take(2)?,
        0xfd => take(3)?,
        0xfe => take(8)?,
        small => small,
    }))
}

/// A length-encoded text.
fn text(reader: &mut &[u8]) -> Result<String> {
    let count = length(reader)?.unwrap_or(0);
    let (bytes, rest) =
        reader.split_at_checked(usize::try_from(count)?).context("a packet cut short")?;
    *reader = rest;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_all_their_lengths() {
        let mut bytes: &[u8] = &[7, 0xfc, 1, 2, 0xfd, 0, 0, 1, 0xfe, 1, 0, 0, 0, 0, 0, 0, 0, 0xfb];
        for wanted in [Some(7), Some(0x0201), Some(0x1_0000), Some(1), None] {
            assert_eq!(length(&mut bytes).unwrap(), wanted);
        }
        assert!(length(&mut bytes).is_err());
    }

    #[test]
    fn literals_cannot_end_early() {
        assert_eq!(literal("a'"), "x'6127'");
    }

    #[test]
    fn errors_are_told_in_the_servers_words() {
        let error = refuse_error(b"\xff\x15\x04#28000Access denied").unwrap_err();
        assert_eq!(error.to_string(), "the server says 1045: #28000Access denied");
        refuse_error(&[0]).unwrap();
    }
}

//! A time server: answers NTP's client packets with the machine's clock.

use std::net::UdpSocket;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

/// Seconds from 1900, where NTP's time begins, to 1970.
const TO_1970: u64 = 2_208_988_800;

/// Answers until it is killed, with each address from a socket of its own: the
/// answer comes from where the question went.
pub(crate) fn run(addresses: &[String]) -> Result<()> {
    let bind = |address: &String| UdpSocket::bind(address).context(format!("cannot use {address}"));
    let sockets = addresses.iter().map(bind).collect::<Result<Vec<_>>>()?;
    let threads: Vec<_> =
        sockets.into_iter().map(|socket| thread::spawn(move || serve(&socket))).collect();
    for thread in threads {
        // They end only if a socket breaks.
        let _ = thread.join();
    }
    Ok(())
}

fn serve(socket: &UdpSocket) {
    let mut packet = [0; 48];
    while let Ok((length, client)) = socket.recv_from(&mut packet) {
        if length >= packet.len() {
            let _ = socket.send_to(&answer(&packet, SystemTime::now()), client);
        }
    }
}

/// The answer to a client's packet (RFC 5905, section 7.3).
fn answer(question: &[u8; 48], now: SystemTime) -> [u8; 48] {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    let stamp = ((since.as_secs() + TO_1970) << 32 | fraction).to_be_bytes();
    let mut packet = [0; 48];
    // Version 4, mode server; stratum 1; the client's own time goes back to it.
    packet[..4].copy_from_slice(&[0x24, 1, 6, 0xec]);
    packet[12..16].copy_from_slice(b"LOCL");
    packet[24..32].copy_from_slice(&question[40..48]);
    for place in [16, 32, 40] {
        packet[place..place + 8].copy_from_slice(&stamp);
    }
    packet
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_time_is_in_the_answer_and_the_questions_time_too() {
        let mut question = [0; 48];
        question[40..].copy_from_slice(b"question");
        let packet = answer(&question, UNIX_EPOCH + Duration::from_millis(1_500));
        assert_eq!(&packet[24..32], b"question");
        assert_eq!(packet[40..48], (((TO_1970 + 1) << 32) | 1 << 31).to_be_bytes());
    }
}

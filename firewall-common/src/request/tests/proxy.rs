//! What stands behind a PROXY header.

use super::mysql::{PLAIN, SSL, command, login, packet};
use super::*;

const GET: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

/// PROXY headers of both versions.
fn proxy_headers() -> [Vec<u8>; 3] {
    let line = b"PROXY TCP4 192.0.2.1 192.0.2.10 40000 3306\r\n";
    let addresses = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".as_slice(), &[7; 12]].concat();
    let health_check = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    [line.to_vec(), addresses, health_check.to_vec()]
}

#[test]
fn a_proxy_header_does_not_hide_the_login() {
    let ssl_request = packet(1, &[(PLAIN | SSL).to_le_bytes().as_slice(), &[0; 28]].concat());
    let cases = [
        (ssl_request, (Metric::MysqlTls, 1)),
        (login(PLAIN | 1 << 5), (Metric::MysqlCompressed, 1)),
        (login(PLAIN), (Metric::MysqlQuery, 2)),
    ];
    for header in proxy_headers() {
        for (login, expected) in &cases {
            let mut flow = Flow::new(Kind::Mysql);
            flow.opens(u32::MAX - 100);
            flow.says(&header);
            flow.repeats(&header);
            flow.hears(90);
            flow.says(login);
            for _ in 0..2 {
                flow.hears(11);
                flow.says_in(1_448, &command(0x03, &[b'x'; 5_000]));
            }
            flow.ledger(&[*expected]);
        }
    }
}

#[test]
fn a_proxy_header_of_version_2_may_have_the_first_packet_behind_it() {
    for cut in [1_448, 30] {
        let mut flow = Flow::new(Kind::Mysql);
        let [_, header, _] = proxy_headers();
        flow.says_in(cut, &[header, command(0x0e, b"")].concat());
        flow.ledger(&[(Metric::MysqlPing, 1)]);
    }
}

#[test]
fn a_proxy_header_by_itself_is_passed_over() {
    for header in proxy_headers() {
        let mut flow = Flow::new(Kind::Http1);
        flow.says(&header);
        flow.says(GET);
        flow.ledger(&[(Metric::Requests, 1)]);
        let mut flow = Flow::new(Kind::Http1);
        flow.says(&[&header, GET].concat());
        flow.ledger(&[(Metric::Resyncs, 1)]);
    }
}

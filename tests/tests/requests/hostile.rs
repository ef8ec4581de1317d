//! Clients that are slow, rude or forged, and servers that do not wait.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use firewall_tests::firewall::Firewall;
use firewall_tests::gate;
use firewall_tests::host::Host;
use firewall_tests::packet::{Frame, Tcp, flags};
use firewall_tests::pair::{self, CLIENT, Pair, SERVER};
use firewall_tests::servers::{Nginx, Site};
use firewall_tests::traffic::PATIENCE;
use firewall_tests::traffic::raw::Raw;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::site::{HOSTILE, POLICY, URLS, Web, body};

#[test]
fn requests_typed_byte_by_byte_are_counted_exactly() -> Result<()> {
    let (web, firewall) = Web::guarded("typed")?;
    // The body begins like a request, and so do many pieces of the head.
    let text =
        b"POST /post HTTP/1.1\r\nHost: server\r\nContent-Length: 20\r\n\r\nGET / POST PUT HEAD ";
    for to in pair::server(80) {
        let requests = web.exact(&format!("typed byte by byte, {to}"), &firewall, || {
            let mut streams: Vec<TcpStream> =
                (0..10).map(|_| connect(&web.pair.client, to)).collect::<Result<_>>()?;
            for _ in 0..3 {
                for byte in text {
                    for stream in &mut streams {
                        stream.write_all(&[*byte])?;
                    }
                    // So that the next byte is a segment of its own.
                    sleep(Duration::from_millis(1));
                }
                streams.iter_mut().try_for_each(|stream| hear(stream, b"read\n"))?;
            }
            Ok(())
        })?;
        assert_eq!(requests, 30);
    }
    Ok(())
}

#[test]
fn a_port_used_again_at_once_is_counted_exactly() -> Result<()> {
    let (web, firewall) = Web::guarded("reset")?;
    for to in pair::server(80) {
        let requests = web.exact(&format!("one port, reset each time, {to}"), &firewall, || {
            for _ in 0..100 {
                let mut stream = connect_from(&web.pair.client, 45_000, to)?;
                stream.write_all(b"GET / HTTP/1.1\r\nHost: server\r\n\r\n")?;
                hear(&mut stream, b"says hello\n")?;
                // Closing sends a reset, so no TIME_WAIT keeps the port.
                SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
            }
            Ok(())
        })?;
        assert_eq!(requests, 100);
    }
    Ok(())
}

#[test]
fn bodies_that_wait_for_100_continue_are_counted_exactly() -> Result<()> {
    gate::tool("curl", "curl")?;
    let (web, firewall) = Web::guarded("continue")?;
    let client = &web.pair.client;
    let plain = body(client, "plain", b"name=value&")?;
    let curl = |url: &str, file: &std::path::Path| {
        let mut command = Command::new("curl");
        command.args(["-gsf", "-H", "Expect: 100-continue", "--data-binary"]);
        command.arg(format!("@{}", file.display())).arg(format!("{url}post"));
        command
    };
    for url in URLS {
        let requests = web.exact(&format!("Expect: 100-continue, {url}"), &firewall, || {
            (0..20).try_for_each(|_| client.check(&mut curl(url, &plain)).map(drop))
        })?;
        assert_eq!(requests, 20);
    }
    // The known hole: the 100 moves the ACK number, so that a body which begins
    // like a request counts once more, and no body more than once.
    let hostile = body(client, "hostile", HOSTILE)?;
    let before = firewall.counters()?;
    for url in URLS {
        client.check(&mut curl(url, &hostile))?;
    }
    let counted = crate::site::counted(&firewall.counters()?.since(&before), "ingress");
    assert_eq!(counted, 4, "two requests, two bodies");
    Ok(())
}

#[test]
fn forged_segments_count_nothing() -> Result<()> {
    let (web, firewall) = Web::guarded("forged")?;
    let raw = Raw::sender(&web.pair.client, "eth0")?;
    let before = firewall.counters()?;
    let kinds = [flags::ACK | flags::PSH, flags::ACK, flags::FIN | flags::ACK, flags::SYN];
    for (from, to) in CLIENT.into_iter().zip(SERVER) {
        for port in 2000..2500 {
            for flags in kinds {
                let header = Tcp {
                    flags,
                    sequence: u32::from(port) << 16,
                    acknowledgment: if flags == flags::SYN { 0 } else { 77 },
                    ..Tcp::between(port, 80)
                };
                let frame = Frame::ethernet().ip(from, to).tcp(header);
                raw.send(&frame.payload(b"GET /forged HTTP/1.1\r\nHost: server\r\n\r\n"))?;
            }
        }
    }
    sleep(Duration::from_millis(100));
    let since = firewall.counters()?.since(&before);
    let requests = since.rule("ingress", "http").requests;
    assert_eq!(web.settled()?, 0, "nginx answered");
    assert_eq!(requests["requests"], 0, "{requests:?}");
    assert_eq!(requests["suspects"], 2 * 500 * 4, "{requests:?}");
    Ok(())
}

/// The known hole: the kernel has a connection, but what the segment acknowledges
/// cannot be told from here. It costs a SYN each, and no verdict.
#[test]
fn forged_segments_of_half_open_connections_count() -> Result<()> {
    let (web, firewall) = Web::guarded("half-open")?;
    let raw = Raw::sender(&web.pair.client, "eth0")?;
    let nobody = "198.51.100.77".parse()?;
    let before = firewall.counters()?;
    for port in 3000..3020 {
        let segment = |flags, sequence, acknowledgment| {
            let header = Tcp { flags, sequence, acknowledgment, ..Tcp::between(port, 80) };
            Frame::ethernet().ip(nobody, SERVER[0]).tcp(header)
        };
        raw.send(&segment(flags::SYN, 100, 0))?;
        sleep(Duration::from_millis(2));
        raw.send(&segment(flags::ACK, 101, 77).payload(b"GET /forged HTTP/1.1\r\n\r\n"))?;
    }
    sleep(Duration::from_millis(100));
    let counted = crate::site::counted(&firewall.counters()?.since(&before), "ingress");
    assert_eq!((counted, web.settled()?), (20, 0));
    Ok(())
}

#[test]
fn a_server_that_defers_its_accept_is_counted_exactly() -> Result<()> {
    // TCP_DEFER_ACCEPT: the kernel has no full socket before the request is there.
    let pair = Pair::new("deferred")?;
    let site = Site {
        ports: Vec::new(),
        server: "listen 80 deferred; listen [::]:80 deferred;".into(),
        ..Site::default()
    };
    let web =
        Web { quiet: Duration::from_millis(120), nginx: Nginx::start(&pair.server, &site)?, pair };
    let firewall = Firewall::with_policy(&web.pair.server, POLICY)?;
    for url in URLS {
        let requests = web.exact(&format!("deferred accept, ab, {url}"), &firewall, || {
            web.pair.client.check(&mut crate::site::ab(url, 500, 16, false)?).map(drop)
        })?;
        assert_eq!(requests, 500);
    }
    Ok(())
}

fn connect(client: &Host, to: SocketAddr) -> Result<TcpStream> {
    connect_from(client, 0, to)
}

/// Connects from a port; 0 for any.
pub(crate) fn connect_from(client: &Host, port: u16, to: SocketAddr) -> Result<TcpStream> {
    let domain = Domain::for_address(to);
    let socket = client.enter(|| Socket::new(domain, Type::STREAM, Some(Protocol::TCP)))??;
    socket.set_tcp_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    if port != 0 {
        let from = CLIENT.into_iter().find(|from| from.is_ipv4() == to.is_ipv4());
        socket.bind(&SocketAddr::new(from.context("no address")?, port).into())?;
    }
    socket.connect_timeout(&to.into(), PATIENCE)?;
    Ok(socket.into())
}

/// Reads an answer up to its end.
pub(crate) fn hear(stream: &mut TcpStream, end: &[u8]) -> Result<()> {
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(end) {
        let length = stream.read(&mut buffer).context("no answer")?;
        ensure!(length > 0, "the connection has ended: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(buffer.get(..length).unwrap_or_default());
    }
    Ok(())
}

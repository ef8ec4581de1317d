//! What depends on the kernel's own sockets: requests over TCP count if there is
//! a connection, and a flow that the table has lost is picked up again if this
//! host has its socket.
//!
//! Connections of both ends live on one host of the lab, whose `lo` has all the
//! addresses; frames of them are then put to the programs in that host's network.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::Result;
use firewall_common::request::Metric;
use firewall_common::verdict::Reason;
use firewall_tests::host::Host;
use firewall_tests::lab::Lab;
use firewall_tests::packet::{Frame, Tcp, flags};
use firewall_userspace::kernel::sandbox::Hook;
use socket2::{Domain, Protocol, Socket, Type};

use crate::ends::{Ends, V4, V6};
use crate::ledger::{Case, EGRESS, Expect, INGRESS, TC_INGRESS, XDP, allowed, drop, pass};
use crate::shared::{Shared, upstream};

static COUNTING: Shared = Shared::new(
    "groups:
  clients:  [198.51.100.0/24, \"2001:db8:2::/64\"]
  upstream: [203.0.113.80, \"2001:db8:9::80\"]
services:
  http:  { tcp: 80, count: http1 }
  https: { tcp: 443, count: tls }
  mysql: { tcp: 3306, count: mysql }
  dns:   { tcp: 53, count: dns }
  app:   { tcp: 8090, count: http1 }
ingress:
  allow:
    - { name: web, from: clients, service: [http, https] }
    - { name: db, from: clients, service: mysql }
    - { name: dns, from: clients, service: dns }
egress:
  allow: [{ name: app, to: upstream, service: app }]
",
);

/// A connection, with both of its ends on this host.
struct Connection {
    ends: Ends,
    /// Port of the end that called.
    port: u16,
    service: u16,
    _streams: (TcpStream, Socket),
}

impl Connection {
    /// From the client of `ends` to its server.
    fn new(ends: Ends, service: u16) -> Result<Self> {
        Self::between(ends, ends.client, ends.server, service)
    }

    /// From the server of `ends` to its client.
    fn back(ends: Ends, service: u16) -> Result<Self> {
        Self::between(ends, ends.server, ends.client, service)
    }

    fn between(ends: Ends, from: IpAddr, to: IpAddr, service: u16) -> Result<Self> {
        let listener = TcpListener::bind((to, service))?;
        let domain = Domain::for_address(SocketAddr::new(from, 0));
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
        socket.connect_timeout(&SocketAddr::new(to, service).into(), Duration::from_secs(5))?;
        let (accepted, caller) = listener.accept()?;
        Ok(Self { ends, port: caller.port(), service, _streams: (accepted, socket) })
    }

    /// A segment of the caller, on its way to this host as the server.
    fn arrives(&self, sequence: u32, acknowledgment: u32, payload: &[u8]) -> Frame {
        let header = Tcp {
            flags: flags::ACK | flags::PSH,
            sequence,
            acknowledgment,
            ..Tcp::between(self.port, self.service)
        };
        self.ends.arrives().tcp(header).payload(payload)
    }

    /// Tells the host's model of the socket.
    fn announce(&self, shared: &Shared, local: u16, remote: u16) -> Result<()> {
        shared.lock()?.host.sockets.insert(self.ends.flow(6, local, remote));
        Ok(())
    }
}

/// A host that has every address of both families, and the thread to use them.
fn on_host(name: &str, work: impl Fn(Ends) -> Result<()> + Send) -> Result<()> {
    let lab = Lab::new(name)?;
    let host: Host = lab.host("both")?;
    for address in ["192.0.2.10/32", "198.51.100.20/32", "203.0.113.80/32"] {
        host.ip(&["address", "add", address, "dev", "lo"])?;
    }
    for address in ["2001:db8:1::10/128", "2001:db8:2::20/128", "2001:db8:9::80/128"] {
        host.ip(&["address", "add", address, "dev", "lo", "nodad"])?;
    }
    host.enter(|| [V4, V6].into_iter().try_for_each(work))?
}

fn counted(rule: &'static str, metric: Metric) -> Expect {
    allowed(rule).requests(&[(metric, 1)])
}

#[test]
fn requests_of_a_connection_are_counted_once() -> Result<()> {
    COUNTING.load(&[Hook::Xdp, Hook::TcIngress, Hook::TcEgress])?;
    on_host("datapath-requests", |ends| {
        for hooks in [XDP, TC_INGRESS] {
            let (http, tls) = (Connection::new(ends, 80)?, Connection::new(ends, 443)?);
            let (mysql, dns) = (Connection::new(ends, 3306)?, Connection::new(ends, 53)?);
            let (odd, old) = (Connection::new(ends, 80)?, Connection::new(ends, 3306)?);
            for connection in [&http, &tls, &mysql, &dns, &odd, &old] {
                connection.announce(&COUNTING, connection.service, connection.port)?;
            }
            let get = b"GET / HTTP/1.1\r\n\r\n";
            let hello = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, 0, 0, 0];
            let select = b"\x09\0\0\0\x03SELECT 1";
            let question = b"\0\x13\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";
            let suspect = || counted("web", Metric::Suspects);
            let case = |what: &str, frame: Frame, expect| Case::new(what, hooks, frame, expect);
            COUNTING.story([
                case("a request", http.arrives(1, 1, get), counted("web", Metric::Requests)),
                case("sent again", http.arrives(1, 1, get), allowed("web")),
                case("a body like a request", http.arrives(19, 1, get), suspect()),
                case("a body", http.arrives(37, 1, b"name=value"), allowed("web")),
                case(
                    "the next request",
                    http.arrives(47, 900, get),
                    counted("web", Metric::Requests),
                ),
                case("a handshake", tls.arrives(1, 1, &hello), counted("web", Metric::Handshakes)),
                case("a second hello", tls.arrives(15, 99, &hello), allowed("web")),
                case("a command", mysql.arrives(1, 1, select), counted("db", Metric::MysqlQuery)),
                case("sent again", mysql.arrives(1, 1, select), allowed("db")),
                case(
                    "the next command",
                    mysql.arrives(14, 80, select),
                    counted("db", Metric::MysqlQuery),
                ),
                case(
                    "HTTP/2",
                    odd.arrives(1, 1, b"PRI * HTTP/2.0"),
                    counted("web", Metric::Resyncs),
                ),
                case("more of it", odd.arrives(15, 9, b"PRI * HTTP/2.0"), allowed("web")),
                case("the middle", old.arrives(1, 1, b"of a row"), counted("db", Metric::Resyncs)),
                case("more of it", old.arrives(9, 1, b"of a row"), allowed("db")),
                case("a query", dns.arrives(1, 1, question), counted("dns", Metric::DnsQueries)),
            ])?;
        }
        Ok(())
    })
}

#[test]
fn a_request_of_this_host_needs_a_connection_too() -> Result<()> {
    COUNTING.load(&[Hook::TcEgress])?;
    on_host("datapath-client", |ends| {
        let ends = upstream(ends);
        let connection = Connection::back(ends, 8090)?;
        connection.announce(&COUNTING, connection.port, 8090)?;
        let header = |acknowledgment| Tcp {
            flags: flags::ACK,
            acknowledgment,
            ..Tcp::between(connection.port, 8090)
        };
        let get = |acknowledgment| {
            ends.leaves().tcp(header(acknowledgment)).payload(b"GET / HTTP/1.1\r\n\r\n")
        };
        COUNTING.story([
            Case::new("a request", EGRESS, get(1), counted("app", Metric::Requests).opens()),
            Case::new("sent again", EGRESS, get(1), allowed("app")),
        ])
    })
}

/// A policy under which this host calls upstream servers, and has forgotten that
/// it did.
const CALLS: &str = "groups: { upstream: [203.0.113.80, \"2001:db8:9::80\"] }
services: { app: { tcp: 8090 }, other: { tcp: 8091 } }
ingress: { deny: [{ name: no-calls, from: upstream, service: other }] }
egress:  { allow: [{ name: app, to: upstream, service: app }] }
";

fn forgotten(shared: &'static Shared, name: &str, found: fn() -> Expect) -> Result<()> {
    shared.load(&[Hook::Xdp, Hook::TcIngress])?;
    on_host(name, move |ends| {
        let ends = upstream(ends);
        let connection = Connection::back(ends, 8090)?;
        connection.announce(shared, connection.port, 8090)?;
        let segment = |flags, port| ends.arrives().tcp(Tcp { flags, ..Tcp::between(8090, port) });
        let listening = TcpListener::bind((ends.server, 9999))?;
        let other = connection.port ^ 1;
        let lost = || drop(Reason::TcpNoFlow);
        let result = shared.table([
            Case::new("an ACK", INGRESS, segment(flags::ACK, connection.port), found()),
            Case::new("a FIN", INGRESS, segment(flags::FIN | flags::ACK, connection.port), found()),
            Case::new("a RST", INGRESS, segment(flags::RST, connection.port), found()),
            Case::new(
                "a SYN ACK",
                INGRESS,
                segment(flags::SYN | flags::ACK, connection.port),
                found(),
            ),
            Case::new(
                "a SYN",
                INGRESS,
                segment(flags::SYN, connection.port),
                drop(Reason::DefaultDrop),
            ),
            Case::new("no such socket", INGRESS, segment(flags::ACK, other), lost()),
            Case::new("a listening socket", INGRESS, segment(flags::ACK, 9999), lost()),
        ]);
        std::mem::drop(listening);
        result
    })
}

#[test]
fn a_forgotten_flow_is_picked_up_by_its_socket() -> Result<()> {
    static LOOSE: Shared = Shared::new(CALLS);
    forgotten(&LOOSE, "datapath-pickup", || pass(Reason::Established))
}

#[test]
fn strict_picks_nothing_up() -> Result<()> {
    static STRICT: Shared = Shared::built(|| {
        let mut policy = crate::common::policy::read(CALLS)?;
        policy.state.pickup_loose = false;
        crate::common::policy::compiled(&policy, firewall_policy::compile::Budget::USUAL)
    });
    forgotten(&STRICT, "datapath-strict", || drop(Reason::TcpNoFlow))
}

//! Segments of connections that exist, so that request counting goes all its way.
//!
//! Both ends of each connection are on one host of the lab, whose `lo` has their
//! addresses; the streams that are put to the programs have nothing to do with
//! what the sockets know: units cut anywhere, sent again, out of order, or lost.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use anyhow::{Context as _, Result, ensure};
use firewall_common::abi::flow::FlowKey;
use firewall_common::packet::Address;
use firewall_common::request::Metric;
use firewall_common::service::proto;
use firewall_policy::compile::Budget;
use firewall_tests::lab::Lab;
use firewall_tests::packet::{Arp, CLIENT4, CLIENT6, Frame, SERVER4, SERVER6, Tcp, flags};
use firewall_userspace::kernel::sandbox::Hook;
use socket2::{Domain, Socket, Type};

use crate::captures::ONE_PAGE;
use crate::common::policy;
use crate::pair::Pair;
use crate::rng::Rng;

const POLICY: &str = "services:
  http:  { tcp: 80, count: http1 }
  https: { tcp: 443, count: tls }
  mysql: { tcp: 3306, count: mysql }
  dns:   { tcp: 53, count: dns }
ingress:
  allow:
    - { name: web, from: any, service: [http, https] }
    - { name: db, from: [198.51.100.0/24, \"2001:db8:2::/64\"], service: mysql }
    - { name: dns, from: any, service: dns }
";

const SERVICES: [u16; 4] = [80, 443, 3306, 53];

/// Segments put to both machines, and how many between two readings of counters.
const SEGMENTS: usize = 60_000;
const RUN: usize = 200;

#[test]
fn requests_of_connections_are_counted_alike() -> Result<()> {
    let lab = Lab::new("segments")?;
    let host = lab.host("both")?;
    for address in [format!("{SERVER4}/32"), format!("{CLIENT4}/32")] {
        host.ip(&["address", "add", &address, "dev", "lo"])?;
    }
    for address in [format!("{SERVER6}/128"), format!("{CLIENT6}/128")] {
        host.ip(&["address", "add", &address, "dev", "lo", "nodad"])?;
    }
    let generation = policy::compiled(&policy::read(POLICY)?, Budget::USUAL)?;
    let mut pair = Pair::new(generation)?;
    // Programs are loaded when they are first asked for, which needs this machine's
    // files; sockets are looked up where the thread is.
    for hook in [Hook::Xdp, Hook::TcIngress] {
        pair.judge(hook, &Frame::ethernet().arp(Arp::default()).padded(), 1)?;
    }
    host.enter(|| compare(&mut pair))?
}

fn compare(pair: &mut Pair) -> Result<()> {
    let mut rng = Rng::from_environment("segments")?;
    let mut connections = Vec::new();
    for (from, to) in [(CLIENT4.into(), SERVER4.into()), (CLIENT6.into(), SERVER6.into())] {
        for service in SERVICES {
            let connection = Connection::new(&mut rng, from, to, service)?;
            pair.bench.host.sockets.insert(connection.key());
            connections.push(connection);
        }
    }
    let mut seen = HashMap::<Metric, u64>::new();
    for run in 0..SEGMENTS / RUN {
        pair.begin()?;
        for number in 0..RUN {
            let place = rng.below(connections.len());
            let frame = connections[place].next(&mut rng);
            let small = frame.len() <= ONE_PAGE;
            let hook = if small && rng.once_in(2) { Hook::TcIngress } else { Hook::Xdp };
            pair.judge(hook, &frame, 1)
                .with_context(|| format!("run {run}, segment {number}, {hook:?}"))?;
        }
        pair.end().with_context(|| format!("run {run}"))?;
        for ((_, metric), count) in &pair.bench.host.counted.requests {
            *seen.entry(*metric).or_default() += count;
        }
    }
    let name = |metric: &Metric| format!("{} {}", metric.name(), seen.get(metric).unwrap_or(&0));
    eprintln!("{}", Metric::ALL.iter().map(name).collect::<Vec<_>>().join(", "));
    ensure!(seen.len() == Metric::COUNT, "not every metric has moved");
    Ok(())
}

/// A connection, and how far its imagined stream has come.
struct Connection {
    from: SocketAddr,
    to: SocketAddr,
    /// Sequence number of the first byte of `unsent`, and what of it has been heard.
    sequence: u32,
    acknowledgment: u32,
    unsent: Vec<u8>,
    sent: Vec<(u32, u32, Vec<u8>)>,
    _ends: (TcpStream, Socket),
}

impl Connection {
    fn new(rng: &mut Rng, from: IpAddr, to: IpAddr, service: u16) -> Result<Self> {
        let to = SocketAddr::new(to, service);
        let listener = TcpListener::bind(to)?;
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
        socket.connect(&to.into())?;
        let (accepted, from) = listener.accept()?;
        Ok(Self {
            from,
            to,
            sequence: number(rng),
            acknowledgment: number(rng),
            unsent: Vec::new(),
            sent: Vec::new(),
            _ends: (accepted, socket),
        })
    }

    fn key(&self) -> FlowKey {
        let halves = |ip| {
            let address = match ip {
                IpAddr::V4(ip) => Address::from_v4(ip.into()),
                IpAddr::V6(ip) => Address::from_v6(ip.into()),
            };
            [address.hi, address.lo]
        };
        FlowKey {
            local: halves(self.to.ip()),
            remote: halves(self.from.ip()),
            local_port: self.to.port(),
            remote_port: self.from.port(),
            protocol: proto::TCP,
            family: if self.to.is_ipv4() { 4 } else { 6 },
            reserved: 0,
        }
    }

    /// A segment: most follow the last one, some are sent again or are lost, and a
    /// few begin anew or come from nowhere.
    fn next(&mut self, rng: &mut Rng) -> Vec<u8> {
        if rng.once_in(3) {
            self.acknowledgment = self.acknowledgment.wrapping_add(1 + u32::from(rng.byte()));
        }
        match rng.below(40) {
            0..=2 if !self.sent.is_empty() => {
                let (sequence, acknowledgment, bytes) = rng.pick(&self.sent);
                let heard = if rng.once_in(2) { acknowledgment } else { self.acknowledgment };
                self.segment(flags::ACK, sequence, heard, &bytes)
            }
            3 => {
                self.sequence = number(rng);
                self.sent.clear();
                self.unsent.clear();
                let bytes = if rng.once_in(4) { self.take(rng) } else { Vec::new() };
                let syn = self.segment(flags::SYN, self.sequence, 0, &bytes);
                self.sequence = self.sequence.wrapping_add(1);
                syn
            }
            4 => {
                // Never comes by, for now.
                let lost = self.take(rng);
                self.note(lost);
                self.follow(rng)
            }
            5 => self.segment(flags::ACK, number(rng), number(rng), &unit(rng, self.to.port())),
            _ => self.follow(rng),
        }
    }

    fn follow(&mut self, rng: &mut Rng) -> Vec<u8> {
        let bytes = self.take(rng);
        let frame = self.segment(flags::ACK, self.sequence, self.acknowledgment, &bytes);
        self.note(bytes);
        frame
    }

    /// The next bytes of the stream: whole units, or cut anywhere.
    fn take(&mut self, rng: &mut Rng) -> Vec<u8> {
        let units = rng.pick(&[1, 1, 1, 2, 3, 70]);
        while self.unsent.is_empty() || (units > 1 && self.unsent.len() < units * 8) {
            self.unsent.extend(unit(rng, self.to.port()));
        }
        let most = rng.pick(&[1, 3, 7, 8, 500, 1448, 1448, 1448, 9000]);
        let rest = self.unsent.split_off(self.unsent.len().min(most));
        std::mem::replace(&mut self.unsent, rest)
    }

    fn note(&mut self, bytes: Vec<u8>) {
        let length = u32::try_from(bytes.len()).unwrap_or(0);
        if self.sent.len() == 8 {
            self.sent.remove(0);
        }
        self.sent.push((self.sequence, self.acknowledgment, bytes));
        self.sequence = self.sequence.wrapping_add(length);
    }

    fn segment(&self, flags: u8, sequence: u32, acknowledgment: u32, bytes: &[u8]) -> Vec<u8> {
        let header = Tcp {
            flags,
            sequence,
            acknowledgment,
            ..Tcp::between(self.from.port(), self.to.port())
        };
        Frame::ethernet().ip(self.from.ip(), self.to.ip()).tcp(header).payload(bytes).padded()
    }
}

fn number(rng: &mut Rng) -> u32 {
    u32::try_from(rng.bits() & u64::from(u32::MAX)).unwrap_or(0)
}

/// A unit of a service's protocol, or what looks a little like one.
fn unit(rng: &mut Rng, service: u16) -> Vec<u8> {
    let body = |rng: &mut Rng| {
        let length = rng.pick(&[0, 1, 5, 40, 700, 3000]);
        let bytes: [u8; 8] = rng.pick(&[*b"GET / HT", [1, 0, 0, 0, 14, 1, 0, 0], [0; 8]]);
        bytes.into_iter().cycle().take(length).collect::<Vec<u8>>()
    };
    match service {
        80 => {
            let method = rng.pick(&["GET", "POST", "PROPFIND", "BREW", "\r\n"]);
            let head = format!("{method} / HTTP/1.1\r\nHost: server\r\n\r\n");
            [head.into_bytes(), body(rng)].concat()
        }
        443 => {
            let kind = rng.pick(&[22, 22, 20, 23]);
            let hello = [kind, 3, rng.byte() & 3, 2, 0, rng.pick(&[1, 2]), 0, 1, 252, 3, 3];
            [hello.to_vec(), body(rng)].concat()
        }
        3306 => {
            // A command, what goes on with one, or a login that says what comes.
            let login = |capabilities: u32| {
                [vec![32, 0, 0, 1], capabilities.to_le_bytes().to_vec(), vec![0; 28]].concat()
            };
            match rng.below(40) {
                0 => return login(0x0a00),
                1 => return login(0x0220),
                2 => return login(0x0200),
                _ => {}
            }
            let commands = [1, 2, 3, 3, 14, 18, 22, 23, 25, 0xef, 0xfa, 0x30];
            let body = [vec![rng.pick(&commands)], body(rng)].concat();
            let id = if rng.once_in(6) { rng.byte() } else { 0 };
            let length = u32::try_from(body.len()).unwrap_or(0).to_le_bytes();
            [vec![length[0], length[1], length[2], id], body].concat()
        }
        _ => {
            let flags = rng.pick(&[1, 1, 1, 0x81, 0x28]);
            let mut message = vec![0, 7, flags, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1];
            message.extend(vec![0; rng.pick(&[0, 0, 11, 400])]);
            let length = u16::try_from(message.len()).unwrap_or(0).to_be_bytes();
            [length.to_vec(), message].concat()
        }
    }
}

//! Section `socket`: what the egress hook adds to sending through a socket.

use std::fmt::Write as _;
use std::net::UdpSocket;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use anyhow::{Result, ensure};
use firewall_common::service::proto;
use firewall_policy::ir::Direction;
use firewall_userspace::kernel::store::interface_index;

use super::Bench;
use super::bpf::{self, Kind};
use super::instruments;
use super::measure::{self, Batches};
use super::ours::Ours;
use super::peers::{self, Peer};
use super::policy::{self, FIRST_PORT};
use super::wire::INTERFACE;
use crate::firewall::settle;
use crate::packet::{CLIENT4, SERVER4};

/// Datagrams of one call.
const BATCH: usize = 64;
/// Datagrams of one trial.
const DATAGRAMS: u32 = 64 * 1_000;
/// Bytes of each.
const PAYLOAD: usize = 18;
/// Where they go, a port that rules name for other addresses: nobody listens there.
const PORT: u16 = FIRST_PORT;

/// Section `socket`.
pub(super) fn measure(bench: &mut Bench<'_>) -> Result<()> {
    const SECTION: &str = "socket";
    // Received and dropped early, so that what is timed is sending.
    let sink = instruments::sink()?;
    let _sink = bench.pair.client.enter(|| {
        bpf::attach_tc(sink.as_fd(), interface_index(INTERFACE)?, Direction::Ingress)
    })??;
    let socket = UdpSocket::bind((SERVER4, 0))?;
    socket.connect((CLIENT4, PORT))?;
    let allow = |rules: u32| {
        let mut files = policy::rules(rules, true);
        for (path, text) in &mut files {
            *text = text.replace("{ tcp: ", "{ udp: ");
            if path == "rules/bench.yaml" {
                // XDP on a veth makes each packet that is sent there larger: its room in front.
                let interfaces = format!("[{INTERFACE}], ingress-hook: tc");
                *text = text.replace("[none0]", &interfaces);
                let rule = format!("{{ name: sink, to: {CLIENT4}, service: p{PORT} }}");
                let _ = write!(text, "egress:\n  allow:\n    - {rule}\n");
            }
        }
        files
    };
    let idle = instruments::idle(Kind::Tc, Kind::Tc.pass())?;
    let ok = instruments::idle(Kind::Tc, bpf::TC_ACT_OK)?;
    let least = instruments::parse_and_count(Kind::Tc, proto::UDP, Kind::Tc.pass())?;
    let peers = peers::output(bench)?;
    let mut rows = vec![
        ("nothing attached", Way::Open, Batches::default()),
        ("TC egress that passes everything", Way::Program(&idle), Batches::default()),
        ("TC egress that says TC_ACT_OK", Way::Program(&ok), Batches::default()),
        ("TC egress, parse + count", Way::Program(&least), Batches::default()),
        ("TC egress, 10 rules", Way::Ours(10), Batches::default()),
        ("TC egress, 1,000 rules", Way::Ours(1_000), Batches::default()),
    ];
    rows.extend(peers.iter().map(|peer| (peer.row.as_str(), Way::Peer(peer), Batches::default())));
    rows.retain(|(row, way, _)| matches!(way, Way::Open) || bench.options.asks(SECTION, row));
    bench.settle(SECTION);
    for _ in 0..bench.options.trials() {
        for (_, way, batches) in &mut rows {
            let _in_force: Box<dyn Held + '_> = match way {
                Way::Open => Box::new(()),
                Way::Program(program) => {
                    let ifindex = interface_index(INTERFACE)?;
                    Box::new(bpf::attach_tc(program.as_fd(), ifindex, Direction::Egress)?)
                }
                Way::Ours(rules) => {
                    let ours = Attached(Ours::new(bench.pair, SECTION, &allow(*rules))?);
                    settle(&ours.0.store()?)?;
                    Box::new(ours)
                }
                Way::Peer(peer) => Box::new(peer.up()?),
            };
            send(&socket, DATAGRAMS / 8)?;
            let batch = || measure::cpu_time(DATAGRAMS, || send(&socket, DATAGRAMS));
            batches.add(measure::undisturbed(batch)?);
        }
    }
    let mut spreads = Vec::new();
    for (row, _, batches) in rows {
        spreads.push((row, batches.spread()?));
    }
    let nothing = spreads.first().map(|(_, spread)| *spread);
    for (row, spread) in spreads {
        bench.book.measured(SECTION, (row, "per datagram"), spread, nothing.as_ref());
        if let Some(nothing) = nothing {
            bench.book.fact(SECTION, row, "added", (spread.low - nothing.low, "ns"));
        }
    }
    Ok(())
}

/// What a datagram passes on its way out.
enum Way<'p> {
    /// Nothing.
    Open,
    /// An instrument.
    Program(&'p OwnedFd),
    /// The product, with so many rules.
    Ours(u32),
    Peer(&'p Peer),
}

/// What is in force as long as it is held.
trait Held {}
impl<T> Held for T {}

/// The product, attached.
struct Attached(Ours);

impl Drop for Attached {
    fn drop(&mut self) {
        // Interfaces of a lab end with it in any case.
        let _left = self.0.command(&["detach", "--all"]).map(|mut it| self.0.host().run(&mut it));
    }
}

/// Sends datagrams, 64 with each call.
fn send(socket: &UdpSocket, datagrams: u32) -> Result<()> {
    let payload = [0_u8; PAYLOAD];
    let mut part = libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: PAYLOAD };
    // SAFETY: all-zero is a valid message without address and control data.
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    message.msg_hdr.msg_iov = &raw mut part;
    message.msg_hdr.msg_iovlen = 1;
    let mut messages = [message; BATCH];
    for _ in 0..datagrams as usize / BATCH {
        let count = libc::c_uint::try_from(BATCH)?;
        // SAFETY: every message points to `part`, and that to `payload`, which live on.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
        ensure!(sent > 0, "could not send: {}", std::io::Error::last_os_error());
    }
    Ok(())
}

//! Established: answers to flows this host opened, and answers of this host to
//! what the ingress policy admits.

use std::time::Duration;

use anyhow::{Result, ensure};
use firewall_common::abi::flow::Flow;
use firewall_common::time::Nanos;
use firewall_common::verdict::{Direction, Reason, Verdict};
use firewall_policy::flows::FlowTable;
use firewall_policy::world::{HostWorld, egress};
use firewall_tests::packet::{Frame, Tcp, Udp, flags};

use firewall_userspace::kernel::sandbox::Hook;

use crate::ends::{Ends, V4, V6, twins};
use crate::ledger::{Case, EGRESS, INGRESS, allowed, denied, drop, pass};
use crate::shared::{SITE, Shared, abuse, stranger, upstream};

use flags::{ACK, FIN, PSH, RST, SYN, URG};

/// A segment of the upstream server to the port that this host has opened.
fn answer(ends: Ends, flags: u8) -> Frame {
    upstream(ends).arrives().tcp(Tcp { flags, ..Tcp::between(8090, 40_000) })
}

/// A segment of this host's web server to a client.
fn served(ends: Ends, flags: u8) -> Frame {
    ends.leaves().tcp(Tcp { flags, ..Tcp::between(80, 40_000) })
}

#[test]
fn segments_of_a_known_flow_pass_whatever_their_flags() -> Result<()> {
    let all = [
        ("SYN ACK", SYN | ACK),
        ("ACK", ACK),
        ("data", ACK | PSH),
        ("FIN ACK", FIN | ACK),
        ("RST", RST),
        ("RST ACK", RST | ACK),
    ];
    SITE.table(twins(|ends| {
        let key = upstream(ends).flow(6, 40_000, 8090);
        all.map(|(what, flags)| {
            Case::new(what, INGRESS, answer(ends, flags), pass(Reason::Established)).flow(key)
        })
    }))
}

#[test]
fn a_bare_syn_is_never_an_answer() -> Result<()> {
    SITE.table(twins(|ends| {
        let key = upstream(ends).flow(6, 40_000, 8090);
        [
            Case::new(
                "in, on the tuple of a flow",
                INGRESS,
                answer(ends, SYN),
                drop(Reason::DefaultDrop),
            )
            .flow(key),
            Case::new(
                "in, with ECN",
                INGRESS,
                answer(ends, SYN | flags::ECE | flags::CWR),
                drop(Reason::DefaultDrop),
            )
            .flow(key),
            Case::new(
                "out, from a port that is served",
                EGRESS,
                served(ends, SYN),
                drop(Reason::DefaultDrop),
            ),
        ]
    }))
}

#[test]
fn an_answer_must_fit_the_flow_in_everything() -> Result<()> {
    SITE.table(twins(|ends| {
        let key = upstream(ends).flow(6, 40_000, 8090);
        let wrong_port =
            upstream(ends).arrives().tcp(Tcp { flags: ACK, ..Tcp::between(8090, 40_001) });
        let wrong_source =
            upstream(ends).arrives().tcp(Tcp { flags: ACK, ..Tcp::between(8091, 40_000) });
        let udp = upstream(ends).arrives().udp(Udp::between(8090, 40_000));
        let other = stranger(ends).arrives().tcp(Tcp { flags: ACK, ..Tcp::between(8090, 40_000) });
        [
            Case::new("another port of ours", INGRESS, wrong_port, drop(Reason::TcpNoFlow))
                .flow(key),
            Case::new("another port of theirs", INGRESS, wrong_source, drop(Reason::DefaultDrop))
                .flow(key),
            Case::new("another protocol", INGRESS, udp, drop(Reason::DefaultDrop)).flow(key),
            Case::new("another host", INGRESS, other, drop(Reason::DefaultDrop)).flow(key),
        ]
    }))
}

#[test]
fn a_known_flow_passes_before_deny() -> Result<()> {
    SITE.table(twins(|ends| {
        let ends = abuse(ends);
        let frame = || ends.arrives().tcp(Tcp { flags: ACK, ..Tcp::between(443, 40_000) });
        [
            Case::new("no flow", INGRESS, frame(), denied("no-abuse")),
            Case::new("a flow", INGRESS, frame(), pass(Reason::Established))
                .flow(ends.flow(6, 40_000, 443)),
            Case::new(
                "a flow, and a bare SYN",
                INGRESS,
                ends.arrives().tcp(Tcp::between(443, 40_000)),
                denied("no-abuse"),
            )
            .flow(ends.flow(6, 40_000, 443)),
        ]
    }))
}

#[test]
fn what_this_host_opens_is_answered() -> Result<()> {
    SITE.story(twins(|ends| {
        let up = upstream(ends);
        let out = |flags| up.leaves().tcp(Tcp { flags, ..Tcp::between(40_000, 8090) });
        let gre_in = up.arrives_as(47).payload([0; 8]);
        let gre_out = up.leaves_as(47).payload([0; 8]);
        [
            Case::new("nobody has asked yet", INGRESS, answer(ends, ACK), drop(Reason::TcpNoFlow)),
            Case::new("nor called us", INGRESS, answer(ends, SYN | ACK), drop(Reason::TcpNoFlow)),
            Case::new("a SYN opens", EGRESS, out(SYN), allowed("app").opens()),
            Case::new("the same SYN again does not", EGRESS, out(SYN), allowed("app")),
            Case::new("the answer", INGRESS, answer(ends, SYN | ACK), pass(Reason::Established)),
            Case::new("our ACK", EGRESS, out(ACK), allowed("app")),
            Case::new("their RST", INGRESS, answer(ends, RST), pass(Reason::Established)),
            Case::new(
                "no DNS answer unasked",
                INGRESS,
                up.arrives().udp(Udp::between(53, 5000)),
                drop(Reason::DefaultDrop),
            ),
            Case::new(
                "a DNS query",
                EGRESS,
                up.leaves().udp(Udp::between(5000, 53)),
                allowed("dns").opens(),
            ),
            Case::new(
                "its answer",
                INGRESS,
                up.arrives().udp(Udp::between(53, 5000)),
                pass(Reason::Established),
            ),
            Case::new("no GRE unasked", INGRESS, gre_in.clone(), drop(Reason::DefaultDrop)),
            Case::new("GRE out", EGRESS, gre_out, allowed("tunnel-out").opens()),
            Case::new("GRE in", INGRESS, gre_in, pass(Reason::Established)),
        ]
    }))
}

#[test]
fn an_ack_that_a_rule_admits_opens_a_flow_again() -> Result<()> {
    SITE.story(twins(|ends| {
        let ack = upstream(ends).leaves().tcp(Tcp { flags: ACK, ..Tcp::between(40_000, 8090) });
        [
            Case::new("forgotten", INGRESS, answer(ends, ACK), drop(Reason::TcpNoFlow)),
            Case::new("this host sends", EGRESS, ack, allowed("app").opens()),
            Case::new("known again", INGRESS, answer(ends, ACK), pass(Reason::Established)),
        ]
    }))
}

#[test]
fn a_flow_without_traffic_ends() -> Result<()> {
    let seconds = Duration::from_secs;
    SITE.table(twins(|ends| {
        let up = upstream(ends);
        let tcp =
            |flags, idle, expect| {
                Case::new(format!("TCP, idle {idle} s"), INGRESS, answer(ends, ACK), expect)
                    .flow_as(up.flow(6, 40_000, 8090), flags, seconds(idle))
            };
        let udp = |flags, idle, expect| {
            Case::new(
                format!("UDP, idle {idle} s, flags {flags}"),
                INGRESS,
                up.arrives().udp(Udp::between(53, 5000)),
                expect,
            )
            .flow_as(up.flow(17, 5000, 53), flags, seconds(idle))
        };
        let echo = |idle, expect| {
            Case::new(format!("echo, idle {idle} s"), INGRESS, up.reply(up.arrives(), 77), expect)
                .flow_as(up.flow(up.icmp(), 77, 0), 0, seconds(idle))
        };
        let from_peer = up.arrives_as(47).payload([0; 8]);
        let gre =
            |idle, expect| {
                Case::new(format!("GRE, idle {idle} s"), INGRESS, from_peer.clone(), expect)
                    .flow_as(up.flow(47, 0, 0), 0, seconds(idle))
            };
        let yes = || pass(Reason::Established);
        let no = || drop(Reason::DefaultDrop);
        [
            tcp(0, 15, yes()),
            tcp(0, 21, drop(Reason::TcpNoFlow)),
            udp(0, 5, yes()),
            udp(0, 11, no()),
            udp(Flow::REPLIED, 60, yes()),
            udp(Flow::REPLIED, 181, no()),
            echo(25, yes()),
            echo(31, no()),
            gre(60, yes()),
            gre(181, no()),
        ]
    }))
}

#[test]
fn a_dead_flow_is_opened_anew_by_the_next_packet() -> Result<()> {
    let long_ago = Duration::from_mins(1);
    SITE.story(twins(|ends| {
        let up = upstream(ends);
        let frame = up.leaves().udp(Udp::between(5000, 53));
        [
            Case::new("dead", EGRESS, frame, allowed("dns").opens()).flow_as(
                up.flow(17, 5000, 53),
                0,
                long_ago,
            ),
            Case::new(
                "answered",
                INGRESS,
                up.arrives().udp(Udp::between(53, 5000)),
                pass(Reason::Established),
            ),
        ]
    }))
}

#[test]
fn an_echo_of_this_host_is_answered_by_its_identifier() -> Result<()> {
    SITE.story(twins(|ends| {
        let ends = stranger(ends);
        [
            Case::new("unasked", INGRESS, ends.reply(ends.arrives(), 7), drop(Reason::DefaultDrop)),
            Case::new("asked", EGRESS, ends.echo(ends.leaves(), 7), pass(Reason::Ping)),
            Case::new(
                "answered",
                INGRESS,
                ends.reply(ends.arrives(), 7),
                pass(Reason::Established),
            ),
            Case::new(
                "another identifier",
                INGRESS,
                ends.reply(ends.arrives(), 8),
                drop(Reason::DefaultDrop),
            ),
        ]
    }))
}

#[test]
fn no_other_message_opens_a_flow() -> Result<()> {
    // Nor can who is answered fill the table.
    static TALKS: Shared = Shared::new(
        "services: { time: { icmp: [13, 14], icmpv6: [139, 140] } }
egress: { allow: [{ name: time, to: any, service: time }] }
ingress: { allow: [{ name: asked, from: any, service: time }] }
",
    );
    TALKS.story(twins(|ends| {
        [
            Case::new("we ask", EGRESS, ends.message(ends.leaves(), (13, 139), 7), allowed("time")),
            Case::new(
                "no echo answers it",
                INGRESS,
                ends.reply(ends.arrives(), 7),
                drop(Reason::DefaultDrop),
            ),
            Case::new(
                "we are asked",
                INGRESS,
                ends.message(ends.arrives(), (13, 139), 8),
                allowed("asked"),
            ),
            Case::new(
                "we answer",
                EGRESS,
                ends.message(ends.leaves(), (14, 140), 8),
                allowed("time"),
            ),
            Case::new(
                "nor does one answer that",
                INGRESS,
                ends.reply(ends.arrives(), 8),
                drop(Reason::DefaultDrop),
            ),
        ]
    }))
}

#[test]
fn a_full_table_refuses_new_flows_and_keeps_the_others() -> Result<()> {
    // On the host only: to fill the kernel's table takes longer than it is young. The
    // table itself is the same, and has tests of its own.
    let mut host = SITE.lock()?.host.clone();
    host.now = Nanos::from_secs(3600);
    host.flows = FlowTable::new(1024, 7);
    for ends in [V4, V6].map(upstream) {
        let frame =
            |port, flags| ends.leaves().tcp(Tcp { flags, ..Tcp::between(port, 8090) }).bytes();
        let judge = |host: &mut HostWorld, frame: Vec<u8>| host.judge(&egress(&frame), &frame);
        host.flows.clear();
        ensure!(judge(&mut host, frame(1, SYN)).reason == Reason::Rule);
        let mut other = ends.flow(132, 1, 1);
        while host.flows.len() < 1024 {
            let clock = host.clock();
            other.remote[1] += 1;
            host.flows.insert(&other, &Flow { seen: clock.now, ..Flow::default() }, &clock);
        }
        ensure!(judge(&mut host, frame(2, SYN)).reason == Reason::FlowTableFull);
        ensure!(
            judge(&mut host, ends.echo(ends.leaves(), 9).bytes()).reason == Reason::FlowTableFull
        );
        // The known flow goes on, and so does one that has a socket.
        ensure!(judge(&mut host, frame(1, ACK)) == judge(&mut host, frame(1, SYN)));
        let running = judge(&mut host, frame(2, ACK));
        ensure!((running.reason, running.new_flow) == (Reason::Rule, false), "{running:?}");
    }
    Ok(())
}

#[test]
fn what_could_be_no_answer_is_none_whatever_was_let_out_before() -> Result<()> {
    SITE.story(twins(|ends| {
        let case = |what, flags, expected| Case::new(what, EGRESS, served(ends, flags), expected);
        [
            case("an answer", ACK, pass(Reason::Established)),
            case("without ACK", PSH, drop(Reason::DefaultDrop)),
            case("of urgent data", URG, drop(Reason::DefaultDrop)),
            case("a request", SYN, drop(Reason::DefaultDrop)),
        ]
    }))
}

/// That the memory is used at all shows where the table of flows has lost what it had.
#[test]
fn what_was_let_out_is_remembered_for_a_tick_and_until_a_swap() -> Result<()> {
    let bench = SITE.lock()?;
    let mut host = HostWorld::new(&bench.generation);
    host.now = Nanos::from_secs(1);
    for ends in [V4, V6].map(upstream) {
        let leaves = |flags, data: &[u8]| {
            ends.leaves().tcp(Tcp { flags, ..Tcp::between(1, 8091) }).payload(data).bytes()
        };
        let judge = |host: &mut HostWorld, flags, data: &[u8]| {
            let frame = leaves(flags, data);
            host.judge(&egress(&frame), &frame).reason
        };
        let begin = |host: &mut HostWorld| {
            host.forget_flows();
            host.write_flow(ends.flow(6, 1, 8091), 0, Duration::ZERO);
            ensure!(judge(host, ACK, b"") == Reason::Established, "it was not remembered");
            host.flows.clear();
            Ok(())
        };
        begin(&mut host)?;
        ensure!(judge(&mut host, ACK | PSH, b"data") == Reason::Established, "it is forgotten");
        ensure!(judge(&mut host, SYN, b"") == Reason::DefaultDrop, "a SYN is of no flow");
        host.forget_passes();
        ensure!(judge(&mut host, ACK, b"") == Reason::DefaultDrop, "a swap");
        begin(&mut host)?;
        host.now = Nanos(host.now.0 + 40_000_000);
        ensure!(judge(&mut host, ACK, b"") == Reason::DefaultDrop, "a tick");
    }
    Ok(())
}

#[test]
fn the_kernel_remembers_it_too() -> Result<()> {
    let mut bench = SITE.lock()?;
    for ends in [V4, V6].map(upstream) {
        let frame = ends.leaves().tcp(Tcp { flags: ACK, ..Tcp::between(1, 8091) }).bytes();
        let mut remembers = || {
            bench.reset()?;
            bench.kernel.write_flow(ends.flow(6, 1, 8091), 0, Duration::ZERO)?;
            ensure!(bench.kernel.run(Hook::TcEgress, &frame, 1)? == Verdict::Pass, "unknown");
            bench.kernel.flows()?.clear();
            let remembered = bench.kernel.run(Hook::TcEgress, &frame, 1)? == Verdict::Pass;
            bench.kernel.forget_flows()?;
            let forgotten = bench.kernel.run(Hook::TcEgress, &frame, 1)? == Verdict::Drop;
            ensure!(forgotten, "it passes under another control word");
            anyhow::Ok(remembered)
        };
        // A tick may end in between, or the thread go to another CPU.
        let mut tries = 0;
        while !remembers()? {
            tries += 1;
            ensure!(tries < 100, "it never does");
        }
    }
    bench.reset()
}

#[test]
fn flows_beyond_what_one_cpu_may_open_in_a_second_are_dropped_and_counted() -> Result<()> {
    let mut bench = SITE.lock()?;
    bench.reset()?;
    let kernel = &mut bench.kernel;
    let ends = upstream(V4);
    let segment =
        |port, flags| ends.leaves().tcp(Tcp { flags, ..Tcp::between(port, 8090) }).bytes();
    let mut run = |port, flags| kernel.run(Hook::TcEgress, &segment(port, flags), 1);
    let (mut passed, mut dropped) = (0, 0);
    for port in 1..=30_000 {
        match run(port, SYN)? {
            Verdict::Pass => passed += 1,
            Verdict::Drop => dropped += 1,
        }
    }
    ensure!(passed >= 4096 && dropped > 0, "{passed} passed, {dropped} were dropped");
    // Those that are known, and those that run and have been forgotten, go on.
    for port in [1, 2, 30_001] {
        ensure!(run(port, ACK)? == Verdict::Pass, "port {port}");
    }
    let count = |reason| bench.kernel.outcome(Direction::Egress, reason).packets;
    ensure!(count(Reason::FlowRate) >= dropped && count(Reason::FlowTableFull) == 0);
    bench.reset()
}

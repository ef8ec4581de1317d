//! Times and memory of compiling: 10 to 100,000 rules, and a set of a million
//! hosts. On a busy machine the CPU time is the better figure.
//!
//! `cargo run --release -p firewall-policy --example compile_bench [PART OF NAME]`
#![expect(clippy::print_stdout, reason = "its only purpose")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use firewall_common::packet::{Address, Family};
use firewall_common::policy::{Query, decide};
use firewall_common::service::ServiceIndex;
use firewall_common::verdict::Direction;
use firewall_policy::compile::{Budget, Environment, Generation, SlotTable, compile};
use firewall_policy::host::HostTables;
use firewall_policy::ir::{
    Action, Baseline, Chain, IngressHook, Interfaces, Log, Policy, Rule, State,
};
use firewall_policy::set::{AddrSet, RangeSet, ServiceSet};
use firewall_policy::source::{Source, Span};

/// Compilations per case; the quickest counts.
const RUNS: u32 = 9;

/// Look-ups per case.
const LOOKUPS: u32 = 1 << 20;

fn main() {
    println!(
        "{:<34} {:>9} {:>9} {:>8} {:>8} {:>9} {:>9}",
        "policy", "quickest", "CPU", "tables", "classes", "same", "random"
    );
    for rules in [10, 100, 1_000, 10_000, 100_000] {
        report(&format!("{rules} rules, own /24, own port"), &policy(rules, rules));
    }
    report("100000 rules, own /24, 10 ports", &policy(100_000, 10));
    report("100000 rules, own /64, own port", &over_v6(policy(100_000, 100_000)));
    let mut crowd = policy(1_000, 1_000);
    crowd.ingress.deny.push(everybody());
    report("1000 rules + 1M hosts", &crowd);
    let mut crowd = policy(100_000, 100_000);
    crowd.ingress.deny.push(everybody());
    report("100000 rules + 1M hosts", &crowd);
}

fn report(name: &str, policy: &Policy) {
    if std::env::args().nth(1).is_some_and(|wanted| !name.contains(&wanted)) {
        return;
    }
    let mut times = Vec::new();
    let mut last = None;
    let cpu_before = cpu();
    for seed in 0..RUNS {
        let environment = Environment {
            interfaces: Vec::new(),
            cpus: 2,
            generation_slot: 0,
            seed,
            budget: Budget::USUAL,
            told: None,
        };
        let start = Instant::now();
        let generation = compile(policy, &environment, &mut SlotTable::default());
        times.push(start.elapsed());
        match generation {
            Ok(generation) => last = Some(generation),
            Err(error) => println!("{name}: {error}"),
        }
    }
    let cpu = cpu().saturating_sub(cpu_before) / RUNS;
    times.sort_unstable();
    let Some(generation) = last else { return };
    let memory = &generation.memory;
    println!(
        "{name:<34} {:>6.1} ms {:>6.1} ms {:>4.1} MiB {:>8} {:>6.1} ns {:>6.1} ns  {}",
        milliseconds(times[0]),
        milliseconds(cpu),
        mebibytes(memory.table_bytes()),
        generation.settings[11],
        lookups(&generation, |_| 0x0a01_0203),
        lookups(&generation, |n| n.wrapping_mul(0x9e37_79b1)),
        parts(&generation),
    );
}

/// Nanoseconds per look-up, of a port that some address-bound rule names.
fn lookups(generation: &Generation, remote: impl Fn(u32) -> u32) -> f64 {
    let tables = HostTables::new(generation);
    let start = Instant::now();
    for number in 0..LOOKUPS {
        let query = Query {
            direction: Direction::Ingress,
            remote: Address::from_v4(remote(number)),
            local: Address::UNSPECIFIED,
            family: Family::V4,
            service: ServiceIndex(1_001),
            context: None,
        };
        black_box(decide(&tables, black_box(&query)));
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(LOOKUPS)
}

/// CPU time of this process so far, all threads; to 10 ms.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * ticks)
}

fn parts(generation: &Generation) -> String {
    let shown = generation.memory.parts().into_iter().take(8).filter(|(_, bytes)| *bytes > 1 << 20);
    let parts: Vec<_> =
        shown.map(|(part, bytes)| format!("{part} {:.1}", mebibytes(bytes))).collect();
    parts.join(", ")
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Rules of a /24 each, spread over the IPv4 space, and of `ports` ports.
fn policy(rules: u32, ports: u32) -> Policy {
    let own = |number: u32| {
        let first = number.wrapping_mul(0x9e37_79b1) & !0xff;
        let port =
            1_000 + number % ports % 60_000 + if number % ports >= 60_000 { 65_536 } else { 0 };
        Rule {
            remote: AddrSet { v4: RangeSet::range(first, first | 0xff), v6: RangeSet::empty() },
            services: ServiceSet::range(port, port),
            ..rule(format!("rule-{number}"))
        }
    };
    let place = span();
    let chain = |allow| Chain {
        failsafe: Vec::new(),
        deny: Vec::new(),
        allow,
        default: Action::Drop,
        default_span: place.clone(),
    };
    Policy {
        roles: vec!["bench".into()],
        ingress: chain((0..rules).map(own).map(Box::new).collect()),
        egress: chain(Vec::new()),
        baseline: Baseline {
            host: true,
            dhcp: true,
            ping_per_second: 10,
            non_ip_all: false,
            fragments_strict: false,
            forward_pass: false,
        },
        state: State { flows: 1, tcp_idle_s: 3600, udp_idle_s: 30, pickup_loose: true, seed: true },
        interfaces: Interfaces {
            matches: vec!["*".into()],
            ignore: Vec::new(),
            ingress_hook: IngressHook::Auto,
        },
        rates: Vec::new(),
        tests: Vec::new(),
        memory_max: None,
    }
}

/// The same rules, of a /64 each.
fn over_v6(mut policy: Policy) -> Policy {
    for rule in &mut policy.ingress.allow {
        let networks = rule.remote.v4.ranges().iter().map(|&(first, _)| {
            let first = 0x2001_0db8 << 96 | u128::from(first) << 64;
            (first, first | u128::from(u64::MAX))
        });
        rule.remote =
            AddrSet { v6: RangeSet::from_ranges(networks.collect()), v4: RangeSet::empty() };
    }
    policy
}

/// A rule about a million hosts.
fn everybody() -> Box<Rule> {
    Box::new(Rule { remote: hosts(1_000_000), ..rule("crowd".into()) })
}

/// Hosts all over the IPv4 space.
fn hosts(count: u32) -> AddrSet {
    let mut state = 1_u32;
    let host = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state, state)
    };
    AddrSet { v4: RangeSet::from_ranges((0..count).map(host).collect()), v6: RangeSet::empty() }
}

fn rule(name: String) -> Rule {
    Rule {
        name,
        role: "bench".into(),
        remote: AddrSet::any(),
        local: AddrSet::any(),
        services: ServiceSet::full(),
        counts: Vec::new(),
        interfaces: Vec::new(),
        vlans: Vec::new(),
        tcp_flags: None,
        log: Log::Default,
        span: span(),
        remote_span: span(),
        remote_text: "a network".into(),
        service_text: "a port".into(),
        owner: None,
        reason: None,
        ticket: None,
    }
}

fn span() -> Span {
    static SOURCE: std::sync::OnceLock<Arc<Source>> = std::sync::OnceLock::new();
    let source = || Arc::new(Source { name: "rules/bench.yaml".into(), text: "rules\n".into() });
    Span { source: SOURCE.get_or_init(source).clone(), start: 0, end: 5 }
}

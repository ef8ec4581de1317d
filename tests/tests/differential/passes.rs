//! A host that remembers what it let out judges as one that does not.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use firewall_common::pipeline::Arrival;
use firewall_common::service::proto;
use firewall_common::time::Nanos;
use firewall_common::verdict::{Decision, Direction, Verdict};
use firewall_policy::compile::{Budget, Generation};
use firewall_policy::ir::Policy;
use firewall_policy::world::{self, HostWorld};
use firewall_tests::packet::flags;

use crate::common::policy;
use crate::frames::Frames;
use crate::policies::{self, Kind, Places};
use crate::rng::Rng;

/// Two hosts under one policy, of which one forgets before each frame.
struct Two {
    remembers: HostWorld,
    forgets: HostWorld,
}

impl Two {
    fn new(generation: &Generation) -> Self {
        let host = || HostWorld::new(generation);
        Self { remembers: host(), forgets: host() }
    }

    fn enforce(&mut self, generation: &Generation) {
        self.remembers.enforce(generation);
        self.forgets.enforce(generation);
    }

    fn judge(
        &mut self,
        now: Nanos,
        direction: Direction,
        frame: &[u8],
        segments: u32,
    ) -> Result<()> {
        (self.remembers.now, self.forgets.now) = (now, now);
        self.forgets.forget_passes();
        let one = judge(&mut self.remembers, direction, frame, segments);
        let other = judge(&mut self.forgets, direction, frame, segments);
        let same =
            (one.reason, one.cell, one.new_flow) == (other.reason, other.cell, other.new_flow);
        ensure!(same, "{one:?}, without memory {other:?}: {direction:?} {frame:02x?}");
        Ok(())
    }

    fn end(&self) -> Result<()> {
        let flows =
            |host: &HostWorld| -> HashMap<_, _> { host.flows.iter(&host.clock()).collect() };
        ensure!(flows(&self.remembers) == flows(&self.forgets), "flows differ");
        let (one, other) = (&self.remembers.counted, &self.forgets.counted);
        ensure!(one == other, "{one:?}, without memory {other:?}");
        Ok(())
    }
}

fn judge(host: &mut HostWorld, direction: Direction, frame: &[u8], segments: u32) -> Decision {
    let arrival = world::arrival(direction, frame);
    host.judge(&Arrival { ifindex: 1, segments, ..arrival }, frame)
}

#[test]
fn what_was_let_out_changes_no_verdict_and_no_counter() -> Result<()> {
    let mut rng = Rng::from_environment("passes")?;
    for number in 0..60 {
        let kind = Kind {
            locals: number % 2 == 0,
            contexts: number % 5 == 0,
            counts: true,
            ..Kind::default()
        };
        let policies = [policies::random(&mut rng, kind)?, policies::random(&mut rng, kind)?];
        let compiled = policies.iter().map(|policy| policy::compiled(policy, Budget::USUAL));
        let generations: Vec<_> = compiled.collect::<Result<_>>()?;
        let mut two = Two::new(&generations[0]);
        let known = talks(&mut rng, &policies[0], &generations[0]);
        let mut now = 1_000_000_000;
        for _ in 0..3000 {
            now += if rng.once_in(500) { 40_000_000_000 } else { rng.bits() % 400_000 };
            if rng.once_in(100) {
                let generation = &generations[rng.below(2)];
                two.enforce(generation);
            }
            let (direction, mut frame) = known[rng.below(known.len())].clone();
            vary(&mut rng, &mut frame);
            let segments = if rng.once_in(8) { 3 } else { 1 };
            two.judge(Nanos(now), direction, &frame, segments)?;
        }
        two.end()?;
    }
    Ok(())
}

/// Frames of a few flows, most of which leave: each comes several times in a tick.
fn talks(rng: &mut Rng, policy: &Policy, generation: &Generation) -> Vec<(Direction, Vec<u8>)> {
    let mut host = HostWorld::new(generation);
    let mut frames = Frames::new(Places::of(policy));
    let mut known = Vec::new();
    while known.len() < 16 {
        let (direction, frame) = frames.next(rng);
        let verdict = judge(&mut host, direction, &frame, 1).reason.verdict();
        let leaves = (direction, verdict) == (Direction::Egress, Verdict::Pass);
        if leaves && flags_of(&frame).is_some() || rng.once_in(200) {
            known.push((direction, frame));
        }
    }
    known
}

/// Where the flags of a segment without options or tags are.
fn flags_of(frame: &[u8]) -> Option<usize> {
    let (protocol, flags) = match frame.get(12..15)? {
        [8, 0, 0x45] => (23, 47),
        [0x86, 0xdd, _] => (20, 67),
        _ => return None,
    };
    (frame.get(protocol) == Some(&proto::TCP) && flags < frame.len()).then_some(flags)
}

/// Another segment of the same flow, or a header that differs in one byte: another flow, length or
/// protocol.
fn vary(rng: &mut Rng, frame: &mut [u8]) {
    use flags::{ACK, FIN, PSH, RST, SYN, URG};
    if let Some(place) = flags_of(frame) {
        frame[place] = rng.pick(&[ACK, ACK, ACK, ACK | PSH, FIN | ACK, RST, PSH, URG, SYN]);
    }
    if rng.once_in(4) && frame.len() > 54 {
        let headers = frame.len().min(74);
        frame[12 + rng.below(headers - 12)] ^= 1 << rng.below(8);
    }
}

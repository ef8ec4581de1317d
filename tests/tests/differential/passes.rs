//! A host that remembers what it let out judges as one that does not.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use firewall_common::pipeline::Arrival;
use firewall_common::time::Nanos;
use firewall_common::verdict::{Decision, Direction};
use firewall_policy::compile::{Budget, Generation};
use firewall_policy::world::{self, HostWorld};

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
        let mut frames = Frames::new(Places::of(&policies[0]));
        // Few, so that most were let out, or not, a moment ago.
        let known: Vec<_> = (0..40).map(|_| frames.next(&mut rng)).collect();
        let mut now = 1_000_000_000;
        for _ in 0..3000 {
            now += if rng.once_in(200) { 40_000_000_000 } else { rng.bits() % 4_000_000 };
            if rng.once_in(100) {
                let generation = &generations[rng.below(2)];
                two.enforce(generation);
            }
            let (direction, mut frame) = known[rng.below(known.len())].clone();
            if rng.once_in(4) && frame.len() > 54 {
                // A header that differs in one byte: another flow, flag, length or protocol.
                let headers = frame.len().min(74);
                frame[12 + rng.below(headers - 12)] ^= rng.byte();
            }
            let segments = if rng.once_in(8) { 3 } else { 1 };
            two.judge(Nanos(now), direction, &frame, segments)?;
        }
        two.end()?;
    }
    Ok(())
}

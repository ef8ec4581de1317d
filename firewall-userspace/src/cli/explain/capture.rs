//! `firewall explain --pcap`: every frame of a capture.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use firewall_policy::ir::Direction;
use serde::Serialize;

use super::Arguments;
use super::places::{self, OnInterface, Places};
use crate::cli::Context;
use crate::cli::says::described;
use crate::enforce::Ready;
use crate::failure::{Exit, Failure};
use crate::probe::engine::Engine;
use crate::probe::pcap;
use crate::report::snapshot::{Action, SCHEMA, Way};
use crate::report::units::plural;
use crate::verify;

/// Bytes of an Ethernet header: the kernel runs no program on less.
const ETHERNET: usize = 14;

#[derive(Serialize)]
struct Document {
    schema: u32,
    /// The interface that frames pass, where rules tell interfaces apart.
    interface: Option<String>,
    frames: Vec<Frame>,
}

#[derive(Serialize)]
struct Frame {
    number: usize,
    verdict: Action,
    by: String,
    reason: &'static str,
    bytes: usize,
    /// Bytes that the capture has of it: the rest was taken for zeros.
    captured: usize,
    packet: String,
    /// Empty where it does not matter.
    by_interface: Vec<OnInterface>,
}

pub(super) fn run(
    context: &Context,
    arguments: &Arguments,
    (mut engine, ready): (Engine, &Ready),
    places: &Places,
    (direction, path): (Direction, &Path),
) -> Result<Exit> {
    let file = std::fs::read(path).with_context(|| format!("could not read {}", path.display()))?;
    let frames =
        pcap::frames(&file).with_context(|| format!("could not read {}", path.display()))?;
    engine.put_on(places.ifindex());
    // The programs take no frame as long as a super-packet in a test run: the same code does.
    if frames.iter().any(|frame| !engine.takes(direction, frame.bytes.len())) {
        engine = Engine::model(&ready.generation);
        engine.put_on(places.ifindex());
    }
    let mut found = Vec::new();
    for (number, frame) in (1..).zip(&frames) {
        if frame.captured < ETHERNET {
            let bytes = plural(frame.captured, "byte");
            let message = format!("frame {number} has {bytes}, less than an Ethernet header");
            return Err(Failure::new(message).into());
        }
        let outcome =
            engine.judge(direction, &frame.bytes).with_context(|| format!("frame {number}"))?;
        found.push(Frame {
            number,
            verdict: verify::action(outcome.action),
            by: outcome.by(),
            reason: outcome.reason.name(),
            bytes: frame.bytes.len(),
            captured: frame.captured,
            packet: described(&frame.bytes),
            by_interface: Vec::new(),
        });
    }
    let differ = places.differ(|class, _| {
        let mut model = Engine::model(&ready.generation);
        model.put_on(class.ifindex);
        let outcomes = frames.iter().map(|frame| model.judge(direction, &frame.bytes));
        let outcomes = outcomes.map(|one| one.map(|one| (verify::action(one.action), one.by())));
        outcomes.collect()
    })?;
    for (frame, by_interface) in found.iter_mut().zip(differ) {
        frame.by_interface = by_interface;
    }
    say(context, arguments, places, (&engine, direction), found)
}

fn say(
    context: &Context,
    arguments: &Arguments,
    places: &Places,
    (engine, direction): (&Engine, Direction),
    found: Vec<Frame>,
) -> Result<Exit> {
    let on = places.name();
    if arguments.json.json {
        let interface = (!on.is_empty()).then(|| on.to_owned());
        context.out.json(&Document { schema: SCHEMA, interface, frames: found })?;
        return Ok(Exit::Ok);
    }
    let way = Way::from(direction).short();
    for frame in &found {
        context.out.line(&line(frame, way))?;
    }
    let dropped = found.iter().filter(|frame| frame.verdict == Action::Drop).count();
    let differs = found.iter().any(|frame| !frame.by_interface.is_empty());
    let on = if differs { format!("on {on}; ") } else { String::new() };
    let frames = plural(found.len(), "frame");
    context.out.line(&format!("{frames}, {dropped} dropped; {on}ran {}", engine.name()))?;
    if places.is_unknown() {
        context.out.note(places::UNKNOWN);
    }
    Ok(Exit::Ok)
}

fn line(frame: &Frame, way: &str) -> String {
    let Frame { number, verdict, by, bytes, captured, packet, by_interface, .. } = frame;
    let mut line = format!("{number:5}  {:5}  {way:3}  {packet}   {by}", verdict.name());
    if captured < bytes {
        let _ = write!(line, "   captured short: {captured} of {bytes} bytes");
    }
    if !by_interface.is_empty() {
        let _ = write!(line, "   by interface: {}", places::words(by_interface));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_the_capture_lacks() {
        let frame = |captured| Frame {
            number: 1,
            verdict: Action::Allow,
            by: "http".into(),
            reason: "rule",
            bytes: 1054,
            captured,
            packet: "a → b tcp".into(),
            by_interface: Vec::new(),
        };
        assert_eq!(line(&frame(1054), "in"), "    1  allow  in   a → b tcp   http");
        let short = line(&frame(96), "in");
        assert!(short.ends_with("   captured short: 96 of 1054 bytes"), "{short}");
    }
}

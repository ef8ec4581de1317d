//! `firewall explain --pcap`: every frame of a capture.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
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

/// Bytes of a capture.
const MAX_BYTES: u64 = 64 << 20;

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
    /// `None` if it was not judged: `by` says why.
    verdict: Option<Action>,
    by: String,
    reason: Option<&'static str>,
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
    let file = read(path)?;
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
        let mut one = Frame {
            number,
            verdict: None,
            by: "not judged: less than an Ethernet header".to_owned(),
            reason: None,
            bytes: frame.bytes.len(),
            captured: frame.captured,
            packet: described(&frame.bytes),
            by_interface: Vec::new(),
        };
        if frame.captured >= ETHERNET {
            let outcome = engine.judge(direction, &frame.bytes);
            let outcome = outcome.with_context(|| format!("frame {number}"))?;
            one.verdict = Some(verify::action(outcome.action));
            one.by = outcome.by();
            one.reason = Some(outcome.reason.name());
        }
        found.push(one);
    }
    let differ = places.differ(|class, _| {
        let mut model = Engine::model(&ready.generation);
        model.put_on(class.ifindex);
        let outcomes = frames.iter().map(|frame| model.judge(direction, &frame.bytes));
        let outcomes = outcomes.map(|one| one.map(|one| (verify::action(one.action), one.by())));
        outcomes.collect()
    })?;
    for (frame, by_interface) in found.iter_mut().zip(differ) {
        if frame.verdict.is_some() {
            frame.by_interface = by_interface;
        }
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
    let not_judged = found.iter().filter(|frame| frame.verdict.is_none()).count();
    let exit = if not_judged == 0 { Exit::Ok } else { Exit::Findings };
    if arguments.json.json {
        let interface = (!on.is_empty()).then(|| on.to_owned());
        context.out.json(&Document { schema: SCHEMA, interface, frames: found })?;
        return Ok(exit);
    }
    let way = Way::from(direction).short();
    for frame in &found {
        context.out.line(&line(frame, way))?;
    }
    let dropped = found.iter().filter(|frame| frame.verdict == Some(Action::Drop)).count();
    let differs = found.iter().any(|frame| !frame.by_interface.is_empty());
    let on = if differs { format!("on {on}; ") } else { String::new() };
    let frames = plural(found.len(), "frame");
    let mut words = format!("{frames}, {dropped} dropped");
    if not_judged > 0 {
        let _ = write!(words, ", {not_judged} not judged");
    }
    context.out.line(&format!("{words}; {on}ran {}", engine.name()))?;
    if places.is_unknown() {
        context.out.note(places::UNKNOWN);
    }
    Ok(exit)
}

/// A capture, if it is not too large to be held.
fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path);
    file.and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .with_context(|| format!("could not read {}", path.display()))?;
    if bytes.len() as u64 > MAX_BYTES {
        let failure = Failure::new(format!("{} has more than 64 MiB", path.display()));
        return Err(failure
            .help("editcap -c 100000 in.pcap out.pcap   cuts it into several")
            .into());
    }
    Ok(bytes)
}

fn line(frame: &Frame, way: &str) -> String {
    let Frame { number, verdict, by, bytes, captured, packet, by_interface, .. } = frame;
    let mut line =
        format!("{number:5}  {:5}  {way:3}  {packet}   {by}", verdict.map_or("-", Action::name));
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
            verdict: Some(Action::Allow),
            by: "http".into(),
            reason: Some("rule"),
            bytes: 1054,
            captured,
            packet: "a → b tcp".into(),
            by_interface: Vec::new(),
        };
        assert_eq!(line(&frame(1054), "in"), "    1  allow  in   a → b tcp   http");
        let short = line(&frame(96), "in");
        assert!(short.ends_with("   captured short: 96 of 1054 bytes"), "{short}");
        let none = Frame { verdict: None, by: "not judged".into(), ..frame(1054) };
        assert_eq!(line(&none, "in"), "    1  -      in   a → b tcp   not judged");
    }

    #[test]
    fn a_capture_that_is_too_large_is_refused() {
        let path = std::env::temp_dir().join(format!("firewall-capture-{}", std::process::id()));
        File::create(&path).unwrap().set_len(MAX_BYTES + 1).unwrap();
        let refused = read(&path).unwrap_err();
        std::fs::remove_file(&path).unwrap();
        assert!(refused.to_string().contains("more than 64 MiB"), "{refused}");
    }
}

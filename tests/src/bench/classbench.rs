//! Section `classbench`: five-field rule sets as the research field uses them,
//! judged right and timed.
//!
//! Two things have no counterpart in our language. It has no source port: where a
//! set names one, the rule holds for all. And it has no order: a packet that
//! a deny and an allow match is dropped, wherever they stand; the model says so.

mod file;
mod made;
mod rules;

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, ensure};
use firewall_common::service::proto;
use firewall_policy::ir::Policy;

use super::bpf::{self, Kind};
use super::instruments::{Fields, Records};
use super::synthetic;
use super::traffic::{Flow, Random};
use super::wire;
use super::{Bench, Options};
use rules::{Header, Rule, model};

const SECTION: &str = "classbench";
/// Headers that each set is held against the model with.
const HEADERS: usize = 4096;
/// Different packets of the timed rows.
const TIMED: usize = 1 << 16;

/// The rules as a policy; with `all_deny`, one that passes nothing.
fn policy(rules: &[Rule], all_deny: bool) -> Result<Policy> {
    let mut policy = synthetic::rules(1, false)?;
    let template = policy.ingress.allow.pop().context("no rule to copy")?;
    for (number, rule) in rules.iter().enumerate() {
        let chain = &mut policy.ingress;
        let list = if rule.deny || all_deny { &mut chain.deny } else { &mut chain.allow };
        list.push(rule.written(number, &template).into());
    }
    Ok(policy)
}

/// Section `classbench`.
pub(super) fn measure(bench: &mut Bench<'_>) -> Result<()> {
    let mut kept = Vec::new();
    for (row, rules) in sets(bench.options)? {
        bench.book.say(&format!("{SECTION}: {row}"));
        let loaded = judged(bench, &row, &rules).and_then(|()| {
            // By number: names of files may differ in what a path of pins cannot hold.
            let pins = format!("denied-{}", kept.len());
            let denied = synthetic::install(bench.pair, &pins, &policy(&rules, true)?);
            Ok((denied.context("all denied")?, traffic(&rules)?))
        });
        match loaded {
            Ok((ours, records)) => kept.push((row, ours, records)),
            Err(error) => bench.book.skip(SECTION, &row, &error),
        }
    }
    let mut timed = Vec::new();
    for (row, ours, records) in &kept {
        timed.push((row.clone(), ours, Records::new(Fields::V4, records)?));
    }
    if timed.is_empty() { Ok(()) } else { wire::measure_sets(bench, SECTION, &timed) }
}

/// The sets that are asked for, by row: those of files, or else made ones.
fn sets(options: &Options) -> Result<Vec<(String, Vec<Rule>)>> {
    if !options.rule_set.is_empty() {
        return files(options);
    }
    let made = [
        ("acl 1k, own addresses", &made::ACL, 1_000, Some(8)),
        ("fw 1k, own addresses", &made::FIREWALL, 1_000, Some(8)),
        ("acl 10k, own addresses", &made::ACL, 10_000, Some(8)),
        ("fw 10k, own addresses", &made::FIREWALL, 10_000, Some(8)),
        ("acl 1k", &made::ACL, 1_000, None),
        ("fw 1k", &made::FIREWALL, 1_000, None),
        ("ipc 1k", &made::CHAIN, 1_000, None),
        ("acl 10k", &made::ACL, 10_000, None),
        ("fw 10k", &made::FIREWALL, 10_000, None),
        ("ipc 10k", &made::CHAIN, 10_000, None),
        ("every length, 10k", &made::EVERY_LENGTH, 10_000, None),
    ];
    let wanted = made.into_iter().filter(|(row, ..)| {
        options.asks(SECTION, row) || options.asks(SECTION, &format!("{row}, root"))
    });
    let rules =
        |(row, kind, count, own): (&str, _, _, _)| (row.to_owned(), made::rules(kind, count, own));
    Ok(wanted.map(rules).collect())
}

/// Refuses files that are no sets.
///
/// # Errors
/// If one is none, or is named twice; says so of each.
pub(super) fn check(options: &Options) -> Result<()> {
    files(options).map(drop)
}

/// The sets of the files that are asked for.
fn files(options: &Options) -> Result<Vec<(String, Vec<Rule>)>> {
    let (mut sets, mut errors) = (Vec::new(), Vec::new());
    for (row, path) in file::rows(&options.rule_set)? {
        match file::read(path) {
            Ok(rules) => sets.push((row, rules)),
            Err(error) => errors.push(format!("{error:#}")),
        }
    }
    ensure!(errors.is_empty(), "{}", errors.join("\n"));
    Ok(sets)
}

/// TCP packets of all rules alike that have any.
fn traffic(rules: &[Rule]) -> Result<Vec<[u32; 4]>> {
    let mut random = Random::new(21);
    let mut tcp: Vec<&Rule> =
        rules.iter().filter(|rule| matches!(rule.protocol, None | Some(proto::TCP))).collect();
    tcp.retain(|rule| rule.header(&mut random).is_some());
    ensure!(!tcp.is_empty(), "no rule has TCP packets: there is nothing to time");
    let count = u32::try_from(tcp.len())?;
    let mut records = Vec::with_capacity(TIMED);
    while records.len() < TIMED {
        if let Some(Header { source, destination, port, .. }) =
            tcp[random.below(count) as usize].header(&mut random)
        {
            records.push(Flow { source, destination, ..Flow::to(port) }.record());
        }
    }
    Ok(records)
}

/// Puts headers to the programs and to the model: verdicts one by one, then every
/// rule's counter.
fn judged(bench: &mut Bench<'_>, row: &str, rules: &[Rule]) -> Result<()> {
    let ours = synthetic::install(bench.pair, "judged", &policy(rules, false)?)?;
    let (program, store) = (ours.judge("judge_xdp")?, ours.store()?);
    let mut random = Random::new(42);
    let mut hits = BTreeMap::<String, u64>::new();
    let (mut headers, mut wrong, mut passed) = (0_u32, 0_u32, 0_u32);
    for number in 0..HEADERS {
        let rule = &rules[number * rules.len() / HEADERS];
        let Some(mut header) = rule.header(&mut random) else { continue };
        // One in four meets another rule, or none.
        if number % 4 == 0 {
            header.source = random.address();
        }
        if !header.is_sane() {
            continue;
        }
        headers += 1;
        let (pass, rule) = model(rules, &header);
        let verdict = bpf::run(program.as_fd(), &header.frame(), 1)?;
        passed += u32::from(pass);
        wrong += u32::from((verdict != Kind::Xdp.drop()) != pass);
        if let Some(rule) = rule {
            *hits.entry(format!("r{rule}")).or_default() += 1;
        }
    }
    let (counters, meta) = (store.rules()?, store.meta()?.context("no policy in force")?);
    let miscounted = meta.rules.iter().filter(|rule| {
        let counted = counters.get(rule.slot as usize).map_or(0, |counter| counter.packets);
        counted != hits.get(&rule.name).copied().unwrap_or_default()
    });
    let miscounted = u32::try_from(miscounted.count())?;
    let empty = rules.iter().filter(|rule| rule.header(&mut random).is_none()).count();
    let book = &mut bench.book;
    if empty > 0 {
        let why = "addresses that no host has, or port zero";
        book.notes.push(format!("{SECTION}/{row}: {empty} rules match no sane packet: {why}"));
    }
    book.fact(SECTION, row, "headers", (headers.into(), ""));
    book.fact(SECTION, row, "passed", (passed.into(), ""));
    book.fact(SECTION, row, "wrong verdicts", (wrong.into(), ""));
    book.fact(SECTION, row, "wrong counters", (miscounted.into(), ""));
    let wrong = [(wrong.into(), "wrong verdicts"), (miscounted.into(), "wrong counters")];
    book.must_be_none(&format!("{SECTION}/{row}"), &wrong);
    Ok(())
}

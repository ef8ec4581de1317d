//! The page: one file that needs nothing else.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use firewall_userspace::report::units;

use super::html::{STYLE, escaped, table, tiles};
use super::map::map;
use super::plot::{COLOURS, Line, plot};
use super::{Results, drops, passes};
use crate::demo::book::{Check, Outcome, Part};
use crate::demo::findings::Warnings;
use crate::demo::numbers::Traffic;
use crate::demo::plan::{NAME, SERVERS};
use crate::demo::timeline::{FIREWALL_ON, Point, rates};

/// The whole page.
pub(super) fn page(results: &Results<'_>) -> String {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{NAME} behind the firewall\
         </title><style>{STYLE}</style></head><body><h1>{NAME} behind the firewall</h1>\
         <p class=\"soft\">Nine servers in network namespaces, real programs, an agent on each: HAProxy, \
         two nginx, two applications, MariaDB and its replica, a bastion, Prometheus.</p>\
         <p class=\"verdict{}\">{}</p>",
        if results.book.passed() { "" } else { " bad" },
        escaped(&results.verdict())
    );
    html.push_str(&figures(results));
    html.push_str(&map(results));
    html.push_str(
        "<p class=\"soft\">Figures at arrows are those of the load, figures in boxes packets of the \
         whole run.</p>",
    );
    html.push_str(&plots(results));
    html.push_str(&warnings(results));
    html.push_str(&requests(results));
    html.push_str(&packets(results));
    html.push_str(&servers(results));
    html.push_str(&checks(results));
    html.push_str("</body></html>\n");
    html
}

/// What the whole run comes to.
fn figures(results: &Results<'_>) -> String {
    let numbers = results.numbers;
    // Two servers may have counted the same.
    let counted = numbers.requests.iter().map(|one| ((&one.server, one.rule), one.firewall));
    let requests: u64 = counted.collect::<BTreeMap<_, _>>().into_values().sum();
    let off: u128 = numbers.requests.iter().map(|one| one.difference().unsigned_abs()).sum();
    let packets: u64 = numbers.traffic.iter().map(|one| one.arrived + one.left).sum();
    let packets_off: u128 = numbers.traffic.iter().map(Traffic::off).sum();
    let servers = || SERVERS.iter().filter(|one| results.book.wants(&[one.tier]));
    let dropped: u64 = servers()
        .flat_map(|server| drops(results.totals, server.name))
        .map(|(_, packets)| packets)
        .sum();
    let passed = results.book.count(&Outcome::Passed) as u64;
    let checks = results.book.checks().len() as u64;
    tiles(&[
        (format!("{} of {}", units::count(passed), units::count(checks)), "checks passed".into()),
        (units::count(requests), format!("requests under load; the servers counted {}", same(off))),
        (
            units::count(packets),
            format!("packets under load; the kernels counted {}", same(packets_off)),
        ),
        (units::count(dropped), "packets dropped: attempts, forgeries, scans".into()),
    ])
}

/// How far two counts are apart.
fn same(off: u128) -> String {
    if off == 0 { "exactly as many".to_owned() } else { format!("{off} more or less") }
}

/// What each server says of itself.
fn warnings(results: &Results<'_>) -> String {
    let row = |one: &Warnings| {
        let said = if one.messages.is_empty() { "nothing".into() } else { one.messages.join("\n") };
        vec![one.server.clone(), said]
    };
    let rows: Vec<_> = results.warnings.iter().map(row).collect();
    format!(
        "<h2>What the firewall says about the site</h2><p class=\"soft\"><code>firewall audit</code>, \
         from the rules in force, sockets, flows and what was read on the wire. Nobody planned \
         <code>stranger</code>: two roles, and nobody who watches.</p>{}",
        table(&["server", "warns of"], &rows)
    )
}

/// A plot of one number of each server.
struct Plot {
    title: &'static str,
    unit: &'static str,
    about: &'static str,
    of: fn(&Point) -> u64,
}

const PLOTS: [Plot; 3] = [
    Plot {
        title: "Requests per second",
        unit: "requests/s",
        about: "One request of a visitor passes through lb, a web server, an application and a \
                database; each firewall counts it on its own wire.",
        of: |point| point.requests,
    },
    Plot {
        title: "Packets per second that pass",
        unit: "packets/s",
        about: "Both ways. A gap is where the agents were dead: the firewall went on, nobody was \
                there to tell.",
        of: |point| point.passed,
    },
    Plot {
        title: "Packets per second that are dropped",
        unit: "drops/s",
        about: "Attempts, forged packets and port scans.",
        of: |point| point.dropped,
    },
];

fn plots(results: &Results<'_>) -> String {
    let mut html = String::new();
    // Before that nobody counts.
    let on = results.record.marks.iter().find(|(_, what)| *what == FIREWALL_ON);
    let from = on.map_or(0.0, |(at, _)| *at);
    for one in &PLOTS {
        let lines: Vec<Line<'_>> = SERVERS
            .iter()
            .zip(&results.record.points)
            .zip(COLOURS)
            .filter(|((server, _), _)| results.book.wants(&[server.tier]))
            .map(|((server, points), colour)| Line {
                name: server.name,
                colour,
                points: rates(points, one.of),
            })
            .filter(|line| line.points.iter().any(|point| point.1.is_some_and(|rate| rate > 0.0)))
            .collect();
        let _ = write!(
            html,
            "<h2>{}</h2><p class=\"soft\">{}</p>{}<p class=\"legend\">",
            one.title,
            one.about,
            plot(&lines, &results.record.marks, (from, results.seconds), one.unit)
        );
        for line in &lines {
            let _ = write!(
                html,
                "<span><i style=\"background:{}\"></i>{}</span>",
                line.colour,
                escaped(line.name)
            );
        }
        html.push_str("</p>");
    }
    html
}

fn requests(results: &Results<'_>) -> String {
    let numbers = results.numbers;
    let row = |one: &crate::demo::numbers::Comparison| {
        vec![
            one.server.clone(),
            one.rule.to_owned(),
            one.unit.to_owned(),
            units::rate(units::as_f64(one.firewall) / numbers.seconds),
            units::count(one.firewall),
            units::count(one.truth),
            one.difference().to_string(),
            one.source.to_owned(),
        ]
    };
    let rows: Vec<_> = numbers.requests.iter().map(row).collect();
    format!(
        "<h2>Requests, beside the servers' own counts</h2><p class=\"soft\">{:.1} s of load, quiet \
         before and after. Each pair counts the same thing in two places: equal, or wrong.</p>{}",
        numbers.seconds,
        table(
            &[
                "server",
                "rule",
                "unit",
                "#per second",
                "#firewall",
                "#server",
                "#difference",
                "counted by"
            ],
            &rows
        )
    )
}

fn packets(results: &Results<'_>) -> String {
    let row = |one: &Traffic| {
        let sent = one.kernel_left.unwrap_or(one.link_left);
        vec![
            one.server.to_owned(),
            units::rate(one.rate(one.arrived)),
            units::count(one.arrived),
            units::count(one.link_arrived),
            (i128::from(one.arrived) - i128::from(one.link_arrived)).to_string(),
            units::rate(one.rate(one.left)),
            units::count(one.left),
            units::count(sent),
            (i128::from(one.left) - i128::from(sent)).to_string(),
            units::count(one.link_left),
        ]
    };
    let rows: Vec<_> = results.numbers.traffic.iter().map(row).collect();
    format!(
        "<h2>Packets, beside the kernel's own counts</h2><p class=\"soft\">Of the same load. \
         Outgoing super-packets count as the wire packets they stand for, as in the kernel's TCP; \
         <code>ip -s link</code> shows them as one.</p>{}",
        table(
            &[
                "server",
                "#in/s",
                "#firewall",
                "#ip -s link",
                "#difference",
                "#out/s",
                "#firewall",
                "#kernel",
                "#difference",
                "#ip -s link",
            ],
            &rows
        )
    )
}

fn servers(results: &Results<'_>) -> String {
    let all = |list: Vec<(String, u64)>| {
        let one = |(name, packets): &(String, u64)| format!("{name} {}", units::count(*packets));
        list.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let rows: Vec<_> = SERVERS
        .iter()
        .filter(|server| results.book.wants(&[server.tier]))
        .map(|server| {
            vec![
                server.name.to_owned(),
                server.role.to_owned(),
                all(passes(results.totals, server.name)),
                all(drops(results.totals, server.name)),
            ]
        })
        .collect();
    format!(
        "<h2>Packets of the whole run, by what decided</h2>{}",
        table(&["server", "role", "allowed by", "dropped by"], &rows)
    )
}

fn checks(results: &Results<'_>) -> String {
    let mut html = "<h2>Checks</h2>".to_owned();
    for part in Part::ALL {
        let all: Vec<&Check> = results.book.part(part).collect();
        if all.is_empty() {
            continue;
        }
        let bad = all.iter().filter(|check| check.outcome == Outcome::Failed).count();
        let _ = write!(
            html,
            "<details{}><summary>{}: {} checks{}</summary><div class=\"wide\"><table><tbody>",
            if bad > 0 { " open" } else { "" },
            escaped(part.title()),
            all.len(),
            if bad > 0 { format!(", {bad} failed") } else { String::new() }
        );
        for check in all {
            let (class, word) = match check.outcome {
                Outcome::Passed => ("good", "passed"),
                Outcome::Failed => ("bad", "FAILED"),
            };
            let _ = write!(
                html,
                "<tr><td class=\"{class}\">{word}</td><td>{}</td><td class=\"soft\">{}</td></tr>",
                escaped(&check.what),
                escaped(&check.seen)
            );
        }
        html.push_str("</tbody></table></div></details>");
    }
    html
}

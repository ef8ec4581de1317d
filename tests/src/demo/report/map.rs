//! The site as a picture: who talks to whom, how much of it, and what was
//! dropped where.

use std::fmt::Write as _;

use firewall_userspace::report::units;

use super::html::escaped;
use super::{Results, drops};
use crate::demo::plan::{SERVERS, Tier};

/// Size of a box, pixels.
const WIDTH: f64 = 116.0;
const HEIGHT: f64 = 44.0;

/// A box: its name, and its upper left corner.
type Place = (&'static str, f64, f64);

const VISITORS: Place = ("visitors", 2.0, 62.0);
const PLACES: [Place; 9] = [
    ("lb", 222.0, 62.0),
    ("web1", 442.0, 24.0),
    ("web2", 442.0, 100.0),
    ("app1", 662.0, 24.0),
    ("app2", 662.0, 100.0),
    ("db-primary", 882.0, 24.0),
    ("db-replica", 882.0, 100.0),
    ("bastion", 442.0, 186.0),
    ("prometheus", 662.0, 186.0),
];

/// Arrows: from, to, the rules whose requests pass there, and what they are
/// called.
const ARROWS: [(&str, &str, &[&str], &str); 7] = [
    ("visitors", "lb", &["public-https"], "handshakes/s"),
    ("lb", "web1", &["to-web"], "HTTP/s"),
    ("lb", "web2", &[], ""),
    ("web1", "app1", &["to-app"], "HTTP/s"),
    ("web2", "app2", &[], ""),
    ("app1", "db-primary", &["mysql-write"], "writes/s"),
    ("app2", "db-replica", &["mysql-read"], "reads/s"),
];

/// The picture.
pub(super) fn map(results: &Results<'_>) -> String {
    let mut svg = "<svg class=\"map\" viewBox=\"0 0 1000 250\" role=\"img\" \
        aria-label=\"the site\"><defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" \
        markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\"/></marker>\
        </defs>"
        .to_owned();
    for (from, to, rules, unit) in ARROWS {
        arrow(&mut svg, place(from), place(to), &rate(results, rules, unit));
    }
    block(&mut svg, VISITORS, "and attackers", "");
    for at in PLACES {
        let dropped: u64 = drops(results.totals, at.0).iter().map(|one| one.1).sum();
        let class = if is_wanted(results, at.0) { "" } else { " idle" };
        block(&mut svg, at, &format!("{} dropped", units::count(dropped)), class);
    }
    svg.push_str(
        "<text x=\"500\" y=\"244\" text-anchor=\"middle\">ssh to every server</text>\
         <text x=\"720\" y=\"244\" text-anchor=\"middle\">scrapes every server</text></svg>",
    );
    svg
}

fn place(name: &str) -> Place {
    PLACES.into_iter().find(|one| one.0 == name).unwrap_or(VISITORS)
}

fn is_wanted(results: &Results<'_>, server: &str) -> bool {
    let tier: Option<Tier> = SERVERS.iter().find(|one| one.name == server).map(|one| one.tier);
    tier.is_some_and(|tier| results.book.wants(&[tier]))
}

/// Requests per second of the load that rules of these names have counted.
fn rate(results: &Results<'_>, rules: &[&str], unit: &str) -> String {
    let counted = results.numbers.requests.iter().filter(|one| rules.contains(&one.rule));
    let all: u64 = counted.map(|one| one.firewall).sum();
    if all == 0 {
        return String::new();
    }
    format!("{} {unit}", units::rate(units::as_f64(all) / results.numbers.seconds))
}

fn block(svg: &mut String, (name, x, y): Place, below: &str, class: &str) {
    let middle = x + WIDTH / 2.0;
    let _ = write!(
        svg,
        "<g class=\"box{class}\"><rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         rx=\"6\"/><text class=\"name\" x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
         <text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text></g>",
        y + 18.0,
        escaped(name),
        y + 35.0,
        escaped(below)
    );
}

fn arrow(svg: &mut String, from: Place, to: Place, label: &str) {
    let (x1, y1) = (from.1 + WIDTH + 2.0, from.2 + HEIGHT / 2.0);
    let (x2, y2) = (to.1 - 3.0, to.2 + HEIGHT / 2.0);
    let _ = write!(
        svg,
        "<line class=\"way\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" \
         marker-end=\"url(#tip)\"/>\
         <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
        f64::midpoint(x1, x2),
        y1.min(y2) - 8.0,
        escaped(label)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_has_its_place() {
        for server in SERVERS {
            assert_eq!(place(server.name).0, server.name);
        }
        for (from, to, ..) in ARROWS {
            assert!(place(to).1 > place(from).1, "{from} → {to} goes back");
        }
    }
}

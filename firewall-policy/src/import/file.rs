//! The role file: what a person has to know, the settings, the rules, the tests.

use std::fmt::Write as _;

use super::{Imported, Request, write};
use crate::ir::{Action, Direction};
use crate::set::ServiceSet;
use crate::value::name::other_reading;

/// The whole role file.
pub(super) fn file(
    book: &write::Book,
    sides: &[(Direction, Action)],
    tests: &str,
    request: &Request,
    imported: &Imported,
) -> String {
    let word = |wanted: Direction| match sides.iter().find(|(direction, _)| *direction == wanted) {
        Some((_, Action::Drop)) => "drop",
        _ => "allow",
    };
    let mut names: Vec<&str> =
        request.files.iter().map(|file| file.name.as_str()).take(8).collect();
    let more = format!("{} more", request.files.len().saturating_sub(8));
    names.extend((request.files.len() > 8).then_some(more.as_str()));
    let language = request.language.word();
    let mut text = format!(
        "# Made by `firewall import {language}` from {}.\n",
        write::clean(&names.join(", "))
    );
    text.push_str(&listed(imported));
    // Some names are numbers or truths to a reader of YAML.
    let quote = if other_reading(&request.role).is_some() { "\"" } else { "" };
    let _ = write!(text, "version: 1\nrole: {quote}{}{quote}\n\n", request.role);
    text.push_str(INTERFACES);
    let _ = write!(
        text,
        "default: {{ ingress: {}, egress: {} }}\n\n",
        word(Direction::Ingress),
        word(Direction::Egress)
    );
    text.push_str(BASELINE);
    text.push_str(if book.breaks_ipv6 {
        "# A deny below names neighbour discovery; the baseline comes before it.\nbaseline: { ping: off, breaks-ipv6: accepted }\n\n"
    } else {
        "baseline: { ping: off }\n\n"
    });
    let ssh = ServiceSet::range(22, 22);
    let has_ssh = book.rules.iter().any(|rule| {
        (rule.direction, rule.action) == (Direction::Ingress, Action::Allow)
            && !rule.boxed.services.is_disjoint(&ssh)
    });
    text.push_str(if has_ssh || word(Direction::Ingress) == "allow" {
        FAILSAFE
    } else {
        NO_WAY_IN
    });
    text.push_str(&book.definitions());
    text.push_str(&book.chain(Direction::Ingress));
    text.push_str(&book.chain(Direction::Egress));
    if !tests.is_empty() {
        text.push_str("# What the imported lines do with these packets.\ntests:\n");
        text.push_str(tests);
    }
    text
}

const INTERFACES: &str = "\
# Tunnels without an Ethernet header cannot be judged here: what is inside them passes.
# TO DECIDE: what is imported judged every interface, so this does all others. On a host
# with containers, bridges or bonds ignore also what must not be judged twice, such as
# docker0, \"br-*\", \"veth*\".
interfaces:
  match: [\"*\"]
  ignore: [\"tun*\", \"wg*\", \"ppp*\", \"sit*\", \"tunl*\", \"ip6tnl*\", \"gre*\"]
";

const BASELINE: &str = "\
# Pings are what the rules below say; neighbour discovery, ICMP errors and DHCP pass.
";

const FAILSAFE: &str = "\
# TO DECIDE: who gets in whatever else is wrong? Such as:
# failsafe: { ingress: [ { name: failsafe-ssh, from: 198.51.100.5, service: ssh } ] }

";

const NO_WAY_IN: &str = "\
# TO DECIDE: no rule below lets anybody in by ssh. If this host has no console, name
# who may: failsafe: { ingress: [ { name: failsafe-ssh, from: 198.51.100.5, service: ssh } ] }
failsafe: { ingress: [] }

";

/// What is not carried, and notes, as comments.
fn listed(imported: &Imported) -> String {
    let mut text = String::new();
    let losses = imported.losses();
    if losses.is_empty() {
        text.push_str("# Everything is carried.\n");
    } else {
        let _ = writeln!(text, "# NOT CARRIED, or not in full ({}):", imported.not_carried.len());
        for (reason, lines) in &losses {
            let _ = writeln!(text, "#   {}", write::clean(reason));
            for line in lines.iter().take(SHOWN) {
                let _ = writeln!(text, "#     {}", write::clean(line));
            }
            if lines.len() > SHOWN {
                let _ = writeln!(text, "#     and {} more", lines.len() - SHOWN);
            }
        }
    }
    if !imported.notes.is_empty() {
        text.push_str("# Notes:\n");
        for note in &imported.notes {
            let _ = writeln!(text, "#   {}", write::clean(&note.words()));
        }
    }
    text
}

/// Lines that are shown for one reason.
const SHOWN: usize = 20;

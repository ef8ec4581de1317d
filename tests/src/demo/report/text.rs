//! The tables at the end, on standard output.

use std::fmt::Write as _;
use std::io::Write as _;

use firewall_userspace::report::table::{Align, Table};
use firewall_userspace::report::units;

use super::{Results, drops, passes};
use crate::demo::book::{Outcome, Part};
use crate::demo::plan::SERVERS;

/// Prints everything; a reader that has gone is no error.
pub(crate) fn print(results: &Results<'_>) {
    let _ = std::io::stdout().write_all(text(results).as_bytes());
}

fn text(results: &Results<'_>) -> String {
    let mut text = String::new();
    section(&mut text, "Servers: packets of the whole run, by what decided", &servers(results));
    let seconds = results.numbers.seconds;
    let load = format!("Requests: {seconds:.1} s of load, beside the servers' own counts");
    section(&mut text, &load, &requests(results));
    if !results.numbers.requests.is_empty() {
        text.push_str(SOURCES);
    }
    section(
        &mut text,
        "Packets of the same load, beside the kernel's own counts",
        &packets(results),
    );
    let said =
        "What the firewall says about the site (firewall audit; stranger was set up in haste)";
    section(&mut text, said, &warnings(results));
    section(&mut text, "Checks", &checks(results));
    let _ = writeln!(text, "\n{}", results.verdict());
    text
}

fn section(text: &mut String, title: &str, body: &str) {
    if !body.is_empty() {
        let _ = write!(text, "\n{title}\n\n{body}");
    }
}

/// What is beside what, and why the two must be equal.
const SOURCES: &str = "
  Every pair counts the same thing in two places, quiet before and after: equal, or wrong.
  TLS handshakes are ClientHellos; requests over a load balancer's TLS are counted behind it.
  nginx logs a line for each request; its stub_status counts the question for it, too, which is
  left out. Com_* are the statements that MariaDB has run; on the replica Com_insert is
  replication's own and left out. Nothing else is subtracted.
";

fn servers(results: &Results<'_>) -> String {
    let (left, right) = (Align::Left, Align::Right);
    let mut table = Table::new([
        ("server", left),
        ("role", left),
        ("allowed", right),
        ("by", left),
        ("dropped", right),
        ("by", left),
    ]);
    for server in SERVERS.iter().filter(|server| results.book.wants(&[server.tier])) {
        let (passed, dropped) =
            (passes(results.totals, server.name), drops(results.totals, server.name));
        let sum = |all: &[(String, u64)]| all.iter().map(|one| one.1).sum::<u64>();
        table.row([
            server.name.to_owned(),
            server.role.to_owned(),
            units::count(sum(&passed)),
            list(&passed, 2),
            units::count(sum(&dropped)),
            list(&dropped, 2),
        ]);
    }
    table.render()
}

/// The first of a list, and how many more there are.
fn list(all: &[(String, u64)], shown: usize) -> String {
    let one = |(name, packets): &(String, u64)| format!("{name} {}", units::short_count(*packets));
    let mut text: Vec<String> = all.iter().take(shown).map(one).collect();
    if all.len() > shown {
        text.push(format!("{} more", all.len() - shown));
    }
    text.join(", ")
}

fn requests(results: &Results<'_>) -> String {
    let (left, right) = (Align::Left, Align::Right);
    let mut table = Table::new([
        ("server", left),
        ("rule", left),
        ("", left),
        ("per second", right),
        ("firewall", right),
        ("server", right),
        ("difference", right),
        ("counted by", left),
    ]);
    for one in &results.numbers.requests {
        table.row([
            one.server.clone(),
            one.rule.to_owned(),
            one.unit.to_owned(),
            units::rate(units::as_f64(one.firewall) / results.numbers.seconds),
            units::count(one.firewall),
            units::count(one.truth),
            difference(one.difference()),
            one.source.to_owned(),
        ]);
    }
    if table.is_empty() { String::new() } else { table.render() }
}

fn difference(by: i128) -> String {
    if by == 0 { "0".to_owned() } else { format!("{by:+}") }
}

fn packets(results: &Results<'_>) -> String {
    let right = Align::Right;
    let mut table = Table::new([
        ("server", Align::Left),
        ("in/s", right),
        ("firewall", right),
        ("ip -s link", right),
        ("difference", right),
        ("out/s", right),
        ("firewall", right),
        ("kernel", right),
        ("difference", right),
        ("of which ip -s link shows", right),
    ]);
    for one in &results.numbers.traffic {
        let sent = one.kernel_left.unwrap_or(one.link_left);
        table.row([
            one.server.to_owned(),
            units::rate(one.rate(one.arrived)),
            units::count(one.arrived),
            units::count(one.link_arrived),
            difference(i128::from(one.arrived) - i128::from(one.link_arrived)),
            units::rate(one.rate(one.left)),
            units::count(one.left),
            units::count(sent),
            difference(i128::from(one.left) - i128::from(sent)),
            units::count(one.link_left),
        ]);
    }
    if table.is_empty() {
        return String::new();
    }
    let mut text = table.render();
    text.push_str(
        "\n  Out: wire packets. `ip -s link` shows a super-packet as one; the kernel's TCP counts the\n  \
         segments it stands for, as the firewall does.\n",
    );
    text
}

/// What each server warns of; servers that say the same share a line.
fn warnings(results: &Results<'_>) -> String {
    let mut said: Vec<(&str, Vec<&str>)> = Vec::new();
    for one in results.warnings {
        for message in &one.messages {
            match said.iter_mut().find(|(known, _)| known == message) {
                Some((_, servers)) => servers.push(&one.server),
                None => said.push((message, vec![&one.server])),
            }
        }
    }
    let mut table = Table::new([("", Align::Left), ("", Align::Left)]);
    for (message, servers) in said {
        table.row([servers.join(" "), message.to_owned()]);
    }
    table.render()
}

fn checks(results: &Results<'_>) -> String {
    let right = Align::Right;
    let mut table = Table::new([("", Align::Left), ("passed", right), ("failed", right)]);
    for part in Part::ALL {
        let count = |outcome: &Outcome| {
            results.book.part(part).filter(|check| check.outcome == *outcome).count() as u64
        };
        let [passed, failed] = [Outcome::Passed, Outcome::Failed].map(|outcome| count(&outcome));
        if passed + failed > 0 {
            table.row([part.title().to_owned(), units::count(passed), units::count(failed)]);
        }
    }
    let mut text = table.render();
    for check in results.book.checks().iter().filter(|check| check.outcome == Outcome::Failed) {
        let seen = check.seen.replace('\n', "\n  ");
        let _ = writeln!(text, "\nFAILED: {}\n  {seen}", check.what);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut_and_says_so() {
        let all = [("default-in".to_owned(), 12), ("banned".to_owned(), 1), ("deny".to_owned(), 1)];
        assert_eq!(list(&all, 2), "default-in 12, banned 1, 1 more");
        assert_eq!(list(&[], 2), "");
    }

    #[test]
    fn a_difference_shows_its_sign() {
        assert_eq!(
            (difference(0), difference(3), difference(-3)),
            ("0".into(), "+3".into(), "-3".into())
        );
    }
}

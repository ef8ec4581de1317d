//! What the walk says of packets that are judged for certain reasons.

use super::*;
use crate::probe::engine::Engine;

const ROLE: &str = "\
version: 1
role: web
default: { ingress: drop, egress: drop }
failsafe: { ingress: [] }
groups:
  app-servers:    [10.0.3.11, 10.0.3.12]
  resolvers:      [10.0.9.53]
  cloud-metadata: [169.254.169.254]
services:
  app-http: { tcp: 8080 }
  dns:      { udp: 53, tcp: 53 }
ingress:
  allow:
    - { name: http, from: 10.0.1.10, service: app-http }
egress:
  deny:
    - { name: no-cloud-metadata, to: cloud-metadata, service: all }
  allow:
    - { name: to-app, to: app-servers, service: app-http }
    - { name: dns, to: resolvers, service: dns }
";

fn walk(probe: &Probe, bans: &[(IpAddr, u8)]) -> Walk {
    walk_with(probe, bans, &[])
}

fn walk_with(probe: &Probe, bans: &[(IpAddr, u8)], openings: &[Opening]) -> Walk {
    walk_of(ROLE, probe, Live { bans, openings, ..Live::default() })
}

fn walk_of(role: &str, probe: &Probe, live: Live<'_>) -> Walk {
    let (loaded, generation) = crate::candidate::of_role(role);
    let outcome = Engine::model(&generation).ask(probe).unwrap();
    of(&loaded.policy, probe, &outcome, live)
}

fn probe(direction: Direction, from: &str, to: &str, port: u16) -> Probe {
    Probe {
        direction,
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
        transport: ir::Probe::Tcp(50_000, port),
        established: false,
        vlan: None,
        fragment: false,
    }
}

#[test]
fn a_drop_by_default_names_what_came_near() {
    let probe = probe(Direction::Egress, "10.0.2.11", "10.0.3.12", 3306);
    let text = walk(&probe, &[]).text(&probe, "ran the model");
    assert_eq!(
        text,
        "\
DROP   default-out        rules/web.yaml:3  default: { ingress: drop, egress: drop }
  out 10.0.2.11:50000 → 10.0.3.12:3306 tcp; ran the model
  1 malformed     no
  2 failsafe      no match
  3 baseline      no match
  4 bans          not searched: bans are for what arrives
  5 established   no flow; not a reply (a SYN never is)
  6 deny          no-cloud-metadata: to 10.0.3.12 is not in cloud-metadata
  7 limits        no limited rule
  8 allow         to-app: port 3306 is not app-http (8080/tcp)         ← nearest
                  dns: no match
  9 default       egress: drop   ← decides
  The application sees: connect hangs, then times out.
"
    );
}

#[test]
fn an_allow_names_its_rule() {
    let probe = probe(Direction::Egress, "10.0.2.11", "10.0.3.12", 8080);
    let walk = walk(&probe, &[]);
    assert_eq!((walk.by.as_str(), walk.place.as_deref()), ("to-app", Some("rules/web.yaml:19")));
    let text = walk.text(&probe, "ran the model");
    assert!(
        text.contains("8 allow         to-app: matches (rules/web.yaml:19)   ← decides"),
        "{text}"
    );
    assert!(!text.contains("sees"), "{text}");
}

#[test]
fn a_ban_overrules_an_allow() {
    let probe = probe(Direction::Ingress, "10.0.1.10", "10.0.2.11", 8080);
    assert_eq!(walk(&probe, &[]).by, "http");
    let banned = walk(&probe, &[("10.0.1.0".parse().unwrap(), 24)]);
    assert_eq!((banned.by.as_str(), banned.verdict), ("banned", snapshot::Action::Drop));
    assert!(banned.steps.iter().any(|step| step.stage == "bans" && step.decided));
}

#[test]
fn an_opening_decides_what_no_rule_does() {
    use crate::kernel::openings::opening;
    let from = ("198.51.100.0".parse().unwrap(), 24);
    let until = monotonic_ns() + 90_000_000_000;
    let open = [opening(from, (3306, 3306), "mysql", (0, until))];
    let comes = probe(Direction::Ingress, "198.51.100.7", "10.0.2.11", 3306);
    assert_eq!(walk(&comes, &[]).by, "default-in");
    let walked = walk_with(&comes, &[], &open);
    assert_eq!((walked.by.as_str(), walked.verdict), ("opening", snapshot::Action::Allow));
    let text = walked.text(&comes, "ran the model");
    assert!(text.starts_with("ALLOW  opening            firewall open list\n"), "{text}");
    let step = "9 default       mysql is open to 198.51.100.0/24, ";
    assert!(
        text.contains(step) && text.contains("left (firewall open list)   ← decides"),
        "{text}"
    );
    let answer = Probe {
        transport: ir::Probe::Tcp(3306, 50_000),
        established: true,
        ..probe(Direction::Egress, "10.0.2.11", "198.51.100.7", 0)
    };
    assert_eq!(walk(&answer, &[]).by, "default-out");
    let walked = walk_with(&answer, &[], &open);
    assert_eq!((walked.by.as_str(), walked.verdict), ("established", snapshot::Action::Allow));
    for other in [
        probe(Direction::Ingress, "198.51.101.7", "10.0.2.11", 3306),
        probe(Direction::Ingress, "198.51.100.7", "10.0.2.11", 3307),
        probe(Direction::Egress, "10.0.2.11", "198.51.100.7", 3306),
    ] {
        assert_eq!(walk_with(&other, &[], &open).verdict, snapshot::Action::Drop, "{other:?}");
    }
    let banned = walk_with(&comes, &[from], &open);
    assert_eq!(banned.by, "banned");
}

#[test]
fn replies_are_explained_by_what_they_answer() {
    let opened = Probe {
        transport: ir::Probe::Tcp(8080, 50_000),
        established: true,
        ..probe(Direction::Ingress, "10.0.3.12", "10.0.2.11", 0)
    };
    let walk = walk(&opened, &[]);
    assert_eq!(walk.by, "established");
    assert!(walk.steps[4].decided && walk.steps[4].says[0].contains("may open"));
}

const TWO_INTERFACES: &str = "\
version: 1
role: web
default: { ingress: drop, egress: allow }
failsafe: { ingress: [] }
services: { ike: { udp: 500 } }
ingress:
  allow:
    - { name: ike, iface: lo, service: ike }
";

#[test]
fn what_is_said_of_flows_holds_beside_rules_for_an_interface() {
    let said =
        |probe: &Probe| walk_of(TWO_INTERFACES, probe, Live::default()).steps[4].says.join(" ");
    let ike = |direction, from, to| Probe {
        transport: ir::Probe::Udp(500, 500),
        established: direction == Direction::Ingress,
        ..probe(direction, from, to, 0)
    };
    let out = said(&ike(Direction::Egress, "10.0.2.11", "10.0.3.12"));
    assert_eq!(out, "not asked: nothing would drop the packet");
    let reply = said(&ike(Direction::Ingress, "10.0.3.12", "10.0.2.11"));
    assert_eq!(reply, "a reply to a flow that this host may open");
    let dns = Probe {
        transport: ir::Probe::Udp(53, 50_000),
        ..probe(Direction::Ingress, "10.0.9.53", "10.0.2.11", 0)
    };
    assert_eq!(said(&dns), "no flow");
}

//! What the language means, where a reader of it could expect something else.

#![expect(clippy::panic, reason = "a helper of a test fails by panicking")]

use std::time::{Duration, UNIX_EPOCH};

use firewall_policy::ir::{Action, Policy, TcpFlags};
use firewall_policy::set::AddrSet;
use firewall_policy::source::MemoryFiles;
use firewall_policy::{Options, Subject, load};

const SITE: &str = "version: 1
kind: site
groups:
  bastion: [10.0.9.22]
services:
  ssh: { tcp: 22 }
  http: { tcp: 80 }
  dns: { udp: 53, tcp: 53 }
failsafe: { ingress: [ { name: failsafe-ssh, from: bastion, service: ssh } ] }
";

fn files(role: &str) -> MemoryFiles {
    MemoryFiles::new()
        .with("rules/site.yaml", SITE)
        .with("rules/web.yaml", format!("version: 1\nrole: web\ninclude: [site.yaml]\n{role}"))
}

fn options() -> Options {
    Options { allow_unsupported: true, ..Options::default() }
}

fn policy(files: &MemoryFiles, subject: &Subject, options: &Options) -> Policy {
    load(files, subject, options).unwrap_or_else(|report| panic!("{report}")).policy
}

fn web(role: &str) -> Policy {
    policy(&files(role), &Subject::Roles(vec!["web".into()]), &options())
}

fn roles(names: &[&str]) -> Subject {
    Subject::Roles(names.iter().map(|&name| name.into()).collect())
}

#[test]
fn what_is_not_written_is_safe() {
    let policy = web("");
    assert_eq!((policy.ingress.default, policy.egress.default), (Action::Drop, Action::Drop));
    assert!(policy.baseline.host && policy.baseline.dhcp && !policy.baseline.forward_pass);
    assert_eq!(policy.baseline.ping_per_second, 20);
    assert_eq!(policy.interfaces.matches, ["en*", "eth*"]);
    assert_eq!((policy.state.flows, policy.state.udp_idle_s), (262_144, 30));
}

#[test]
fn lines_may_end_as_windows_ends_them() {
    let role = "ingress:\n  allow:\n    - { name: a, from: bastion, service: http }\n";
    let files = files(role);
    let crlf = format!("version: 1\nrole: web\ninclude: [site.yaml]\n{role}").replace('\n', "\r\n");
    let both = [files.clone(), files.with("rules/web.yaml", crlf)];
    let [unix, windows] = both.map(|files| policy(&files, &roles(&["web"]), &options()));
    assert_eq!(unix, windows);
}

#[test]
fn except_takes_away_and_private_is_rfc_1918_and_4193() {
    let policy = web(
        "ingress:\n  allow:\n    - name: a\n      from: { group: private, except: [bastion, \"fd00::/16\"] }\n      service: http\n",
    );
    let rule = &policy.ingress.allow[0];
    let has = |address: &str| rule.remote.contains(address.parse().unwrap());
    assert!(has("10.1.2.3") && has("192.168.0.1") && has("fd01::1"));
    assert!(!has("10.0.9.22") && !has("fd00::1") && !has("172.32.0.1") && !has("8.8.8.8"));
    assert_eq!(rule.remote_text, "private except bastion, fd00::/16");
}

#[test]
fn self_is_the_host_that_the_policy_is_for() {
    let own = AddrSet::network("10.0.2.11".parse().unwrap(), 32);
    let options = Options { own_addresses: Some(own.clone()), ..options() };
    let role = "ingress:\n  allow:\n    - { name: a, from: bastion, to: self, service: http }\n";
    let policy = policy(&files(role), &roles(&["web"]), &options);
    assert_eq!(policy.ingress.allow[0].local, own);
}

#[test]
fn flags_that_are_not_named_do_not_matter() {
    let policy = web(
        "ingress:\n  allow:\n    - { name: a, from: bastion, service: http, tcp-flags: [syn, \"!ack\"] }\n    - { name: b, from: 10.0.0.1, service: all, tcp-flags: rst }\n",
    );
    assert_eq!(policy.ingress.allow[0].tcp_flags, Some(TcpFlags { mask: 0x12, value: 0x02 }));
    let all = &policy.ingress.allow[1];
    assert_eq!(all.tcp_flags, Some(TcpFlags { mask: 0x04, value: 0x04 }));
    assert!(all.services.contains(443) && !all.services.contains(65_536 + 53), "TCP only");
}

#[test]
fn an_expired_rule_is_not_in_force_the_day_after() {
    let role = "ingress:\n  allow:\n    - { name: a, from: bastion, service: http, expires: 1970-01-10 }\n";
    let on = |day: u64| {
        let now = Some(UNIX_EPOCH + Duration::from_hours(day * 24 + 23));
        let options = Options { now, ..options() };
        policy(&files(role), &roles(&["web"]), &options).ingress.allow.len()
    };
    assert_eq!((on(8), on(9), on(10)), (1, 1, 0));
}

#[test]
fn the_host_file_settles_what_roles_differ_in() {
    let files = files("default: { egress: drop }\n").with(
        "rules/app.yaml",
        "version: 1\nrole: app\ninclude: [site.yaml]\ndefault: { egress: allow }\n",
    );
    let report = load(&files, &roles(&["web", "app"]), &options()).unwrap_err();
    assert_eq!(report.diagnostics[0].code.id(), "E0412");
    let host = "version: 1\nroles: [web, app]\ndefault: { egress: allow }\nfailsafe: { ingress: [ { name: console, from: 10.0.9.99, service: ssh } ] }\n";
    let policy = policy(&files.with("host.yaml", host), &Subject::Host, &options());
    assert_eq!(policy.egress.default, Action::Allow);
    let failsafe: Vec<_> = policy.ingress.failsafe.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(failsafe, ["console"]);
}

#[test]
fn the_order_of_roles_and_rules_changes_nothing_but_the_order() {
    let rule =
        |name: &str| format!("    - {{ name: {name}, from: bastion, service: [http, dns] }}\n");
    let text = |role: &str, rules: &[&str]| {
        let rules: String = rules.iter().map(|name| rule(name)).collect();
        format!("version: 1\nrole: {role}\ninclude: [site.yaml]\ningress:\n  allow:\n{rules}")
    };
    let of = |a: &[&str], subject: &Subject| {
        let files = MemoryFiles::new()
            .with("rules/site.yaml", SITE)
            .with("rules/web.yaml", text("web", a))
            .with("rules/app.yaml", text("app", &["c"]));
        let mut rules = policy(&files, subject, &options()).ingress.allow;
        rules.sort_by(|a, b| (&a.role, &a.name).cmp(&(&b.role, &b.name)));
        rules
    };
    let one_way = of(&["a", "b"], &roles(&["web", "app"]));
    assert_eq!(one_way, of(&["b", "a"], &roles(&["app", "web"])));
}

#[test]
fn rules_of_two_shared_files_must_differ_in_name() {
    let common = "version: 1\nkind: site\nservices: { http-NAME: { tcp: 80 } }\ncommon:\n  ingress:\n    allow:\n      - { name: same, from: 10.0.0.1, service: http-NAME }\n";
    let files = MemoryFiles::new()
        .with("rules/one.yaml", common.replace("NAME", "one"))
        .with("rules/two.yaml", common.replace("NAME", "two"))
        .with("rules/web.yaml", "version: 1\nrole: web\ninclude: [one.yaml]\n")
        .with("rules/app.yaml", "version: 1\nrole: app\ninclude: [two.yaml]\n");
    let report = load(&files, &roles(&["web", "app"]), &options()).unwrap_err();
    let messages: Vec<_> = report.diagnostics.iter().map(|one| one.message.as_str()).collect();
    assert!(messages.contains(&"two ingress rules are called `same`"), "{messages:?}");
}

#[test]
fn a_shared_file_does_not_see_the_names_of_a_role() {
    let shared =
        SITE.replace("from: bastion", "from: my-bastion").replace("bastion: [", "other: [");
    let files = files("groups: { my-bastion: [10.0.9.22] }\n").with("rules/site.yaml", shared);
    let report = load(&files, &roles(&["web"]), &options()).unwrap_err();
    assert_eq!(report.diagnostics[0].message, "no group or list is called `my-bastion`");
}

#[test]
fn a_port_may_be_part_of_the_range_of_another_service() {
    let policy = web(
        "services:\n  high: { tcp: [\"8000-8999\", 9000], udp: 8000-8001 }\ningress:\n  allow:\n    - { name: a, from: bastion, service: [high, http] }\n",
    );
    let ranges = policy.ingress.allow[0].services.ranges().to_vec();
    assert_eq!(ranges, [(80, 80), (8000, 9000), (65_536 + 8000, 65_536 + 8001)]);
    assert_eq!(policy.ingress.allow[0].service_text, "high, http");
}

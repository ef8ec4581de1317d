//! A whole site of role files loads, and means what it says.

#![expect(clippy::panic, reason = "a helper of a test fails by panicking")]

use std::path::Path;

use firewall_policy::diagnostic::Style;
use firewall_policy::directory::Directory;
use firewall_policy::ir::{Action, Direction, Policy};
use firewall_policy::{Loaded, Options, Subject, load, load_host};

fn site() -> Directory {
    Directory::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/site"))
}

fn options() -> Options {
    Options { allow_unsupported: true, ..Options::default() }
}

fn roles(names: &[&str]) -> Loaded {
    let subject = Subject::Roles(names.iter().map(|name| (*name).to_owned()).collect());
    load(&site(), &subject, &options()).unwrap_or_else(|report| panic!("{report}"))
}

fn rule_names(policy: &Policy, direction: Direction) -> Vec<&str> {
    policy.chain(direction).allow.iter().map(|rule| rule.name.as_str()).collect()
}

#[test]
fn every_role_loads_without_a_warning() {
    for role in ["load-balancer", "web", "app", "db-primary", "db-replica"] {
        let loaded = roles(&[role]);
        let warnings: String =
            loaded.warnings.iter().map(|warning| warning.render(Style::Plain)).collect();
        assert_eq!(warnings, "", "{role}");
        assert_eq!(loaded.policy.roles, [role]);
        assert!(!loaded.policy.tests.is_empty());
    }
}

#[test]
fn files_are_kept_for_who_wants_them_each_once() {
    assert!(roles(&["web", "app"]).sources.is_empty());
    let options = Options { keep_sources: true, ..options() };
    let subject = Subject::Roles(vec!["web".into(), "app".into()]);
    let sources = load(&site(), &subject, &options).unwrap().sources;
    let paths: Vec<&str> = sources.keys().map(String::as_str).collect();
    assert!(paths.is_sorted() && paths.contains(&"rules/app.yaml"), "{paths:?}");
    assert!(paths.iter().any(|path| path.starts_with("lists/")), "{paths:?}");
    for (path, source) in &sources {
        let read =
            std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/site").join(path));
        assert_eq!(source.text.as_bytes(), read.unwrap(), "{path}");
    }
}

#[test]
fn a_role_has_its_own_rules_first_then_the_common_ones() {
    let policy = roles(&["web"]).policy;
    assert_eq!(
        rule_names(&policy, Direction::Ingress),
        ["http-from-lb", "scrape-nginx", "admin-ssh", "scrape-node"]
    );
    assert_eq!(policy.ingress.failsafe[0].name, "failsafe-ssh");
    assert_eq!(policy.egress.deny[0].name, "no-cloud-metadata");
    assert_eq!(policy.ingress.default, Action::Drop);
    let rule = &policy.ingress.allow[0];
    assert_eq!((rule.role.as_str(), rule.remote_text.as_str()), ("web", "load-balancers"));
    assert!(rule.remote.contains("fd00:f00:1::11".parse().unwrap()));
    assert!(!rule.remote.contains("10.0.1.12".parse().unwrap()));
    assert_eq!(rule.span.place(), "rules/web.yaml:10");
    assert!(rule.services.contains(80) && !rule.services.contains(443));
}

#[test]
fn roles_on_one_host_are_united_and_a_shared_rule_stays_one() {
    let policy = roles(&["web", "app"]).policy;
    assert_eq!(
        rule_names(&policy, Direction::Ingress),
        ["http-from-lb", "scrape-nginx", "app-from-web", "admin-ssh", "scrape-node"]
    );
    let rates: Vec<_> = policy.rates.iter().map(|rate| rate.name.as_str()).collect();
    assert_eq!(rates, ["web-qps", "web/app-qps", "app/app-qps", "db-write-qps", "db-read-qps"]);
}

#[test]
fn rules_of_one_name_from_two_roles_are_told_apart() {
    let policy = roles(&["db-primary", "db-replica"]).policy;
    let by: Vec<_> = policy.tests.iter().filter_map(|test| test.by.as_deref()).collect();
    assert!(by.contains(&"db-primary/backups"), "{by:?}");
}

#[test]
fn the_host_file_settles_interfaces() {
    let loaded = load(&site(), &Subject::Host, &options()).unwrap_or_else(|r| panic!("{r}"));
    assert_eq!(loaded.policy.interfaces.matches, ["eth*"]);
    let (host, _) = load_host(&site(), &options()).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(host.roles, ["web"]);
    assert_eq!(host.prometheus_listen, "127.0.0.1:9477".parse().ok());
}

#[test]
fn a_single_file_finds_what_it_includes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/site/rules/web.yaml");
    let (files, inside) = Directory::of_file(&path);
    let loaded = load(&files, &Subject::File(inside), &options());
    let loaded = loaded.unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(loaded.policy.roles, ["web"]);
    let names: Vec<_> = loaded.names.groups.iter().map(|group| group.name.as_str()).collect();
    assert!(names.contains(&"databases") && names.contains(&"acme-ocsp"), "{names:?}");
}

#[test]
fn what_is_not_enforced_yet_is_refused() {
    let subject = Subject::Roles(vec!["load-balancer".into()]);
    let report = load(&site(), &subject, &Options::default()).unwrap_err();
    let found: Vec<_> = report.diagnostics.iter().map(|one| one.message.as_str()).collect();
    for feature in ["limit", "syn-flood", "lists", "alert"] {
        let message = format!("`{feature}` is checked but not supported yet");
        assert!(found.contains(&message.as_str()), "{feature}: {found:#?}");
    }
}

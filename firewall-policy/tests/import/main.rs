//! What `firewall import` makes of rules as the programs write them, and of what
//! nobody should write.
//!
//! `rules/<name>/` holds the output of real programs (iptables-save and ipset of
//! Debian 12 in a namespace, `ufw allow …`, `firewall-offline-cmd …`, `nft -j list
//! ruleset`), `rules/<name>.yaml` what is made of it. After a change:
//! `UPDATE_EXPECT=1 cargo test`, then read the difference.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of a test fails by panicking")]

mod dropped;
mod equality;

use std::path::{Path, PathBuf};
use std::{env, fs};

use firewall_common::service::ServiceIndex;
use firewall_policy::diagnostic::Report;
use firewall_policy::import::{Imported, Input, Language, Request, import};
use firewall_policy::ir::{Direction, Policy, Probe};
use firewall_policy::model::{self, Context, Query};
use firewall_policy::source::MemoryFiles;
use firewall_policy::{Loaded, Options, Subject, load};
use proptest::prelude::*;
use proptest::sample::{Index, select};

const LANGUAGES: [Language; 4] =
    [Language::Iptables, Language::Nft, Language::Ufw, Language::Firewalld];

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import/rules")
}

fn file(name: &str, text: &str) -> Input {
    Input { name: name.into(), bytes: text.as_bytes().to_vec() }
}

fn request(language: Language, files: Vec<Input>) -> Request {
    Request { language, files, ipset: None, role: "imported".into(), without_limits: false }
}

fn text(language: Language, name: &str, text: &str) -> Request {
    request(language, vec![file(name, text)])
}

/// The files of a directory; what ipset has saved apart from them.
fn files(name: &str) -> (Vec<Input>, Option<Input>) {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory().join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let inputs = paths.into_iter().map(|path| Input {
        name: path.file_name().unwrap().to_string_lossy().into_owned(),
        bytes: fs::read(&path).unwrap(),
    });
    let (sets, files): (Vec<_>, Vec<_>) = inputs.partition(|input| input.name.contains("ipset"));
    (files, sets.into_iter().next())
}

fn loaded(imported: &Imported) -> Loaded {
    let files = MemoryFiles::new().with("rules/imported.yaml", imported.policy.clone());
    let subject = Subject::Roles(vec!["imported".into()]);
    load(&files, &subject, &Options::default())
        .unwrap_or_else(|report| panic!("{report}\n{}", imported.policy))
}

/// The verdict that each test of the file expects, asked of the model.
fn tests_hold(policy: &Policy) {
    for test in &policy.tests {
        let (remote, local) = match test.direction {
            Direction::Ingress => (test.from, test.to),
            Direction::Egress => (test.to, test.from),
        };
        let (protocol, value) = match test.probe {
            Probe::Tcp(_, port) => (6, port),
            Probe::Udp(_, port) => (17, port),
            Probe::Icmp(kind) => (1, kind.into()),
            Probe::Icmpv6(kind) => (58, kind.into()),
            Probe::Proto(number) => (number, 0),
        };
        let tcp_flags = if protocol == 6 { 2 } else { 0 };
        // As tests are run: by no interface that a rule names.
        let context = Context::Packet { interface: "of-no-rule", vlan: None, tcp_flags };
        let service = ServiceIndex::of(protocol, value);
        let query = Query { direction: test.direction, remote, local, service, context };
        assert_eq!(model::evaluate(policy, &query).action, test.expect, "{}", test.name);
    }
}

/// Compares with the committed text, or replaces it.
fn compare(path: &Path, text: &str) {
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(path, text).unwrap();
        return;
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert!(expected == text, "{}:\n{text}", path.display());
}

#[test]
fn rules_of_real_programs_become_these_files() {
    let all = [
        ("docker", Language::Iptables),
        ("ufw-saved", Language::Iptables),
        ("ufw", Language::Ufw),
        ("firewalld", Language::Firewalld),
        ("nft", Language::Nft),
    ];
    for (name, language) in all {
        let (files, ipset) = files(name);
        let imported = import(&Request { ipset, ..request(language, files) });
        let imported = imported.unwrap_or_else(|report| panic!("{name}: {report}"));
        compare(&directory().join(format!("{name}.yaml")), &imported.policy);
        let loaded = loaded(&imported);
        assert!(loaded.policy.tests.len() == imported.tests && imported.tests > 3, "{name}");
        tests_hold(&loaded.policy);
    }
}

/// The rules of a table `filter`.
fn filter(rules: &str) -> String {
    format!("*filter\n:INPUT DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n:A - [0:0]\n{rules}COMMIT\n")
}

fn imported(rules: &str) -> Imported {
    import(&text(Language::Iptables, "rules.v4", &filter(rules)))
        .unwrap_or_else(|report| panic!("{report}"))
}

fn refused(request: &Request) -> Report {
    match import(request) {
        Ok(imported) => panic!("{}", imported.policy),
        Err(report) => report,
    }
}

#[test]
fn every_line_that_is_lost_is_listed_with_its_place() {
    let lost = [
        ("-A INPUT -p tcp --sport 53 -j ACCEPT", "the source port"),
        ("-A INPUT -m mark --mark 0x1 -j ACCEPT", "mark"),
        ("-A OUTPUT -m owner --uid-owner 0 -j ACCEPT", "owner"),
        ("-A INPUT -m string --string x --algo bm -j DROP", "string"),
        ("-A INPUT -m limit --limit 1/s -j ACCEPT", "a limit"),
        (
            "-A INPUT -m hashlimit --hashlimit-above 1/s --hashlimit-name a -j DROP",
            "a limit for each",
        ),
        ("-A INPUT -m connlimit --connlimit-above 9 -j DROP", "a number of connections"),
        ("-A INPUT -m recent --update --name a -j DROP", "how often"),
        ("-A INPUT -m set --match-set gone src -j ACCEPT", "the set gone"),
        ("-A INPUT -p icmp --icmp-type 5/1 -j ACCEPT", "a code of ICMP"),
        ("-A INPUT -m novelty --so-new -j ACCEPT", "so-new"),
        ("-A INPUT -j NFQUEUE --queue-num 0", "the target NFQUEUE"),
        ("-A INPUT -j MARK --set-mark 1", "MARK"),
        ("-A FORWARD -j ACCEPT", "forwarded packets"),
        ("-A INPUT -p tcp ! --syn -m state --state NEW -j DROP", "stray segment"),
        ("-A INPUT -f -j ACCEPT", "later fragments"),
        ("-A INPUT -i wg0 -j ACCEPT", "a tunnel"),
    ];
    for (line, reason) in lost {
        let imported = imported(&format!("{line}\n"));
        let listed = imported.not_carried.iter().find(|one| one.text == line);
        let listed =
            listed.unwrap_or_else(|| panic!("{line} is not listed: {:?}", imported.not_carried));
        assert_eq!((listed.place.line, listed.place.file.as_str()), (5, "rules.v4"), "{line}");
        assert!(listed.reason.contains(reason), "{line}: {}", listed.reason);
        assert!(imported.policy.contains(line.trim_end_matches('"')), "{}", imported.policy);
        loaded(&imported);
    }
}

#[test]
fn what_is_carried_is_no_loss() {
    let rules = [
        "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A INPUT -m conntrack --ctstate INVALID -j DROP",
        "-A INPUT -i lo -j ACCEPT",
        "-A INPUT -p tcp --tcp-flags ALL NONE -j DROP",
        "-A INPUT -p udp --sport 67 --dport 68 -j ACCEPT",
        "-A INPUT -j LOG --log-prefix \"x \"",
        "-A INPUT -p tcp --syn --dport 22 -j ACCEPT",
        "-A INPUT ! -s 10.0.0.0/8 -p tcp -m multiport ! --dports 1:79,81:65535 -j REJECT",
        "-A INPUT -s 10.0.0.1,10.0.0.7 -j A",
        "-A A -m iprange ! --src-range 10.0.0.2-10.0.0.9 -p sctp --dport 5000:5010 -j ACCEPT",
        "-A INPUT -p esp -j ACCEPT",
    ];
    let imported = imported(&(rules.join("\n") + "\n"));
    assert_eq!(imported.not_carried, [], "{}", imported.policy);
    tests_hold(&loaded(&imported).policy);
}

#[test]
fn extension_headers_are_no_protocols() {
    let rules = "-A INPUT -p 44 -j ACCEPT\n-A INPUT -p 60 -j DROP\n\
                 -A INPUT ! -p tcp -s 10.0.0.1 -j ACCEPT\n";
    let imported = imported(rules);
    assert_eq!(imported.not_carried.len(), 2, "{:?}", imported.not_carried);
    for loss in &imported.not_carried {
        assert!(loss.reason.contains("extension header of IPv6"), "{loss:?}");
    }
    let policy = loaded(&imported).policy;
    assert_eq!((policy.ingress.allow.len(), policy.ingress.deny.len()), (1, 0));
    let told = imported.notes.iter().any(|note| note.text.contains("0, 43, 44 and 60"));
    assert!(told, "{:?}", imported.notes);
    tests_hold(&policy);
}

#[test]
fn an_accept_above_a_drop_keeps_what_it_accepts() {
    let rules = "-A INPUT -s 10.0.9.22 -p tcp --dport 22 -j ACCEPT\n\
                 -A INPUT -p tcp --dport 22 -j DROP\n\
                 -A INPUT -p tcp -j ACCEPT\n";
    let imported = imported(rules);
    assert_eq!(imported.not_carried, []);
    let wanted = "{ name: no-ssh, from: { group: all-ipv4, except: 10.0.9.22 }, service: ssh }";
    assert!(imported.policy.contains(wanted), "{}", imported.policy);
}

#[test]
fn limits_may_be_taken_for_never_reached() {
    let rules = filter(
        "-A INPUT -p tcp --dport 22 -m recent --update --hitcount 4 --name s -j DROP\n\
         -A INPUT -p tcp --dport 22 -m limit --limit 9/s -j ACCEPT\n",
    );
    let request = text(Language::Iptables, "rules.v4", &rules);
    let strict = import(&request).unwrap();
    let lenient = import(&Request { without_limits: true, ..request }).unwrap();
    let allows = |imported: &Imported| loaded(imported).policy.ingress.allow.len();
    assert_eq!((allows(&strict), allows(&lenient)), (0, 1));
    assert_eq!((strict.not_carried.len(), lenient.not_carried.len()), (2, 2));
}

#[test]
fn a_role_may_be_called_as_a_truth() {
    let request = text(Language::Iptables, "rules.v4", &filter(""));
    let imported = import(&Request { role: "y".into(), ..request }).unwrap();
    assert!(imported.policy.contains("\nrole: \"y\"\n"), "{}", imported.policy);
}

#[test]
fn a_rewritten_port_is_not_believed() {
    let rules = filter("-A INPUT -p tcp --dport 2222 -j ACCEPT\n")
        + "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp --dport 2222 -j REDIRECT --to-ports 22\nCOMMIT\n";
    let imported = import(&text(Language::Iptables, "rules.v4", &rules)).unwrap();
    assert!(loaded(&imported).policy.ingress.allow.is_empty(), "{}", imported.policy);
    assert_eq!(imported.not_carried.len(), 2);
}

/// Bad input, the words of the error, and where it is shown.
const BAD: [(Language, &str, &str, &str); 22] = [
    (
        Language::Iptables,
        "*filter\n:INPUT DROP [0:0]\n-A INPUT -s 10.0.0.300 -j DROP\nCOMMIT\n",
        "`10.0.0.300` cannot be read",
        "rules:3:13",
    ),
    (
        Language::Iptables,
        "*filter\n:INPUT DROP [0:0]\n-A INPUT -j gone\nCOMMIT\n",
        "`gone` cannot be read",
        "rules:3:13",
    ),
    (
        Language::Iptables,
        "*filter\n-A GONE -j DROP\nCOMMIT\n",
        "no chain of table filter is called `GONE`",
        "rules:2:4",
    ),
    (
        Language::Iptables,
        "*filter\n:INPUT DROP [0:0]\n-A INPUT -s\nCOMMIT\n",
        "`-s` cannot be read",
        "rules:3:10",
    ),
    (
        Language::Iptables,
        "*filter\n:INPUT DROP [0:0]\n-A INPUT -j DROP\n",
        "is not closed by COMMIT",
        "rules:3:1",
    ),
    (
        Language::Iptables,
        "*filter\n-A INPUT --comment \"x\nCOMMIT\n",
        "a quote is not closed",
        "rules:2:20",
    ),
    (Language::Iptables, "hello\n", "not what iptables-save prints", "rules:1:1"),
    (Language::Iptables, "*filter\n-D INPUT 1\nCOMMIT\n", "not a rule", "rules:2:1"),
    (
        Language::Iptables,
        "*filter\n:A - [0:0]\n:B - [0:0]\n-A A -j B\n-A B -j A\nCOMMIT\n",
        "leads back to itself",
        "rules:5:1",
    ),
    (
        Language::Iptables,
        "*filter\n-A INPUT -p tcp --dport 99999 -j DROP\nCOMMIT\n",
        "`99999` cannot be read",
        "rules:2:25",
    ),
    (Language::Nft, "table inet filter {\n}\n", "the text form of nft", "rules:1:1"),
    (
        Language::Nft,
        "{\n  \"nftables\": [\n",
        "not what `nft -j list ruleset` prints",
        "rules:2:15",
    ),
    (Language::Nft, "{\"nftables\": [ 7 ]}", "not what nft lists", "rules:1:16"),
    (
        Language::Nft,
        "{\"nftables\": [\n{\"rule\": {\"family\": \"ip\", \"table\": \"t\", \"chain\": \"c\", \"expr\": []}}]}",
        "no chain is called `c`",
        "rules:2:1",
    ),
    (Language::Firewalld, "<zone><service name=\"ssh\"></zone>", "is not XML", "rules:1:"),
    (
        Language::Firewalld,
        "<zone>\n  <service name=\"nobody-knows\"/>\n</zone>",
        "no service is called",
        "rules:2:3",
    ),
    (Language::Firewalld, "<html/>", "nothing that firewalld keeps", "rules:1:1"),
    // What of the source denies, and cannot be carried, is not left out in silence.
    (
        Language::Firewalld,
        "<policy>\n<egress-zone name=\"HOST\"/>\n<rule><source address=\"203.0.113.0/24\"/><drop/></rule>\n</policy>",
        "denies, and is not carried",
        "rules:3:",
    ),
    (
        Language::Firewalld,
        "<direct>\n<rule ipv=\"ipv4\" table=\"filter\" chain=\"INPUT\" priority=\"0\">-s 198.51.100.7 -j DROP</rule>\n</direct>",
        "denies, and is not carried",
        "rules:2:1",
    ),
    (Language::Iptables, "", "has no table", "rules:1:1"),
    (
        Language::Iptables,
        "*filter\n:INPUT DROP [0:0]\nCOMMIT\n*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n",
        "comes twice",
        "rules:4:1",
    ),
    (Language::Ufw, "*filter\nCOMMIT\n", "none of these is a rule file of ufw", "rules:1:1"),
];

#[test]
fn bad_input_is_refused_with_its_place() {
    for (language, input, message, place) in BAD {
        let report = refused(&text(language, "rules", input)).to_string();
        assert!(report.starts_with("error[E0021]"), "{report}");
        assert!(report.contains(message) && report.contains(place), "{input}\n{report}");
    }
}

/// Rules about interfaces, of which the file made can be stricter than its source.
#[test]
fn tests_of_a_file_hold_whatever_interfaces_its_source_names() {
    for rules in [
        "-A INPUT -i eth0 -j DROP\n-A INPUT -p tcp --dport 22 -j ACCEPT\n",
        "-A INPUT ! -i eth0 -p tcp --dport 3306 -j ACCEPT\n",
        "-A INPUT ! -i eth0 -p tcp --dport 8081 -j DROP\n-A INPUT -j ACCEPT\n",
        "-A INPUT -m addrtype ! --dst-type LOCAL -j DROP\n-A INPUT -j ACCEPT\n",
        "-A INPUT -i eth+ -p tcp --dport 22 -j ACCEPT\n",
    ] {
        tests_hold(&loaded(&imported(rules)).policy);
    }
}

#[test]
fn the_example_of_the_code_is_true() {
    let (language, input, ..) = BAD[0];
    let report = refused(&text(language, "rules.v4", input)).to_string();
    compare(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad/E0021-import.txt"), &report);
}

#[test]
fn hostile_input_ends_soon() {
    // Each chain jumps to the next one twice: 2^40 ways.
    let mut rules = "*filter\n:INPUT DROP [0:0]\n".to_owned();
    let declared: Vec<String> = (0..41).map(|chain| format!(":c{chain} - [0:0]\n")).collect();
    let jumps = (0..40).map(|chain| format!("-A c{chain} -j c{}\n", chain + 1).repeat(2));
    rules += &declared.concat();
    rules += "-A INPUT -j c0\n";
    rules += &jumps.collect::<Vec<_>>().concat();
    rules += "-A c40 -s 10.0.0.1 -j ACCEPT\nCOMMIT\n";
    let deep = |open: &str, close: &str| open.repeat(100_000) + &close.repeat(100_000);
    let hostile = [
        (Language::Iptables, rules),
        (Language::Nft, deep("[", "]")),
        (Language::Nft, format!("{{\"nftables\": [{}]}}", deep("{\"a\":", "}"))),
        (Language::Firewalld, deep("<zone>", "</zone>")),
        (Language::Firewalld, format!("<zone {}/>", "a='b' ".repeat(3))),
        (
            Language::Firewalld,
            "<!DOCTYPE z [<!ENTITY a \"&b;&b;\"><!ENTITY b \"&a;\">]><zone>&a;</zone>".into(),
        ),
    ];
    for (language, input) in hostile {
        refused(&text(language, "rules", &input));
    }
    // Long, but sound: as many bans as a fail2ban may have.
    let ban =
        |n: u32| format!("-A A -s 10.{}.{}.{}/32 -j REJECT\n", n >> 16, n >> 8 & 255, n & 255);
    let many = (0..40_000).map(|n| ban(2 * n)).collect::<Vec<_>>().concat();
    let imported =
        imported(&format!("-A INPUT -j A\n{many}-A INPUT -p tcp --dport 22 -j ACCEPT\n"));
    let loaded = loaded(&imported);
    assert_eq!((loaded.policy.ingress.deny.len(), loaded.policy.ingress.allow.len()), (1, 1));
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    for language in LANGUAGES {
        let input = Input { name: "rules".into(), bytes: vec![b'*', 0xff, 0xfe] };
        let report = refused(&request(language, vec![input])).to_string();
        assert!(report.starts_with("error[E0004]"), "{report}");
    }
}

/// Rules of real programs with something wrong in them: cut, doubled, changed.
fn broken() -> impl Strategy<Value = (Language, Vec<Input>)> {
    let names = [
        ("docker", Language::Iptables),
        ("ufw", Language::Ufw),
        ("firewalld", Language::Firewalld),
        ("nft", Language::Nft),
    ];
    let edit = (any::<Index>(), any::<Index>(), any::<Index>(), 0..5_u8, any::<u8>());
    (select(names.to_vec()), prop::collection::vec(edit, 1..5)).prop_map(
        |((name, language), edits)| {
            let (mut files, _) = files(name);
            for (file, from, to, kind, byte) in edits {
                let file = file.index(files.len());
                let bytes = &mut files[file].bytes;
                if bytes.is_empty() {
                    continue;
                }
                let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
                let (from, to) = (from.min(to), from.max(to).min(from.min(to) + 40));
                match kind {
                    0 => bytes.truncate(from),
                    1 => drop(bytes.drain(from..to)),
                    2 => bytes[from] = byte,
                    3 => {
                        let copy = bytes[from..to].to_vec();
                        let at = to.min(bytes.len());
                        drop(bytes.splice(at..at, copy));
                    }
                    _ => {
                        let words: [&[u8]; 8] =
                            [b" ! ", b" -j A ", b"\"", b" 0 ", b"null", b"[", b"/33", b"-1"];
                        let word = words[usize::from(byte) % words.len()];
                        drop(bytes.splice(from..from, word.iter().copied()));
                    }
                }
            }
            (language, files)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is wrong: an error with a place, or a file that is sound.
    #[test]
    fn no_input_panics((language, files) in broken()) {
        match import(&request(language, files)) {
            Ok(imported) => drop(loaded(&imported)),
            Err(report) => prop_assert!(report.to_string().starts_with("error[E0")),
        }
    }
}

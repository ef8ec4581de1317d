//! Whatever the input, the reader answers; what it says can be printed, and has
//! a place in the file. `PROPTEST_CASES=100000` looks longer.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::UNIX_EPOCH;

use firewall_policy::diagnostic::{Diagnostic, SHOWN, Style};
use firewall_policy::source::MemoryFiles;
use firewall_policy::{Options, Subject, load};
use proptest::prelude::*;

/// The rule files of the project and of the fixture site, and every bad input.
static TEXTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    ["../../rules", "site/rules", "bad"]
        .into_iter()
        .filter_map(|directory| fs::read_dir(tests.join(directory)).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .filter_map(|path| fs::read(path).ok())
        .collect()
});

static SITE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad/included/site.yaml");
    fs::read(path).unwrap_or_default()
});

/// A host, its role and a list, beside the shared file.
const HOST: &str = "version: 1
roles: [web]
interfaces: { match: [eth*], ignore: [docker0] }
default: { ingress: drop, egress: drop }
failsafe:
  ingress: [ { name: console, from: 198.51.100.9, service: ssh } ]
acknowledge: [web never reaches the db]
outputs: { prometheus: { listen: \"127.0.0.1:9477\" } }
";
const ROLE: &str = "version: 1
role: web
include: [site.yaml]
lists:
  abusers: { file: ../lists/abusers.txt, min: 1, max: 5, max-age: 30d }
ingress:
  deny:
    - { name: abusers, from: abusers, service: all }
  allow:
    - { name: http, from: any, service: http, limit: { new: 50/s, burst: 200, per: source/64 } }
";
const LIST: &str = "# three\n192.0.2.1\n192.0.2.0/24   # a network\n2001:db8::/32\n";

/// Words that mean something somewhere in the language.
const WORDS: [&str; 40] = [
    "any",
    "self",
    "all",
    "0",
    "-1",
    "99999",
    "10.0.0.0/8",
    "::/0",
    "fe80::",
    "[",
    "]",
    "{",
    "}",
    ": ",
    "- ",
    "\n",
    "\t",
    "\"",
    "#",
    "&a ",
    "*a",
    "!!x ",
    "\u{202e}",
    "\u{a0}",
    "\u{feff}",
    "名",
    "\r",
    "\0",
    "\\",
    "'",
    "|\n",
    ">-\n",
    "---\n",
    "%YAML 1.1\n",
    "? ",
    "<<: ",
    "~",
    "no",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    "1-",
];

#[derive(Clone, Debug)]
enum Edit {
    Cut(usize, usize),
    Repeat(usize, usize),
    Insert(usize, &'static str),
    Byte(usize, u8),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = 0..6000_usize;
    prop_oneof![
        (at.clone(), 1..60_usize).prop_map(|(at, length)| Edit::Cut(at, length)),
        (at.clone(), 1..60_usize).prop_map(|(at, length)| Edit::Repeat(at, length)),
        (at.clone(), prop::sample::select(WORDS.to_vec()))
            .prop_map(|(at, word)| Edit::Insert(at, word)),
        (at, any::<u8>()).prop_map(|(at, byte)| Edit::Byte(at, byte)),
    ]
}

fn edited(mut text: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    for edit in edits {
        let length = text.len().max(1);
        let range = |at: usize, size: usize| {
            (at % length).min(text.len())..(at % length + size).min(text.len())
        };
        match *edit {
            Edit::Cut(at, size) => drop(text.drain(range(at, size))),
            Edit::Repeat(at, size) => {
                let piece = text[range(at, size)].to_vec();
                let at = (at % length).min(text.len());
                text.splice(at..at, piece);
            }
            Edit::Insert(at, word) => {
                let at = (at % length).min(text.len());
                text.splice(at..at, word.bytes());
            }
            Edit::Byte(at, byte) => {
                if let Some(old) = text.get_mut(at % length) {
                    *old = byte;
                }
            }
        }
    }
    text
}

/// Loads a role file, and prints all that is said in every form.
fn exercise(text: Vec<u8>) {
    let files =
        MemoryFiles::new().with("rules/site.yaml", SITE.clone()).with("rules/web.yaml", text);
    exercise_files(&files, &Subject::File("rules/web.yaml".into()));
}

fn exercise_files(files: &MemoryFiles, subject: &Subject) {
    let options = Options { allow_unsupported: true, now: Some(UNIX_EPOCH), ..Options::default() };
    let found = match load(files, subject, &options) {
        Ok(loaded) => loaded.warnings,
        Err(report) => {
            assert!(report.diagnostics.iter().any(Diagnostic::is_error), "refused without a word");
            assert!(report.diagnostics.len() <= SHOWN);
            for diagnostic in report.diagnostics.iter().filter(|one| one.is_error()) {
                assert!(!diagnostic.labels.is_empty(), "no place: {}", diagnostic.message);
            }
            report.diagnostics
        }
    };
    for diagnostic in &found {
        for label in &diagnostic.labels {
            let lines = label.span.source.text.split('\n').count();
            assert!(label.span.line() <= lines, "{}", diagnostic.message);
            assert!(label.span.end <= label.span.source.text.len(), "{}", diagnostic.message);
        }
        let text = diagnostic.render(Style::Plain);
        assert!(!text.contains('\u{202e}') && !text.contains('\x1b'), "{text}");
        assert!(!diagnostic.render(Style::Colour).is_empty());
        assert!(serde_json::to_string(diagnostic).is_ok());
    }
}

/// As many cases as the environment asks for, or enough for every day.
fn config() -> ProptestConfig {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 400;
    }
    config
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_edit_of_a_rule_file_makes_it_panic(
        text in 0..1000_usize,
        edits in prop::collection::vec(edit(), 1..6),
    ) {
        exercise(edited(TEXTS[text % TEXTS.len()].clone(), &edits));
    }

    #[test]
    fn no_edit_of_the_other_files_makes_it_panic(
        host in prop::collection::vec(edit(), 0..4),
        site in prop::collection::vec(edit(), 0..4),
        list in prop::collection::vec(edit(), 0..4),
    ) {
        let files = MemoryFiles::new()
            .with("host.yaml", edited(HOST.into(), &host))
            .with("rules/web.yaml", ROLE)
            .with("rules/site.yaml", edited(SITE.clone(), &site))
            .with("lists/abusers.txt", edited(LIST.into(), &list));
        exercise_files(&files, &Subject::Host);
    }

    #[test]
    fn no_bytes_make_it_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
        exercise(text);
    }

    #[test]
    fn no_text_makes_it_panic(text in "(?s)[\\[\\]{}:,#&*!|>'\"%@` \n\ta-z0-9é-]{0,120}") {
        exercise(text.into_bytes());
    }
}

/// A quarter of what a file may have; what takes more than linear time shows.
const LENGTH: usize = 1 << 18;

/// Hostile files are answered as fast as others.
#[test]
fn a_hostile_file_takes_no_longer() {
    let mut texts = Vec::new();
    let repeat = |line: &dyn Fn(usize) -> String, head: &str| {
        let mut text = String::from(head);
        for number in 0.. {
            let next = line(number);
            if text.len() + next.len() > LENGTH {
                return text;
            }
            text.push_str(&next);
        }
        text
    };
    let head = "version: 1\nrole: web\n";
    texts.push(repeat(&|number| format!("k{number}: 1\n"), head));
    texts.push(repeat(
        &|number| format!("  g{number}: [g{}]\n", number + 1),
        &format!("{head}groups:\n"),
    ));
    texts.push(repeat(
        &|number| format!("  g{number}: [1.2.3.{number}]\n"),
        &format!("{head}groups:\n"),
    ));
    texts.push(format!("{head}groups:\n  a: [{}]\n", "10.0.0.1, ".repeat(LENGTH / 10)));
    texts.push("[".repeat(LENGTH));
    texts.push(format!("{head}description: \"{}", "\\".repeat(LENGTH / 2)));
    let start = std::time::Instant::now();
    for text in texts {
        exercise(text.into_bytes());
    }
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}

/// Found by the tests above, by chance.
#[test]
fn what_once_made_it_panic() {
    // What looks like a bracket is a comment, and the list ends with the file.
    exercise("é:\t!\t#{\n-".into());
}

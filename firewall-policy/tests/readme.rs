//! What rules/README.md and README.md show is true, and the roles of rules/ are
//! sound.
//!
//! A block that begins with `version:` is a whole file. Any other is a part of a
//! role file: it is put into [`SKELETON`], in place of the keys that it writes. A
//! block whose first line says so is refused as not supported yet, and for no
//! other reason.

#![expect(clippy::panic, reason = "a helper of a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use firewall_policy::codes::Code;
use firewall_policy::diagnostic::{Report, Style};
use firewall_policy::directory::Directory;
use firewall_policy::source::MemoryFiles;
use firewall_policy::{HOST_FILE, Loaded, Options, Subject, load, load_host};

/// Top-level keys of the role file that parts are put into.
const SKELETON: [&str; 4] = [
    "version: 1\nrole: part\n",
    "failsafe: { ingress: [] }\n",
    "groups: { app-servers: 10.0.3.11, bastion: 10.0.9.22, load-balancers: 10.0.1.10 }\n",
    "services: { ssh: { tcp: 22 }, http: { tcp: 80, count: http1 }, app-http: { tcp: 8080 }, \
     mysql: { tcp: 3306, count: mysql }, dns: { udp: 53, tcp: 53 } }\n",
];

/// First line of a block that is read and checked only.
const UNSUPPORTED: &str = "# not supported yet";

fn rules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules")
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Role and shared files of rules/, by name.
fn files() -> Vec<(String, String)> {
    let entries = fs::read_dir(rules()).unwrap_or_else(|error| panic!("rules/: {error}"));
    let paths = entries.flatten().map(|entry| entry.path());
    let named = paths.filter_map(|path| {
        let file = path.file_name()?.to_str()?;
        Some((file.strip_suffix(".yaml")?.to_owned(), text(&path)))
    });
    let mut files: Vec<_> = named.collect();
    files.sort();
    files
}

/// YAML blocks of a document, with the line each begins on.
fn blocks(document: &Path) -> Vec<(usize, String)> {
    let readme = text(document);
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in (1..).zip(readme.lines()) {
        match (&mut open, line) {
            (None, "```yaml") => open = Some((number + 1, String::new())),
            (Some(_), "```") => blocks.extend(open.take()),
            (Some((_, block)), line) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    assert!(open.is_none(), "a block of {} does not end", document.display());
    blocks
}

/// The value of a top-level key that is a word.
fn word<'b>(block: &'b str, key: &str) -> Option<&'b str> {
    let value = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))?;
    value.split_whitespace().next()
}

/// The top-level keys of a block.
fn keys(block: &str) -> Vec<&str> {
    let starts = block.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
    starts.filter_map(|line| line.split(':').next()).collect()
}

/// The role that a part makes with what the skeleton has beside it.
fn complete(part: &str) -> String {
    let written = keys(part);
    let others = |text: &&&str| keys(text).iter().all(|key| !written.contains(key));
    SKELETON.iter().filter(others).copied().chain([part]).collect()
}

/// Loads a block among the files of rules/.
fn read(block: &str, options: &Options) -> Result<Loaded, Report> {
    let all = files().into_iter();
    let all = all.fold(MemoryFiles::new(), |all, (name, text)| {
        all.with(&format!("rules/{name}.yaml"), text)
    });
    let role = |name: &str, text: &str| {
        let files = all.clone().with(&format!("rules/{name}.yaml"), text);
        load(&files, &Subject::Roles(vec![name.to_owned()]), options)
    };
    if !block.starts_with("version:") {
        return role("part", &complete(block));
    }
    if let Some(name) = word(block, "role") {
        return role(name, block);
    }
    if word(block, "kind").is_some() {
        let files = all
            .with("rules/shared.yaml", block)
            .with("rules/including.yaml", "version: 1\nrole: including\ninclude: [shared.yaml]\n");
        return load(&files, &Subject::Roles(vec!["including".into()]), options);
    }
    let files = all.with(HOST_FILE, block);
    load_host(&files, options)?;
    load(&files, &Subject::Host, options)
}

#[test]
fn every_example_loads() {
    let (reference, readme) = (rules().join("README.md"), rules().join("../README.md"));
    let found = [&reference, &readme].map(|document| blocks(document).len());
    assert!(found[0] > 15 && found[1] > 0, "examples found: {found:?}");
    for document in [reference, readme] {
        check(&document);
    }
}

fn check(document: &Path) {
    for (line, block) in blocks(document) {
        let place = format!("{}, example in line {line}", document.display());
        let allow_unsupported = block.starts_with(UNSUPPORTED);
        let options = Options { allow_unsupported, ..Options::default() };
        if let Err(report) = read(&block, &options) {
            panic!("{place}:\n{report}");
        }
        if allow_unsupported {
            let Err(report) = read(&block, &Options::default()) else {
                panic!("{place}: it is supported by now");
            };
            let errors = report.diagnostics.iter().filter(|one| one.is_error());
            for error in errors {
                assert_eq!(error.code, Code::NotSupportedYet, "{place}");
            }
        }
    }
}

#[test]
fn every_role_loads_without_a_warning() {
    let tree = Directory::new(rules().join(".."));
    for (name, text) in files().into_iter().filter(|(_, text)| word(text, "kind").is_none()) {
        let subject = Subject::Roles(vec![name.clone()]);
        let loaded = load(&tree, &subject, &Options::default());
        let loaded = loaded.unwrap_or_else(|report| panic!("{report}"));
        let warnings = loaded.warnings.iter().map(|warning| warning.render(Style::Plain));
        assert_eq!(warnings.collect::<String>(), "", "{name}");
        assert!(!loaded.policy.tests.is_empty(), "{name} says nothing about itself");
        assert!(text.contains("description:"), "{name}");
    }
}

#[test]
fn the_three_tiers_fit_on_one_host() {
    let tree = Directory::new(rules().join(".."));
    let roles = ["web", "app", "db-primary"].map(str::to_owned).to_vec();
    if let Err(report) = load(&tree, &Subject::Roles(roles), &Options::default()) {
        panic!("{report}");
    }
}

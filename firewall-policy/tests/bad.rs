//! Every kind of bad input, and the exact text that a person reads about it.
//!
//! `bad/<name>.yaml` is the input, `bad/<name>.txt` the output. The input is the
//! file rules/web.yaml, unless a line `#--- path` says otherwise: it begins
//! another file, which can be `N days old`. `bad/included/site.yaml` is there
//! for all of them. After a change of wording: `UPDATE_EXPECT=1 cargo test`,
//! then read the difference as the operator who is woken by it.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, fs};

use firewall_policy::codes::Code;
use firewall_policy::diagnostic::Style;
use firewall_policy::directory::Directory;
use firewall_policy::source::{Files, MemoryFiles};
use firewall_policy::{Options, Subject, load};

const ROLE: &str = "rules/web.yaml";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad")
}

/// Noon of 2026-06-15, UTC.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_hours(494_868)
}

/// The text about a policy, good or bad.
fn rendered(files: &dyn Files, subject: &Subject, name: &str) -> String {
    let allow_unsupported = !name.starts_with("E0801");
    let options = Options { allow_unsupported, now: Some(now()), ..Options::default() };
    let text = match load(files, subject, &options) {
        Ok(loaded) => {
            let warnings: Vec<String> =
                loaded.warnings.iter().map(|one| one.render(Style::Plain)).collect();
            warnings.join("\n")
        }
        Err(report) => report.render(Style::Plain),
    };
    text.replace(env!("CARGO_PKG_VERSION"), "0.1.0")
}

/// Compares with the committed text, or replaces it; returns the complaint.
fn compare(name: &str, text: &str) -> Option<String> {
    let path = directory().join(format!("{name}.txt"));
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, text).unwrap();
        return None;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    (expected != text).then(|| format!("--- {name}: expected\n{expected}--- got\n{text}"))
}

/// The files of one input, and which of them is loaded.
fn files(input: &[u8]) -> (MemoryFiles, Subject) {
    let site = fs::read(directory().join("included/site.yaml")).unwrap();
    let mut files = MemoryFiles::new().with("rules/site.yaml", site);
    let mut subject = Subject::File(ROLE.into());
    let (mut path, mut age, mut bytes) = (ROLE.to_owned(), None, Vec::new());
    let mut add = |path: &str, age: Option<u64>, bytes: Vec<u8>| {
        let modified = now() - Duration::from_secs(age.unwrap_or(0) * 86_400);
        files = std::mem::take(&mut files).with_modified(path, bytes, modified);
    };
    for line in input.split_inclusive(|&byte| byte == b'\n') {
        let Some(marker) = line.strip_prefix(b"#--- ") else {
            bytes.extend_from_slice(line);
            continue;
        };
        if !bytes.is_empty() {
            add(&path, age, std::mem::take(&mut bytes));
        }
        let marker = String::from_utf8_lossy(marker);
        let mut words = marker.split_whitespace();
        words.next().unwrap().clone_into(&mut path);
        age = words.next().map(|days| days.parse().unwrap());
        if path == "host.yaml" {
            subject = Subject::Host;
        }
    }
    add(&path, age, bytes);
    (files, subject)
}

#[test]
fn each_bad_input_says_exactly_this() {
    let mut complaints = Vec::new();
    for entry in fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap();
        let (files, subject) = files(&fs::read(&path).unwrap());
        complaints.extend(compare(name, &rendered(&files, &subject, name)));
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn too_long_files_are_refused() {
    let files = MemoryFiles::new().with(ROLE, vec![b'#'; (1 << 20) + 1]);
    let text = rendered(&files, &Subject::File(ROLE.into()), "");
    assert_eq!(compare("E0002-too-long", &text), None);
}

#[test]
fn too_many_files_are_refused() {
    let mut files = MemoryFiles::new();
    let mut names = Vec::new();
    for number in 0..70 {
        names.push(format!("s{number}.yaml"));
        files = files.with(&format!("rules/s{number}.yaml"), "version: 1\nkind: site\n");
    }
    let role = format!("version: 1\nrole: web\ninclude: [{}]\n", names[60..].join(", "));
    let chain: Vec<&str> = names[..60].iter().map(String::as_str).collect();
    let role = role.replace('[', &format!("[{}, ", chain.join(", ")));
    let text = rendered(&files.with(ROLE, role), &Subject::File(ROLE.into()), "");
    assert_eq!(compare("E0019-too-many-files", &text), None);
}

/// A directory of its own that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("firewall-policy-{}-{name}", std::process::id()));
        fs::create_dir_all(path.join("rules")).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(unix)]
#[test]
fn links_out_of_the_root_are_refused() {
    let root = Scratch::new("links");
    let outside = Scratch::new("outside");
    fs::write(root.0.join(ROLE), "version: 1\nrole: web\ninclude: [site.yaml]\n").unwrap();
    fs::write(outside.0.join("site.yaml"), "version: 1\nkind: site\n").unwrap();
    std::os::unix::fs::symlink(outside.0.join("site.yaml"), root.0.join("rules/site.yaml"))
        .unwrap();
    let text = rendered(&Directory::new(&root.0), &Subject::File(ROLE.into()), "");
    let place = fs::canonicalize(&outside.0).unwrap();
    let text = text.replace(&place.display().to_string(), "/home/bob");
    assert_eq!(compare("E0014-link-outside", &text), None);
}

#[cfg(unix)]
#[test]
fn files_that_others_can_change_are_refused() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let root = Scratch::new("ownership");
    let role = root.0.join(ROLE);
    fs::write(&role, "version: 1\nrole: web\n").unwrap();
    fs::set_permissions(&role, fs::Permissions::from_mode(0o666)).unwrap();
    let files = Directory::new(&root.0).strict_ownership(true);
    let text = rendered(&files, &Subject::File(ROLE.into()), "");
    if fs::metadata(&role).unwrap().uid() == 0 {
        assert_eq!(compare("E0015-ownership", &text), None);
        fs::set_permissions(&role, fs::Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::chown(&role, Some(1000), None).unwrap();
        let text = rendered(&files, &Subject::File(ROLE.into()), "");
        assert_eq!(compare("row08-not-roots", &text), None);
        // Of root's own group nobody is a member who is not root's.
        for (mode, group) in [(0o664, 1000), (0o664, 0)] {
            std::os::unix::fs::chown(&role, Some(0), Some(group)).unwrap();
            fs::set_permissions(&role, fs::Permissions::from_mode(mode)).unwrap();
            let text = rendered(&files, &Subject::File(ROLE.into()), "");
            match group {
                0 => assert!(!text.contains("E0015"), "{text}"),
                _ => assert_eq!(compare("row08-a-group", &text), None),
            }
        }
    } else {
        assert!(text.contains("not to root"), "{text}");
    }
    let text = rendered(&files.strict_ownership(false), &Subject::File(ROLE.into()), "");
    assert!(!text.contains("E0015"), "{text}");
}

#[test]
fn every_code_has_an_example_that_is_kept_true() {
    let names: BTreeSet<&str> = Code::ALL.iter().map(|code| code.example_name()).collect();
    assert_eq!(names.len(), Code::ALL.len());
    for code in Code::ALL {
        let id = format!("[{}]", code.id());
        assert!(code.example().contains(&id), "{} has no example", code.example_name());
        assert!(code.explanation().ends_with('.'), "{}", code.id());
        assert_eq!(Code::from_id(&code.id().to_lowercase()), Some(*code));
    }
}

#[test]
fn no_message_names_a_library() {
    for entry in fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            let text = fs::read_to_string(&path).unwrap().to_lowercase();
            for word in ["saphyr", "serde", "scanner", "flow mapping", "simple key"] {
                assert!(!text.contains(word), "{} says {word}", path.display());
            }
        }
    }
}

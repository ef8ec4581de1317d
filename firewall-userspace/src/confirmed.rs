//! The copy of what was confirmed last, as files: what the next boot enforces.
//!
//! ```text
//! /var/lib/firewall/confirmed -> policy-7f3c91e0a4b2-1764081234567
//! /var/lib/firewall/policy-.../host.yaml, rules/web.yaml ...   as they were read
//! /var/lib/firewall/policy-.../subject                         which of them was meant
//! /var/lib/firewall/policy-.../addresses                       what `self` stood for
//! ```
//!
//! It is YAML like what it was copied from, never read while anything is pinned,
//! and replaced by one rename, so that a crash leaves the old copy or the new one. A copy has
//! its name when it is whole: what a full disk or a crash leaves has another.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use firewall_policy::Subject;
use firewall_policy::source::Source;

use crate::candidate::{Origin, Wanted};
use crate::host::clock;
use crate::paths;

/// Name of the link to the copy that a boot takes.
const LINK: &str = "confirmed";
/// Name of a copy that is being written.
const UNFINISHED: &str = "unfinished";
/// Digits of a policy's hash in the name of its copy.
const DIGITS: usize = 12;

/// A copy, such as the one that a boot takes.
#[derive(Clone, Debug)]
pub(crate) struct Confirmed {
    /// In place of `/etc/firewall`.
    pub config: PathBuf,
    /// What in it is meant.
    pub wanted: Wanted,
}

/// The copy of what was confirmed last; `None` if nothing was yet.
///
/// # Errors
/// If there is one that cannot be read.
pub(crate) fn last() -> Result<Option<Confirmed>> {
    let link = paths::state().join(LINK);
    match link.canonicalize() {
        Ok(config) => read_copy(config).map(Some),
        Err(_) if fs::symlink_metadata(&link).is_err() => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} is broken", link.display())),
    }
}

/// The newest copy of a policy, on trial perhaps; `None` if there is none.
///
/// # Errors
/// If there is one that cannot be read.
pub(crate) fn of(hash: &str) -> Result<Option<Confirmed>> {
    let state = paths::state();
    let copies = copies(&state);
    let newest = copies.iter().filter(|name| name.starts_with(&prefix(hash))).max();
    newest.map(|name| read_copy(state.join(name))).transpose()
}

fn read_copy(config: PathBuf) -> Result<Confirmed> {
    let read = |name: &str| {
        let path = config.join(name);
        fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))
    };
    let mut wanted = Wanted::default();
    for address in read("addresses")?.lines() {
        wanted.addresses.push(address.parse::<IpAddr>().context("addresses")?);
    }
    let subject = read("subject")?;
    match subject.trim().split_once(' ') {
        None if subject.trim() == "host" => {}
        Some(("file", path)) => wanted.file = Some(config.join(path)),
        Some(("roles", roles)) => wanted.roles = roles.split(' ').map(str::to_owned).collect(),
        _ => bail!("the copy in {} names no policy", config.display()),
    }
    Ok(Confirmed { config, wanted })
}

/// Copies what a policy was read from. A boot takes it once it is [`choose`]n.
///
/// # Errors
/// If it cannot be written; the copy before it stays.
pub(crate) fn keep(origin: &Origin, hash: &str) -> Result<Kept> {
    let state = paths::state();
    let directory = state.join(format!("{}{}", prefix(hash), clock::unix_ms()));
    let unfinished = state.join(UNFINISHED);
    let remove = || match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    let write = || {
        remove()?;
        write_copy(&unfinished, origin)?;
        fs::rename(&unfinished, &directory)
    };
    if let Err(error) = write() {
        // The disk may be full, and be so for what is to come.
        let _left = remove();
        return Err(error).with_context(|| format!("could not write {}", directory.display()));
    }
    Ok(Kept(directory))
}

/// Writes a copy, down to the disk.
fn write_copy(directory: &Path, origin: &Origin) -> io::Result<()> {
    make_directory(directory)?;
    let mut files = Vec::new();
    for (path, bytes) in content(origin) {
        let file = directory.join(path);
        make_directory(file.parent().unwrap_or(directory))?;
        files.push(write_file(&file, &bytes)?);
    }
    // All at once: then a file system has one transaction to wait for.
    files.push(File::open(directory)?);
    files.iter().try_for_each(File::sync_all)
}

/// A copy that no boot takes yet.
#[derive(Debug)]
pub(crate) struct Kept(PathBuf);

impl Kept {
    /// Removes it: what it is a copy of was not enforced.
    pub(crate) fn discard(self) {
        // One that is left over is in nobody's way.
        let _left = fs::remove_dir_all(self.0);
    }
}

/// Makes the newest copy of a policy the one that a boot takes, and removes the
/// others.
///
/// # Errors
/// If there is no copy of it, or it cannot be chosen; the one before it stays.
pub(crate) fn choose(hash: &str) -> Result<()> {
    let state = paths::state();
    let copies = copies(&state);
    let newest = copies.iter().filter(|name| name.starts_with(&prefix(hash))).max();
    let newest = newest.with_context(|| format!("{} holds no copy of it", state.display()))?;
    let (link, next) = (state.join(LINK), state.join(format!("{LINK}.next")));
    let _left = fs::remove_file(&next);
    std::os::unix::fs::symlink(newest, &next)
        .and_then(|()| fs::rename(&next, &link))
        .and_then(|()| File::open(&state)?.sync_all())
        .with_context(|| format!("could not change {}", link.display()))?;
    for name in copies.iter().filter(|name| *name != newest) {
        // One that is left over is in nobody's way.
        let _left = fs::remove_dir_all(state.join(name));
    }
    Ok(())
}

/// Whether the copy that a boot takes is one of this policy.
pub(crate) fn is_of(hash: &str) -> bool {
    let of_this = |target: PathBuf| target.to_string_lossy().starts_with(&prefix(hash));
    fs::read_link(paths::state().join(LINK)).is_ok_and(of_this)
}

/// Whether it is, whole and unharmed.
pub(crate) fn is_chosen(origin: &Origin, hash: &str) -> bool {
    let link = paths::state().join(LINK);
    is_of(hash)
        && content(origin)
            .iter()
            .all(|(name, bytes)| fs::read(link.join(name)).is_ok_and(|written| *bytes == written))
}

/// The files of a copy.
fn content<'o>(origin: &'o Origin) -> BTreeMap<&'o str, Cow<'o, [u8]>> {
    let addresses: Vec<String> = origin.addresses.iter().map(ToString::to_string).collect();
    let text = |source: &'o Source| Cow::from(source.text.as_bytes());
    let files = origin.files.iter().map(|(path, source)| (path.as_str(), text(source)));
    let notes = [
        ("addresses", Cow::from(addresses.join("\n").into_bytes())),
        ("subject", Cow::from(subject(origin).into_bytes())),
    ];
    files.chain(notes).collect()
}

fn prefix(hash: &str) -> String {
    format!("policy-{}-", hash.get(..DIGITS).unwrap_or(hash))
}

fn copies(state: &Path) -> Vec<String> {
    let entries = fs::read_dir(state).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with("policy-")).collect()
}

fn subject(origin: &Origin) -> String {
    match &origin.subject {
        Some(Subject::File(path)) => format!("file {path}\n"),
        Some(Subject::Roles(roles)) => format!("roles {}\n", roles.join(" ")),
        Some(Subject::Host) | None => "host\n".to_owned(),
    }
}

/// Rules tell who may do what: for root alone.
fn make_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn write_file(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    Ok(file)
}

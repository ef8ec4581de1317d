//! Source files, places in them, and where files come from.
//!
//! A [`Files`] is a tree of files with the layout of `/etc/firewall`. Paths in
//! it are relative to that root and written with `/`. Two trees are built in:
//! [`MemoryFiles`] for tests and editors, [`Directory`](crate::directory::Directory)
//! for a disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

/// Where the root of every tree stands on a server. Absolute paths in rule
/// files are written as if the tree were mounted here.
pub const ROOT: &str = "/etc/firewall";

/// One file as it was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// Name as people see it, relative to the rules directory (`rules/web.yaml`).
    pub name: String,
    /// Whole text.
    pub text: String,
}

/// A run of bytes in a source file.
#[derive(Clone, Debug)]
pub struct Span {
    /// The file.
    pub source: Arc<Source>,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// Places never make two policies differ: the same rule from the same shared
/// file, reached by two roles, is one rule.
impl PartialEq for Span {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Span {
    /// 1-based line of the first byte.
    #[must_use]
    pub fn line(&self) -> usize {
        self.source.text[..self.start].matches('\n').count() + 1
    }

    /// 1-based column of the first byte, in characters.
    #[must_use]
    pub fn column(&self) -> usize {
        let before = &self.source.text[..self.start];
        before.rsplit('\n').next().unwrap_or(before).chars().count() + 1
    }

    /// `file:line`, as tables print it.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}", self.source.name, self.line())
    }

    /// The text that was written there.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.source.text[self.start..self.end]
    }

    /// Whether both spans are the same bytes of the same file.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> bool {
        self.start == other.start && self.end == other.end && self.source.name == other.source.name
    }
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Spanned<T> {
    /// What was written.
    pub value: T,
    /// Where it was written.
    pub span: Span,
}

/// Files that were read, by their places in the tree.
pub type Sources = BTreeMap<String, Arc<Source>>;

/// A file's bytes and age.
#[derive(Clone, Debug)]
pub struct Content {
    /// The bytes, not yet known to be text.
    pub bytes: Vec<u8>,
    /// When it was last changed; `None` where the tree does not know.
    pub modified: Option<SystemTime>,
}

/// Why a tree does not give a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such file.
    Missing,
    /// It is longer than the reader allows, in bytes.
    TooLong(usize),
    /// It is a directory, a device, a pipe or a socket.
    NotAFile,
    /// A symbolic link leads out of the tree, to this path.
    LeavesRoot(String),
    /// Everybody may write it, or a directory on the way to it (named).
    WorldWritable(String),
    /// The group of this id may write it, or a directory on the way to it (named).
    GroupWritable(String, u32),
    /// It, or a directory on the way to it (named), belongs to this user id
    /// rather than to root.
    NotRoots(String, u32),
    /// The system refused, in its own words.
    Io(String),
}

/// Where rule files come from: a tree laid out like `/etc/firewall`.
pub trait Files: Sync {
    /// Reads the file at `path`, which is relative to the root, normalised, and
    /// has no `..` in it.
    ///
    /// # Errors
    ///
    /// A [`Refusal`]: the file cannot or must not be used. The caller reports it
    /// at the place that names the file.
    fn read(&self, path: &str, max_bytes: usize) -> Result<Content, Refusal>;

    /// About how many bytes [`read`](Self::read) gives, to divide work by.
    fn size(&self, path: &str) -> usize;

    /// The name of `path` for people.
    fn shown(&self, path: &str) -> String {
        path.to_owned()
    }

    /// Where `path` is looked for, if no line of a file says so.
    fn whole(&self, path: &str) -> String {
        self.shown(path)
    }
}

/// A tree in memory, for tests, editors and fuzzing.
#[derive(Clone, Debug, Default)]
pub struct MemoryFiles {
    files: BTreeMap<String, Content>,
}

impl MemoryFiles {
    /// An empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a file, without a time of change.
    #[must_use]
    pub fn with(mut self, path: &str, text: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.to_owned(), Content { bytes: text.into(), modified: None });
        self
    }

    /// Adds or replaces a file that was last changed at `modified`.
    #[must_use]
    pub fn with_modified(
        mut self,
        path: &str,
        text: impl Into<Vec<u8>>,
        modified: SystemTime,
    ) -> Self {
        let content = Content { bytes: text.into(), modified: Some(modified) };
        self.files.insert(path.to_owned(), content);
        self
    }
}

impl Files for MemoryFiles {
    fn read(&self, path: &str, max_bytes: usize) -> Result<Content, Refusal> {
        let content = self.files.get(path).ok_or(Refusal::Missing)?;
        if content.bytes.len() > max_bytes {
            return Err(Refusal::TooLong(content.bytes.len()));
        }
        Ok(content.clone())
    }

    fn size(&self, path: &str) -> usize {
        self.files.get(path).map_or(0, |content| content.bytes.len())
    }
}

/// Why a written path names no place in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPath {
    /// Nothing is written.
    Empty,
    /// It leads out of the root.
    Outside,
}

/// The place in the tree that `written` names in the file `from`.
///
/// A relative path starts at the directory of `from`; an absolute one must start
/// with [`ROOT`]. Symbolic links are the tree's business, not decided here.
///
/// # Errors
///
/// [`BadPath`] if nothing is written or the path leaves the root.
pub fn resolve_path(from: &str, written: &str) -> Result<String, BadPath> {
    if written.is_empty() {
        return Err(BadPath::Empty);
    }
    let (mut parts, rest): (Vec<&str>, &str) = if written.starts_with('/') {
        let inside = written.strip_prefix(ROOT).and_then(|rest| rest.strip_prefix('/'));
        (Vec::new(), inside.ok_or(BadPath::Outside)?)
    } else {
        let directory = from.rsplit_once('/').map_or("", |(directory, _)| directory);
        (directory.split('/').filter(|part| !part.is_empty()).collect(), written)
    };
    for part in rest.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or(BadPath::Outside)?;
            }
            name => parts.push(name),
        }
    }
    if parts.is_empty() { Err(BadPath::Empty) } else { Ok(parts.join("/")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside_the_root() {
        let resolve = |written| resolve_path("rules/web.yaml", written);
        assert_eq!(resolve("site.yaml").as_deref(), Ok("rules/site.yaml"));
        assert_eq!(resolve("./a/../site.yaml").as_deref(), Ok("rules/site.yaml"));
        assert_eq!(resolve("../lists/x.txt").as_deref(), Ok("lists/x.txt"));
        assert_eq!(resolve("/etc/firewall/lists/x.txt").as_deref(), Ok("lists/x.txt"));
        assert_eq!(resolve("../../passwd"), Err(BadPath::Outside));
        assert_eq!(resolve("/etc/firewall/../passwd"), Err(BadPath::Outside));
        assert_eq!(resolve("/etc/firewalls/x"), Err(BadPath::Outside));
        assert_eq!(resolve("/etc/passwd"), Err(BadPath::Outside));
        assert_eq!(resolve(""), Err(BadPath::Empty));
        assert_eq!(resolve("."), Ok("rules".to_owned()));
    }
}

//! A tree of rule files on a disk.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::source::{Content, Files, ROOT, Refusal};

/// The tree under one directory.
///
/// Symbolic links are followed as long as they stay inside.
#[derive(Clone, Debug)]
pub struct Directory {
    root: PathBuf,
    shown_as: String,
    strict_ownership: bool,
}

impl Directory {
    /// The tree under `root`. Ownership is checked if that is `/etc/firewall`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        let strict_ownership = root == Path::new(ROOT);
        Self { root, shown_as: String::new(), strict_ownership }
    }

    /// The tree that the rule file `path` stands in, and the file's place in it.
    ///
    /// The root is the directory above `rules/` if the file is in a directory of
    /// that name, and the file's own directory otherwise, so that
    /// `rules/web.yaml` of a working copy sees what `/etc/firewall/rules/web.yaml`
    /// sees on a server. Names are shown the way `path` was written.
    #[must_use]
    pub fn of_file(path: &Path) -> (Self, String) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let directory = path.parent().unwrap_or(Path::new(""));
        let (root, inside) = if directory.file_name().is_some_and(|last| last == "rules") {
            (directory.parent().unwrap_or(Path::new("")), format!("rules/{name}"))
        } else {
            (directory, name)
        };
        let mut tree = Self::new(if root.as_os_str().is_empty() { Path::new(".") } else { root });
        if !root.as_os_str().is_empty() && root != Path::new(ROOT) {
            tree.shown_as = format!("{}/", root.display()).replace("//", "/");
        }
        (tree, inside)
    }

    /// Whether a file must belong to root and be writable by nobody else.
    #[must_use]
    pub fn strict_ownership(mut self, strict: bool) -> Self {
        self.strict_ownership = strict;
        self
    }

    /// Every directory on the way counts too: who may write one may replace
    /// what is in it.
    fn check_ownership(&self, root: &Path, file: &Path) -> Result<(), Refusal> {
        for place in file.ancestors().take_while(|place| place.starts_with(root)) {
            let metadata = fs::metadata(place).map_err(|error| refusal(&error))?;
            let inside = place.strip_prefix(root).unwrap_or(place).to_string_lossy();
            let name = if inside.is_empty() {
                self.root.display().to_string()
            } else {
                self.shown(&inside)
            };
            if metadata.uid() != 0 {
                return Err(Refusal::NotRoots(name, metadata.uid()));
            }
            if metadata.mode() & 0o002 != 0 {
                return Err(Refusal::WorldWritable(name));
            }
            if metadata.mode() & 0o020 != 0 && metadata.gid() != 0 {
                return Err(Refusal::GroupWritable(name, metadata.gid()));
            }
        }
        Ok(())
    }
}

impl Files for Directory {
    fn read(&self, path: &str, max_bytes: usize) -> Result<Content, Refusal> {
        let root = self.root.canonicalize().map_err(|error| refusal(&error))?;
        let file = root.join(path).canonicalize().map_err(|error| refusal(&error))?;
        if !file.starts_with(&root) {
            return Err(Refusal::LeavesRoot(file.display().to_string()));
        }
        let metadata = fs::metadata(&file).map_err(|error| refusal(&error))?;
        // Before opening: opening a pipe would wait for a writer.
        if !metadata.is_file() {
            return Err(Refusal::NotAFile);
        }
        if self.strict_ownership {
            self.check_ownership(&root, &file)?;
        }
        let length = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(length.min(max_bytes).saturating_add(1));
        let bound = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
        let open = fs::File::open(&file).map_err(|error| refusal(&error))?;
        open.take(bound).read_to_end(&mut bytes).map_err(|error| refusal(&error))?;
        if bytes.len() > max_bytes {
            return Err(Refusal::TooLong(length.max(bytes.len())));
        }
        Ok(Content { bytes, modified: metadata.modified().ok() })
    }

    fn size(&self, path: &str) -> usize {
        let length = fs::metadata(self.root.join(path)).map(|metadata| metadata.len());
        usize::try_from(length.unwrap_or_default()).unwrap_or(usize::MAX)
    }

    fn shown(&self, path: &str) -> String {
        format!("{}{path}", self.shown_as)
    }

    fn whole(&self, path: &str) -> String {
        if self.root.is_absolute() {
            self.root.join(path).display().to_string()
        } else {
            self.shown(path)
        }
    }
}

fn refusal(error: &io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::NotFound => Refusal::Missing,
        _ => Refusal::Io(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_shown_the_way_it_was_written() {
        let shown = |path: &str| {
            let (files, inside) = Directory::of_file(Path::new(path));
            (files.shown(&inside), files.strict_ownership)
        };
        assert_eq!(shown("rules/web.yaml"), ("rules/web.yaml".into(), false));
        assert_eq!(shown("web.yaml"), ("web.yaml".into(), false));
        assert_eq!(shown("a/b/web.yaml"), ("a/b/web.yaml".into(), false));
        assert_eq!(shown("/srv/rules/web.yaml"), ("/srv/rules/web.yaml".into(), false));
        assert_eq!(shown("/etc/firewall/rules/web.yaml"), ("rules/web.yaml".into(), true));
    }
}

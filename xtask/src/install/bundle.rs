//! Everything that goes to a host, as a directory below `target/install`.
//!
//! ```text
//! setup       the script that installs the rest
//! options     what it is to do
//! tree/       files as they stand below / afterwards
//! ```

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};

use crate::exec;

const SETUP: &str = include_str!("setup.sh");
const UNITS: [(&str, &str, &str); 2] = [
    ("firewall-boot.service", include_str!("units/firewall-boot.service"), "sysinit.target.wants"),
    ("firewall.service", include_str!("units/firewall.service"), "multi-user.target.wants"),
];
/// Completions: shell, and where it looks for them.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/local/share/bash-completion/completions/firewall"),
    ("zsh", "usr/local/share/zsh/site-functions/_firewall"),
    ("fish", "usr/local/share/fish/vendor_completions.d/firewall.fish"),
];
/// What an installation has put on a host, beside /etc/firewall, a path a line.
const MANIFEST: &str = "var/lib/firewall/install/manifest";

/// What is to be done to hosts.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// What changes.
    pub(super) mode: Mode,
    /// Seconds that a host waits for a new connection.
    pub(super) within_s: u32,
    /// Whether systemd runs there.
    pub(super) systemd: bool,
    /// Whether the connection that installs may be cut.
    pub(super) console: bool,
    /// Whether a host may be out of the group of its role.
    pub(super) force: bool,
}

/// What changes on a host.
#[derive(Clone, Debug)]
pub(super) enum Mode {
    /// Programs and policy.
    Install {
        /// host.yaml, by host.
        host_files: Vec<String>,
        /// Directory of rule files.
        rules: PathBuf,
    },
    /// Programs alone.
    Upgrade,
}

/// What all hosts get.
#[derive(Debug)]
pub(super) struct Bundle<'a> {
    directory: PathBuf,
    options: &'a Options,
}

impl<'a> Bundle<'a> {
    /// Gathers it.
    ///
    /// # Errors
    ///
    /// If a file cannot be written, or the binary does not run here.
    pub(super) fn new(binary: &Path, options: &'a Options) -> Result<Self> {
        // Containers that share a tree have the same numbers of processes.
        let (now, own) = (SystemTime::now().duration_since(UNIX_EPOCH)?, std::process::id());
        let directory = exec::target().join(format!("install/{own}-{}", now.as_nanos()));
        let bundle = Self { directory, options };
        let tree = bundle.common();
        bundle.write(Path::new("common/setup"), SETUP.as_bytes(), 0o755)?;
        let installed = bundle.place("common/tree/usr/local/sbin/firewall")?;
        fs::copy(binary, &installed).with_context(|| format!("no {}", binary.display()))?;
        fs::set_permissions(&installed, fs::Permissions::from_mode(0o755))?;
        let man = tree.join("tree/usr/local/share/man/man1");
        exec::capture(Command::new(&installed).arg("man").arg(&man))?;
        for (shell, path) in COMPLETIONS {
            let script = exec::capture(Command::new(&installed).args(["completions", shell]))?;
            bundle.write(&Path::new("common/tree").join(path), script.as_bytes(), 0o644)?;
        }
        if options.systemd {
            for (name, text, wanted_by) in UNITS {
                let units = Path::new("common/tree/etc/systemd/system");
                bundle.write(&units.join(name), text.as_bytes(), 0o644)?;
                let link = bundle.directory.join(units).join(wanted_by).join(name);
                fs::create_dir_all(link.parent().unwrap_or(&link))?;
                symlink(Path::new("..").join(name), &link)?;
            }
        }
        let mut manifest = files(&tree.join("tree"))?;
        manifest.push(MANIFEST.to_owned());
        manifest.sort();
        let manifest = manifest.join("\n") + "\n";
        bundle.write(&Path::new("common/tree").join(MANIFEST), manifest.as_bytes(), 0o600)?;
        if let Mode::Install { rules, .. } = &options.mode {
            bundle.rules(rules)?;
        }
        Ok(bundle)
    }

    /// The directory of one host, by its number.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub(super) fn of(&self, number: usize) -> Result<PathBuf> {
        let name = format!("host-{number}");
        let directory = self.directory.join(&name);
        let mut copy = Command::new("cp");
        // Links: the binary is the same for all.
        exec::capture(copy.arg("-al").arg(self.common()).arg(&directory))?;
        let Options { mode, within_s, systemd, console, force } = self.options;
        let word = |yes: &bool| if *yes { "yes" } else { "no" };
        let mode = match mode {
            Mode::Install { host_files, .. } => {
                let text = host_files.get(number).context("a host without host.yaml")?;
                let path = Path::new(&name).join("tree/etc/firewall/host.yaml");
                self.write(&path, text.as_bytes(), 0o644)?;
                "install"
            }
            Mode::Upgrade => "upgrade",
        };
        let options = format!(
            "mode={mode}\nwithin={within_s}\nsystemd={}\nconsole={}\nby={}\nforce={}\n",
            word(systemd),
            word(console),
            super::target::line(&[&format!("{} by cargo xtask {mode}", user())]).trim(),
            if *force { "--force" } else { "" },
        );
        self.write(&Path::new(&name).join("options"), options.as_bytes(), 0o644)?;
        Ok(directory)
    }

    fn common(&self) -> PathBuf {
        self.directory.join("common")
    }

    fn rules(&self, rules: &Path) -> Result<()> {
        for path in rule_files(rules)? {
            let text = fs::read(rules.join(&path)).with_context(|| path.display().to_string())?;
            let place = Path::new("common/tree/etc/firewall/rules").join(path);
            self.write(&place, &text, 0o644)?;
        }
        Ok(())
    }

    fn place(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let path = self.directory.join(path);
        let above = path.parent().unwrap_or(&path);
        fs::create_dir_all(above).with_context(|| format!("cannot make {}", above.display()))?;
        Ok(path)
    }

    fn write(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
        let path = self.place(path)?;
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(fs::set_permissions(&path, fs::Permissions::from_mode(mode))?)
    }
}

impl Drop for Bundle<'_> {
    fn drop(&mut self) {
        // What is left of it is in nobody's way.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Rule files and lists below a directory, by their paths in it: a rule file may include
/// one of a directory below.
///
/// # Errors
///
/// If there is no rule file, or links go in a circle.
fn rule_files(rules: &Path) -> Result<Vec<PathBuf>> {
    ensure!(rules.is_dir(), "{} is no directory of rule files", rules.display());
    let mut find = Command::new("find");
    find.arg("-L").arg(rules).args(["-mindepth", "1", "-name", ".*", "-prune", "-o"]);
    find.args(["-type", "f", "(", "-name", "*.yaml", "-o", "-name", "*.txt", ")"]);
    let list = exec::capture(find.args(["-printf", "%P\\n"]))?;
    let files: Vec<PathBuf> = list.lines().map(PathBuf::from).collect();
    let is_rules = |path: &PathBuf| path.extension().is_some_and(|end| end == "yaml");
    let has_rules = files.iter().any(is_rules);
    ensure!(has_rules, "{} holds no rule file (*.yaml)", rules.display());
    Ok(files)
}

/// Files and links below a directory, by their paths in it.
fn files(tree: &Path) -> Result<Vec<String>> {
    let list = exec::capture(
        Command::new("find").arg(tree).args(["!", "-type", "d", "-printf", "%P\\n"]),
    )?;
    Ok(list.lines().map(str::to_owned).collect())
}

fn user() -> String {
    let name = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    name.unwrap_or_else(|| "root".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_valid_shell() {
        exec::capture(Command::new("sh").args(["-n", "-c", SETUP])).unwrap();
    }

    #[test]
    fn rules_are_sent_with_what_they_include() {
        let rules = std::env::temp_dir().join(format!("firewall-rules-{}", std::process::id()));
        assert!(rule_files(&rules).is_err());
        for path in ["web.yaml", "sub/deep/s.yaml", "sub/list.txt", "README.md", ".git/x.yaml"] {
            fs::create_dir_all(rules.join(path).parent().unwrap()).unwrap();
            fs::write(rules.join(path), "").unwrap();
        }
        let mut found = rule_files(&rules).unwrap();
        found.sort();
        fs::remove_dir_all(&rules).unwrap();
        let wanted = ["sub/deep/s.yaml", "sub/list.txt", "web.yaml"].map(PathBuf::from);
        assert_eq!(found, wanted);
    }

    #[test]
    fn the_units_are_enabled_where_they_say() {
        for (name, text, wanted_by) in UNITS {
            let wanted = format!("WantedBy={}", wanted_by.trim_end_matches(".wants"));
            assert!(text.contains(&wanted), "{name}");
        }
    }
}

//! Running other programs, and saying what is being done and how long it took.
//!
//! Progress goes to standard error; standard output carries results only
//! ([`result`]), so that it can be piped.

use std::ffi::OsStr;
use std::fmt::Display;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Prints one progress line.
pub(crate) fn say(line: impl Display) {
    eprintln!("xtask: {line}");
}

/// Prints one line of result on standard output. A reader that has gone, as in
/// `| head`, is no error.
pub(crate) fn result(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints an error and its causes.
pub(crate) fn error(error: &anyhow::Error) {
    eprintln!("xtask: error: {error:#}");
}

/// Runs `work`, with a line before it (what and why) and one after it (how long).
///
/// # Errors
///
/// Those of `work`.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    say(format_args!("{what} ..."));
    let start = Instant::now();
    let value = work()?;
    say(format_args!("{what}: done in {}", seconds(start.elapsed())));
    Ok(value)
}

/// A duration as people read it.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// Runs a command with its output on the terminal.
///
/// # Errors
///
/// If it cannot start or does not exit with 0; the message names the command.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", line(command));
    }
    Ok(())
}

/// Runs a command and returns what it printed; its output is shown only if it fails.
///
/// # Errors
///
/// If it cannot start or does not exit with 0; the message holds what it printed.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start `{}`", line(command)))?;
    if !output.status.success() {
        bail!(
            "`{}` failed ({})\n{}{}",
            line(command),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command as one would type it, without its environment.
pub(crate) fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(quoted).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    if word.is_empty() || word.contains([' ', '"', '\'', '$', '*', '\\']) {
        format!("'{}'", word.replace('\'', r"'\''"))
    } else {
        word.into_owned()
    }
}

/// The root of the workspace.
pub(crate) fn workspace() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}

/// Cargo's target directory for the host.
pub(crate) fn target() -> PathBuf {
    let workspace = workspace();
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace.join("target"), |directory| workspace.join(directory))
}

/// The cargo that runs xtask, in the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    without_our_environment(&mut command);
    command
}

/// Takes away what cargo set for xtask itself and what would change a nested build.
pub(crate) fn without_our_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
}

/// Where a program is, looking through `PATH` and then cargo's own `bin`.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([cargo_home().join("bin"), "/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// Cargo's home directory.
pub(crate) fn cargo_home() -> PathBuf {
    std::env::var_os("CARGO_HOME").map_or_else(|| home().join(".cargo"), PathBuf::from)
}

/// The user's home directory.
pub(crate) fn home() -> PathBuf {
    std::env::var_os("HOME").map_or_else(|| "/root".into(), PathBuf::from)
}

/// Whether xtask runs as root: `/proc/self` belongs to the effective user.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_reads_as_one_would_type_it() {
        let mut command = Command::new("printf");
        command.args(["%s", "two words", "it's"]);
        assert_eq!(line(&command), r"printf %s 'two words' 'it'\''s'");
    }

    #[test]
    fn a_failing_command_is_named_with_its_output() {
        let error = capture(Command::new("sh").args(["-c", "echo why; exit 3"])).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("sh -c") && text.contains("why") && text.contains('3'), "{text}");
    }
}

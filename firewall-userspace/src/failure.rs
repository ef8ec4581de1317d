//! How commands end: an exit code, and errors that say what to do.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// Exit codes, as the manual has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Exit {
    /// Done, or nothing to do.
    Ok = 0,
    /// It went wrong; nothing was changed unless the message says so.
    Error = 1,
    /// There are changes or findings.
    Findings = 2,
    /// The policy in force is on trial, or was rolled back.
    Unconfirmed = 3,
    /// Not permitted.
    NotPermitted = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error with a way out.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// Exit code.
    pub exit: Exit,
    /// It was understood, and is not done for somebody's good.
    pub is_refusal: bool,
    /// What went wrong, in one sentence.
    pub message: String,
    /// Facts, one line each.
    pub details: Vec<String>,
    /// What to do, as a command where there is one.
    pub help: Option<String>,
}

impl Failure {
    /// An error.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        let (details, message) = (Vec::new(), message.into());
        Self { exit: Exit::Error, is_refusal: false, message, details, help: None }
    }

    /// What is understood, and refused.
    pub(crate) fn refusal(message: impl Into<String>) -> Self {
        Self { is_refusal: true, ..Self::new(message) }
    }

    /// A lack of permission.
    pub(crate) fn not_permitted(message: impl Into<String>) -> Self {
        Self { exit: Exit::NotPermitted, ..Self::new(message) }
    }

    /// With another exit code.
    pub(crate) fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// With a fact.
    pub(crate) fn detail(mut self, text: impl Into<String>) -> Self {
        self.details.push(text.into());
        self
    }

    /// With a way out.
    pub(crate) fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// What an error is to the person at the terminal.
    ///
    /// A refusal of the kernel or the file system anywhere in its causes is a
    /// lack of permission, and says which command helps.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if let Some(failure) = error.downcast_ref::<Self>() {
            return failure.clone();
        }
        let refused = error.chain().any(|cause| {
            cause.downcast_ref::<io::Error>().is_some_and(|error| {
                matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES))
            })
        });
        let failure = Self::new(format!("{error:#}"));
        if refused && crate::host::users::effective_uid() != 0 {
            return failure.exit(Exit::NotPermitted).help(as_root());
        }
        failure
    }
}

/// Only root may do it.
///
/// # Errors
/// If somebody else tries.
pub(crate) fn require_root(message: &str) -> Result<(), Failure> {
    if crate::host::users::effective_uid() == 0 {
        return Ok(());
    }
    Err(Failure::not_permitted(message).help(as_root()))
}

/// The command that was typed, with `sudo` in front.
pub(crate) fn as_root() -> String {
    // A name of a file may be any bytes.
    let words = std::env::args_os().skip(1);
    let words: Vec<String> = words.map(|word| shell_word(&word.to_string_lossy())).collect();
    format!("sudo firewall {}", words.join(" "))
}

fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for detail in &self.details {
            write!(f, "\n  {detail}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_failure_keeps_its_way_out_through_context() {
        let error = anyhow::Error::new(Failure::not_permitted("no").detail("because").help("sudo"));
        let failure = Failure::of(&error);
        assert_eq!(failure.exit, Exit::NotPermitted);
        assert_eq!(failure.to_string(), "no\n  because\n  help: sudo");
    }

    #[test]
    fn other_errors_show_their_causes() {
        let error: anyhow::Result<()> =
            Err(io::Error::from_raw_os_error(libc::EBUSY)).context("could not attach");
        let failure = Failure::of(&error.unwrap_err());
        assert_eq!(failure.exit, Exit::Error);
        assert!(failure.message.starts_with("could not attach: "), "{}", failure.message);
    }

    #[test]
    fn words_are_quoted_for_the_shell() {
        assert_eq!(shell_word("--from"), "--from");
        assert_eq!(shell_word("it's here"), r"'it'\''s here'");
        assert_eq!(shell_word(""), "''");
    }
}

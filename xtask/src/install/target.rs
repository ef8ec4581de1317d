//! A host, and commands on it.

use std::fmt::Write as _;
use std::process::Command;
use std::str::FromStr;

/// `[USER@]HOST[:PORT][=ROLE+ROLE]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// As ssh takes it: `user@name`, without brackets.
    address: String,
    port: Option<u16>,
    roles: Vec<String>,
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (place, roles) = text.split_once('=').unwrap_or((text, ""));
        let (user, name) = match place.rsplit_once('@') {
            Some((user, name)) => (format!("{user}@"), name),
            None => (String::new(), place),
        };
        let (name, port) = match (name.strip_prefix('['), name.rsplit_once(':')) {
            (Some(rest), _) => {
                let (name, port) = rest.split_once(']').ok_or("`]` is missing")?;
                (name, port.strip_prefix(':'))
            }
            (None, Some((before, port))) if !before.contains(':') => (before, Some(port)),
            (None, _) => (name, None),
        };
        if name.is_empty() || place.starts_with('-') || text.contains(char::is_whitespace) {
            return Err(format!("`{text}` names no host: [USER@]HOST[:PORT][=ROLE+ROLE]"));
        }
        let port = port.map(str::parse).transpose();
        let port = port.map_err(|_not_a_number| format!("the port of `{text}` is no number"))?;
        let roles = roles.split('+').filter(|role| !role.is_empty()).map(str::to_owned).collect();
        Ok(Self { address: format!("{user}{name}"), port, roles })
    }
}

/// Where something is to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// This machine.
    Here,
    /// Another one, by ssh.
    Ssh {
        /// Which.
        host: Host,
        /// Options for ssh (`-o`).
        options: Vec<String>,
    },
}

impl Target {
    /// As people know it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Here => "here".to_owned(),
            Self::Ssh { host, .. } => match host.port {
                Some(port) => format!("{}:{port}", host.address),
                None => host.address.clone(),
            },
        }
    }

    /// Roles that were named with it.
    pub(super) fn roles(&self) -> &[String] {
        match self {
            Self::Here => &[],
            Self::Ssh { host, .. } => &host.roles,
        }
    }

    /// A command that runs a line of shell there: over SSH, by a connection of its
    /// own, whatever the user's configuration shares.
    pub(super) fn shell(&self, script: &str) -> Command {
        match self {
            Self::Here => {
                let mut command = Command::new("sh");
                command.args(["-c", script]);
                command
            }
            Self::Ssh { host, options } => {
                let mut command = Command::new("ssh");
                for option in FIXED.iter().copied().chain(options.iter().map(String::as_str)) {
                    command.args(["-o", option]);
                }
                if let Some(port) = host.port {
                    command.args(["-p", &port.to_string()]);
                }
                command.args(["--", &host.address, script]);
                command
            }
        }
    }
}

/// Nobody is asked, nothing is shared, and a dead connection is noticed.
const FIXED: [&str; 6] = [
    "BatchMode=yes",
    "ConnectTimeout=10",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=12",
    "ControlMaster=no",
    "ControlPath=none",
];

/// Words as one line of shell.
pub(super) fn line(words: &[&str]) -> String {
    let mut line = String::new();
    for word in words {
        let _ = write!(line, "'{}' ", word.replace('\'', r"'\''"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> (String, Option<u16>, Vec<String>) {
        let Host { address, port, roles } = text.parse().unwrap();
        (address, port, roles)
    }

    #[test]
    fn a_host_is_written_as_for_ssh_with_its_roles() {
        assert_eq!(host("web01"), ("web01".into(), None, vec![]));
        assert_eq!(host("root@web01:2222"), ("root@web01".into(), Some(2222), vec![]));
        assert_eq!(host("a@b=web+app").2, ["web", "app"]);
        assert_eq!(host("root@[2001:db8::1]:22"), ("root@2001:db8::1".into(), Some(22), vec![]));
        assert_eq!(host("2001:db8::1"), ("2001:db8::1".into(), None, vec![]));
    }

    #[test]
    fn what_ssh_would_take_for_an_option_is_refused() {
        for text in ["", "-oProxyCommand=evil", "a b", "root@", "web:http", "[2001:db8::1"] {
            assert!(text.parse::<Host>().is_err(), "{text}");
        }
    }

    #[test]
    fn words_survive_the_shell() {
        let line = line(&["printf", "%s,", "it's", "$HOME"]);
        let output = Target::Here.shell(&line).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "it's,$HOME,");
    }
}

//! `cargo xtask install`, `upgrade` and `uninstall`: the firewall on this machine or
//! on others over SSH.
//!
//! | file | idea |
//! | --- | --- |
//! | [`bundle`] | everything that goes to a host: binary, units, rules, pages |
//! | [`target`] | a host, and commands on it |
//! | [`send`] | a bundle on its way to a host, and `stage.sh`, which receives it |
//! | [`change`] | one host: send, plan, switch, prove it by a new connection, keep |
//! | [`rollout`] | several hosts: one first, stop at the first failure |
//! | `setup.sh` | the other half, on the host: a transaction that undoes itself |

mod bundle;
mod change;
mod rollout;
mod send;
mod target;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use self::bundle::{Bundle, Mode, Options};
use self::change::{Change, End, Plan};
use self::target::{Host, Target};
use crate::exec;

const INSTALL_EXAMPLES: &str = "\
Examples:
  cargo xtask install --role standalone --iface eth0            on this machine
  cargo xtask install --role web --host root@web01 --dry-run    check, test, compare; change nothing
  cargo xtask install --role web --host root@web01,root@web02   the first one alone, then the others
  cargo xtask install --host root@lb01=load-balancer --host root@web01=web+monitoring --jobs 4

Every host is checked and its plan shown before any is touched. A change is on trial until a NEW SSH
connection has come in and scraped /metrics; if either fails, if the time is over, or if this command
is killed, the host puts everything back by itself. Exit code 0 done or nothing to do, 1 refused,
2 --dry-run found changes, 3 a host was put back.";

const UPGRADE_EXAMPLES: &str = "\
Examples:
  cargo xtask upgrade                                on this machine
  cargo xtask upgrade --host root@web01,root@web02   the first one alone, then the others

The new binary, units and pages; the policy stays the one that was confirmed last, whatever has
become of /etc/firewall. Its programs are loaded anew and swapped in one store: no packet is judged
by nothing. Otherwise as `cargo xtask install`.";

const UNINSTALL_EXAMPLES: &str = "\
Examples:
  cargo xtask uninstall                        on this machine: it is OPEN afterwards
  cargo xtask uninstall --host root@web01 --keep-config

Takes away what was installed: programs in the kernel, agent, units, files, group, /etc/firewall.";

/// Install the firewall here or over SSH; proves that you still get in, or puts everything back
#[derive(clap::Args)]
#[command(after_help = INSTALL_EXAMPLES)]
pub(crate) struct Install {
    /// Role, the name of a rule file (several: repeat it, or a comma list)
    #[arg(long = "role", value_name = "ROLE", value_delimiter = ',')]
    roles: Vec<String>,
    /// Interface to enforce on, or a pattern; without it, what the role says
    #[arg(long = "iface", value_name = "NAME", value_delimiter = ',')]
    interfaces: Vec<String>,
    /// Where the agent serves /metrics; without it, on 127.0.0.1:9477
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
    /// A host.yaml of your own, in place of --role, --iface and --metrics
    #[arg(long, value_name = "FILE", conflicts_with_all = ["roles", "interfaces", "metrics"])]
    host_file: Option<PathBuf>,
    /// Directory of rule files (*.yaml) and lists (*.txt); with those below it, they go to
    /// /etc/firewall/rules
    #[arg(long, value_name = "DIR", default_value = "rules")]
    rules: PathBuf,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    hosts: Hosts,
}

/// Replace an installed firewall by this one; enforcement does not pause
#[derive(clap::Args)]
#[command(after_help = UPGRADE_EXAMPLES)]
pub(crate) struct Upgrade {
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    hosts: Hosts,
}

/// Take the firewall off; the host is open afterwards
#[derive(clap::Args)]
#[command(after_help = UNINSTALL_EXAMPLES)]
pub(crate) struct Uninstall {
    /// Leave /etc/firewall
    #[arg(long)]
    keep_config: bool,
    /// Name the hosts that would be opened, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    hosts: Hosts,
}

#[derive(clap::Args)]
struct Hosts {
    /// `[USER@]HOST[:PORT][=ROLE+ROLE]` to reach by ssh (several: repeat it, or a comma list);
    /// without it, this machine
    #[arg(long = "host", visible_alias = "hosts", value_name = "HOST", value_delimiter = ',')]
    named: Vec<Host>,
    /// Hosts at once, after the first one has succeeded
    #[arg(long, value_name = "N", default_value_t = 1)]
    jobs: usize,
    /// An option of ssh (-o), such as IdentityFile=key
    #[arg(long = "ssh-option", value_name = "OPTION=VALUE")]
    ssh: Vec<String>,
}

#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
struct How {
    /// Check, test, compare; change nothing
    #[arg(long)]
    dry_run: bool,
    /// Seconds that a host waits for the new connection before it puts everything back
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    confirm_within: u32,
    /// Go on even if the policy would cut the SSH connection that installs it
    #[arg(long)]
    i_have_console: bool,
    /// Go on even if a host is not in the group of its role
    #[arg(long)]
    force: bool,
    /// Start the agent where there is no systemd; starting it at boot is up to you
    #[arg(long)]
    without_systemd: bool,
    /// A `firewall` binary that is built already
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

impl Hosts {
    /// This machine, or those named.
    fn targets(&self) -> Vec<Target> {
        if self.named.is_empty() {
            return vec![Target::Here];
        }
        let target = |host: &Host| Target::Ssh { host: host.clone(), options: self.ssh.clone() };
        self.named.iter().map(target).collect()
    }
}

impl How {
    fn options(&self, mode: Mode) -> Options {
        Options {
            mode,
            within_s: self.confirm_within,
            systemd: !self.without_systemd,
            console: self.i_have_console,
            force: self.force,
        }
    }

    fn binary(&self) -> Result<PathBuf> {
        match &self.binary {
            Some(path) => Ok(path.clone()),
            None => crate::build::release(),
        }
    }
}

fn seconds(text: &str) -> Result<u32, String> {
    match text.strip_suffix('s').unwrap_or(text).parse() {
        Ok(seconds @ 5..=3600) => Ok(seconds),
        _ => Err("5 to 3600 seconds, such as 60 or 60s".into()),
    }
}

/// Runs `cargo xtask install`.
///
/// # Errors
///
/// If the arguments do not fit together, or something cannot be built.
pub(crate) fn install(args: &Install) -> Result<ExitCode> {
    let targets = args.hosts.targets();
    let host_files = targets.iter().map(|target| args.host_file(target)).collect::<Result<_>>()?;
    let options = args.how.options(Mode::Install { host_files, rules: args.rules.clone() });
    change_all(&args.how, &args.hosts, &targets, &options)
}

/// Runs `cargo xtask upgrade`.
///
/// # Errors
///
/// If something cannot be built.
pub(crate) fn upgrade(args: &Upgrade) -> Result<ExitCode> {
    let options = args.how.options(Mode::Upgrade);
    change_all(&args.how, &args.hosts, &args.hosts.targets(), &options)
}

/// Runs `cargo xtask uninstall`.
///
/// # Errors
///
/// If a host cannot be reached, or refuses; those before it are done.
pub(crate) fn uninstall(args: &Uninstall) -> Result<ExitCode> {
    let verb = match args {
        Uninstall { dry_run: true, .. } => change::WOULD_REMOVE,
        Uninstall { keep_config: true, .. } => "remove keep",
        _ => "remove",
    };
    let mut exit = ExitCode::SUCCESS;
    for target in args.hosts.targets() {
        let (code, said) = change::remove(&target, verb).with_context(|| target.name())?;
        for line in said.lines() {
            exec::result(format_args!("{}  {line}", target.name()));
        }
        if code != 0 {
            exit = ExitCode::from(2);
        }
    }
    Ok(exit)
}

impl Install {
    /// host.yaml of a target.
    fn host_file(&self, target: &Target) -> Result<String> {
        if let Some(path) = &self.host_file {
            return Ok(std::fs::read_to_string(path)?);
        }
        let own = target.roles();
        let roles = if own.is_empty() { &self.roles } else { own };
        if roles.is_empty() {
            bail!("{}: which role? --role NAME, a file in {}", target.name(), self.rules.display());
        }
        let mut text = format!("version: 1\nroles: [{}]\n", roles.join(", "));
        if !self.interfaces.is_empty() {
            let names: Vec<String> =
                self.interfaces.iter().map(|name| format!("{name:?}")).collect();
            let _ = writeln!(text, "interfaces: {{ match: [{}] }}", names.join(", "));
        }
        if let Some(metrics) = self.metrics {
            let _ = writeln!(text, "outputs: {{ prometheus: {{ listen: \"{metrics}\" }} }}");
        }
        Ok(text)
    }
}

/// Plans all, then changes them: one first, and none after a failure.
fn change_all(how: &How, hosts: &Hosts, targets: &[Target], options: &Options) -> Result<ExitCode> {
    let binary = how.binary()?;
    let bundle = Bundle::new(&binary, options)?;
    let changes = targets
        .iter()
        .enumerate()
        .map(|(number, target)| Change::prepare(target, &bundle.of(number)?, how.confirm_within))
        .collect::<Result<Vec<_>>>()?;
    let plans = rollout::together(&changes, hosts.jobs, Change::plan);
    let mut wanted = Vec::new();
    let mut refused = 0;
    for (change, plan) in changes.iter().zip(plans) {
        match plan {
            Ok(Plan::Nothing) => change.say("nothing to do"),
            Ok(Plan::Changes(text)) => {
                change.say(&text);
                wanted.push(change);
            }
            Err(error) => {
                change.say(&format!("REFUSED: {error:#}"));
                refused += 1;
            }
        }
    }
    if refused > 0 {
        exec::result(format_args!("{refused} of {} refused; no host was touched", changes.len()));
        return Ok(ExitCode::FAILURE);
    }
    if how.dry_run {
        exec::result(format_args!("--dry-run: {} of {} would change", wanted.len(), changes.len()));
        return Ok(if wanted.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) });
    }
    let ends = rollout::one_first(&wanted, hosts.jobs, |change| {
        let end = change.carry_out();
        change.say(&end.to_string());
        end
    });
    let count = |wanted: fn(&End) -> bool| ends.iter().filter(|end| wanted(end)).count();
    let (kept, refused) = (count(End::is_kept), count(End::is_refused));
    let back = ends.len() - kept - refused;
    let untouched = wanted.len() - kept - back;
    exec::result(format_args!(
        "{kept} changed, {} as wanted before, {back} put back, {untouched} not touched",
        changes.len() - wanted.len()
    ));
    Ok(match (back, refused) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::FAILURE,
        _ => ExitCode::from(3),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        install: Install,
    }

    fn install(words: &[&str]) -> Install {
        Line::parse_from([&["install"], words].concat()).install
    }

    #[test]
    fn a_host_has_its_own_roles_or_those_of_the_command() {
        let args = install(&[
            "--role",
            "web",
            "--host",
            "root@a,b:2222=app+monitoring",
            "--iface",
            "eth0",
        ]);
        let targets = args.hosts.targets();
        let files: Vec<_> = targets.iter().map(|target| args.host_file(target).unwrap()).collect();
        assert_eq!(files[0], "version: 1\nroles: [web]\ninterfaces: { match: [\"eth0\"] }\n");
        assert!(files[1].contains("roles: [app, monitoring]\n"), "{}", files[1]);
    }

    #[test]
    fn without_a_role_nothing_is_guessed() {
        let args = install(&[]);
        let error = args.host_file(&Target::Here).unwrap_err().to_string();
        assert!(error.contains("which role?"), "{error}");
    }

    #[test]
    fn a_trial_is_neither_too_short_nor_endless() {
        assert_eq!(seconds("60s"), Ok(60));
        assert_eq!(seconds("5"), Ok(5));
        assert!(seconds("4").is_err() && seconds("2h").is_err() && seconds("3601").is_err());
    }
}

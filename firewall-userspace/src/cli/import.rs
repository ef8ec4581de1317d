//! `firewall import`.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use firewall_policy::import::{
    self, Imported, Input, Language, MAX_BYTES, NotCarried, Note, Request,
};
use serde::Serialize;

use super::{Context, Json};
use crate::failure::{Exit, Failure, as_root};
use crate::host::users;
use crate::report::snapshot::SCHEMA;
use crate::report::units;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo firewall import iptables -o web.yaml      what is in the kernel
  firewall import iptables rules.v4 rules.v6     what iptables-save has printed
  sudo firewall import nft -o web.yaml
  nft -j list ruleset | firewall import nft -
  firewall import ufw                            what is in /etc/ufw
  firewall import firewalld                      zones of /etc/firewalld

Reads, and changes nothing. What cannot be carried (NAT, marks, owners, limits,
source ports, …) is listed with its line, in the file and on standard error;
without it the file admits fewer connections than its source, never more. Exit
code 0 if everything is carried, 2 if not, 1 if a file cannot be read, 4 if only
root can read the rules. Next: read TO DECIDE in the file, firewall check
web.yaml, docs/operations.md.")]
pub(super) struct Arguments {
    /// What is imported from
    #[arg(value_enum)]
    language: Word,
    /// Files; `-` is standard input; none: what this host has
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write the role file here, not to standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Name of the role [the name of the output, or `imported`]
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// What `ipset save` has printed [what this host has, if no FILE is given]
    #[arg(long, value_name = "FILE")]
    ipset: Option<PathBuf>,
    /// Take limits for never reached: what exceeds them passes
    #[arg(long)]
    without_limits: bool,
    #[command(flatten)]
    json: Json,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Word {
    Iptables,
    Nft,
    Ufw,
    Firewalld,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    policy: &'a str,
    rules: usize,
    tests: usize,
    not_carried: &'a [NotCarried],
    notes: &'a [Note],
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Exit> {
    let role = role(arguments)?;
    let (files, ipset) = gather(arguments)?;
    let language = match arguments.language {
        Word::Iptables => Language::Iptables,
        Word::Nft => Language::Nft,
        Word::Ufw => Language::Ufw,
        Word::Firewalld => Language::Firewalld,
    };
    let without_limits = arguments.without_limits;
    let request = Request { language, files, ipset, role, without_limits };
    let imported = match import::import(&request) {
        Ok(imported) => imported,
        Err(report) => {
            context.out.diagnostics(&report.render(context.out.style()));
            return Ok(Exit::Error);
        }
    };
    if let Some(path) = &arguments.output {
        write(path, &imported.policy)?;
    }
    let Imported { policy, not_carried, notes, rules, tests } = &imported;
    if arguments.json.json {
        let (rules, tests) = (*rules, *tests);
        context.out.json(&Document { schema: SCHEMA, policy, rules, tests, not_carried, notes })?;
    } else {
        if arguments.output.is_none() {
            context.out.text(policy)?;
        }
        context.out.note(summary(&imported, arguments.output.as_deref()).trim_end());
    }
    Ok(if not_carried.is_empty() { Exit::Ok } else { Exit::Findings })
}

/// What a person has to know, in a screen.
fn summary(imported: &Imported, output: Option<&Path>) -> String {
    /// Lines that are shown for one reason.
    const SHOWN: usize = 10;
    let mut text = String::new();
    let counted = |count: usize, word: &str| {
        let plural = if count == 1 { "" } else { "s" };
        format!("{} {word}{plural}", units::count(count as u64))
    };
    for note in &imported.notes {
        let _ = writeln!(text, "note: {}", note.words());
    }
    for (reason, lines) in imported.losses() {
        let _ = writeln!(text, "not carried: {reason}");
        for line in lines.iter().take(SHOWN) {
            let _ = writeln!(text, "  {line}");
        }
        if lines.len() > SHOWN {
            let _ = writeln!(text, "  and {} more", lines.len() - SHOWN);
        }
    }
    let lost = match imported.not_carried.len() {
        0 => "everything is carried".to_owned(),
        lost => format!("{} not carried, or not in full", counted(lost, "line")),
    };
    let _ = writeln!(
        text,
        "{}, {}; {lost}",
        counted(imported.rules, "rule"),
        counted(imported.tests, "test"),
    );
    if let Some(path) = output {
        let _ = writeln!(
            text,
            "next: read TO DECIDE in {0}, then   firewall check {0}",
            path.display()
        );
    }
    text
}

/// The role's name: as asked, else that of the file it is written to.
fn role(arguments: &Arguments) -> Result<String> {
    let stem = arguments.output.as_deref().and_then(Path::file_stem);
    let stem = stem.map(|stem| stem.to_string_lossy().into_owned());
    let role = arguments.role.clone().or(stem).unwrap_or_else(|| "imported".to_owned());
    let is_possible = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-');
    if role.is_empty() || role.len() > 48 || !role.chars().all(is_possible) {
        let failure = Failure::new(format!("`{role}` is not a name of a role"));
        return Err(failure.help("only a-z, 0-9 and - are used in names: --role web").into());
    }
    Ok(role)
}

/// The files that are asked for, or what this host has.
fn gather(arguments: &Arguments) -> Result<(Vec<Input>, Option<Input>)> {
    let ipset = arguments.ipset.as_deref().map(read).transpose()?;
    if !arguments.files.is_empty() {
        let files = arguments.files.iter().map(|path| read(path)).collect::<Result<_>>()?;
        return Ok((files, ipset));
    }
    let files = match arguments.language {
        Word::Iptables => vec![printed("iptables-save", &[])?, printed("ip6tables-save", &[])?],
        Word::Nft => vec![printed("nft", &["-j", "list", "ruleset"])?],
        Word::Ufw => there(&UFW)?,
        Word::Firewalld => firewalld()?,
    };
    let ipset = match arguments.language {
        Word::Iptables if ipset.is_none() => printed("ipset", &["save"]).ok(),
        _ => ipset,
    };
    Ok((files, ipset))
}

/// Where ufw keeps its rules.
const UFW: [&str; 7] = [
    "/etc/default/ufw",
    "/etc/ufw/before.rules",
    "/etc/ufw/user.rules",
    "/etc/ufw/after.rules",
    "/etc/ufw/before6.rules",
    "/etc/ufw/user6.rules",
    "/etc/ufw/after6.rules",
];

/// Those of these files that this host has.
fn there(paths: &[&str]) -> Result<Vec<Input>> {
    let files: Vec<Input> = paths
        .iter()
        .map(Path::new)
        .filter(|path| path.exists())
        .map(read)
        .collect::<Result<_>>()?;
    if files.is_empty() {
        let failure = Failure::new(format!("there is none of {}", paths.join(", ")));
        return Err(failure.help("copy them from the host that has them, and name them").into());
    }
    Ok(files)
}

/// What firewalld keeps, those of the administrator before those of the package.
fn firewalld() -> Result<Vec<Input>> {
    let mut paths = vec![
        PathBuf::from("/etc/firewalld/firewalld.conf"),
        PathBuf::from("/etc/firewalld/direct.xml"),
    ];
    for directory in ["/etc/firewalld", "/usr/lib/firewalld"] {
        for kind in ["zones", "services", "ipsets", "policies"] {
            // Zones and policies of the package are in force only if they were changed:
            // then they are in /etc. The default zone may have its package's file.
            if directory.starts_with("/usr") && kind == "policies" {
                continue;
            }
            let entries = std::fs::read_dir(Path::new(directory).join(kind));
            let files = entries.into_iter().flatten().flatten().map(|entry| entry.path());
            let mut files: Vec<_> =
                files.filter(|path| path.extension().is_some_and(|end| end == "xml")).collect();
            files.sort();
            let is_new = |path: &PathBuf| {
                let own = Path::new("/etc/firewalld")
                    .join(kind)
                    .join(path.file_name().unwrap_or_default());
                directory.starts_with("/etc") || !own.exists()
            };
            paths.extend(files.into_iter().filter(is_new));
        }
    }
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    there(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

fn read(path: &Path) -> Result<Input> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    let most = MAX_BYTES as u64 + 1;
    let done = if name == "-" {
        std::io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    done.with_context(|| format!("could not read {name}"))?;
    let name = if name == "-" { "standard input".to_owned() } else { name };
    Ok(Input { name, bytes })
}

/// What a program of this host prints.
fn printed(program: &str, arguments: &[&str]) -> Result<Input> {
    let output = Command::new(program).args(arguments).output();
    let name = [&[program], arguments].concat().join(" ");
    let failed = |why: String| {
        let failure = Failure::new(format!("could not run {name}: {why}"));
        if users::effective_uid() != 0 {
            return failure.exit(Exit::NotPermitted).help(as_root());
        }
        failure.help(format!(
            "run it where the rules are, and give its output as a file: {name} >FILE"
        ))
    };
    let output = output.map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()).into());
    }
    Ok(Input { name, bytes: output.stdout })
}

/// Writes a file that is not there yet: nobody's rules are overwritten. On a full disk
/// none is left, so that it can be tried again.
fn write(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    let made = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = match made {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let failure = Failure::refusal(format!("{} is there already", path.display()));
            return Err(failure.help("name another file, or move this one away").into());
        }
        made => made.with_context(|| format!("could not create {}", path.display()))?,
    };
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        let _left = std::fs::remove_file(path);
    }
    written.with_context(|| format!("could not write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn arguments(words: &[&str]) -> Arguments {
        Line::parse_from([&["import"], words].concat()).arguments
    }

    #[test]
    fn a_role_is_called_as_its_file() {
        let of = |words: &[&str]| role(&arguments(words)).ok();
        assert_eq!(of(&["nft"]).as_deref(), Some("imported"));
        assert_eq!(of(&["nft", "-o", "/tmp/web.yaml"]).as_deref(), Some("web"));
        assert_eq!(of(&["nft", "-o", "web.yaml", "--role", "db"]).as_deref(), Some("db"));
        assert_eq!((of(&["nft", "-o", "My Web.yaml"]), of(&["nft", "--role", ""])), (None, None));
    }

    #[test]
    fn a_file_that_is_there_stays() {
        let path = std::env::temp_dir().join(format!("firewall-import-{}", std::process::id()));
        write(&path, "first").unwrap();
        let refused = write(&path, "second").unwrap_err();
        assert!(Failure::of(&refused).is_refusal);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first");
        std::fs::remove_file(path).unwrap();
    }
}

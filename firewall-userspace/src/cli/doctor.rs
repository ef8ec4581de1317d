//! `firewall doctor`: reads, and changes nothing.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::{Context, Json};
use crate::candidate::{self, Wanted};
use crate::enforce::Ready;
use crate::failure::Exit;
use crate::forwarded::Forwarded;
use crate::host::containers::Containers;
use crate::host::kernel::{self, Version};
use crate::host::selection::Selection;
use crate::host::{ethtool, interfaces, netlink, users};
use crate::kernel::store::Store;
use crate::remembered::Remembered;
use crate::report::snapshot::{Level, SCHEMA};
use crate::report::table::visible;
use crate::report::units;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  firewall doctor
  firewall doctor --json | jq '.findings[] | select(.level != \"ok\")'

Exit code 0 if all is well, 2 with findings.")]
pub(super) struct Arguments {
    #[command(flatten)]
    json: Json,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    level: Level,
    about: String,
    text: String,
    help: Option<String>,
}

impl Finding {
    fn new(level: Level, about: &str, text: impl Into<String>) -> Self {
        Self { level, about: about.to_owned(), text: text.into(), help: None }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    findings: &'a [Finding],
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Exit> {
    let mut findings = of_kernel(context.pins.directory());
    let (finding, policy) = of_policy(context);
    findings.push(finding);
    let (ready, remembered) = policy.unzip();
    findings.extend(of_interfaces(context, remembered.as_ref()));
    findings.extend(of_containers(ready.flatten().as_ref(), context));
    if arguments.json.json {
        context.out.json(&Document { schema: SCHEMA, findings: &findings })?;
    } else {
        for Finding { level, about, text, help } in &findings {
            let help = help.as_ref().map_or(String::new(), |help| format!("        {help}"));
            // Names of interfaces are the choice of others.
            let line = visible(&format!("{level:5} {about:10} {text}{help}"));
            context.out.line(&line)?;
        }
    }
    let worst = findings.iter().map(|finding| finding.level).max();
    Ok(if worst >= Some(Level::Warn) { Exit::Findings } else { Exit::Ok })
}

/// Whether the policy of the files is sound, and what it would take.
fn of_policy(context: &Context) -> (Finding, Option<(Option<Ready>, Remembered)>) {
    let place = context.config.display();
    let loaded = match candidate::read(&context.config, &Wanted::default()) {
        Ok(loaded) => loaded,
        Err(report) => {
            let errors = units::plural(report.diagnostics.len() + report.hidden, "finding");
            let finding = Finding::new(Level::Warn, "policy", format!("{errors} in {place}"));
            return (finding.help("firewall check"), None);
        }
    };
    let ready = Ready::new(None, &loaded.policy);
    let finding = match &ready {
        Ok(Ready { generation, .. }) => {
            let memory = units::memory(generation.memory.total_bytes());
            let text = format!("{place} is sound; it takes {memory} of kernel memory");
            Finding::new(Level::Ok, "policy", text)
        }
        Err(error) => Finding::new(Level::Fail, "policy", format!("{error:#}")),
    };
    (finding, Some((ready.ok(), Remembered::of(&loaded.policy))))
}

fn of_kernel(pins: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let release = kernel::release().unwrap_or_else(|| "of unknown version".to_owned());
    let version = kernel::Version::running();
    findings.push(if version.is_some_and(|running| running >= Version::FLOOR) {
        Finding::new(Level::Ok, "kernel", format!("Linux {release}, BPF links"))
    } else {
        let needed = format!("Linux {release} is too old: {} or newer is needed", Version::FLOOR);
        Finding::new(Level::Fail, "kernel", needed)
    });
    findings.push(if kernel::has_btf() {
        Finding::new(Level::Ok, "btf", "the kernel describes its types")
    } else {
        Finding::new(
            Level::Fail,
            "btf",
            "/sys/kernel/btf/vmlinux is missing: programs cannot be loaded",
        )
        .help("a kernel with CONFIG_DEBUG_INFO_BTF=y")
    });
    findings.push(if kernel::is_bpffs(pins) {
        Finding::new(Level::Ok, "bpffs", "mounted: enforcement survives the agent")
    } else {
        Finding::new(
            Level::Warn,
            "bpffs",
            format!(
                "{} is not on a BPF file system yet: `firewall apply` mounts it",
                pins.display()
            ),
        )
        .help("mount -t bpf -o mode=0700 bpf /sys/fs/bpf")
    });
    let jit = crate::host::read("/proc/sys/net/core/bpf_jit_enable");
    if jit.as_deref() == Some("0") {
        let finding =
            Finding::new(Level::Warn, "jit", "BPF programs are interpreted: several times slower");
        findings.push(finding.help("sysctl net.core.bpf_jit_enable=1"));
    }
    findings
}

fn of_interfaces(context: &Context, remembered: Option<&Remembered>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let links = netlink::links().unwrap_or_default();
    let ours = Store::open(&context.pins).ok().flatten().and_then(|store| store.attached().ok());
    let ours = ours.unwrap_or_default();
    let mut selected = 0;
    let selection =
        remembered.map(|remembered| Selection::of(&remembered.matches, &remembered.ignore));
    let selection = selection.unwrap_or_default();
    for one in interfaces::all() {
        let wanted = selection.judges(&one.name);
        let attached = ours.iter().any(|link| link.ifindex == one.ifindex);
        let link = links.iter().find(|link| link.ifindex == one.ifindex && !attached);
        let foreign = link.map_or(&[][..], |link| &link.programs);
        if !wanted && !attached {
            continue;
        }
        selected += 1;
        findings.extend(of_interface(&one, foreign));
    }
    findings.extend(of_ppp(&interfaces::all()));
    for one in &selection.elsewhere {
        findings.push(Finding::new(Level::Note, &one.name, one.text()));
    }
    for double in &selection.doubles {
        let (out, stays) = double.out_and_in();
        let finding = Finding::new(Level::Warn, &double.upper, double.text());
        let help = format!("interfaces: {{ ignore: [{out}] }}    judges on {stays}");
        findings.push(finding.help(help));
    }
    if remembered.is_some() && selected == 0 {
        let finding =
            Finding::new(Level::Warn, "interfaces", "the policy names no interface of this host");
        findings.push(finding.help("ip -br link    and `interfaces: { match: [...] }`"));
    }
    findings
}

/// Packets of PPP are judged nowhere: by themselves they have no Ethernet header, and over Ethernet
/// they pass as what is not IP.
fn of_ppp(present: &[interfaces::Interface]) -> Option<Finding> {
    let is_ppp = |one: &&interfaces::Interface| one.name.starts_with("ppp");
    let names: Vec<&str> = present.iter().filter(is_ppp).map(|one| one.name.as_str()).collect();
    let names = Some(names.join(" ")).filter(|names| !names.is_empty())?;
    let text = format!("packets of {names} are NOT filtered, nor are those in PPPoE frames");
    let help = "filter PPP by nftables, or let a router before this host end it";
    Some(Finding::new(Level::Warn, "ppp", text).help(help))
}

fn of_interface(one: &interfaces::Interface, foreign: &[u32]) -> Vec<Finding> {
    let name = one.name.as_str();
    let mut findings = Vec::new();
    if !foreign.is_empty() {
        let ids: Vec<String> = foreign.iter().map(u32::to_string).collect();
        let shown = ids.join(", ");
        findings.push(if users::effective_uid() == 0 {
            let text = format!("another XDP program sits there: id {shown}");
            Finding::new(Level::Fail, name, text).help(format!(
                "bpftool prog show id {}; then remove it, or ingress-hook: tc",
                ids[0]
            ))
        } else {
            let text = format!("an XDP program sits there, ours or another: id {shown}");
            Finding::new(Level::Note, name, text).help("sudo firewall doctor    can tell")
        });
    }
    let driver = interfaces::driver(name);
    match ethtool::offloads(name) {
        Ok(offloads) => {
            if offloads.large_receive {
                let text = "LRO is on: native XDP will be refused by the driver";
                findings.push(
                    Finding::new(Level::Warn, name, text)
                        .help(format!("ethtool -K {name} lro off")),
                );
            }
            if offloads.vlan_strip && driver.is_some() {
                let text = "rx-vlan-offload is on: `vlan:` rules cannot match in XDP";
                findings.push(
                    Finding::new(Level::Note, name, text)
                        .help(format!("ingress-hook: tc    or    ethtool -K {name} rxvlan off")),
                );
            }
        }
        Err(error) => {
            let text = format!("offloads cannot be read: {error}");
            findings.push(Finding::new(Level::Note, name, text));
        }
    }
    if interfaces::is_bridged(one) {
        let text =
            "it is part of a bridge: what containers send is judged there, by their addresses";
        let help = format!("interfaces: {{ ignore: [{name}] }}, unless that is meant");
        findings.push(Finding::new(Level::Warn, name, text).help(help));
    }
    if one.mtu.is_some_and(|mtu| mtu > 3_498) {
        let text = format!(
            "MTU {}: some drivers refuse native XDP above about 3,500",
            one.mtu.unwrap_or_default()
        );
        findings.push(
            Finding::new(Level::Note, name, text).help("ingress-hook: tc, if attaching fails"),
        );
    }
    if findings.iter().all(|finding| finding.level < Level::Warn) {
        let driver = driver
            .map_or_else(|| "no driver of its own".to_owned(), |driver| format!("driver {driver}"));
        let mtu = one.mtu.map_or(String::new(), |mtu| format!(", MTU {mtu}"));
        findings.insert(0, Finding::new(Level::Ok, name, format!("{driver}{mtu}")));
    }
    findings
}

/// What the policy of the files would do to containers, or that of the kernel if
/// the files cannot be used.
fn of_containers(ready: Option<&Ready>, context: &Context) -> Vec<Finding> {
    let containers = Containers::of_this_host();
    let pinned = || {
        let meta = Store::open(&context.pins).ok()??.meta().ok()??;
        Some(Forwarded::by_meta(&containers, &meta))
    };
    let forwarded = match ready {
        Some(ready) => Forwarded::by_generation(&containers, &ready.generation),
        None => pinned().unwrap_or_default(),
    };
    let shut = forwarded.shut_text().map(|text| {
        Finding::new(Level::Warn, "containers", text)
            .help("an ingress rule with that port; it names the host's port, not the container's")
    });
    let confined =
        forwarded.confined_text().map(|text| Finding::new(Level::Note, "containers", text));
    shut.into_iter().chain(confined).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides() {
        assert!(Level::Fail > Level::Warn && Level::Warn > Level::Note && Level::Note > Level::Ok);
        assert_eq!(format!("{:5}|", Level::Ok), "ok   |");
    }

    #[test]
    fn an_uplink_by_ppp_is_told_to_be_open() {
        let named = |name: &str| interfaces::Interface { name: name.into(), ifindex: 2, mtu: None };
        assert_eq!(of_ppp(&[named("eth0"), named("wg0")]), None);
        let found = of_ppp(&[named("eth0"), named("ppp0"), named("ppp1")]).unwrap();
        assert_eq!((found.level, found.help.is_some()), (Level::Warn, true));
        assert!(found.text.contains("ppp0 ppp1 are NOT filtered"), "{}", found.text);
    }

    #[test]
    fn a_file_system_of_another_kind_is_pointed_out() {
        let findings = of_kernel(Path::new("/proc/firewall"));
        let bpffs = findings.iter().find(|finding| finding.about == "bpffs").unwrap();
        assert_eq!(bpffs.level, Level::Warn);
        assert!(bpffs.help.as_deref().unwrap().starts_with("mount -t bpf"));
    }
}

//! What the firewall itself says about the site: `firewall audit`, if this
//! version has it.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::agents::Agents;
use super::book::{Book, Part};
use super::plan::{SERVERS, WEB1};

/// Notes what every server says.
pub(crate) fn check(agents: &Agents, book: &mut Book) {
    let what = "findings: plaintext behind the load balancer, a single primary, several roles";
    let help = agents.of(WEB1.name).run(&["audit", "--help"]);
    if !help.is_ok_and(|help| help.status.success()) {
        book.skip(Part::Findings, what, "this version of `firewall` has no command `audit`");
        return;
    }
    for server in SERVERS {
        book.check(
            Part::Findings,
            &[server.tier],
            format!("firewall audit on {}", server.name),
            || {
                let findings = findings(agents, server.name)?;
                ensure!(!findings.is_empty() || server.role != "web", "it finds nothing");
                Ok(findings.join("; "))
            },
        );
    }
}

fn findings(agents: &Agents, server: &str) -> Result<Vec<String>> {
    let output = agents.of(server).run(&["audit", "--json"])?;
    let answer: Value = serde_json::from_str(&output.stdout).context("it prints no JSON")?;
    let all = answer["findings"].as_array().context("no findings")?;
    Ok(all.iter().filter_map(|one| one["message"].as_str()).map(str::to_owned).collect())
}

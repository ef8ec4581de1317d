//! Leaving the site running, and how to look around in it.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result};

use super::report;
use super::site::Site;
use crate::lab::firewall_binary;

/// Lets the site live on, writes `target/demo/enter`, and says what to type.
pub(crate) fn keep(site: &Site) -> Result<String> {
    let firewall = firewall_binary()?;
    let programs = firewall.parent().context("the binary has no directory")?;
    let mut script = "#!/bin/sh\n# Opens a shell on a host of the demo, or runs a command there.\n\
        case \"$1\" in\n"
        .to_owned();
    let mut hosts = Vec::new();
    for (host, _) in site.network.lab().keep()? {
        // Switches have nothing to look at.
        if let Some(found) = site.network.find(&host) {
            let _ = writeln!(script, "{host}) pid={} ;;", found.pid());
            hosts.push(host);
        }
    }
    hosts.sort();
    let _ = writeln!(
        script,
        "*) echo \"usage: $0 HOST [COMMAND ...]; hosts: {}\" >&2; exit 1 ;;\nesac\nshift\n\
         [ $# -gt 0 ] || set -- bash\n\
         exec nsenter --target \"$pid\" --all env PATH=\"{}:$PATH\" \"$@\"",
        hosts.join(" "),
        programs.display()
    );
    let path = report::directory()?.join("enter");
    std::fs::write(&path, script)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    let (enter, trusted) = (path.display(), site.trusted.display());
    Ok(format!(
        "\nThe site goes on. Look around (as root):\n\n  \
         {enter} web1 firewall status\n  \
         {enter} web1 firewall rates --watch\n  \
         {enter} db-primary firewall events -f\n  \
         {enter} web1 firewall explain out --from 10.0.2.11 --to 10.0.4.10 --tcp 3306\n  \
         {enter} client curl --cacert {trusted} https://www.foobar.com/\n  \
         {enter} client curl -m 2 http://10.0.2.11/        # dropped by default-in of web1\n  \
         {enter} prometheus curl -s localhost:9090/api/v1/query?query=firewall_requests_total\n  \
         {enter} lb                                        # a shell\n\n\
         Hosts: {}\n\nEnd it: cargo xtask demo --stop\n",
        hosts.join(" ")
    ))
}

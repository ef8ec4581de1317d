//! What cannot be printed is done all the same, and the exit code says so.

use anyhow::Result;
use firewall_tests::firewall::Firewall;
use firewall_tests::host::Host;
use firewall_tests::lab::firewall_binary;
use firewall_tests::pair::Pair;

use crate::support::policy;

const WEB: &str = "name: web, from: any, service: web";

/// Exit code of a command whose reader has gone before it writes.
fn unheard(host: &Host, command: &str) -> Result<String> {
    let binary = firewall_binary()?;
    let run = format!("sleep 0.3; {} {command} 2>/dev/null; echo $? >/tmp/code", binary.display());
    host.sh(&format!("({run}) | true; while ! [ -s /tmp/code ]; do sleep 0.1; done"))?;
    Ok(host.sh("cat /tmp/code; rm /tmp/code")?.trim().to_owned())
}

#[test]
fn a_closed_pipe_changes_no_exit_code() -> Result<()> {
    let Pair { server, lab: _lab, .. } = Pair::new("unheard")?;
    let firewall = Firewall::with_policy(&server, &policy(&[WEB], &[]))?;
    server.write("/tmp/bad.yaml", "version: 1\nrole: bad\nnonsense: 1\n")?;
    assert_eq!(unheard(&server, "check /tmp/bad.yaml --format json")?, "1");
    assert_eq!(unheard(&server, "audit")?, "2");
    firewall.write(&policy(&[], &[]))?;
    assert_eq!(unheard(&server, "apply --confirm-within 30s")?, "3");
    assert_eq!(unheard(&server, "status --check")?, "3");
    assert_eq!(unheard(&server, "confirm")?, "0");
    firewall.check(&["detach", "--all"])?;
    assert_eq!(unheard(&server, "status --check")?, "1");
    // What goes on until its reader goes ends with him.
    assert_eq!(unheard(&server, "status --watch")?, "0");
    Ok(())
}

#[test]
fn a_change_that_cannot_be_printed_is_told_beside() -> Result<()> {
    let Pair { server, lab: _lab, .. } = Pair::new("full")?;
    let firewall = Firewall::with_policy(&server, &policy(&[WEB], &[]))?;
    let binary = firewall_binary()?.display().to_string();
    let run = |command: &str| {
        server.sh(&format!("({binary} {command} >/dev/full) 2>&1; echo \"code $?\""))
    };
    firewall.write(&policy(&[], &[]))?;
    let said = run("apply --confirm-within 30s")?;
    assert!(said.contains("generation 2") && said.contains("firewall confirm 2-"), "{said}");
    assert!(said.ends_with("code 3\n"), "{said}");
    let said = run("rollback")?;
    assert!(said.contains("rolled back from generation 2") && said.ends_with("code 0\n"), "{said}");
    for change in ["ban add 203.0.113.7", "ban del 203.0.113.7"] {
        let said = run(change)?;
        assert!(said.contains("203.0.113.7") && said.ends_with("code 0\n"), "{said}");
    }
    // Where nothing was changed there is nothing but the error.
    assert!(run("ban list")?.ends_with("code 1\n"));
    Ok(())
}

//! `firewall import` where it may not read, or has no room to write.

use anyhow::Result;
use firewall_tests::lab::{Lab, firewall_binary};

const RULES: &str = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp --dport 22 -j ACCEPT\nCOMMIT\n";

#[test]
fn who_may_not_read_the_rules_is_told_so() -> Result<()> {
    let lab = Lab::new("import-nobody")?;
    let server = lab.host("server")?;
    // Where a user who is not root may run it.
    server.sh(&format!("cp {} /run/firewall-copy", firewall_binary()?.display()))?;
    for language in ["nft", "iptables"] {
        let said = server.sh(&format!(
            "setpriv --reuid 65534 --regid 65534 --clear-groups \
             /run/firewall-copy import {language} 2>&1 || echo ended with $?"
        ))?;
        assert!(said.contains(&format!("help: sudo firewall import {language}")), "{said}");
        assert!(said.ends_with("ended with 4\n"), "{said}");
    }
    Ok(())
}

#[test]
fn an_import_without_room_can_be_tried_again() -> Result<()> {
    let lab = Lab::new("import-full")?;
    let server = lab.host("server")?;
    server.write("/run/rules.v4", RULES)?;
    server.sh("mkdir /run/full && mount -t tmpfs -o size=8k none /run/full")?;
    let firewall = firewall_binary()?;
    let import = format!(
        "{} import iptables /run/rules.v4 -o /run/full/web.yaml 2>&1 || echo ended with $?",
        firewall.display()
    );
    server.sh("head -c 8192 /dev/zero >/run/full/other")?;
    let said = server.sh(&import)?;
    assert!(said.contains("No space left") && said.ends_with("ended with 1\n"), "{said}");
    assert_eq!(server.sh("ls /run/full")?, "other\n");
    server.sh("rm /run/full/other")?;
    let said = server.sh(&import)?;
    assert!(said.contains("everything is carried"), "{said}");
    Ok(())
}

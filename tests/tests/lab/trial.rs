//! A policy on trial: the kernel takes it back unless somebody confirms it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use firewall_tests::firewall::Firewall;
use firewall_tests::pair::{self, Pair};
use firewall_tests::traffic::conversation::connects;
use firewall_tests::traffic::echo::Echo;
use firewall_tests::traffic::{PATIENCE, REFUSAL};

use crate::support::{policy, store, wait_until};

const WEB: &str = "name: web, from: any, service: web";
const MORE: &str = "name: more, from: any, service: alternative";

#[test]
fn an_unconfirmed_policy_gives_way_with_nobody_alive() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("gives-way")?;
    let _servers = (Echo::tcp(&server, 80)?, Echo::tcp(&server, 8080)?);
    let firewall = Firewall::with_policy(&server, &policy(&[WEB, MORE], &[]))?;
    firewall.write(&policy(&[WEB], &[]))?;
    let said = firewall.refused(&["apply", "--confirm-within", "3s"], 3)?;
    assert!(said.contains("swapped to generation 2") && said.contains("(unconfirmed)"), "{said}");
    assert!(
        said.contains("unless you run, from a NEW session:\n    firewall confirm 2-"),
        "{said}"
    );
    let status = firewall.check(&["status"])?;
    assert!(
        status.contains("generation 2, UNCONFIRMED") && status.contains("gives way in"),
        "{status}"
    );
    let _on_trial = firewall.refused(&["status", "--check"], 3)?;
    let said = firewall.refused(&["apply"], 3)?;
    assert!(said.contains("generation 2 is on trial: applied by root at "), "{said}");
    assert!(!connects(&client, None, pair::server(8080)[0], REFUSAL)?, "the trial is not in force");

    wait_until("the old policy is in force", Duration::from_secs(5), || {
        connects(&client, None, pair::server(8080)[1], REFUSAL)
    })?;
    assert_eq!(firewall.generation()?, 1);
    // Whatever the token: it is not in force any more.
    let said = firewall.refused(&["confirm", "9-ffff"], 3)?;
    assert!(said.contains("too late: generation 2"), "{said}");
    assert!(said.contains("in force: generation 1"), "{said}");
    // What gave way is no obstacle.
    assert!(firewall.check(&["apply"])?.contains("swapped to generation 2"), "{said}");
    assert!(!connects(&client, None, pair::server(8080)[0], REFUSAL)?);
    Ok(())
}

#[test]
fn a_confirmed_policy_stays_and_a_rejected_one_goes() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("confirmed")?;
    let _servers = (Echo::tcp(&server, 80)?, Echo::tcp(&server, 8080)?);
    let firewall = Firewall::with_policy(&server, &policy(&[WEB], &[]))?;
    let agent = firewall.agent()?;
    let alternative = pair::server(8080)[0];
    // What a CPU let out under one word holds for no other.
    let word = || store(&firewall, |store| Ok(store.word().0));
    let mut words = vec![word()?];

    firewall.write(&policy(&[WEB, MORE], &[]))?;
    firewall.refused(&["apply", "--confirm-within", "1m"], 3)?;
    words.push(word()?);
    assert!(connects(&client, None, alternative, PATIENCE)?);
    assert!(firewall.check(&["rollback"])?.contains("rolled back from generation 2"));
    words.push(word()?);
    assert!(!connects(&client, None, alternative, REFUSAL)?);
    wait_until("the agent knows", PATIENCE, || {
        Ok(agent.log().contains("generation 1 ")
            && firewall.check(&["status"])?.contains("generation 1"))
    })?;

    firewall.refused(&["apply", "--confirm-within", "2s"], 3)?;
    words.push(word()?);
    firewall.refused(&["confirm", "2-none"], 1)?;
    firewall.refused(&["confirm", "--dry-run"], 2)?;
    assert!(firewall.check(&["confirm"])?.contains("generation 2"));
    words.push(word()?);
    let distinct: BTreeSet<_> = words.iter().collect();
    assert_eq!(distinct.len(), words.len(), "{words:x?}");
    std::thread::sleep(Duration::from_millis(2500));
    assert!(connects(&client, None, alternative, PATIENCE)?, "a confirmed policy gave way");
    assert!(firewall.check(&["confirm"])?.starts_with("nothing to do"));
    assert!(firewall.refused(&["rollback"], 1)?.contains("nothing is on trial"));
    Ok(())
}

#[test]
fn a_first_policy_on_trial_leaves_the_host_as_it_was() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("first-trial")?;
    let _closed = Echo::tcp(&server, 8080)?;
    let firewall = Firewall::on(&server)?;
    firewall.write(&policy(&[WEB], &[]))?;
    let said = firewall.refused(&["apply", "--confirm-within", "2s"], 3)?;
    assert!(said.contains("The kernel lets every packet pass again"), "{said}");
    assert!(!connects(&client, None, pair::server(8080)[0], REFUSAL)?);
    wait_until("it is open again", Duration::from_secs(4), || {
        connects(&client, None, pair::server(8080)[0], REFUSAL)
    })?;
    assert!(firewall.check(&["status"])?.starts_with("OPEN        no policy is loaded"));
    assert!(firewall.check(&["rollback"])?.contains("to no policy: every packet passes"));
    assert!(!server.sh("ip link show dev eth0")?.contains("xdp"));
    assert!(
        !server.path("/var/lib/firewall/confirmed").exists(),
        "a trial was kept for the next boot"
    );
    Ok(())
}

#[test]
fn a_trial_detaches_nothing_that_the_policy_before_it_names() -> Result<()> {
    let Pair { server, client, lab } = Pair::new("trial-links")?;
    lab.connect(
        &server.port("wan0").address("203.0.113.1/28"),
        &client.port("wan0").address("203.0.113.2/28"),
    )?;
    let both = policy(&[WEB], &[]).replace("\"eth*\"", "\"eth*\", wan0");
    let firewall = Firewall::with_policy(&server, &both)?;
    let hooked = || Ok::<_, anyhow::Error>(server.sh("ip link show dev wan0")?.contains("xdp"));
    firewall.write(&policy(&[WEB], &[]))?;
    firewall.refused(&["apply", "--confirm-within", "1m"], 3)?;
    assert!(hooked()?, "wan0 would be open after a rollback");
    firewall.check(&["rollback"])?;
    assert!(hooked()?);
    firewall.refused(&["apply", "--confirm-within", "1m"], 3)?;
    firewall.check(&["confirm"])?;
    // The kernel lets go of links when it finds the time.
    wait_until("the confirmed policy does not name wan0", PATIENCE, || Ok(!hooked()?))?;
    Ok(())
}

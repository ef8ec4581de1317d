//! Judges in the place of root programs: by the agent, once a policy stands. Which of the
//! two is attached changes no verdict, whatever comes next.

use std::time::Duration;

use anyhow::Result;
use firewall_tests::firewall::{Firewall, settle};
use firewall_tests::host::Host;
use firewall_tests::pair::{self, Pair};
use firewall_tests::traffic::conversation::{Conversation, connects};
use firewall_tests::traffic::echo::Echo;
use firewall_tests::traffic::{PATIENCE, REFUSAL};

use crate::support::{policy, store, wait_until};

/// A policy stands after five seconds, and the agent looks once a second.
const STANDS: Duration = Duration::from_secs(10);

/// A rule for each of two ports, so that each policy has programs of its own.
const RULES: [&str; 2] =
    ["name: web, from: any, service: web", "name: more, from: admin, service: alternative"];

/// Whether judges, not roots, are attached on both hooks; no other mixture is looked for.
fn has_judges(firewall: &Firewall) -> Result<bool> {
    store(firewall, |store| Ok(store.unsettled(|_| true)?.is_empty()))
}

/// Whether web is open, whoever asks.
fn is_open(client: &Host) -> Result<bool> {
    connects(client, None, pair::server(80)[0], REFUSAL)
}

#[test]
fn the_agent_attaches_the_judges_of_a_policy_that_stands() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("stands")?;
    let _web = Echo::tcp(&server, 80)?;
    let firewall = Firewall::on(&server)?;
    firewall.write(&policy(&RULES, &[]))?;
    let agent = firewall.agent()?;
    assert!(!has_judges(&firewall)?, "at once");
    let mut running = Conversation::tcp(&client, None, pair::server(80)[0])?;
    let before = firewall.counters()?;
    wait_until("judges are attached", STANDS, || has_judges(&firewall))?;
    let shown = server.sh("ip -details link show dev eth0")?;
    assert!(shown.contains("name judge_xdp"), "{shown}");
    assert!(running.asks() && is_open(&client)?);
    let after = firewall.counters()?;
    assert!(after.shrunk(&before).is_empty(), "{:?}", after.shrunk(&before));
    assert!(after.since(&before).rule("ingress", "web").packets > 0);
    wait_until("the agent says so", REFUSAL, || {
        Ok(agent.log().contains("its programs are attached themselves (2 links)"))
    })?;

    // Another policy is in force at once, and its judges follow.
    let until = |open: bool| wait_until("in force", REFUSAL, || Ok(is_open(&client)? == open));
    firewall.write(&policy(&RULES[1..], &[]))?;
    firewall.check(&["apply"])?;
    assert!(!has_judges(&firewall)?, "judges of the other slot");
    until(false)?;
    wait_until("its judges are attached", STANDS, || has_judges(&firewall))?;
    assert!(!is_open(&client)?);
    Ok(())
}

#[test]
fn a_judge_that_is_attached_obeys_the_control_word() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("obeys")?;
    let _web = Echo::tcp(&server, 80)?;
    let [open, also, closed] = [&RULES[..], &RULES[..1], &RULES[1..]].map(|it| policy(it, &[]));
    let firewall = Firewall::with_policy(&server, &closed)?;
    for round in [[&open, &also], [&closed, &open], [&also, &closed]] {
        assert_eq!((store(&firewall, settle)?, store(&firewall, settle)?), (2, 0));
        // The second of these has the slot of the judge that is attached, and programs of its own.
        for now in round {
            server.sh("rmdir /sys/fs/bpf/firewall/v6/gen-?/of-*")?;
            firewall.enforce(now)?;
            assert_eq!(is_open(&client)?, now != &closed, "{round:?}");
        }
    }
    Ok(())
}

#[test]
fn a_trial_ends_where_judges_are_attached_and_nobody_lives() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("settled-trial")?;
    let _web = Echo::tcp(&server, 80)?;
    let firewall = Firewall::with_policy(&server, &policy(&RULES[1..], &[]))?;
    assert_eq!(store(&firewall, settle)?, 2);
    firewall.write(&policy(&RULES, &[]))?;
    firewall.refused(&["apply", "--confirm-within", "3s"], 3)?;
    assert!(is_open(&client)?, "the trial is not in force");
    assert_eq!(store(&firewall, settle)?, 0, "settled on trial");
    wait_until("the old policy is in force", Duration::from_secs(5), || Ok(!is_open(&client)?))?;
    assert_eq!(firewall.generation()?, 1);
    firewall.check(&["detach", "--all"])?;
    wait_until("detached is open", PATIENCE, || is_open(&client))?;
    Ok(())
}

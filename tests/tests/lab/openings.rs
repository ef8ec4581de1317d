//! Openings: they let in what no rule names, end by themselves, and never what a
//! deny or a ban keeps out.

use std::time::{Duration, Instant};

use anyhow::Result;
use firewall_tests::firewall::Firewall;
use firewall_tests::pair::{self, CLIENT, Pair, STRANGER};
use firewall_tests::traffic::conversation::{Conversation, connects};
use firewall_tests::traffic::echo::Echo;
use firewall_tests::traffic::{PATIENCE, REFUSAL};

use crate::support::{policy, wait_until};

const WEB: &str = "name: web, from: any, service: web";

#[test]
fn an_opening_lets_in_who_it_is_for_until_it_is_closed() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("open")?;
    let _servers = (Echo::tcp(&server, 8080)?, Echo::tcp(&server, 443)?);
    let firewall = Firewall::with_policy(&server, &policy(&[WEB], &[]))?;
    for (family, network) in ["198.51.100.20", "2001:db8:2::/64"].into_iter().enumerate() {
        let to = pair::server(8080)[family];
        assert!(!connects(&client, Some(CLIENT[family]), to, REFUSAL)?, "it was open");
        let open = ["open", "alternative", "--from", network, "--for", "10m"];
        let dry = firewall.refused(&[&open[..], &["--dry-run"]].concat(), 2)?;
        let wanted = format!(
            "would open alternative (8080/tcp) to {network} for 10 min; denies and bans stay\n"
        );
        assert_eq!(dry, wanted);
        assert_eq!(firewall.check(&["open", "list"])?, "no openings\n");
        let said = firewall.check(&open)?;
        assert_eq!(said, wanted.replace("would open", "opened"));
        let before = firewall.counters()?;
        let mut talk = Conversation::tcp(&client, Some(CLIENT[family]), to)?;
        assert!(talk.asks(), "{network} does not get in, or hears nothing");
        assert!(!connects(&client, Some(STRANGER[family]), to, REFUSAL)?, "a stranger gets in");
        let other = pair::server(443)[family];
        assert!(!connects(&client, Some(CLIENT[family]), other, REFUSAL)?, "another port is open");
        let since = firewall.counters()?.since(&before);
        assert!(since.reason("ingress", "opening") >= 3, "{since:?}");
        assert!(since.reason("egress", "established") >= 2, "{since:?}");

        let list = firewall.json(&["open", "list"])?;
        let opening = &list["openings"][0];
        assert_eq!(
            (&opening["service"], &opening["network"]),
            (&"alternative".into(), &network.into())
        );
        assert_eq!(opening["ports"], serde_json::json!(["8080/tcp"]));
        let left = opening["seconds_left"].as_u64().unwrap_or_default();
        assert!((590..=600).contains(&left), "{list}");
        let status = firewall.check(&["status"])?;
        assert!(status.contains(&format!("openings    alternative to {network}, ")), "{status}");
        let from = CLIENT[family].to_string();
        let host = to.ip().to_string();
        let explained =
            firewall.check(&["explain", "in", "--from", &from, "--to", &host, "--tcp", "8080"])?;
        assert!(
            explained.starts_with("ALLOW  opening            firewall open list\n"),
            "{explained}"
        );
        let step = format!("alternative is open to {network}, ");
        assert!(explained.contains(&step) && explained.contains("← decides"), "{explained}");
        // A change of policy leaves it alone.
        let more = "name: more, from: any, service: outside";
        firewall.enforce(&policy(&[WEB, more], &[]))?;
        assert!(talk.asks(), "a new policy has closed it");
        firewall.enforce(&policy(&[WEB], &[]))?;

        let said = firewall.check(&["open", "close", "alternative"])?;
        assert_eq!(said, format!("closed alternative to {network}\n"));
        assert!(!talk.asks_within(8, REFUSAL), "what came in by it still talks");
        let said = firewall.refused(&["open", "close", "alternative"], 1)?;
        assert!(said.contains("alternative is not open"), "{said}");
    }
    Ok(())
}

#[test]
fn an_opening_ends_by_itself_even_without_an_agent() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("open-ends")?;
    let _other = Echo::tcp(&server, 8080)?;
    let firewall = Firewall::with_policy(&server, &policy(&[WEB], &[]))?;
    let to = pair::server(8080)[0];
    let start = Instant::now();
    firewall.check(&["open", "tcp/8080", "--from", "198.51.100.20", "--for", "2s"])?;
    let mut talk = Conversation::tcp(&client, Some(CLIENT[0]), to)?;
    assert!(talk.asks(), "it is not open");
    wait_until("it ends", Duration::from_secs(10), || Ok(!talk.asks_within(1, REFUSAL / 4)))?;
    assert!(start.elapsed() >= Duration::from_millis(1900), "after {:?}", start.elapsed());
    assert!(!connects(&client, Some(CLIENT[0]), to, REFUSAL)?, "it is open still");
    assert_eq!(firewall.check(&["open", "list"])?, "no openings\n", "an ended one is listed");
    Ok(())
}

#[test]
fn a_service_is_what_the_policy_in_force_says() -> Result<()> {
    let Pair { server, client: _client, lab: _lab } = Pair::new("open-edited")?;
    let long = format!("a{}", "-long".repeat(8));
    let text = policy(&[WEB], &[])
        .replace("alternative: { tcp: 8080 }", &format!("{long}: {{ tcp: [8080, 9090] }}"));
    let firewall = Firewall::with_policy(&server, &text)?;
    firewall.write(&text.replace("[8080, 9090]", "22222"))?;
    let said = firewall.check(&["open", &long, "--from", "198.51.100.20", "--for", "1h"])?;
    assert!(said.contains("(8080/tcp, 9090/tcp) to 198.51.100.20"), "{said}");
    let list = firewall.check(&["open", "list"])?;
    assert!(list.contains("8080/tcp, 9090/tcp"), "{list}");
    let said = firewall.check(&["open", "close", &long])?;
    assert!(said.starts_with("closed a-long-"), "{said}");
    assert_eq!(firewall.check(&["open", "list"])?, "no openings\n");
    Ok(())
}

#[test]
fn denies_and_bans_are_stronger() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("open-deny")?;
    let _other = Echo::tcp(&server, 8080)?;
    let text = policy(&[WEB], &[]).replace(
        "ingress:\n  allow",
        "ingress:\n  deny: [ { name: nobody, from: strangers, service: all } ]\n  allow",
    );
    let firewall = Firewall::with_policy(&server, &text)?;
    firewall.check(&["open", "alternative", "--from", "198.51.100.0/24", "--for", "1h"])?;
    let to = pair::server(8080)[0];
    assert!(connects(&client, Some(CLIENT[0]), to, PATIENCE)?, "it is not open");
    assert!(!connects(&client, Some(STRANGER[0]), to, REFUSAL)?, "a deny was overruled");
    firewall.check(&["ban", "add", "198.51.100.20"])?;
    assert!(!connects(&client, Some(CLIENT[0]), to, REFUSAL)?, "a ban was overruled");
    Ok(())
}

/// The exact words about what is not done.
#[test]
fn what_is_no_opening_is_refused_in_words() -> Result<()> {
    let Pair { server, client: _client, lab: _lab } = Pair::new("open-bad")?;
    let firewall = Firewall::with_policy(&server, &policy(&[WEB], &[]))?;
    let refused = |words: &[&str]| firewall.refused(&[&["open"], words].concat(), 1);
    let from = ["--from", "198.51.100.20"];
    for (time, why) in [
        ("0", "`0` is not a length of time: write 30s, 10m, 2h or 30d"),
        ("0m", "`0m` is no time at all"),
        ("30", "`30` is not a length of time: write 30s, 10m, 2h or 30d"),
        ("-5m", "`-5m` is not a length of time: write 30s, 10m, 2h or 30d"),
        ("2026-01-01", "`2026-01-01` is not a length of time: write 30s, 10m, 2h or 30d"),
    ] {
        let said = refused(&["web", from[0], from[1], "--for", time])?;
        let wanted = format!("error: invalid value '{time}' for '--for <TIME>': {why}\n");
        assert!(said.starts_with(&wanted), "{said}");
    }
    for (words, wanted) in [
        (
            &["web", from[0], from[1], "--for", "25h"][..],
            "error: an opening lasts 24 hours at most\n  help: what is to stay belongs into the policy, under `allow:`\n",
        ),
        (
            &["wbe", from[0], from[1], "--for", "1h"],
            "error: no service is called `wbe`\n  the policy knows alternative dns echo outside ssh web\n  \
             help: one of them, or a protocol and a port: tcp/8080\n",
        ),
        (
            &["tcp/0", from[0], from[1], "--for", "1h"],
            "error: `tcp/0` is not a protocol and a port\n  help: tcp/8080, udp/53, sctp/3868, or tcp/8000-8010\n",
        ),
    ] {
        assert_eq!(refused(words)?, wanted);
    }
    let said = refused(&["web", "--from", "web.example", "--for", "1h"])?;
    assert!(
        said.contains("`web.example` is not an address or a network; names are never resolved"),
        "{said}"
    );
    let said = refused(&["web", "--from", "198.51.100.20/24", "--for", "1h"])?;
    assert!(said.contains("host bits set: the network is 198.51.100.0/24"), "{said}");
    let said = refused(&["web", "--for", "1h"])?;
    assert!(said.contains("--from <CIDR>"), "{said}");
    // There is room for 16, and a service may take several places.
    for number in 0..15 {
        let address = format!("192.0.2.{}", 100 + number);
        firewall.check(&["open", "tcp/8080", "--from", &address, "--for", "1h"])?;
    }
    let said = refused(&["dns", from[0], from[1], "--for", "1h"])?;
    assert_eq!(
        said,
        "error: dns needs 2 places, one for each run of ports, and 1 of 16 are free\n  \
         help: firewall open list    names what could be closed\n"
    );
    // The same again is renewed, and takes no other place.
    for _ in 0..3 {
        firewall.check(&["open", "tcp/8080", "--from", "192.0.2.100", "--for", "2h"])?;
    }
    let list = firewall.json(&["open", "list"])?;
    assert_eq!(list["openings"].as_array().map(Vec::len), Some(15), "{list}");
    Ok(())
}

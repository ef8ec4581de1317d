//! Bans: they cut what runs, end by themselves, and never hit the way in.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::Result;
use firewall_tests::firewall::Firewall;
use firewall_tests::lab::firewall_binary;
use firewall_tests::pair::{self, ADMIN, CLIENT, Pair, STRANGER};
use firewall_tests::traffic::conversation::{Conversation, connects};
use firewall_tests::traffic::echo::Echo;
use firewall_tests::traffic::{PATIENCE, REFUSAL};

use crate::support::policy;

const WEB: &str = "name: web, from: any, service: web";

#[test]
fn a_ban_cuts_a_running_connection_until_it_is_lifted() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("ban")?;
    let _servers = (Echo::tcp(&server, 80)?, Echo::udp(&client, 443)?);
    let firewall = Firewall::with_policy(&server, &policy(&[WEB], &[]))?;
    for (family, network) in ["198.51.100.66", "2001:db8:2:66::/64"].into_iter().enumerate() {
        let to = pair::server(80)[family];
        let mut banned = Conversation::tcp(&client, Some(STRANGER[family]), to)?;
        let mut other = Conversation::tcp(&client, Some(CLIENT[family]), to)?;
        assert!(banned.asks() && other.asks());
        let before = firewall.counters()?;
        let said =
            firewall.check(&["ban", "add", network, "--for", "10m", "--reason", "too curious"])?;
        assert!(said.starts_with(&format!("banned {network} for 10 min")), "{said}");
        assert!(!banned.asks_within(8, REFUSAL), "{network} still talks");
        assert!(!connects(&client, Some(STRANGER[family]), to, REFUSAL)?, "{network} comes in");
        assert!(other.asks(), "another source was cut");
        let since = firewall.counters()?.since(&before);
        let hits = since.reason("ingress", "banned");
        assert!(hits >= 2, "{since:?}");
        let list = firewall.json(&["ban", "list"])?;
        let ban = &list["bans"][0];
        assert_eq!((&ban["network"], &ban["reason"]), (&network.into(), &"too curious".into()));
        assert!(ban["hits"].as_u64() >= Some(hits), "{list}");
        assert!((590..=600).contains(&ban["seconds_left"].as_u64().unwrap_or_default()), "{list}");

        let said = firewall.check(&["ban", "del", network])?;
        assert!(said.starts_with(&format!("lifted the ban of {network}")), "{said}");
        assert!(banned.asks_within(8, PATIENCE), "{network} does not come back");
        assert_eq!(firewall.check(&["ban", "list"])?, "no bans\n");
        let said = firewall.refused(&["ban", "del", network], 1)?;
        assert!(said.contains("is not banned"), "{said}");
    }
    Ok(())
}

#[test]
fn the_way_in_and_the_host_itself_cannot_be_banned() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("refused")?;
    let _ssh = Echo::tcp(&server, 22)?;
    server.route("default", &CLIENT[0].to_string())?;
    let firewall = Firewall::with_policy(&server, &policy(&[WEB], &[]))?;
    let ends = pair::server(22).into_iter().zip(ADMIN);
    let mut admins: Vec<Conversation> =
        ends.map(|(to, from)| Conversation::tcp(&client, Some(from), to)).collect::<Result<_>>()?;
    let refused = [
        ("198.51.100.5", "covered by failsafe-ssh"),
        ("198.51.100.0/29", "a source of failsafe-ssh"),
        ("2001:db8:2::5", "covered by failsafe-ssh"),
        ("2001:db8:2::/64", "a source of failsafe-ssh"),
        ("192.0.2.10", "an address of this host"),
        ("198.51.100.20", "the default gateway"),
        ("0.0.0.0/0", "too wide"),
        ("::/0", "too wide"),
    ];
    for (network, why) in refused {
        let said = firewall.refused(&["ban", "add", network], 1)?;
        assert!(said.contains("refused: ") && said.contains(why), "{network}: {said}");
    }
    assert_eq!(firewall.check(&["ban", "list"])?, "no bans\n");
    assert!(admins.iter_mut().all(Conversation::asks));
    // A ban that was there before the policy named the source does not help either.
    let network = "198.51.100.64/26";
    firewall.check(&["ban", "add", network])?;
    let text = policy(&[WEB], &[]).replace("from: admin, service: ssh", "from: any, service: ssh");
    firewall.enforce(&text)?;
    let stranger = Conversation::tcp(&client, Some(STRANGER[0]), pair::server(22)[0]);
    assert!(stranger?.asks(), "failsafe comes before bans");
    assert!(!connects(&client, Some(STRANGER[0]), pair::server(80)[0], REFUSAL)?);
    Ok(())
}

#[test]
fn a_ban_ends_by_itself_even_without_an_agent() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("ends")?;
    let _web = Echo::tcp(&server, 80)?;
    let firewall = Firewall::with_policy(&server, &policy(&[WEB], &[]))?;
    let to = pair::server(80)[0];
    let mut talk = Conversation::tcp(&client, Some(STRANGER[0]), to)?;
    assert!(talk.asks());
    let start = Instant::now();
    firewall.check(&["ban", "add", "198.51.100.66", "--for", "1s"])?;
    assert!(!talk.asks_within(8, REFUSAL), "it still talks");
    assert!(connects(&client, Some(STRANGER[0]), to, PATIENCE)?, "it does not come back");
    assert!(start.elapsed() >= Duration::from_millis(900), "after {:?}", start.elapsed());
    assert_eq!(firewall.check(&["ban", "list"])?, "no bans\n", "an ended ban is listed");
    Ok(())
}

#[test]
fn nobody_loses_a_ban_to_others_who_add_some() -> Result<()> {
    let Pair { server, lab: _lab, .. } = Pair::new("three")?;
    let firewall = Firewall::with_policy(&server, &policy(&[WEB], &[]))?;
    firewall.check(&["ban", "add", "100.64.0.1"])?;
    let ban = firewall_binary()?.display().to_string() + " ban";
    // All have opened the table before the first of them has put another in its place; with the
    // third it is again one of that name and size.
    let mut script = vec![
        "flock /sys/fs/bpf/firewall/v6/maps sleep 1 &".to_owned(),
        "sleep 0.3".to_owned(),
        format!("{ban} add 100.64.0.2 &"),
    ];
    script.extend((1..=4).map(|list| format!("seq -f 100.64.{list}.%g 10 | {ban} import - &")));
    server.sh(&(script.join("\n") + "\nwait"))?;
    let list = firewall.json(&["ban", "list"])?;
    assert_eq!(list["bans"].as_array().map(Vec::len), Some(42), "{list}");
    Ok(())
}

#[test]
fn what_has_ended_leaves_room_even_without_an_agent() -> Result<()> {
    let Pair { server, lab: _lab, .. } = Pair::new("room")?;
    let firewall = Firewall::with_policy(&server, &policy(&[WEB], &[]))?;
    let most = 1_u32 << 20;
    let crowd = |first: u32, count: u32| {
        let addresses = (first..first + count).map(|n| Ipv4Addr::from((64 << 24) + n).to_string());
        server.write("/tmp/crowd", addresses.collect::<Vec<_>>().join("\n"))?;
        firewall.run(&["ban", "import", "/tmp/crowd", "--for", "3s"])
    };
    assert!(crowd(0, most)?.stdout.contains(": 1,048,576 new"));
    let said = firewall.refused(&["ban", "add", "100.64.0.1"], 1)?;
    assert!(said.contains("holds 1,048,576: 1,048,576 are there, 1 more do not fit"), "{said}");
    firewall.check(&["ban", "add", "64.0.0.7", "--for", "3s"])?;
    std::thread::sleep(Duration::from_secs(4));
    assert!(crowd(most, 10)?.stdout.contains(": 10 new, 0 renewed"));
    assert_eq!(firewall.json(&["ban", "stats"])?["bans"], 10);
    Ok(())
}

#[test]
fn a_list_takes_the_place_of_all_bans() -> Result<()> {
    let Pair { server, lab: _lab, .. } = Pair::new("replace")?;
    let firewall = Firewall::with_policy(&server, &policy(&[WEB], &[]))?;
    let list = |first: u32, count: u32| {
        let addresses = (first..first + count).map(|n| Ipv4Addr::from((64 << 24) + n).to_string());
        server.write("/tmp/list", addresses.collect::<Vec<_>>().join("\n") + "\n")
    };
    let import = ["ban", "import", "/tmp/list", "--for", "1h"];
    let replace = [&import[..], &["--replace"]].concat();
    firewall.check(&["ban", "add", "100.64.0.1"])?;
    list(0, 1000)?;
    firewall.check(&import)?;
    list(990, 20)?;
    let dry = firewall.refused(&[&replace[..], &["--dry-run"]].concat(), 2)?;
    let wanted = "20 networks for 1 h: 10 new, 10 renewed, 991 lifted\n";
    assert_eq!(dry, format!("would ban {wanted}"));
    assert_eq!(firewall.check(&replace)?, format!("banned {wanted}"));
    assert_eq!(firewall.json(&["ban", "stats"])?["bans"], 20);
    // An empty list would lift all.
    server.write("/tmp/list", "# nothing\n")?;
    for words in [&import[..], &replace] {
        let said = firewall.refused(words, 1)?;
        assert!(said.contains("/tmp/list has no network to ban"), "{said}");
    }
    assert_eq!(firewall.json(&["ban", "stats"])?["bans"], 20);
    let most = 1_u32 << 20;
    for first in [0, most] {
        list(first, most)?;
        assert!(firewall.check(&replace)?.contains("banned 1,048,576 networks"));
    }
    assert_eq!(firewall.json(&["ban", "stats"])?["bans"], most);
    Ok(())
}

#[test]
fn bans_are_told_by_their_addresses() -> Result<()> {
    let Pair { server, lab: _lab, .. } = Pair::new("told")?;
    let firewall = Firewall::with_policy(&server, &policy(&[WEB], &[]))?;
    for (network, time) in
        [("2001:db8:9::/64", "1h"), ("203.0.113.0/24", "3h"), ("::ffff:100.64.0.9", "2h")]
    {
        firewall.check(&["ban", "add", network, "--for", time])?;
    }
    let list = firewall.json(&["ban", "list"])?;
    let bans = list["bans"].as_array().map(Vec::as_slice).unwrap_or_default();
    let networks: Vec<_> = bans.iter().map(|ban| ban["network"].as_str()).collect();
    let wanted = ["100.64.0.9", "203.0.113.0/24", "2001:db8:9::/64"].map(Some);
    assert_eq!(networks, wanted);
    let said = firewall.refused(&["ban", "del", "203.0.113.7"], 1)?;
    assert!(said.contains("the ban of 203.0.113.0/24 covers it"), "{said}");
    server.write("/tmp/mapped", "::ffff:100.64.0.9")?;
    let import = firewall.run(&["ban", "import", "/tmp/mapped"])?;
    assert!(import.stdout.contains(": 0 new, 1 renewed"), "{import:?}");
    assert!(import.stderr.contains("the last line of /tmp/mapped has no end"), "{import:?}");
    Ok(())
}

#[test]
fn a_file_is_banned_as_a_whole_or_not_at_all() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("import")?;
    let _web = Echo::tcp(&server, 80)?;
    let firewall = Firewall::with_policy(&server, &policy(&[WEB], &[]))?;
    let to = pair::server(80)[0];
    let file = std::env::temp_dir().join(format!("firewall-import-{}", std::process::id()));
    let path = file.display().to_string();
    let crowd: String =
        (0..20_000_u32).map(|n| format!("100.64.{}.{}\n", n >> 8, n & 255)).collect();

    std::fs::write(&file, format!("{crowd}198.51.100.66\n100.64.0.300\n"))?;
    let said = firewall.refused(&["ban", "import", &path], 1)?;
    assert!(said.contains(&format!("{path}:20002:1")), "{said}");
    std::fs::write(&file, format!("{crowd}198.51.100.66\n198.51.100.5 # admin\n"))?;
    let said = firewall.refused(&["ban", "import", &path], 1)?;
    assert!(said.contains(&format!("{path}:20002: 198.51.100.5 is covered by")), "{said}");
    assert_eq!(firewall.check(&["ban", "list"])?, "no bans\n");
    assert!(connects(&client, Some(STRANGER[0]), to, PATIENCE)?);

    let skip = ["ban", "import", &path, "--skip-protected", "--for", "1h"];
    let said = firewall.check(&skip)?;
    assert_eq!(said, "banned 20,001 networks for 1 h: 20,001 new, 0 renewed, 1 left out\n");
    assert!(!connects(&client, Some(STRANGER[0]), to, REFUSAL)?, "it comes in");
    assert!(connects(&client, Some(CLIENT[0]), to, PATIENCE)?, "another source was cut");
    // Once more: nobody is banned twice, and hits are kept.
    let said = firewall.check(&skip)?;
    assert!(said.contains(": 0 new, 20,001 renewed"), "{said}");
    let stats = firewall.json(&["ban", "stats"])?;
    assert_eq!(stats["bans"], 20_001, "{stats}");
    let list = firewall.json(&["ban", "list"])?;
    let all = list["bans"].as_array().map(Vec::as_slice).unwrap_or_default();
    let stranger = all.iter().find(|ban| ban["network"] == "198.51.100.66");
    assert!(stranger.is_some_and(|ban| ban["hits"].as_u64() > Some(0)), "{stranger:?}");
    // A table that has grown is changed like any other.
    firewall.check(&["ban", "del", "198.51.100.66"])?;
    assert!(connects(&client, Some(STRANGER[0]), to, PATIENCE)?, "it does not come back");
    firewall.check(&["ban", "add", "198.51.100.66"])?;
    assert!(!connects(&client, Some(STRANGER[0]), to, REFUSAL)?, "it comes in again");
    std::fs::remove_file(&file)?;
    Ok(())
}

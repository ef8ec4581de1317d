//! Tagged frames cannot slip past, in either direction.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use firewall_tests::firewall::{Counters, Firewall};
use firewall_tests::packet::{CLIENT_MAC, Ethernet, Frame, SERVER_MAC, Udp};
use firewall_tests::pair::{CLIENT, Pair, SERVER};
use firewall_tests::traffic::raw::Raw;
use firewall_tests::traffic::{PATIENCE, REFUSAL};

use crate::support::{policy, wait_until};

const IN: [&str; 2] =
    ["name: echo, from: clients, service: echo", "name: tagged, from: any, service: dns, vlan: 10"];
const OUT: [&str; 1] = ["name: dns-out, to: clients, service: dns"];

/// Tags of a frame, port that it asks for, and what becomes of it.
const CASES: [(&[u16], u16, &str); 9] = [
    (&[], 7, "echo"),
    (&[10], 7, "echo"),
    (&[10, 20], 7, "echo"),
    (&[10], 53, "tagged"),
    (&[11], 53, "default-drop"),
    (&[], 53, "default-drop"),
    (&[10], 9, "default-drop"),
    (&[10, 20], 9, "default-drop"),
    (&[10, 20, 30], 7, "malformed-vlan"),
];

#[test]
fn tagged_frames_are_judged_by_what_is_in_them() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("tags-in")?;
    let firewall = Firewall::with_policy(&server, &policy(&IN, &OUT))?;
    let (raw, heard) = (Raw::on(&client, "eth0")?, Raw::on(&server, "eth0")?);
    for (from, to) in CLIENT.into_iter().zip(SERVER) {
        for (tags, port, wanted) in CASES {
            let frame = judged(&firewall, &raw, (from, to), (tags, port, wanted))?;
            let bytes = frame.bytes();
            let limit = if passes(wanted) { PATIENCE } else { Duration::ZERO };
            let got = heard
                .wait_for(limit, |got| got.ends_with(b"tagged") && got.len() >= bytes.len() - 4);
            assert_eq!(got.is_some(), passes(wanted), "{tags:?} to {port}");
        }
    }
    Ok(())
}

/// There the kernel has taken the outer tag off, and keeps it beside the frame.
#[test]
fn tagged_frames_are_judged_alike_at_tc() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("tags-tc")?;
    let text = policy(&IN, &OUT);
    let text = text.replace("[\"eth*\"] }", "[\"eth*\"], ingress-hook: tc }");
    let firewall = Firewall::with_policy(&server, &text)?;
    let raw = Raw::on(&client, "eth0")?;
    for ends in CLIENT.into_iter().zip(SERVER) {
        for case in CASES {
            judged(&firewall, &raw, ends, case)?;
        }
    }
    Ok(())
}

/// Sends a frame, and waits until it was judged as wanted, and nothing else was.
fn judged(
    firewall: &Firewall,
    raw: &Raw,
    (from, to): (IpAddr, IpAddr),
    (tags, port, wanted): (&[u16], u16, &'static str),
) -> Result<Frame> {
    let frame = tagged(Frame::ethernet(), tags).ip(from, to);
    let frame = frame.udp(Udp::between(40_007, port)).payload(b"tagged");
    let before = firewall.counters()?;
    raw.send(&frame)?;
    let mut since = Counters::default();
    wait_until(&format!("{tags:?} to {port} is judged {wanted}"), PATIENCE, || {
        since = firewall.counters()?.since(&before);
        Ok(since.rule("ingress", wanted).packets + since.reason("ingress", wanted) == 1)
    })?;
    let dropped = u64::from(!passes(wanted));
    assert_eq!(since.dropped("ingress"), dropped, "{tags:?} {port} {since:?}");
    Ok(frame)
}

fn passes(outcome: &str) -> bool {
    ["echo", "tagged"].contains(&outcome)
}

#[test]
fn tagged_frames_do_not_leave_unjudged_either() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("tags-out")?;
    let firewall = Firewall::with_policy(&server, &policy(&IN, &OUT))?;
    let (raw, heard) = (Raw::on(&server, "eth0")?, Raw::on(&client, "eth0")?);
    let outward = || {
        let header = Ethernet { destination: CLIENT_MAC, source: SERVER_MAC, ethertype: None };
        Frame::ethernet_with(header)
    };
    for (from, to) in SERVER.into_iter().zip(CLIENT) {
        for tags in [&[][..], &[10], &[10, 20]] {
            for (port, passes) in [(53, true), (99, false)] {
                let frame = tagged(outward(), tags).ip(from, to).udp(Udp::between(40_009, port));
                let frame = frame.payload(format!("to {port}"));
                let before = firewall.counters()?;
                raw.send(&frame)?;
                let limit = if passes { PATIENCE } else { REFUSAL / 5 };
                let got =
                    heard.wait_for(limit, |got| got.ends_with(format!("to {port}").as_bytes()));
                assert_eq!(got.is_some(), passes, "{tags:?} to {to}:{port}");
                let since = firewall.counters()?.since(&before);
                assert_eq!(since.rule("egress", "dns-out").packets, u64::from(passes), "{since:?}");
                assert_eq!(since.reason("egress", "default-drop"), u64::from(!passes), "{since:?}");
            }
        }
    }
    Ok(())
}

fn tagged(frame: Frame, tags: &[u16]) -> Frame {
    tags.iter().fold(frame, |frame, tag| frame.vlan(*tag))
}

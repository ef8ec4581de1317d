//! What was measured, what was not, and how noisy it was.

use std::time::Instant;

use serde::Serialize;

use super::measure::Spread;

/// A part of the bench.
#[derive(Debug)]
pub(super) struct Section {
    /// What `--only` and the baseline call it.
    pub(super) id: &'static str,
    /// For people.
    pub(super) title: &'static str,
    /// How it is measured and how to read it.
    pub(super) about: &'static str,
    /// Rows of the product, as they are printed.
    pub(super) ours: &'static [&'static str],
    /// Rows of everything else: references, instruments, peers.
    pub(super) others: &'static [&'static str],
}

impl Section {
    /// Every row.
    pub(super) fn rows(&self) -> impl Iterator<Item = &'static str> {
        self.ours.iter().chain(self.others).copied()
    }
}

/// Every part, in order.
pub(super) const SECTIONS: [Section; 12] = [
    Section {
        id: "programs",
        title: "Programs",
        about: "What the kernel's verifier walked to accept each program, and its machine code. The \
                same on every machine with this kernel; the baseline holds the instructions.",
        ours: &[
            "judge_xdp, ports and requests",
            "judge_ingress, ports and requests",
            "judge_egress, ports and requests",
            "answer_xdp, ports and requests",
            "answer_tc, ports and requests",
            "judge_xdp, 1,000 rules",
            "judge_ingress, 1,000 rules",
            "judge_egress, 1,000 rules",
            "answer_xdp, 1,000 rules",
            "answer_tc, 1,000 rules",
            "root_xdp",
            "root_ingress",
            "root_egress",
            "read_xdp",
            "conclude_xdp",
            "suspect_xdp",
            "read_tc",
            "conclude_tc",
            "suspect_tc",
        ],
        others: &[],
    },
    Section {
        id: "run",
        title: "Per packet, BPF_PROG_TEST_RUN",
        about: "ns of CPU per packet of a loaded program: instructions and caches, no driver. `hot` \
                is one packet again and again. The other columns pass a wrapper that gives each \
                packet another flow and tail-calls the program at a constant index; their ratio \
                is to a bare drop in the same wrapper. Rows begin at the judge, which is \
                attached once a policy stands; those with `root` at the root program before it.",
        ours: &[
            "port decides",
            "port decides, root",
            "10 rules",
            "1,000 rules",
            "1,000 rules, root",
            "10,000 rules",
            "100,000 rules",
            "100,000 rules, root",
            "1,000 rules, hit",
            "IPv6, 1,000 rules",
            "IPv6, 1,000 rules, root",
            "1,000 rules + 1M set",
        ],
        others: &[
            "bare drop",
            "bare drop, IPv6 frames",
            "parse + count",
            "xdp-filter tcp, 10 ports",
            "xdp-filter ipv4, 100 addresses",
            "xdp-filter all, 10 ports, 100 addresses",
        ],
    },
    Section {
        id: "state",
        title: "Per packet: flows, bans, requests",
        about: "As above. Columns differ in what the packet meets; random ones draw from the whole \
                table, a cache miss each.",
        ours: &[
            "established flow",
            "established flow, root",
            "no flow of that port",
            "no such flow",
            "counted port, no request",
            "counted port, GET each",
            "echo request, by a rule",
            "echo request, within its rate",
            "no bans",
            "full of bans, hit",
            "full of bans, miss",
        ],
        others: &["bare drop", "bare drop, one connection"],
    },
    Section {
        id: "egress",
        title: "Per packet, TC egress, BPF_PROG_TEST_RUN",
        about: "As above, against a bare TC_ACT_SHOT.",
        ours: &[
            "10 rules",
            "10 rules, root",
            "10 rules, hit, SYN again",
            "10 rules, hit, flow known",
            "1,000 rules",
            "1,000 rules, root",
            "1,000 rules, hit, SYN again",
            "1,000 rules, hit, flow known",
            "10,000 rules",
            "10,000 rules, root",
            "10,000 rules, hit, SYN again",
            "10,000 rules, hit, flow known",
        ],
        others: &["bare drop", "parse + count"],
    },
    // Before `veth`: iptables leaves its tables behind, which what is sent goes through.
    Section {
        id: "socket",
        title: "Sending through a socket",
        about: "ns of CPU per UDP datagram of 18 bytes, sendmmsg of 64, connected, over veth. Rules: \
                a /24 and a port each; the datagram's port is a rule's, its destination is not, and \
                it passes. We admit it by a rule and know its flow, peers keep none. Ours is at TC \
                alone: XDP on the veth would have each packet sent there made with more room, \
                200 ns. The row that passes everything is a program of two instructions.",
        ours: &["TC egress, 10 rules", "TC egress, 1,000 rules"],
        others: &[
            "nothing attached",
            "TC egress that passes everything",
            "nft output, 10 rules in a row",
            "nft output, 100 rules in a row",
            "nft output, 1,000 rules in a row",
            "nft output, vmap of 1,000",
        ],
    },
    Section {
        id: "veth",
        title: "Per frame over veth",
        about: "Real frames (BPF_F_TEST_XDP_LIVE_FRAMES), TCP SYN, 60 bytes, every one received and \
                dropped. ns of CPU of sender and receiver together; the row `sender only` is the \
                part that is not the receiver's. Peers come from Debian's packages. Rules: a /24 and \
                a port each, counted; the frame's port is a rule's, its source is not.",
        ours: &["1,000 rules", "1,000 rules, root", "100,000 rules", "100,000 rules, root"],
        others: &[
            "bare drop",
            "sender only",
            "parse + count",
            "xdp-filter tcp, 10 ports",
            "xdp-filter ipv4, 100 addresses",
            "xdp-filter all, 10 ports, 100 addresses",
            "nft ingress, 10 rules in a row",
            "nft ingress, 100 rules in a row",
            "nft ingress, 1,000 rules in a row",
            "nft ingress, vmap of 1,000",
            "nft ingress, concatenated set of 1,000",
            "nft ingress, interval set of 10,000",
            "iptables-legacy INPUT, 100 rules",
            "iptables-legacy INPUT, 1,000 rules",
            "iptables-nft INPUT, 100 rules",
            "ipset hash:net,port of 1,000",
            "ipset hash:ip of 100,000",
        ],
    },
    Section {
        id: "classbench",
        title: "ClassBench-like rule sets",
        about: "Five-field sets made from a seed, with the shares of published ones, or those of \
                files: access lists (acl), of which half is about five destinations; firewalls (fw), \
                most of whose rules name one end; IP chains (ipc), pairs of networks. `every length`: \
                networks of every length at both ends. `own addresses`: a host's, which names eight \
                addresses of its own, or any. Our language has no source port: where a set names \
                one, the rule applies to all. First match becomes order-free: an allow below a deny \
                gives way to it. 4,096 headers, every verdict and every rule's hit, are held against \
                a linear model.",
        ours: &[
            "acl 1k, own addresses",
            "acl 1k, own addresses, root",
            "fw 1k, own addresses",
            "fw 1k, own addresses, root",
            "acl 10k, own addresses",
            "acl 10k, own addresses, root",
            "fw 10k, own addresses",
            "fw 10k, own addresses, root",
            "acl 1k",
            "acl 1k, root",
            "fw 1k",
            "fw 1k, root",
            "ipc 1k",
            "ipc 1k, root",
            "acl 10k",
            "acl 10k, root",
            "fw 10k",
            "fw 10k, root",
            "ipc 10k",
            "ipc 10k, root",
            "every length, 10k",
            "every length, 10k, root",
        ],
        others: &["bare drop"],
    },
    Section {
        id: "cores",
        title: "Two cores",
        about: "Two senders and two receive queues at once, one per CPU; ns of CPU per frame, and \
                the rate against the same of one.",
        ours: &["1,000 rules, root"],
        others: &["bare drop"],
    },
    Section {
        id: "load",
        title: "Loading a policy",
        about: "`firewall apply`, each of its parts and the whole process, the quickest of three. \
                Policies are YAML in files below 1 MiB, the set a group of hosts in several; \
                before them twelve rules were in force, or what the row names. \
                Create and fill: the tables. Verify: loading the programs. Keep: the copy of the \
                files for the next boot.",
        ours: &[
            "10 rules",
            "1,000 rules",
            "10,000 rules",
            "100,000 rules",
            "1,000 rules, with a test",
            "100,000 rules + 1M set",
            "100,000 rules + 1M set, one more rule",
        ],
        others: &[],
    },
    Section {
        id: "swap",
        title: "Swapping a policy under full load",
        about: "Two policies that both drop everything sent take turns while frames arrive as fast \
                as one CPU can send; after every third swap the judges are attached themselves. \
                Misjudged: passed although both drop. Lost: received and on no counter.",
        ours: &[
            "`firewall apply`, YAML to active",
            "of it: tables and verifier",
            "of it: the switch",
            "swaps",
            "frames received",
            "misjudged",
            "lost by the counters",
            "frames per second",
        ],
        others: &[],
    },
    Section {
        id: "bans",
        title: "Bans",
        about: "Writing the table of bans through the product's own calls.",
        ours: &[
            "one ban added",
            "one ban lifted, of 1,000",
            "1,000,000 bans added at once",
            "1,000,000 bans renewed at once",
            "one ban added to 1,000,000",
            "one ban lifted, of 1,000,000",
        ],
        others: &[],
    },
    Section {
        id: "host",
        title: "Memory and the agent",
        about: "Kernel memory: tables of one generation; the policy as `firewall check` has it (two \
                generations, counters, flows); all that is pinned, as the kernel accounts it. The \
                agent's CPU and memory idle and under a flood of drops as fast as one CPU can send.",
        ours: &[
            "role of 12 rules",
            "1,000 rules",
            "100,000 rules + 1M set",
            "agent, idle",
            "agent, under a flood of drops",
        ],
        others: &[],
    },
];

/// Begin and end of a long text: a command, and what became of it.
fn shortened(text: &str) -> String {
    const PART: usize = 100;
    let count = text.chars().count();
    if count <= 2 * PART {
        return text.to_owned();
    }
    let begin: String = text.chars().take(PART).collect();
    let end: String = text.chars().skip(count - PART).collect();
    format!("{begin} … {end}")
}

/// Whether a row is the product's. A rule set of a file, which no list has, is.
pub(super) fn is_ours(section: &str, row: &str) -> bool {
    let section = SECTIONS.iter().find(|known| known.id == section);
    section.is_none_or(|section| !section.others.contains(&row))
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figure {
    /// Part it belongs to.
    pub(super) section: &'static str,
    /// What was measured.
    pub(super) row: String,
    /// Whether that is the product.
    pub(super) ours: bool,
    /// Under what.
    pub(super) column: String,
    /// Of `value`.
    pub(super) unit: &'static str,
    /// The figure: of times, the lower quartile of the batches.
    pub(super) value: f64,
    /// Against the bare drop of the same run and column.
    pub(super) ratio: Option<f64>,
    /// Of what was measured in batches.
    pub(super) spread: Option<Spread>,
}

impl Figure {
    /// What the baseline calls it.
    pub(super) fn key(&self) -> String {
        format!("{}/{}/{}", self.section, self.row, self.column)
    }

    /// Ratio of the noise to the figure.
    pub(super) fn noise(&self) -> f64 {
        self.spread.map_or(0.0, |spread| spread.deviation / spread.median.max(f64::MIN_POSITIVE))
    }
}

/// A row that could not be had.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Skipped {
    pub(super) section: &'static str,
    /// Or [`ALL`].
    pub(super) row: String,
    pub(super) reason: String,
    /// Whether what it would have measured is not installed here.
    pub(super) is_absent: bool,
}

/// In place of a row: every one of the section that has no figure.
pub(super) const ALL: &str = "all";

/// Everything of a run.
#[derive(Debug)]
pub(super) struct Book {
    start: Instant,
    quiet: bool,
    pub(super) figures: Vec<Figure>,
    pub(super) skipped: Vec<Skipped>,
    /// What was judged or counted otherwise than it must be.
    pub(super) wrong: Vec<String>,
    /// What a reader must know beside the figures.
    pub(super) notes: Vec<String>,
}

impl Book {
    /// An empty one; without progress lines if `quiet`.
    pub(super) fn new(quiet: bool) -> Self {
        Self {
            start: Instant::now(),
            quiet,
            figures: Vec::new(),
            skipped: Vec::new(),
            wrong: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Says what is going on.
    pub(super) fn say(&self, what: &str) {
        if !self.quiet {
            eprintln!("bench: {:>5.1} s  {what}", self.start.elapsed().as_secs_f64());
        }
    }

    /// Adds a figure that is no time per packet.
    pub(super) fn fact(
        &mut self,
        section: &'static str,
        row: impl Into<String>,
        column: impl Into<String>,
        (value, unit): (f64, &'static str),
    ) {
        let (row, column) = (row.into(), column.into());
        let (ours, ratio, spread) = (is_ours(section, &row), None, None);
        self.figures.push(Figure { section, row, ours, column, unit, value, ratio, spread });
    }

    /// Adds a measured one.
    pub(super) fn measured(
        &mut self,
        section: &'static str,
        (row, column): (&str, &str),
        spread: Spread,
        bare: Option<&Spread>,
    ) {
        self.figures.push(Figure {
            section,
            row: row.to_owned(),
            ours: is_ours(section, row),
            column: column.to_owned(),
            unit: "ns",
            value: spread.low,
            ratio: bare.map(|bare| spread.low / bare.low),
            spread: Some(spread),
        });
    }

    /// Notes a row that could not be had, and why.
    pub(super) fn skip(&mut self, section: &'static str, row: &str, error: &anyhow::Error) {
        let reason = shortened(&format!("{error:#}").lines().take(3).collect::<Vec<_>>().join(" "));
        self.say(&format!("{section}: {row}: skipped: {reason}"));
        self.skipped.push(Skipped { section, row: row.to_owned(), reason, is_absent: false });
    }

    /// Notes a row of a peer that is not installed.
    pub(super) fn absent(&mut self, section: &'static str, row: &str, error: &anyhow::Error) {
        self.skip(section, row, error);
        if let Some(skipped) = self.skipped.last_mut() {
            skipped.is_absent = true;
        }
    }

    /// Notes as wrong what was counted and must not be: the run ends with an error.
    pub(super) fn must_be_none(&mut self, place: &str, counts: &[(u64, &str)]) {
        let some = counts.iter().filter(|(count, _)| *count > 0);
        self.wrong.extend(some.map(|(count, what)| format!("{place}: {count} {what}")));
    }

    /// Why a row has no figure.
    pub(super) fn why(&self, section: &str, row: &str) -> Option<&Skipped> {
        let of = |name: &str| {
            self.skipped.iter().find(|skipped| skipped.section == section && skipped.row == name)
        };
        of(row).or_else(|| of(ALL))
    }

    /// Whether there is a figure of this key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.figures.iter().any(|figure| figure.key() == key)
    }

    /// Figures of a section, row by row.
    pub(super) fn section(&self, id: &str) -> Vec<&Figure> {
        self.figures.iter().filter(|figure| figure.section == id).collect()
    }

    /// Batches that were disturbed and redone.
    pub(super) fn redone(&self) -> u32 {
        self.figures.iter().filter_map(|figure| figure.spread).map(|spread| spread.redone).sum()
    }

    /// The middle of all rows' noise, as a ratio.
    pub(super) fn noise(&self) -> f64 {
        let mut all: Vec<f64> = self
            .figures
            .iter()
            .filter(|figure| figure.spread.is_some())
            .map(Figure::noise)
            .collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use firewall_userspace::kernel::object;

    use super::*;
    use crate::bench::programs::{PORTS, RULES};

    #[test]
    fn what_must_not_be_is_noted_as_wrong() {
        let mut book = Book::new(true);
        book.must_be_none("swap", &[(0, "misjudged"), (2, "lost by the counters")]);
        assert_eq!(book.wrong, ["swap: 2 lost by the counters"]);
    }

    #[test]
    fn a_long_reason_keeps_its_begin_and_its_end() {
        assert_eq!(shortened("short"), "short");
        let long = shortened(&format!("sh -c {} failed", "x ".repeat(500)));
        assert!(long.starts_with("sh -c x") && long.ends_with("x  failed"), "{long}");
        assert!(long.chars().count() < 210);
    }

    #[test]
    fn every_program_is_listed() {
        let of = |policy: &'static str| {
            let names = object::JUDGES.into_iter().chain(object::ANSWERS);
            names.map(move |name| format!("{name}, {policy}"))
        };
        let others = object::ROOTS.into_iter().chain(object::STAGES).map(str::to_owned);
        let mut programs: Vec<String> = of(PORTS).chain(of(RULES)).chain(others).collect();
        let mut listed: Vec<&str> = SECTIONS[0].rows().collect();
        programs.sort_unstable();
        listed.sort_unstable();
        assert_eq!(programs, listed);
    }

    #[test]
    fn no_row_is_listed_twice() {
        for section in &SECTIONS {
            let mut rows: Vec<_> = section.rows().collect();
            rows.sort_unstable();
            let count = rows.len();
            rows.dedup();
            assert_eq!(rows.len(), count, "{}", section.id);
        }
    }
}

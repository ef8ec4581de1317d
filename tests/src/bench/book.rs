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
}

/// Every part, in order.
pub(super) const SECTIONS: [Section; 12] = [
    Section {
        id: "programs",
        title: "Programs",
        about: "What the kernel's verifier walked to accept each program, and its machine code. The \
                same on every machine with this kernel; the baseline holds the instructions.",
    },
    Section {
        id: "run",
        title: "Per packet, BPF_PROG_TEST_RUN",
        about: "ns of CPU per packet of a loaded program: instructions and caches, no driver. `hot` \
                is one packet again and again. The other columns pass a wrapper that gives each \
                packet another flow and tail-calls the program at a constant index; their ratio \
                is to a bare drop in the same wrapper. Rows begin at the judge, which is \
                attached once a policy stands; those with `root` at the root program before it.",
    },
    Section {
        id: "state",
        title: "Per packet: flows, bans, requests",
        about: "As above. Columns differ in what the packet meets; random ones draw from the whole \
                table, a cache miss each.",
    },
    Section {
        id: "egress",
        title: "Per packet, TC egress, BPF_PROG_TEST_RUN",
        about: "As above, against a bare TC_ACT_SHOT.",
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
    },
    Section {
        id: "veth",
        title: "Per frame over veth",
        about: "Real frames (BPF_F_TEST_XDP_LIVE_FRAMES), TCP SYN, 60 bytes, every one received and \
                dropped. ns of CPU of sender and receiver together; the row `sender only` is the \
                part that is not the receiver's. Peers come from Debian's packages. Rules: a /24 and \
                a port each, counted; the frame's port is a rule's, its source is not.",
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
    },
    Section {
        id: "cores",
        title: "Two cores",
        about: "Two senders and two receive queues at once, one per CPU; frames per second of CPU \
                time, against the same of one.",
    },
    Section {
        id: "load",
        title: "Loading a policy",
        about: "`firewall apply`, each of its parts and the whole process, the quickest of three. \
                Policies are YAML in files below 1 MiB, the set a group of hosts in several; \
                before them twelve rules were in force, or what the row names. \
                Create and fill: the tables. Verify: loading the programs. Keep: the copy of the \
                files for the next boot.",
    },
    Section {
        id: "swap",
        title: "Swapping a policy under full load",
        about: "Two policies that both drop everything sent take turns while frames arrive as fast \
                as one CPU can send; after every third swap the judges are attached themselves. \
                Misjudged: passed although both drop. Lost: received and on no counter.",
    },
    Section {
        id: "bans",
        title: "Bans",
        about: "Writing the table of bans through the product's own calls.",
    },
    Section {
        id: "host",
        title: "Memory and the agent",
        about: "Kernel memory: tables of one generation; the policy as `firewall check` has it (two \
                generations, counters, flows); all that is pinned, as the kernel accounts it. The \
                agent's CPU and memory idle and under a flood of drops as fast as one CPU can send.",
    },
];

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figure {
    /// Part it belongs to.
    pub(super) section: &'static str,
    /// What was measured.
    pub(super) row: String,
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
    pub(super) row: String,
    pub(super) reason: String,
}

/// Everything of a run.
#[derive(Debug)]
pub(super) struct Book {
    start: Instant,
    quiet: bool,
    pub(super) figures: Vec<Figure>,
    pub(super) skipped: Vec<Skipped>,
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
        self.figures.push(Figure { section, row, column, unit, value, ratio: None, spread: None });
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
            column: column.to_owned(),
            unit: "ns",
            value: spread.low,
            ratio: bare.map(|bare| spread.low / bare.low),
            spread: Some(spread),
        });
    }

    /// Notes a row that could not be had, and why.
    pub(super) fn skip(&mut self, section: &'static str, row: &str, error: &anyhow::Error) {
        let reason: String = format!("{error:#}").lines().take(3).collect::<Vec<_>>().join(" ");
        self.say(&format!("{section}: {row}: skipped: {reason}"));
        self.skipped.push(Skipped { section, row: row.to_owned(), reason });
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

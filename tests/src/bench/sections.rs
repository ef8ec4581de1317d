//! The parts of the bench, and the rows of each by the names that are printed.

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
            "requests_xdp",
            "read_tc",
            "conclude_tc",
            "suspect_tc",
            "requests_tc",
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
            "1,000 rules + 1M set, hit",
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
                table, a cache miss each. Full is a million bans: of hosts, of each length from \
                /20 to /32 as many, or of /32, /48, /56, /64 and /128.",
        ours: &[
            "established flow",
            "established flow, root",
            "no flow of that port",
            "no such flow",
            "counted port, no request",
            "counted port, of a body",
            "counted port, GET each",
            "echo request, by a rule",
            "echo request, within its rate",
            "no bans",
            "no bans, IPv6",
            "full of bans, hit",
            "full of bans, miss",
            "full of bans, /20 to /32, miss",
            "full of bans, IPv6, /32 to /128, miss",
        ],
        others: &["bare drop", "bare drop, IPv6 frames", "bare drop, one connection"],
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
                200 ns. What passes everything has two instructions; like ours and `parse + count`, \
                the least that a firewall can do, it returns TC_ACT_UNSPEC, so that programs \
                behind it have their say; one ends the chain with TC_ACT_OK.",
        ours: &["TC egress, 10 rules", "TC egress, 1,000 rules"],
        others: &[
            "nothing attached",
            "TC egress that passes everything",
            "TC egress that says TC_ACT_OK",
            "TC egress, parse + count",
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
                a port each, counted; the frame's port is a rule's, its source is not. What is let in \
                is dropped by a program at TC behind, and held against a bare pass before the same; \
                requests are of a connection that exists, whose server hears of none.",
        ours: &[
            "port decides",
            "10 rules",
            "1,000 rules",
            "1,000 rules, root",
            "10,000 rules",
            "100,000 rules",
            "100,000 rules, root",
            "IPv6, 1,000 rules",
            "established flow",
            "full of bans, hit",
            "full of bans, miss",
            "counted port, GET each",
        ],
        others: &[
            "bare drop",
            "bare drop, IPv6 frames",
            "bare pass",
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
                files for the next boot. Of peers the whole command, in the form that they load \
                quickest.",
        ours: &[
            "10 rules",
            "1,000 rules",
            "10,000 rules",
            "100,000 rules",
            "1,000 rules, with a test",
            "100,000 rules + 1M set",
            "100,000 rules + 1M set, one more rule",
        ],
        others: &[
            "iptables-legacy INPUT, 1,000 rules",
            "nft ingress, vmap of 1,000",
            "nft ingress, vmap of 10,000",
            "nft ingress, vmap of 100,000, set of 1,000,000",
            "ipset hash:ip of 1,000,000",
        ],
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
        about: "Writing the table of bans through the product's own calls. A thousand are added one by \
                one that were not there before, and lifted: the time in the middle, and the longest. \
                A row of full buckets, which a single one may meet, has the table made anew.",
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

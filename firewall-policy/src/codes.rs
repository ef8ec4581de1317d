//! Every stable code: what `firewall explain-code` prints.
//!
//! Codes are never reused. The first letter is the severity. The first two
//! digits are the class: 00 text and files, 01 values, 02 names, 03 tests, 04
//! what rules mean, 05 applying, 06 this host, 07 the kernel, 08 the
//! implementation. Classes 05 to 07 need a live host and belong to the agent.

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The input cannot be used; nothing is changed.
    Error,
    /// The input is used; somebody should look.
    Warning,
}

impl Severity {
    /// The word that is printed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

macro_rules! codes {
    ($($code:ident = $id:literal, $slug:literal, $title:literal, $explanation:literal;)*) => {
        /// A kind of finding.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "each code is documented by its title and explanation")]
        pub enum Code { $($code,)* }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$code,)*];

            /// `E0203`: stable, printed and searched for.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self { $(Self::$code => $id,)* }
            }

            /// The kind of finding in a few words.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$code => $title,)* }
            }

            /// What is wrong, why that matters, and what to do.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$code => $explanation,)* }
            }

            /// A finding of this kind as it is printed, kept true by a test.
            #[must_use]
            pub const fn example(self) -> &'static str {
                match self {
                    $(Self::$code => {
                        include_str!(concat!("../tests/bad/", $id, "-", $slug, ".txt"))
                    })*
                }
            }

            /// The name of the example, without directory and extension.
            #[must_use]
            pub const fn example_name(self) -> &'static str {
                match self { $(Self::$code => concat!($id, "-", $slug),)* }
            }
        }
    };
}

impl Code {
    /// The code of an id such as `E0203`, in any case.
    #[must_use]
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.id().eq_ignore_ascii_case(id))
    }

    /// How bad findings of this kind are.
    #[must_use]
    pub fn severity(self) -> Severity {
        if self.id().starts_with('W') { Severity::Warning } else { Severity::Error }
    }
}

codes! {
    NoSuchFile = "E0001", "no-such-file", "a file cannot be read",
        "A role, an included file or a list is named, but there is no such file, or it is not a \
        regular file, or the system refuses to give it. Names are relative to the file that \
        mentions them; absolute names start with /etc/firewall.";
    TooLong = "E0002", "too-long", "a file is too long",
        "Rule files have 1 MiB at most. Nobody reviews a longer one: big address sets belong in \
        groups, in files of their own that `include:` names.";
    ByteOrderMark = "E0003", "byte-order-mark", "a byte order mark",
        "Some editors begin UTF-8 files with the invisible character U+FEFF. Other programs take \
        it for part of the first key. Save the file without it.";
    NotUtf8 = "E0004", "not-utf8", "not UTF-8",
        "Rule files are UTF-8 text. The first byte that is not is shown.";
    Tab = "E0005", "tab", "indentation by tabs",
        "YAML counts spaces; a tab has no width everybody agrees on. Set the editor to indent \
        YAML files with two spaces.";
    Syntax = "E0006", "syntax", "broken YAML",
        "The file cannot be read as YAML from the place shown. The usual reasons are a bracket or \
        a quote that is not closed, a line indented like none of its neighbours, and a value \
        that must be quoted because it contains `: ` or begins with a special character.";
    SecondDocument = "E0007", "second-document", "a second document",
        "A line `---` or `...` begins a second YAML document. Which of the two should hold? Each \
        role or shared file is a file of its own.";
    Tag = "E0008", "tag", "a YAML tag",
        "`!something` before a value asks the reader to make an object of it. Rule files consist \
        of words, lists and mappings only.";
    Anchor = "E0009", "anchor", "an anchor or an alias",
        "`&name` and `*name` copy parts of a YAML file. They hide what a rule says from a \
        reviewer, and a few lines of them expand to gigabytes. Give the value a name under \
        `groups:` or `services:`. A pattern that begins with `*` must be quoted.";
    TooDeep = "E0010", "too-deep", "too many levels",
        "Lists and mappings stand inside each other more than 32 levels deep. A rule file needs \
        about six.";
    DuplicateKey = "E0011", "duplicate-key", "a key is written twice",
        "Most YAML readers silently keep the second value: half of the rules would be gone. Both \
        places are shown; merge them.";
    HiddenCharacter = "E0012", "hidden-character", "a hidden character",
        "Control characters, zero-width characters and characters that reverse the direction of \
        text make a file look different from what it says. They are refused everywhere, comments \
        included.";
    PathOutside = "E0013", "path-outside", "a path out of /etc/firewall",
        "Rule files can name only files below /etc/firewall, so that who may change the policy is \
        decided in one place.";
    LinkOutside = "E0014", "link-outside", "a link out of /etc/firewall",
        "The file is a symbolic link that leads out of /etc/firewall, where other people may be \
        able to change it. Links inside are followed.";
    Ownership = "E0015", "ownership", "a file that others can change",
        "On a server every rule file, and every directory on the way to it, must belong to root \
        and must be writable by nobody else. Else whoever can write it can open the firewall.";
    Directive = "E0016", "directive", "a YAML directive",
        "A line that begins with `%` changes how YAML is read. Rule files are YAML 1.2 without \
        directives.";
    IncludeCycle = "E0017", "include-cycle", "files that include each other",
        "A file includes itself, directly or by way of others. Move what both need into a third \
        file.";
    FileKind = "E0018", "file-kind", "a file of another kind",
        "Role files (`role: name`) are applied and include shared files; shared files \
        (`kind: site`) are included and never applied alone; host.yaml names the roles of a \
        server. One was found where another is wanted.";
    TooManyFiles = "E0019", "too-many-files", "too many files",
        "A policy may consist of 64 files.";
    OtherRoleName = "W0020", "other-role-name", "a role in a file of another name",
        "host.yaml finds the role `web` in rules/web.yaml. If the file says another name, \
        somebody may have copied it and forgotten to change the line, or the wrong role is about \
        to be applied to this server.";
    Import = "E0021", "import", "rules of another firewall that cannot be read",
        "`firewall import` reads what iptables-save, `nft -j list ruleset`, ufw and firewalld \
        write. A line that this firewall cannot carry is listed, and the rest is imported; what \
        cannot even be read, or does not end, is no rule set, and nothing is imported of it.";

    UnknownKey = "E0101", "unknown-key", "an unknown key",
        "A key that nobody reads is a rule that nobody enforces, so unknown keys are errors. The \
        nearest known key is suggested.";
    KeyElsewhere = "E0102", "key-elsewhere", "a key of another level",
        "The key exists, but not in this kind of mapping. Usually the line is indented too far or \
        not far enough.";
    MissingKey = "E0103", "missing-key", "something is missing",
        "This mapping cannot be understood without the key.";
    Shape = "E0104", "shape", "a value of another shape",
        "A list, a mapping or a single word stands where another is wanted.";
    UnknownWord = "E0105", "unknown-word", "an unknown word",
        "The key takes one of a few words, all lower case.";
    Version = "E0106", "version", "an unknown version of the language",
        "`version: 1` says which rules of this language the file was written for. A later version \
        may contain what this program would not enforce, so it refuses the file. Upgrade the \
        firewall on this host first.";
    PortNumber = "E0107", "port-number", "a port out of range",
        "Ports go from 1 to 65535.";
    Port = "E0108", "port", "not a port",
        "A port is a decimal number, `80`; a range is \"8000-9000\"; several are [80, 443]. Other \
        forms mean different ports to different programs: YAML 1.1 reads `22:22` as 1342.";
    PortRange = "E0109", "port-range", "a port range that runs backwards",
        "The first port of a range must not be above the last; no packet could match.";
    Address = "E0110", "address", "not an address",
        "An address that cannot be read is never guessed at, and never looked up in DNS.";
    AddressForm = "E0111", "address-form", "an ambiguous address",
        "Some forms of addresses mean one thing to one program and another to the next: octal \
        numbers (010.0.0.1), short forms (10.1), IPv4-mapped IPv6 addresses, addresses with a \
        zone (fe80::1%eth0). Write the plain form.";
    HostBits = "E0112", "host-bits", "a network with host bits",
        "10.0.1.5/24 is neither the network 10.0.1.0/24 nor the host 10.0.1.5. The two differ by \
        255 addresses, so this program does not choose.";
    PrefixLength = "E0113", "prefix-length", "a bad prefix length",
        "The number behind `/` says how many leading bits count: 0-32 for IPv4, 0-128 for IPv6.";
    AddressRange = "E0114", "address-range", "a bad range of addresses",
        "A range goes from a lower to a higher address of the same family.";
    HostName = "E0115", "host-name", "a host name instead of an address",
        "Names are never resolved, neither when rules are loaded nor at boot: whoever answers for \
        the name could change what is open, and without DNS the firewall could not start. Write \
        addresses into a group; one that a job of yours refreshes in a file of its own, which \
        `include:` names.";
    Rate = "E0116", "rate", "not a rate",
        "A rate is a number per time: 50/s, 10/min, 5/h; of bytes 64kB/s or 1MB/s. A number alone \
        could mean any of them.";
    Duration = "E0117", "duration", "not a duration",
        "A duration is a number and a unit: 30s, 10m, 2h, 30d.";
    Size = "E0118", "size", "not a size",
        "A size is a number and a unit: 512kB, 64MB, 1GB count by thousands, 64MiB by 1024.";
    Percent = "E0119", "percent", "not a share",
        "A relative bound of an alert is written in per cent: 40%, 300%.";
    Number = "E0120", "number", "a number out of range",
        "The key takes a whole number between the bounds shown, in decimal.";
    Date = "E0121", "date", "not a date",
        "Dates are written year-month-day: 2026-12-31. A rule that expires is in force through \
        that day, UTC.";
    Limit = "E0122", "limit", "an impossible limit",
        "A limit counts new connections, packets or bytes, per source, destination or rule. Its \
        burst must hold at least what comes in 10 ms at its rate, else the rate could never be \
        reached. A ban lasts 30 days at most and never hits a failsafe source.";
    Name = "E0123", "name", "not a name",
        "Names have 1 to 48 characters of a-z, 0-9 and `-`. They appear in metrics, logs and \
        command lines, where others would need quoting.";
    LookAlike = "E0124", "look-alike", "a letter that looks like another",
        "The name contains a letter of another script that is drawn like an ASCII letter, so two \
        different names would look the same in a review or a log.";
    QuoteIt = "E0125", "quote-it", "a word that must be quoted",
        "Other YAML tools turn `no`, `on`, `null` or `1e3` into something that is not text, and an \
        IPv6 address that ends in `::` into a key. Put it in quotes, so that every tool reads the \
        same.";
    OtherDialect = "E0126", "other-dialect", "another firewall's word",
        "The word is known from iptables, nftables, firewalld, or a cloud, and has another name \
        here. There is no `reject`: packets are dropped before the kernel could answer them.";
    IcmpType = "E0127", "icmp-type", "an unknown ICMP type",
        "ICMP and ICMPv6 have types of their own; many share a name but not a number. Write a \
        name or a number from 0 to 255 under the protocol's own key.";
    Protocol = "E0128", "protocol", "not a protocol for `ip-proto:`",
        "`ip-proto:` is for protocols without ports. TCP, UDP, SCTP, ICMP and ICMPv6 have keys of \
        their own, which say the ports or types. Extension headers of IPv6 (0, 43, 44, 60) are \
        passed over: what they carry is judged.";
    TcpFlag = "E0129", "tcp-flag", "not a TCP flag",
        "`tcp-flags: syn` matches segments with SYN set, `tcp-flags: [syn, \"!ack\"]` those with \
        SYN set and ACK clear. Flags that are not named do not matter.";
    Glob = "E0130", "glob", "not an interface name",
        "Interface names have at most 15 characters; `*` stands for any of them and `?` for one.";
    Text = "E0131", "text", "free text is empty or too long",
        "Descriptions, reasons and names of tests have 1 to 200 characters.";
    HalfOfAny = "W0132", "half-of-any", "one family where `any` may be meant",
        "0.0.0.0/0 is every IPv4 address and no IPv6 address, ::/0 the other way round. If every \
        address is meant, write `any`. If one family is meant, this warning is all there is to it. \
        0.0.0.0 and :: without a length are one address each, which hosts without an address send \
        from; write 0.0.0.0/32 if that is meant.";

    Loopback = "W0133", "loopback", "the loopback is named",
        "`lo` is never filtered: what a host says to itself does not leave it. Naming it under \
        `interfaces:` does nothing.";

    StackedNames = "W0134", "stacked-names", "a VLAN device beside the interface below it",
        "By its name one interface is a VLAN on another that matches as well. On a host where that \
        is so the policy is refused (E0602), because each packet of the VLAN would be judged and \
        counted twice.";

    DuplicateName = "E0202", "duplicate-name", "a name is given twice",
        "Rules are unique by name in each direction, groups, services, rates and tests by name. \
        Counters, events and messages speak of them by name, and a definition that silently \
        replaces another is a trap.";
    UnknownGroup = "E0203", "unknown-group", "an unknown group or list",
        "The name is neither a group nor a list of this file, nor of a file it includes, nor \
        built in (`any`, `self`, `private`). A shared file does not see the names of the roles \
        that include it.";
    UnknownService = "E0204", "unknown-service", "an unknown service",
        "Services are defined under `services:`, here or in an included file. Ports are never \
        written in rules, so that rules and counters say what they are for.";
    UnknownRule = "E0205", "unknown-rule", "an unknown rule",
        "A rate or a test names a rule that does not exist in this role.";
    GroupCycle = "E0206", "group-cycle", "groups that contain each other",
        "Groups may contain groups, but none may contain itself, directly or by way of others, and \
        they stand inside each other 32 deep at most.";
    BuiltIn = "E0207", "built-in", "a built-in name",
        "The name means something without being defined, and cannot be given again.";
    AmbiguousRule = "E0208", "ambiguous-rule", "a name of two rules",
        "An ingress rule and an egress rule have this name, and nothing says which one is meant.";
    ListLength = "E0209", "list-length", "a list of unexpected length",
        "A list file that is shorter than its `min` or longer than its `max` is more likely a \
        broken download than a changed world. While the firewall runs, the last good content \
        stays in force.";
    ListAge = "E0210", "list-age", "a list that is too old",
        "The file was last changed longer ago than `max-age` allows: what refreshes it has \
        stopped. While the firewall runs, the last good content stays in force.";
    SelfUnknown = "W0211", "self-unknown", "`self` off the host",
        "`self` stands for the addresses of the host that the policy is applied on. A check on \
        another machine does not know them and counts none.";

    TestFailed = "E0301", "test-failed", "a test of the policy fails",
        "The policy carries sentences of its owner, and one of them does not hold: the programs \
        that would enforce the policy decide otherwise. The place of the sentence is shown, and \
        the rule that decided. A failed test stops `apply`; it never stops a host from booting.";
    ImpossibleTest = "E0302", "impossible-test", "a test of an impossible packet",
        "No packet looks like the one that the test describes, or the rule that it names cannot \
        decide on it.";

    RolesContradict = "E0303", "roles-contradict", "a test fails because of another role",
        "Roles on one server are united: their rules add up, so what one role promises may be \
        what another allows or denies. Such a test stops `apply` until host.yaml accepts it by \
        name under `acknowledge:`. What is acknowledged is still counted and shown.";
    Unacknowledged = "W0304", "nothing-to-acknowledge", "an acknowledgement without a reason",
        "`acknowledge:` in host.yaml names tests that fail because of another role on this server. \
        This one holds, or fails because of its own role, or does not exist: the line would hide \
        a later failure.";

    DenyUnderFailsafe = "E0401", "deny-under-failsafe", "a deny that a failsafe rule overrides",
        "Failsafe rules are evaluated before bans and denies, so that nobody can shut out the \
        bastion. A deny that covers what a failsafe rule allows looks as if it held there, and \
        does not.";
    NeverMatches = "E0402", "never-matches", "a rule that no packet can match",
        "The parts of the rule contradict each other: no packet has an IPv4 address at one end \
        and an IPv6 address at the other, and ICMP goes with IPv4 only, ICMPv6 with IPv6 only.";
    FlagsWithoutTcp = "E0403", "flags-without-tcp", "TCP flags on another protocol",
        "`tcp-flags:` asks for flags that only TCP segments have. On a service that also names \
        UDP, ICMP or another protocol, that part could never match.";
    EmptySet = "E0404", "empty-set", "a set of nothing",
        "An empty set matches nothing, never everything. A rule with one would look as if it did \
        something, so it is an error where that is certain.";
    AllowDenied = "E0405", "allow-denied", "an allow that is denied entirely",
        "A deny wins over every allow, whatever the order of lines. This allow can therefore never \
        take effect. Other firewalls let the first rule win and say nothing.";
    Redundant = "W0406", "redundant", "a rule that never gets a hit",
        "Another rule matches everything that this one matches, and comes before it, so this one \
        is never counted. Deleting it changes no verdict. A narrower rule *before* a wider one is \
        not reported: it counts its part.";
    LimitedAndNot = "W0407", "limited-and-not", "a limit that also holds for another rule",
        "Limits are applied before allows: what exceeds the limit of one rule is dropped even if \
        another rule allows it without limit.";
    OpenToAll = "E0408", "open-to-all", "open to everybody",
        "ssh, databases and remote control are attacked within minutes wherever they are open to \
        the Internet, and an egress rule that allows everything lets stolen data out. Name the \
        addresses. If it is meant, say why in `reason:`, which the next reader will want to know.";
    BreaksHost = "E0410", "breaks-host", "a deny of what the host needs",
        "Without neighbor discovery, packet-too-big, frag-needed or DHCP a host loses its network, \
        often days after the change. The baseline admits them before any deny, so the rule does \
        nothing as long as the baseline is on.";
    Count = "E0411", "count", "requests that cannot be counted",
        "Requests are counted by reading the beginning of packets: HTTP/1, MySQL and TLS on TCP, \
        DNS on TCP and UDP, on 64 ports at most, one way of counting per port, and nothing inside \
        TLS.";
    SettingsDiffer = "E0412", "settings-differ", "roles that contradict each other",
        "Roles on one server are united: their rules add up. A setting cannot add up, so all roles \
        must agree on it, or host.yaml says what holds on this server.";

    ExpiresSoon = "W0413", "expires-soon", "a rule is about to expire",
        "The rule stops being in force at the end of the day shown, UTC. It is announced 14 days \
        ahead, so that somebody can decide.";
    Expired = "W0414", "expired", "a rule has expired",
        "The day that the rule was to last until is over. The rest of the file is in force, this \
        rule is not.";
    NoDns = "W0415", "no-dns", "no way to a resolver",
        "Outgoing packets are dropped unless a rule allows them, and none allows DNS. Programs \
        notice when their caches run out.";
    NoNtp = "W0416", "no-ntp", "no way to a time server",
        "Outgoing packets are dropped unless a rule allows them, and none allows NTP. Weeks later \
        the clock is wrong enough for certificates and logs to fail.";
    NoPackages = "W0417", "no-packages", "no way to packages",
        "Outgoing packets are dropped unless a rule allows them, and none allows a port that \
        packages are fetched by (21, 80, 443, 873, 3128, 3142, 8080, 8081). Security updates stop.";
    NoWayIn = "E0418", "no-way-in", "no way in for administrators",
        "Incoming packets are dropped unless a rule allows them, and none allows ssh: neither TCP \
        port 22 nor a service with `ssh` in its name. Applying this would lock everybody out. On a \
        host that is only used by its console, say so: failsafe: { ingress: [] }.";
    NoFailsafe = "W0419", "no-failsafe", "no failsafe rule",
        "Failsafe rules let the administrators in whatever else is wrong with the policy. This one \
        says that there are none.";
    FailsafeFromAny = "W0420", "failsafe-from-any", "a failsafe rule for everybody",
        "Failsafe rules come before bans and denies. One that admits everybody can be attacked by \
        everybody, and nothing can stop that.";
    BaselineOff = "E0421", "baseline-off", "the baseline is switched off",
        "The baseline admits what keeps a host on the network: ARP, neighbor discovery, DHCP, ICMP \
        errors, ping. Without it a host under default drop is unreachable within minutes.";

    CutsSession = "E0501", "cuts-session", "the policy would cut the session you are typing in",
        "Inbound connections keep no state, so the next packet of the session would be judged by \
        the new policy, and dropped. Nothing was changed. Admit the address you come from, or \
        apply with --i-have-console if you can reach the host another way.";

    TooLarge = "E0601", "too-large", "a policy does not fit",
        "The tables that a policy compiles to take kernel memory, twice while it is changed. The \
        message says what takes most and which bound was met: `memory-max`, or what one table of \
        the kernel can hold. Nothing is loaded half-way.";
    StackedInterfaces = "E0602", "stacked-interfaces", "an interface and what carries it are both named",
        "Each packet of a VLAN passes the interface below it, each packet of a bond one of its \
        members. Enforced on both, it would be judged and counted twice: rates would be double, \
        and a rule that admits it on the one may not on the other. What no pattern of `match:` \
        takes by itself is left to the other one without a word being needed; what is named apart \
        must be settled by `ignore:`.";
    NoInterface = "E0603", "no-interface", "no interface matches",
        "A policy that is enforced nowhere lets every packet pass: most likely a slip in a name. \
        At boot interfaces may come later, and the agent attaches them when they do.";
    LoopbackOnly = "E0604", "loopback-only", "`lo` is asked for",
        "The loopback carries what a host says to itself, and no policy is enforced there. Who \
        names it may believe that it is. A pattern that takes other interfaces as well may take \
        `lo`: it is left out.";
    UnfitInterface = "E0605", "unfit-interface", "an interface cannot be filtered as asked",
        "An interface has no Ethernet header, or an XDP program of somebody else sits on it or on \
        a device that it carries: the kernel takes one. Half of a host would be open, so nothing \
        is changed.";
    JudgedElsewhere = "E0606", "judged-elsewhere", "a rule asks for an interface where no packet is judged",
        "Packets of a VLAN or of a member of a bond are judged on the interface that carries them \
        all, and `iface:` is compared with that one. A rule that names the other one would never \
        match.";
    VlanStripped = "W0607", "vlan-stripped", "a card takes VLAN tags off before they are seen",
        "With rx-vlan-offload the card removes the tag and tells the kernel beside the frame. XDP \
        does not see it, TC does. The rule would silently not match.";
    SilencesVrrp = "E0608", "silences-vrrp", "the policy would silence VRRP, which this host speaks",
        "Load balancers that share an address hear from each other by VRRP (IP protocol 112, to \
        224.0.0.18 or ff02::12). A host that hears nothing takes the address, and two hosts have \
        it. Admit the protocol both ways; a deny that is meant says why by `reason:`.";
    CutsDhcp = "E0609", "cuts-dhcp", "the policy would cut DHCP, which this host uses",
        "A program waits for leases, and neither the baseline nor a rule admits them: the address \
        is lost at the next renewal, hours later. Leave `dhcp:` on, or give the host a fixed \
        address; a deny that is meant says why by `reason:`.";
    OtherHostsRole = "W0610", "other-hosts-role", "a role on a host that is not in its group",
        "The group of a role is the one named after it: `web`, `webs` or `web-servers` for role \
        `web`. No address of this host is in it: most likely this is the role of another server, \
        and the others do not let this host in as one of them. Nothing is changed without --force.";
    FlowsKept = "W0611", "flows-kept", "the table of flows keeps its size",
        "Programs in force look flows up in a table that was made for another number of them, and \
        a larger one would know none of those that are open. `state: { flows }` is taken when the \
        table is made: the host has none after a reboot, or once nothing is attached and the pins \
        are removed.";

    NotSupportedYet = "E0801", "not-supported-yet", "not supported yet",
        "This part of the language is read and checked, but this version of the firewall would \
        not enforce it. A rule that is silently not enforced is worse than none, so the policy is \
        refused.";
}

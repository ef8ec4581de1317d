//! Verdicts and the numbered reasons behind them.

/// Which way a packet goes, seen from this host. A whole word: of a byte that the compiler keeps
/// on the stack the verifier would not know that it is 0 or 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Direction {
    /// From the wire to this host.
    Ingress = 0,
    /// From this host to the wire.
    Egress = 1,
}

/// Result for one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// On to the stack, or the wire.
    Pass,
    /// Gone.
    Drop,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $verdict:ident, $text:literal;)*) => {
        /// Why a packet passed or was dropped.
        ///
        /// Numbered and append-only: counters, events and metrics carry the
        /// number, people see [`name`](Self::name). Every packet has exactly one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Reason { $($(#[$doc])* $name = $number,)* }

        impl Reason {
            /// Every reason, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What the reason does.
            #[inline(always)]
            #[must_use]
            pub const fn verdict(self) -> Verdict {
                match self { $(Self::$name => Verdict::$verdict,)* }
            }

            /// Stable name, as printed and exported.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The reason with a number, if there is one.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

reasons! {
    /// The generation's tables contradict themselves; the chain's default holds.
    InternalErrorPass = 0, Pass, "internal-error-pass";
    /// As above, where the default is drop.
    InternalErrorDrop = 1, Drop, "internal-error-drop";

    /// A rule allows it.
    Rule = 2, Pass, "rule";
    /// A failsafe rule allows it.
    Failsafe = 3, Pass, "failsafe";
    /// Part of a flow that this host opened, or the reply to a packet that the
    /// ingress policy admits.
    Established = 4, Pass, "established";
    /// No rule matched; the default is allow.
    DefaultAllow = 5, Pass, "default-allow";

    /// ARP.
    Arp = 6, Pass, "arp";
    /// IPv6 neighbour discovery: 133-136, 141, 142, hop limit 255 (RFC 4861).
    NeighborDiscovery = 7, Pass, "neighbor-discovery";
    /// Multicast listener discovery (RFC 3810) and router discovery (RFC 4286).
    Mld = 8, Pass, "mld";
    /// IGMP to 224.0.0.0/24 (RFC 3376).
    Igmp = 9, Pass, "igmp";
    /// DHCP client traffic, both families.
    Dhcp = 10, Pass, "dhcp";
    /// An ICMP error about a packet of a known flow.
    IcmpRelated = 11, Pass, "icmp-related";
    /// An ICMP error about nothing we know of, within its rate.
    IcmpError = 12, Pass, "icmp-error";
    /// Echo request within its rate, and echo reply we send.
    Ping = 13, Pass, "ping";
    /// Link-layer protocols of the allow list, and unknown EtherTypes where
    /// `non-ip: all`.
    NonIp = 14, Pass, "non-ip";
    /// A later fragment whose first fragment passed.
    FragmentFollows = 15, Pass, "fragment-follows";
    /// A later fragment without a known first one, within its rate.
    FragmentUnknown = 16, Pass, "fragment-unknown";
    /// No rule matched, and an opening lets it in for a while.
    Opening = 17, Pass, "opening";

    /// A deny rule matched.
    Deny = 32, Drop, "deny";
    /// No rule matched; the default is drop.
    DefaultDrop = 33, Drop, "default-drop";
    /// The source is banned.
    Banned = 34, Drop, "banned";
    /// No rule matched, and it went to a broadcast or multicast address: noise.
    Noise = 35, Drop, "noise";
    /// A TCP segment that could belong to a flow of ours, but none is known.
    TcpNoFlow = 36, Drop, "tcp-no-flow";
    /// The flow table would not take a new flow of this host.
    FlowTableFull = 37, Drop, "flow-table-full";
    /// ICMP errors about nothing we know of, above their rate.
    IcmpErrorRate = 38, Drop, "icmp-error-rate";
    /// Echo requests above their rate.
    PingRate = 39, Drop, "ping-rate";
    /// An EtherType that is not admitted.
    NonIpDrop = 40, Drop, "non-ip-drop";
    /// A later fragment whose first fragment was dropped.
    FragmentFollowsDrop = 41, Drop, "fragment-follows-drop";
    /// Later fragments without a known first one: above their rate, or strict.
    FragmentUnknownDrop = 42, Drop, "fragment-unknown-drop";
    /// This host opens flows faster than its table is made for.
    FlowRate = 47, Drop, "flow-rate";

    /// Shorter than an Ethernet header and its tags.
    MalformedEthernet = 64, Drop, "malformed-ethernet";
    /// More than two VLAN tags.
    MalformedVlan = 65, Drop, "malformed-vlan";
    /// IPv4 header cut short.
    MalformedIpv4Truncated = 66, Drop, "malformed-ipv4-truncated";
    /// Version or header length field cannot be.
    MalformedIpv4Header = 67, Drop, "malformed-ipv4-header";
    /// Total length below the header's, or above the frame's.
    MalformedIpv4Length = 68, Drop, "malformed-ipv4-length";
    /// IPv6 header cut short, or version not 6.
    MalformedIpv6Header = 69, Drop, "malformed-ipv6-header";
    /// Payload length above the frame's.
    MalformedIpv6Length = 70, Drop, "malformed-ipv6-length";
    /// An extension header cut short.
    MalformedIpv6Extension = 71, Drop, "malformed-ipv6-extension";
    /// More extension headers than are followed, or longer ones.
    Ipv6ChainTooLong = 72, Drop, "ipv6-chain-too-long";
    /// Type 0 routing header, RFC 5095.
    Ipv6RoutingHeader0 = 73, Drop, "ipv6-routing-header-0";
    /// Fragment that ends past 65,535 bytes.
    MalformedFragmentLength = 74, Drop, "malformed-fragment-length";
    /// First fragment too short for the transport header, RFC 1858.
    MalformedTinyFragment = 75, Drop, "malformed-tiny-fragment";
    /// TCP fragment at offset 1, RFC 3128.
    MalformedFragmentOverlap = 76, Drop, "malformed-fragment-overlap";
    /// TCP header cut short.
    MalformedTcpTruncated = 77, Drop, "malformed-tcp-truncated";
    /// Data offset below 5, or past the segment's end.
    MalformedTcpOffset = 78, Drop, "malformed-tcp-offset";
    /// A combination of flags no stack sends.
    MalformedTcpFlags = 79, Drop, "malformed-tcp-flags";
    /// UDP header cut short.
    MalformedUdpTruncated = 80, Drop, "malformed-udp-truncated";
    /// UDP length below 8, or past the packet's end.
    MalformedUdpLength = 81, Drop, "malformed-udp-length";
    /// Port 0.
    MalformedPortZero = 82, Drop, "malformed-port-zero";
    /// ICMP header cut short.
    MalformedIcmpTruncated = 83, Drop, "malformed-icmp-truncated";
    /// A source that cannot be: multicast, broadcast, loopback, 0/8.
    MalformedSource = 84, Drop, "malformed-source";
    /// A destination that cannot be: loopback, 0/8, `::`.
    MalformedDestination = 85, Drop, "malformed-destination";
    /// Source equals destination (LAND).
    MalformedLand = 86, Drop, "malformed-land";
    /// SCTP header cut short.
    MalformedSctpTruncated = 87, Drop, "malformed-sctp-truncated";

    /// No generation is active: every packet passes.
    NoPolicy = 120, Pass, "no-policy";
    /// Slot 0 is in force and holds no program; the word says pass.
    Slot0EmptyPass = 121, Pass, "slot-0-empty-pass";
    /// As above; the word says drop.
    Slot0EmptyDrop = 122, Drop, "slot-0-empty-drop";
    /// Slot 1 is in force and holds no program; the word says pass.
    Slot1EmptyPass = 123, Pass, "slot-1-empty-pass";
    /// As above; the word says drop.
    Slot1EmptyDrop = 124, Drop, "slot-1-empty-drop";
}

impl Reason {
    /// Numbers there is room for; part of the ABI.
    pub const COUNT: u32 = 128;

    /// Whether the frame itself was impossible.
    #[must_use]
    pub const fn is_malformed(self) -> bool {
        let number = self as u8;
        64 <= number && number < 120
    }

    /// Built-in rules of the baseline, in the order they are shown.
    #[must_use]
    pub const fn is_baseline(self) -> bool {
        let number = self as u8;
        6 <= number && number <= 16
    }
}

/// The decision on one packet: a reason, and the rule if one decided.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Why.
    pub reason: Reason,
    /// The policy's cell where the policy decided; slot
    /// [`Cell::NO_SLOT`](crate::abi::tables::Cell::NO_SLOT) where no rule did.
    pub cell: crate::abi::tables::Cell,
    /// A TCP connection was asked for (ingress) or a flow was opened (egress).
    pub new_flow: bool,
}

impl Decision {
    /// Counter slot of the rule that decided, if one did.
    #[must_use]
    pub fn rule(&self) -> Option<u32> {
        let slot = self.cell.slot();
        (slot != crate::abi::tables::Cell::NO_SLOT).then_some(slot)
    }
}

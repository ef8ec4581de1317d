//! Services that most zones name, for hosts without firewalld's own files.

use firewall_common::service::proto::{TCP, UDP};

/// Name, and protocols with ports, as firewalld 1.3 has them.
const SERVICES: &[(&str, &[(u8, u16)])] = &[
    ("cockpit", &[(TCP, 9090)]),
    ("dhcpv6-client", &[(UDP, 546)]),
    ("dns", &[(TCP, 53), (UDP, 53)]),
    ("http", &[(TCP, 80)]),
    ("http3", &[(UDP, 443)]),
    ("https", &[(TCP, 443)]),
    ("imap", &[(TCP, 143)]),
    ("imaps", &[(TCP, 993)]),
    ("ipp", &[(TCP, 631), (UDP, 631)]),
    ("ldap", &[(TCP, 389)]),
    ("ldaps", &[(TCP, 636)]),
    ("memcache", &[(TCP, 11211), (UDP, 11211)]),
    ("mongodb", &[(TCP, 27017)]),
    ("mysql", &[(TCP, 3306)]),
    ("nfs", &[(TCP, 2049)]),
    ("ntp", &[(UDP, 123)]),
    ("pop3", &[(TCP, 110)]),
    ("pop3s", &[(TCP, 995)]),
    ("postgresql", &[(TCP, 5432)]),
    ("prometheus", &[(TCP, 9090)]),
    ("redis", &[(TCP, 6379)]),
    ("smtp", &[(TCP, 25)]),
    ("smtp-submission", &[(TCP, 587)]),
    ("smtps", &[(TCP, 465)]),
    ("snmp", &[(TCP, 161), (UDP, 161)]),
    ("squid", &[(TCP, 3128)]),
    ("ssh", &[(TCP, 22)]),
    ("syslog", &[(UDP, 514)]),
];

/// The protocols and ports of a service by name.
pub(super) fn built_in(name: &str) -> Option<&'static [(u8, u16)]> {
    let known = SERVICES.iter().find(|(known, _)| *known == name);
    known.map(|&(_, ports)| ports)
}

//! What this node knows about a name, for one asker: the names of the networks that the asker is
//! on, and no other. Pure: an index and a question give an answer or say whose business it is.

use std::net::IpAddr;
use std::sync::Arc;

use cleat_engine::record::Binding;
use cleat_front::DOMAIN;
use hickory_proto::rr::RecordType;
use smallvec::SmallVec;

use crate::names::{Entries, Entry, Index};

/// What stands for the host itself.
const HOST_NAMES: [&str; 3] =
    ["host.cleat.internal", "host.containers.internal", "host.docker.internal"];

/// A network whose names an asker sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// Its name in lower case.
    pub network: Arc<str>,
    /// A domain that its names stand in, beside that of all.
    pub domain: Option<Arc<str>>,
}

/// Who asks.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    /// The networks whose names he sees.
    pub networks: SmallVec<[Seen; 1]>,
    /// Where he reaches the host.
    pub host: Vec<IpAddr>,
}

/// What is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// These are its addresses, of both families.
    Addresses(Vec<IpAddr>),
    /// This is the name of the address.
    Pointer(String),
    /// The service is at these ports of these names.
    Services(Vec<(u16, String)>),
    /// The name is there, without a record of the type.
    NoData,
    /// There is no such name, and nobody else would know.
    NoName,
    /// Somebody else may know.
    NotHere,
}

/// Looks a name up: in lower case, without the dot at its end.
pub(super) fn look_up(index: &Index, asker: &Asker, name: &str, kind: RecordType) -> Known {
    if HOST_NAMES.contains(&name) {
        return addresses(asker.host.clone(), kind);
    }
    if let Some(address) = reverse(name) {
        return pointer(index, asker, address, kind);
    }
    if let Some((service, host)) = service(name) {
        return services(index, asker, service, (host, kind));
    }
    let Some(place) = place(asker, name) else {
        return Known::NotHere;
    };
    let found = find(index, asker, place.inner);
    if found.is_empty() {
        // The top of the domain is there, though nothing is called so.
        return match place.inner {
            "" => Known::NoData,
            _ if place.ours => Known::NoName,
            _ => Known::NotHere,
        };
    }
    addresses(addresses_of(&found), kind)
}

/// The name of an attachment in the domain of all names here.
pub fn full_name(entry: &Entry) -> Option<String> {
    entry.names().next().map(|name| format!("{name}.{}.{DOMAIN}", entry.network()))
}

/// A name without the domain that it stands in.
struct Place<'n> {
    inner: &'n str,
    /// Nobody else would know.
    ours: bool,
}

/// Where a name stands; `None` where it cannot be one of ours.
fn place<'n>(asker: &Asker, name: &'n str) -> Option<Place<'n>> {
    let domains = asker.networks.iter().filter_map(|seen| seen.domain.as_deref());
    for domain in domains.chain([DOMAIN]) {
        if name == domain {
            return Some(Place { inner: "", ours: true });
        }
        if let Some(inner) = name.strip_suffix(domain).and_then(|n| n.strip_suffix('.')) {
            return Some(Place { inner, ours: true });
        }
    }
    if name.is_empty() {
        return None;
    }
    Some(Place { inner: name, ours: !name.contains('.') })
}

/// The attachments that a name stands for: by itself on any of the asker's networks, or followed
/// by the network's.
fn find(index: &Index, asker: &Asker, inner: &str) -> Entries {
    let mut found = Entries::new();
    for on in &asker.networks {
        let mut take = |name: &str| found.extend(index.named(&on.network, name).cloned());
        take(inner);
        if let Some(name) = inner.strip_suffix(&*on.network).and_then(|n| n.strip_suffix('.')) {
            take(name);
        }
    }
    found
}

fn addresses_of(entries: &[Arc<Entry>]) -> Vec<IpAddr> {
    let mut all = Vec::with_capacity(entries.len());
    for address in entries.iter().flat_map(|entry| entry.addresses.iter()) {
        // A name and an alias may be the same attachment's.
        if entries.len() == 1 || !all.contains(address) {
            all.push(*address);
        }
    }
    all
}

fn addresses(mut all: Vec<IpAddr>, kind: RecordType) -> Known {
    match kind {
        RecordType::A => all.retain(IpAddr::is_ipv4),
        RecordType::AAAA => all.retain(IpAddr::is_ipv6),
        RecordType::ANY => {}
        _ => return Known::NoData,
    }
    if all.is_empty() { Known::NoData } else { Known::Addresses(all) }
}

fn pointer(index: &Index, asker: &Asker, address: IpAddr, kind: RecordType) -> Known {
    let seen = |entry: &&Arc<Entry>| asker.networks.iter().any(|on| on.network == *entry.network());
    let name = match index.at(address).find(seen) {
        Some(entry) => full_name(entry),
        None if asker.host.contains(&address) => HOST_NAMES.first().map(|n| (*n).to_owned()),
        None => return Known::NotHere,
    };
    match (name, kind) {
        (Some(name), RecordType::PTR | RecordType::ANY) => Known::Pointer(name),
        _ => Known::NoData,
    }
}

/// `_service._protocol.name` (RFC 2782) apart.
fn service(name: &str) -> Option<((&str, &str), &str)> {
    let (service, rest) = name.strip_prefix('_')?.split_once('.')?;
    let (protocol, host) = rest.strip_prefix('_')?.split_once('.')?;
    Some(((service, protocol), host))
}

/// The published ports of a name, by number or by the service's registered name.
fn services(
    index: &Index,
    asker: &Asker,
    (service, protocol): (&str, &str),
    (host, kind): (&str, RecordType),
) -> Known {
    let Some(place) = place(asker, host) else {
        return Known::NotHere;
    };
    let found = find(index, asker, place.inner);
    if found.is_empty() {
        return if place.ours { Known::NoName } else { Known::NotHere };
    }
    let asked = |binding: &&Binding| {
        binding.protocol.name() == protocol && is_port_of(service, binding.to_port)
    };
    let mut all: Vec<(u16, String)> = Vec::new();
    for entry in &found {
        let Some(target) = full_name(entry) else { continue };
        for binding in entry.ports.iter().filter(asked) {
            let service = (binding.to_port, target.clone());
            if !all.contains(&service) {
                all.push(service);
            }
        }
    }
    match (all.is_empty(), kind) {
        (true, _) => Known::NoName,
        (false, RecordType::SRV | RecordType::ANY) => Known::Services(all),
        (false, _) => Known::NoData,
    }
}

/// Services that containers publish, by the names that IANA has for them.
const SERVICES: [(&str, u16); 24] = [
    ("ftp", 21),
    ("ssh", 22),
    ("smtp", 25),
    ("domain", 53),
    ("http", 80),
    ("pop3", 110),
    ("ntp", 123),
    ("imap", 143),
    ("ldap", 389),
    ("https", 443),
    ("submission", 587),
    ("ldaps", 636),
    ("imaps", 993),
    ("mqtt", 1883),
    ("nfs", 2049),
    ("mysql", 3306),
    ("sip", 5060),
    ("xmpp-client", 5222),
    ("postgresql", 5432),
    ("amqp", 5672),
    ("redis", 6379),
    ("http-alt", 8080),
    ("secure-mqtt", 8883),
    ("memcache", 11211),
];

fn is_port_of(service: &str, port: u16) -> bool {
    service.parse() == Ok(port) || SERVICES.contains(&(service, port))
}

/// The address that a name under `in-addr.arpa` or `ip6.arpa` asks for (RFC 1035, section 3.5;
/// RFC 3596, section 2.5).
fn reverse(name: &str) -> Option<IpAddr> {
    if let Some(text) = name.strip_suffix(".in-addr.arpa") {
        let parts: Vec<u8> = text.rsplit('.').map(str::parse).collect::<Result<_, _>>().ok()?;
        return Some(IpAddr::from(<[u8; 4]>::try_from(parts).ok()?));
    }
    let text = name.strip_suffix(".ip6.arpa")?;
    let mut address: u128 = 0;
    let mut digits = 0;
    for digit in text.rsplit('.') {
        let [character] = digit.as_bytes() else { return None };
        address = address.checked_shl(4)? | u128::from(char::from(*character).to_digit(16)?);
        digits += 1;
    }
    (digits == 32).then(|| IpAddr::from(address.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::names::Membership;

    fn entry(network: &str, names: &[&str], addresses: &[&str]) -> Entry {
        let membership = Membership { network: network.into(), ..Membership::default() };
        let record = format!("{network} {}", names[0]);
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut entry = Entry::new((&record, &names[0]), &names, membership);
        entry.addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        entry
    }

    fn index() -> Index {
        let mut index = Index::default();
        index.put(entry("web", &["db", "alias"], &["10.1.0.2", "fd00::2"]));
        index.put(entry("web", &["other", "alias"], &["10.1.0.3"]));
        index.put(entry("back.office", &["db"], &["10.2.0.2"]));
        index.put(entry("secret", &["hidden"], &["10.3.0.2"]));
        index
    }

    fn asker(networks: &[&str]) -> Asker {
        let seen = |network: &&str| Seen {
            network: (*network).into(),
            domain: (*network == "web").then(|| "dns.example".into()),
        };
        let host = vec!["10.1.0.1".parse().unwrap()];
        Asker { networks: networks.iter().map(seen).collect(), host }
    }

    #[test]
    fn what_is_known_of_names() {
        let addresses =
            |all: &[&str]| Known::Addresses(all.iter().map(|a| a.parse().unwrap()).collect());
        let both = ["web", "back.office"];
        for (networks, name, kind, expected) in [
            (&both[..1], "db", RecordType::A, addresses(&["10.1.0.2"])),
            (&both[..1], "db", RecordType::AAAA, addresses(&["fd00::2"])),
            (&both[..1], "other", RecordType::AAAA, Known::NoData),
            (&both[..1], "db", RecordType::MX, Known::NoData),
            (&both[..1], "alias", RecordType::A, addresses(&["10.1.0.2", "10.1.0.3"])),
            (&both[..], "db", RecordType::A, addresses(&["10.1.0.2", "10.2.0.2"])),
            // A network's name may have dots.
            (&both[..], "db.back.office", RecordType::A, addresses(&["10.2.0.2"])),
            (&both[..], "db.back.office.cleat.internal", RecordType::A, addresses(&["10.2.0.2"])),
            (&both[..1], "db.dns.example", RecordType::A, addresses(&["10.1.0.2"])),
            (&both[..1], "x.dns.example", RecordType::A, Known::NoName),
            (&both[..1], "db.back.office", RecordType::A, Known::NotHere),
            (&both[..1], "hidden", RecordType::A, Known::NoName),
            (&both[..1], "hidden.secret.cleat.internal", RecordType::A, Known::NoName),
            (&both[..1], "cleat.internal", RecordType::A, Known::NoData),
            (&both[..1], "xcleat.internal", RecordType::A, Known::NotHere),
            (&both[..1], "example.com", RecordType::A, Known::NotHere),
            (&both[..1], "", RecordType::NS, Known::NotHere),
            (&both[..1], "host.cleat.internal", RecordType::A, addresses(&["10.1.0.1"])),
            (&both[..1], "host.cleat.internal", RecordType::AAAA, Known::NoData),
            (
                &both[..1],
                "1.0.1.10.in-addr.arpa",
                RecordType::PTR,
                Known::Pointer("host.cleat.internal".into()),
            ),
            (
                &both[..1],
                "2.0.1.10.in-addr.arpa",
                RecordType::PTR,
                Known::Pointer("db.web.cleat.internal".into()),
            ),
            (&both[..1], "2.0.3.10.in-addr.arpa", RecordType::PTR, Known::NotHere),
            (&both[..1], "2.0.1.10.in-addr.arpa", RecordType::A, Known::NoData),
        ] {
            let found = look_up(&index(), &asker(networks), name, kind);
            assert_eq!(found, expected, "{name} {kind} on {networks:?}");
        }
    }

    #[test]
    fn addresses_backwards() {
        let v6 = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa";
        assert_eq!(reverse(v6), Some("fd00::2".parse().unwrap()));
        for bad in ["1.2.3.in-addr.arpa", "1.2.3.256.in-addr.arpa", "2.ip6.arpa", "in-addr.arpa"] {
            assert_eq!(reverse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_name_panics_and_none_of_another_network_is_known(name in "[a-z0-9._-]{0,80}") {
            let asker = asker(&["back.office"]);
            let known = look_up(&index(), &asker, &name, RecordType::A);
            let hidden = ["10.1.0.2", "10.1.0.3", "10.3.0.2"].map(|a| a.parse::<IpAddr>().unwrap());
            if let Known::Addresses(found) = known {
                prop_assert!(found.iter().all(|address| !hidden.contains(address)));
            }
        }
    }
}

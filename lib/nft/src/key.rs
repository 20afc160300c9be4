//! Set keys and map data: fields laid end to end, as the kernel's registers hold them. Addresses
//! and ports stand in network order, marks in host order.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A field's type, with nft's datatype number (nft's include/datatype.h), by which `nft list`
/// knows how to print it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Type {
    /// An IPv4 address.
    Ipv4 = 7,
    /// An IPv6 address.
    Ipv6 = 8,
    /// A MAC address.
    Ether = 9,
    /// A transport protocol.
    Proto = 12,
    /// A port.
    Service = 13,
    /// A packet mark.
    Mark = 19,
    /// An interface name.
    IfName = 41,
    /// A verdict; only as the data of a map, and alone.
    Verdict = 1,
}

impl Type {
    const ALL: [Self; 8] = [
        Self::Ipv4,
        Self::Ipv6,
        Self::Ether,
        Self::Proto,
        Self::Service,
        Self::Mark,
        Self::IfName,
        Self::Verdict,
    ];
    /// `TYPE_BITS` of nft: a concatenation's number holds that of each field in six bits.
    const BITS: u32 = 6;

    /// Its size in bytes, outside a concatenation.
    pub const fn size(self) -> usize {
        match self {
            Self::Ipv4 | Self::Mark => 4,
            Self::Ipv6 | Self::IfName => 16,
            Self::Ether => 6,
            Self::Proto => 1,
            Self::Service => 2,
            Self::Verdict => 0,
        }
    }

    /// The name that `nft` uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4_addr",
            Self::Ipv6 => "ipv6_addr",
            Self::Ether => "ether_addr",
            Self::Proto => "inet_proto",
            Self::Service => "inet_service",
            Self::Mark => "mark",
            Self::IfName => "ifname",
            Self::Verdict => "verdict",
        }
    }

    /// The number of a concatenation of these.
    pub(crate) fn number(types: &[Self]) -> u32 {
        types.iter().fold(0, |number, t| number << Self::BITS | *t as u32)
    }

    /// The fields of a concatenation's number; none if one of them is unknown here.
    pub(crate) fn fields(number: u32) -> Vec<Self> {
        let places =
            (0..5).rev().map(|n| number >> (n * Self::BITS) & 0x3f).skip_while(|p| *p == 0);
        let known = |p: u32| Self::ALL.into_iter().find(|t| *t as u32 == p);
        places.map(known).collect::<Option<Vec<_>>>().unwrap_or_default()
    }

    /// The size of a key of these: padded to four bytes each if there are several.
    pub(crate) fn total(types: &[Self]) -> usize {
        match types {
            [one] => one.size(),
            several => several.iter().map(|t| t.size().next_multiple_of(4)).sum(),
        }
    }
}

/// The value of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// An address.
    Ip(IpAddr),
    /// A port.
    Port(u16),
    /// A transport protocol.
    Proto(u8),
    /// An interface name.
    IfName(String),
    /// A MAC address.
    Mac([u8; 6]),
    /// A packet mark.
    Mark(u32),
}

impl Field {
    fn read(kind: Type, bytes: &[u8]) -> Option<Self> {
        Some(match kind {
            Type::Ipv4 => Self::Ip(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
            Type::Ipv6 => Self::Ip(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
            Type::Ether => Self::Mac(bytes.try_into().ok()?),
            Type::Proto => Self::Proto(*bytes.first()?),
            Type::Service => Self::Port(u16::from_be_bytes(bytes.try_into().ok()?)),
            Type::Mark => Self::Mark(u32::from_ne_bytes(bytes.try_into().ok()?)),
            Type::IfName => Self::IfName(cleat_kernel::wire::str_of(bytes)),
            Type::Verdict => return None,
        })
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Port(port) => port.fmt(f),
            Self::Proto(6) => f.write_str("tcp"),
            Self::Proto(17) => f.write_str("udp"),
            Self::Proto(132) => f.write_str("sctp"),
            Self::Proto(number) => number.fmt(f),
            Self::IfName(name) => f.write_str(name),
            Self::Mac([a, b, c, d, e, g]) => {
                write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
            }
            Self::Mark(mark) => write!(f, "{mark:#010x}"),
        }
    }
}

/// A set's key, or a map's data: fields in the order of the set's types. Two with the same bytes
/// are the same.
#[derive(Debug, Clone, Default)]
pub struct Key {
    bytes: Vec<u8>,
    /// The types as nft numbers them; 0 where they are not known.
    shape: u32,
}

impl Key {
    /// Without a field yet.
    pub fn new() -> Self {
        Self { bytes: Vec::with_capacity(24), shape: 0 }
    }

    /// Adds an address.
    #[must_use]
    pub fn ip(self, ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => self.field(Type::Ipv4, &ip.octets()),
            IpAddr::V6(ip) => self.field(Type::Ipv6, &ip.octets()),
        }
    }

    /// Adds a port.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        self.field(Type::Service, &port.to_be_bytes())
    }

    /// Adds a transport protocol, by its IP number.
    #[must_use]
    pub fn proto(self, proto: u8) -> Self {
        self.field(Type::Proto, &[proto])
    }

    /// Adds an interface name; what is beyond 15 bytes is cut off, as no interface has it.
    #[must_use]
    pub fn ifname(self, name: &str) -> Self {
        self.field(Type::IfName, &ifname(name))
    }

    /// Adds a MAC address.
    #[must_use]
    pub fn mac(self, mac: [u8; 6]) -> Self {
        self.field(Type::Ether, &mac)
    }

    /// Adds a packet mark.
    #[must_use]
    pub fn mark(self, mark: u32) -> Self {
        self.field(Type::Mark, &mark.to_ne_bytes())
    }

    /// Adds a VXLAN network identifier, as [`Select::Vni`](crate::Select::Vni) reads it.
    #[must_use]
    pub fn vni(self, vni: u32) -> Self {
        self.field(Type::Mark, &(vni << 8).to_be_bytes())
    }

    /// The bytes, as the kernel has them.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The fields; none if the set's types are not all known here.
    pub fn fields(&self) -> Vec<Field> {
        let types = Type::fields(self.shape);
        if Type::total(&types) != self.bytes.len() {
            return Vec::new();
        }
        let mut rest = self.bytes.as_slice();
        let mut take = |t: &Type| {
            let field = Field::read(*t, rest.get(..t.size())?);
            rest = rest.get(t.size().next_multiple_of(4)..).unwrap_or_default();
            field
        };
        types.iter().map_while(&mut take).collect()
    }

    pub(crate) fn read(bytes: &[u8], shape: u32) -> Self {
        Self { bytes: bytes.to_vec(), shape }
    }

    fn field(mut self, kind: Type, value: &[u8]) -> Self {
        let joined = !self.bytes.is_empty();
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.bytes.extend_from_slice(value);
        if joined {
            self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        }
        self.shape = self.shape << Type::BITS | kind as u32;
        self
    }
}

/// An interface name as the kernel compares it: 16 bytes, the rest zero.
pub(crate) fn ifname(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes.iter_mut().take(15).zip(name.bytes()).for_each(|(to, from)| *to = from);
    bytes
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bytes.cmp(&other.bytes)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self.fields();
        if fields.is_empty() {
            f.write_str("0x")?;
            return self.bytes.iter().try_for_each(|b| write!(f, "{b:02x}"));
        }
        for (n, field) in fields.iter().enumerate() {
            f.write_str(if n == 0 { "" } else { " . " })?;
            field.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_of_a_concatenation_are_padded_and_a_lone_one_is_not() {
        assert_eq!(Key::new().port(80).bytes(), [0, 80]);
        assert_eq!(Key::new().proto(6).port(80).bytes(), [6, 0, 0, 0, 0, 80, 0, 0]);
        assert_eq!(Key::new().mac([1; 6]).mark(0).bytes().len(), 12);
        assert_eq!(Key::new().ifname("a-name-that-is-too-long").bytes().len(), 16);
        assert_eq!(Key::new().ifname("a-name-that-is-too-long").bytes()[15], 0);
    }

    #[test]
    fn a_key_reads_as_nft_prints_it() {
        let key = Key::new().ip([10, 0, 0, 1].into()).proto(6).port(80);
        assert_eq!(key.to_string(), "10.0.0.1 . tcp . 80");
        let key = Key::new().ifname("eth0").mac([2, 0, 0, 0, 0, 10]).mark(0x10);
        assert_eq!(key.to_string(), "eth0 . 02:00:00:00:00:0a . 0x00000010");
        assert_eq!(Key::read(&[1, 2], 0).to_string(), "0x0102");
    }

    proptest! {
        #[test]
        fn bytes_of_any_length_and_shape_are_read_without_harm(
            bytes in prop::collection::vec(any::<u8>(), 0..80), shape: u32,
        ) {
            let _ = Key::read(&bytes, shape).to_string();
        }

        #[test]
        fn what_is_put_in_comes_out(ip: std::net::Ipv6Addr, mac: [u8; 6], mark: u32, port: u16) {
            let key = Key::new().ip(ip.into()).mac(mac).mark(mark).port(port);
            let want = vec![
                Field::Ip(ip.into()), Field::Mac(mac), Field::Mark(mark), Field::Port(port),
            ];
            prop_assert_eq!(key.fields(), want);
        }
    }
}

//! One range of addresses of one subnet, with host-local's rules and defaults
//! (containernetworking plugins, plugins/ipam/host-local/README and range.go).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::{Error, Result};

/// Addresses `start` to `end`, both included, of `subnet`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    subnet: IpNet,
    start: IpAddr,
    end: IpAddr,
    gateway: IpAddr,
}

impl Range {
    /// A valid range. Without `start` and `gateway`, both are the first host of the subnet;
    /// without `end`, it is the last host: the one before broadcast, or in IPv6 the last.
    ///
    /// # Errors
    /// The subnet is longer than /30 or /126 or has host bits; a bound is not in it; an
    /// address is of the other family; the bounds are reversed.
    pub fn new(
        subnet: IpNet,
        start: Option<IpAddr>,
        end: Option<IpAddr>,
        gateway: Option<IpAddr>,
    ) -> Result<Self> {
        let longest = subnet.max_prefix_len() - 2;
        if subnet.prefix_len() > longest {
            return Err(Error::SubnetTooSmall { subnet, longest });
        }
        if subnet.addr() != subnet.network() {
            return Err(Error::HostBits { subnet });
        }
        let given = [("rangeStart", start), ("rangeEnd", end), ("gateway", gateway)];
        for (field, address) in given {
            let Some(address) = address else { continue };
            if address.is_ipv4() != subnet.addr().is_ipv4() {
                return Err(Error::Family { field, address, subnet });
            }
            // The gateway may be elsewhere, as host-local allows.
            if field != "gateway" && !subnet.contains(&address) {
                return Err(Error::OutsideSubnet { field, address, subnet });
            }
        }
        let first = from_bits(to_bits(subnet.network()) + 1, &subnet);
        let last_host = to_bits(subnet.broadcast()) - u128::from(subnet.addr().is_ipv4());
        let range = Self {
            subnet,
            start: start.unwrap_or(first),
            end: end.unwrap_or_else(|| from_bits(last_host, &subnet)),
            gateway: gateway.unwrap_or(first),
        };
        if range.start > range.end {
            return Err(Error::Reversed { start: range.start, end: range.end });
        }
        Ok(range)
    }

    /// The subnet.
    pub fn subnet(&self) -> IpNet {
        self.subnet
    }

    /// The first address.
    pub fn start(&self) -> IpAddr {
        self.start
    }

    /// The last address.
    pub fn end(&self) -> IpAddr {
        self.end
    }

    /// The gateway; never handed out, whether or not it is in the range.
    pub fn gateway(&self) -> IpAddr {
        self.gateway
    }

    /// Whether the address lies between the bounds, gateway included.
    pub fn contains(&self, address: IpAddr) -> bool {
        // IpAddr orders all of IPv4 before IPv6, so the other family is outside.
        self.start <= address && address <= self.end
    }

    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.start) || other.contains(self.start)
    }

    /// Addresses between the bounds, gateway included.
    pub(crate) fn size(&self) -> u128 {
        (to_bits(self.end) - to_bits(self.start)).saturating_add(1)
    }

    /// The address after one of this range; `None` after the last.
    pub(crate) fn after(&self, address: IpAddr) -> Option<IpAddr> {
        (address < self.end).then(|| from_bits(to_bits(address) + 1, &self.subnet))
    }

    /// The address with the subnet's prefix length.
    pub(crate) fn with_prefix(&self, address: IpAddr) -> IpNet {
        // The prefix length of a valid subnet of the same family is valid.
        IpNet::new(address, self.subnet.prefix_len()).unwrap_or(self.subnet)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

fn to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address of the subnet's family; `bits` must come from that family.
fn from_bits(bits: u128, subnet: &IpNet) -> IpAddr {
    match subnet {
        IpNet::V4(_) => Ipv4Addr::from_bits(bits as u32).into(),
        IpNet::V6(_) => Ipv6Addr::from_bits(bits).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(text: &str) -> std::result::Result<String, String> {
        let mut words = text.split(' ');
        let subnet = words.next().unwrap().parse().unwrap();
        let mut given: [Option<IpAddr>; 3] = [None; 3];
        for (field, word) in given.iter_mut().zip(words) {
            *field = (word != "-").then(|| word.parse().unwrap());
        }
        let [start, end, gateway] = given;
        Range::new(subnet, start, end, gateway)
            .map(|r| format!("{r} via {} size {}", r.gateway(), r.size()))
            .map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_are_those_of_host_local() {
        for (given, expected) in [
            ("10.1.0.0/24", "10.1.0.1-10.1.0.254 via 10.1.0.1 size 254"),
            ("10.1.0.0/30", "10.1.0.1-10.1.0.2 via 10.1.0.1 size 2"),
            ("10.1.0.0/24 10.1.0.9", "10.1.0.9-10.1.0.254 via 10.1.0.1 size 246"),
            ("10.1.0.0/24 - 10.1.0.9", "10.1.0.1-10.1.0.9 via 10.1.0.1 size 9"),
            ("10.1.0.0/24 10.1.0.9 10.1.0.9", "10.1.0.9-10.1.0.9 via 10.1.0.1 size 1"),
            ("10.1.0.0/24 10.1.0.0 10.1.0.255", "10.1.0.0-10.1.0.255 via 10.1.0.1 size 256"),
            ("10.1.0.0/24 - - 10.1.0.254", "10.1.0.1-10.1.0.254 via 10.1.0.254 size 254"),
            ("10.1.0.0/24 - - 192.168.0.1", "10.1.0.1-10.1.0.254 via 192.168.0.1 size 254"),
            ("0.0.0.0/0", "0.0.0.1-255.255.255.254 via 0.0.0.1 size 4294967294"),
            ("fd00::/126", "fd00::1-fd00::3 via fd00::1 size 3"),
            ("fd00::/112", "fd00::1-fd00::ffff via fd00::1 size 65535"),
        ] {
            assert_eq!(make(given).unwrap(), expected, "{given}");
        }
        assert!(make("::/0").is_ok());
    }

    #[test]
    fn mistakes_are_named() {
        for (given, expected) in [
            ("10.1.0.0/31", "subnet 10.1.0.0/31 is too small"),
            ("10.1.0.0/32", "/30 or shorter"),
            ("fd00::/127", "/126 or shorter"),
            ("10.1.0.5/24", "subnet 10.1.0.5/24 has host bits set: use 10.1.0.0/24"),
            ("10.1.0.0/24 10.2.0.1", "rangeStart 10.2.0.1 is not in subnet 10.1.0.0/24"),
            ("10.1.0.0/24 - 10.1.1.0", "rangeEnd 10.1.1.0 is not in subnet 10.1.0.0/24"),
            ("10.1.0.0/24 fd00::1", "rangeStart fd00::1 is not of the same IP version"),
            ("fd00::/64 - - 10.1.0.1", "gateway 10.1.0.1 is not of the same IP version"),
            ("10.1.0.0/24 10.1.0.9 10.1.0.8", "rangeStart 10.1.0.9 is after rangeEnd 10.1.0.8"),
        ] {
            let text = make(given).unwrap_err();
            assert!(text.contains(expected), "{given}: {text}");
        }
    }
}

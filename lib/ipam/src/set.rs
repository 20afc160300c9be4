//! A range set as one ring of addresses. Arithmetic only: it touches no file.

use std::net::IpAddr;

use crate::Range;

/// Ranges of one family, one after another and round again.
#[derive(Clone, Copy)]
pub(crate) struct Set<'a>(&'a [Range]);

impl<'a> Set<'a> {
    pub(crate) fn new(ranges: &'a [Range]) -> Self {
        Self(ranges)
    }

    /// The range that an address lies in.
    pub(crate) fn range_of(&self, address: IpAddr) -> Option<&'a Range> {
        self.0.iter().find(|r| r.contains(address))
    }

    /// A gateway of any range of the set, so one range never hands out the other's.
    pub(crate) fn is_gateway(&self, address: IpAddr) -> bool {
        self.0.iter().any(|r| r.gateway() == address)
    }

    /// Addresses in the ring, gateways included.
    pub(crate) fn size(&self) -> u128 {
        self.0.iter().fold(0, |sum, r| sum.saturating_add(r.size()))
    }

    /// Addresses that can be handed out.
    pub(crate) fn capacity(&self) -> u128 {
        let mut gateways: Vec<IpAddr> =
            self.0.iter().map(Range::gateway).filter(|g| self.range_of(*g).is_some()).collect();
        gateways.sort_unstable();
        gateways.dedup();
        self.size() - gateways.len() as u128
    }

    /// The next address of the ring; the first one after an address outside of it or none.
    pub(crate) fn after(&self, address: Option<IpAddr>) -> Option<IpAddr> {
        let first = self.0.first().map(Range::start);
        let Some(address) = address else { return first };
        let Some(at) = self.0.iter().position(|r| r.contains(address)) else { return first };
        let here = self.0.get(at).and_then(|r| r.after(address));
        here.or_else(|| self.0.get(at + 1).map(Range::start)).or(first)
    }
}

impl std::fmt::Display for Set<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, range) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{range}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_passes_every_address_once() {
        let range = |subnet: &str, end: &str| {
            Range::new(subnet.parse().unwrap(), None, Some(end.parse().unwrap()), None).unwrap()
        };
        let ranges = [range("10.1.0.0/24", "10.1.0.3"), range("10.2.0.0/24", "10.2.0.2")];
        let set = Set::new(&ranges);
        let mut at = None;
        let walk: Vec<String> = (0..6)
            .map(|_| {
                at = set.after(at);
                at.unwrap().to_string()
            })
            .collect();
        let ring = ["10.1.0.1", "10.1.0.2", "10.1.0.3", "10.2.0.1", "10.2.0.2", "10.1.0.1"];
        assert_eq!(walk, ring);
        assert_eq!((set.size(), set.capacity()), (5, 3));
        assert_eq!(set.after(Some("10.9.0.1".parse().unwrap())), set.after(None));
        assert_eq!(set.to_string(), "10.1.0.1-10.1.0.3, 10.2.0.1-10.2.0.2");
    }
}

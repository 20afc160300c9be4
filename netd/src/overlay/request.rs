//! What a network is asked to be, and what is wrong with that. Nothing is asked of the store here
//! but what is there already.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cleat_engine::overlay::{BLOCK_V4, BLOCK_V6, OverlayNetwork, PORT};
use cleat_engine::plan::Inbound;
use ipnet::IpNet;

use super::error::{Error, Result};

/// Blocks that a subnet should have at least, as a power of two, before they are made smaller.
const FEWEST: u8 = 4;
/// The largest VNI: 24 bits.
pub(super) const LAST_VNI: u32 = 0xff_ffff;

/// A network to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRequest {
    /// Its name.
    pub name: String,
    /// Its subnets, at most one of each family; none: one of IPv4 is chosen.
    pub subnets: Vec<IpNet>,
    /// Choose a subnet of IPv6 where none is given.
    pub ipv6: bool,
    /// The prefix length of blocks of IPv4 addresses.
    pub block_v4: Option<u8>,
    /// The prefix length of blocks of IPv6 addresses.
    pub block_v6: Option<u8>,
    /// The VNI; `None`: a free one.
    pub vni: Option<u32>,
    /// Traffic between nodes is encrypted.
    pub encrypted: bool,
    /// The containers' MTU in bytes.
    pub mtu: Option<u32>,
    /// The UDP port of VXLAN.
    pub port: Option<u16>,
    /// Who may open connections into it.
    pub inbound: Inbound,
    /// Names for its containers.
    pub dns: bool,
    /// The labels of whoever made it.
    pub labels: BTreeMap<String, String>,
}

impl NetworkRequest {
    /// One that leaves everything open.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            subnets: Vec::new(),
            ipv6: false,
            block_v4: None,
            block_v6: None,
            vni: None,
            encrypted: false,
            mtu: None,
            port: None,
            inbound: Inbound::Published,
            dns: true,
            labels: BTreeMap::new(),
        }
    }

    fn wrong(&self, field: &'static str, problem: String) -> Error {
        Error::Network { network: self.name.clone(), field, problem }
    }

    /// Names the first field that no network can have.
    ///
    /// # Errors
    /// [`Error::Network`].
    pub fn check(&self) -> Result<()> {
        self.check_name()?;
        for subnet in &self.subnets {
            self.check_subnet(subnet)?;
        }
        let families = [true, false]
            .map(|v4| self.subnets.iter().filter(|s| s.addr().is_ipv4() == v4).count());
        if families.iter().any(|count| *count > 1) {
            return Err(self.wrong(
                "subnet",
                "two of one family; give at most one of IPv4 and one of IPv6".to_owned(),
            ));
        }
        if let Some(vni) = self.vni.filter(|vni| !(1..=LAST_VNI).contains(vni)) {
            return Err(self.wrong(
                "vni",
                format!("{vni} is no VXLAN identifier; use 1 to {LAST_VNI}, or leave it out"),
            ));
        }
        let has_v6 = self.ipv6 || self.subnets.iter().any(|subnet| subnet.addr().is_ipv6());
        let least = if has_v6 { 1280 } else { 576 };
        if let Some(mtu) = self.mtu.filter(|mtu| !(least..=65_000).contains(mtu)) {
            let family = if has_v6 { "IPv6" } else { "IPv4" };
            return Err(self.wrong("mtu", format!("{mtu} is no MTU for {family}; use {least} to 65000, or leave it out to follow the links")));
        }
        if self.port == Some(0) {
            return Err(
                self.wrong("port", format!("0 is no UDP port; use 1 to 65535, such as {PORT}"))
            );
        }
        Ok(())
    }

    fn check_name(&self) -> Result<()> {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        let starts = self.name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if starts && self.name.len() <= 63 && self.name.bytes().all(fine) {
            return Ok(());
        }
        Err(self.wrong("name", format!("{:?} must be up to 63 letters, digits, '_', '.' or '-', and begin with a letter or digit", self.name)))
    }

    fn check_subnet(&self, subnet: &IpNet) -> Result<()> {
        let wrong = |problem: String| Err(self.wrong("subnet", problem));
        if subnet.trunc() != *subnet {
            return wrong(format!(
                "{subnet} has bits behind its prefix; did you mean {}?",
                subnet.trunc()
            ));
        }
        let (shortest, longest) = if subnet.addr().is_ipv4() { (8, 28) } else { (16, 120) };
        let length = subnet.prefix_len();
        if !(shortest..=longest).contains(&length) {
            return wrong(format!(
                "{subnet} is not of a size that can be shared; use a prefix length of {shortest} to {longest}"
            ));
        }
        let first = subnet.network();
        let is_local = match first {
            IpAddr::V4(v4) => {
                v4.is_link_local()
                    || v4.octets().first() == Some(&0)
                    || v4.is_broadcast()
                    || v4.octets().first() >= Some(&240)
            }
            IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.to_bits() >> 112 == 0,
        };
        if first.is_loopback() || first.is_multicast() || is_local {
            return wrong(format!(
                "{subnet} is not for hosts of a network; use a private one, such as 10.128.0.0/16 or fd00:c1ea::/64"
            ));
        }
        let block = self.block(subnet);
        let least = length + 1;
        let most = if subnet.addr().is_ipv4() { 30 } else { 126 };
        if !(least..=most).contains(&block) || block - length > 32 {
            let most = most.min(length.saturating_add(32));
            return Err(self.wrong(
                "block size",
                format!("/{block} does not fit {subnet}; use a prefix length of {least} to {most}"),
            ));
        }
        Ok(())
    }

    fn block(&self, subnet: &IpNet) -> u8 {
        let (asked, usual, most) = if subnet.addr().is_ipv4() {
            (self.block_v4, BLOCK_V4, 30)
        } else {
            (self.block_v6, BLOCK_V6, 126)
        };
        asked.unwrap_or_else(|| usual.max(subnet.prefix_len() + FEWEST).min(most))
    }

    /// The network, with what was left open chosen so that it does not collide with these.
    pub(super) fn resolve(
        &self,
        networks: &[OverlayNetwork],
        id: &str,
        vni: u32,
        created: u64,
    ) -> Result<OverlayNetwork> {
        let mut subnets = self.subnets.clone();
        if subnets.is_empty() {
            subnets.push(self.free_v4(networks)?);
        }
        if self.ipv6 && !subnets.iter().any(|subnet| subnet.addr().is_ipv6()) {
            subnets.extend(random_v6());
        }
        for subnet in &subnets {
            self.check_subnet(subnet)?;
            if let Some((other, network)) = overlap(subnet, networks) {
                return Err(self.wrong("subnet", format!("{subnet} overlaps {other} of overlay network {network:?}; choose another one")));
            }
        }
        let block = |v4: bool, usual| {
            subnets.iter().find(|s| s.addr().is_ipv4() == v4).map_or(usual, |s| self.block(s))
        };
        Ok(OverlayNetwork {
            block_v4: block(true, BLOCK_V4),
            block_v6: block(false, BLOCK_V6),
            encrypted: self.encrypted,
            mtu: self.mtu,
            port: self.port.unwrap_or(PORT),
            inbound: self.inbound,
            dns: self.dns,
            created,
            labels: self.labels.clone(),
            ..OverlayNetwork::new(&self.name, id, vni, subnets)
        })
    }

    /// The first free /16 of 10.128.0.0/9.
    fn free_v4(&self, networks: &[OverlayNetwork]) -> Result<IpNet> {
        let candidates = (128..=255_u8)
            .filter_map(|second| IpNet::new(Ipv4Addr::new(10, second, 0, 0).into(), 16).ok());
        candidates.into_iter().find(|subnet| overlap(subnet, networks).is_none()).ok_or_else(|| {
            self.wrong("subnet", "no /16 of 10.128.0.0/9 is free; give one".to_owned())
        })
    }
}

/// Of the addresses that everybody may choose from (RFC 4193).
fn random_v6() -> Option<IpNet> {
    let bits = (0xfd << 120) | ((rand::random::<u128>() >> 8) & !u128::from(u64::MAX));
    IpNet::new(Ipv6Addr::from_bits(bits).into(), 64).ok().map(|net| net.trunc())
}

fn overlap<'n>(subnet: &IpNet, networks: &'n [OverlayNetwork]) -> Option<(IpNet, &'n str)> {
    networks.iter().find_map(|network| {
        let hit =
            network.subnets.iter().find(|other| other.contains(subnet) || subnet.contains(*other));
        hit.map(|other| (*other, network.name.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(change: impl FnOnce(&mut NetworkRequest)) -> NetworkRequest {
        let mut request = NetworkRequest::new("all");
        change(&mut request);
        request
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn what_no_network_can_have_is_named_with_what_would_be_right() {
        type Change = fn(&mut NetworkRequest);
        let table: [(Change, &str); 14] = [
            (|r| r.name = "a/b".into(), "name: \"a/b\""),
            (|r| r.subnets = vec![net("10.1.0.1/16")], "did you mean 10.1.0.0/16"),
            (|r| r.subnets = vec![net("10.1.0.0/16"), net("10.2.0.0/16")], "two of one family"),
            (|r| r.subnets = vec![net("10.1.0.0/30")], "prefix length of 8 to 28"),
            (|r| r.subnets = vec![net("224.0.0.0/16")], "not for hosts"),
            (|r| r.subnets = vec![net("fe80::/64")], "not for hosts"),
            (
                |r| (r.subnets, r.block_v4) = (vec![net("10.1.0.0/16")], Some(16)),
                "use a prefix length of 17 to 30",
            ),
            (|r| (r.subnets, r.block_v6) = (vec![net("fd00::/64")], Some(127)), "block size: /127"),
            (|r| r.vni = Some(0), "vni: 0"),
            (|r| r.vni = Some(1 << 24), "1 to 16777215"),
            (|r| r.mtu = Some(575), "mtu: 575 is no MTU for IPv4; use 576"),
            (|r| (r.mtu, r.ipv6) = (Some(1279), true), "IPv6; use 1280"),
            (|r| r.port = Some(0), "port: 0"),
            (|r| r.name = String::new(), "name"),
        ];
        for (change, part) in table {
            let error = request(change).check().unwrap_err().to_string();
            assert!(error.contains(part), "{error} lacks {part}");
        }
        request(|_| ()).check().unwrap();
    }

    #[test]
    fn what_is_left_open_is_chosen_without_collisions() {
        let first = request(|_| ()).resolve(&[], "1", 4096, 0).unwrap();
        assert_eq!(
            (first.subnets.as_slice(), first.block_v4),
            ([net("10.128.0.0/16")].as_slice(), 24)
        );
        let second =
            request(|r| r.ipv6 = true).resolve(std::slice::from_ref(&first), "2", 4097, 0).unwrap();
        assert_eq!(second.subnets[0], net("10.129.0.0/16"));
        let v6 = second.subnets[1];
        assert_eq!((v6.prefix_len(), second.block_length(&v6)), (64, 80));
        assert!(net("fd00::/8").contains(&v6) && v6.trunc() == v6, "{v6}");
        let small =
            request(|r| r.subnets = vec![net("10.1.0.0/24")]).resolve(&[], "3", 1, 0).unwrap();
        assert_eq!(small.block_v4, 28);
        for subnet in ["10.128.0.0/16", "10.128.7.0/24", "10.0.0.0/8"] {
            let error = request(|r| r.subnets = vec![net(subnet)])
                .resolve(std::slice::from_ref(&first), "4", 1, 0)
                .unwrap_err()
                .to_string();
            assert!(error.contains("overlaps 10.128.0.0/16 of overlay network \"all\""), "{error}");
        }
    }
}

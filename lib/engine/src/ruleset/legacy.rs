//! What the reference plugins made for an attachment: found by the names that they derive from
//! it, and removed, so that a node can change its plugins while containers run.
//!
//! Their names: chains `CNI-` and `CNI-DN-` with digits of the SHA-512 of network and container
//! id; rules of `cni_hostport` whose comment is the container id; rules of
//! `cni_plugins_masquerade` whose comment says `net: …, if: …, id: …`; rules of `CNI-FORWARD` on
//! the container's address; chains `cni-br-iface-<id>-<interface>` of the bridge family.

use std::net::IpAddr;

use cleat_nft::{Backend, Family, Netlink, RuleInfo, Table, Transaction};
use sha2::{Digest, Sha512};

use crate::error::{Error, Result};
use crate::identity::{AttachmentId, hex};

const FAMILIES: [Family; 2] = [Family::Ip, Family::Ip6];

/// Removes it. Nothing there is no error.
pub fn remove(backend: &mut Netlink, id: &AttachmentId, addresses: &[IpAddr]) -> Result<()> {
    let tables = Tables::read(backend)?;
    let digest = digest(id);
    for family in FAMILIES {
        if tables.has(family, "nat") {
            for (chain, base) in owned_chains(&digest) {
                remove_chain(backend, Table::new(family, "nat"), &chain, base)?;
            }
        }
        if tables.has(family, "cni_hostport") {
            let table = Table::new(family, "cni_hostport");
            let own = |rule: &RuleInfo| rule.comment.as_deref() == Some(id.owner.as_str());
            remove_rules(backend, table, &HOSTPORT_CHAINS, own)?;
        }
        if tables.has(family, "filter") && !addresses.is_empty() {
            let octets: Vec<Vec<u8>> = addresses.iter().map(octets).collect();
            let own = |rule: &RuleInfo| rule.compared.iter().any(|value| octets.contains(value));
            remove_rules(backend, Table::new(family, "filter"), &["CNI-FORWARD"], own)?;
        }
    }
    if tables.has(Family::Inet, MASQUERADE.name) {
        let tail = format!(", net: {}, if: {}, id: {}", id.network, id.slot, id.owner);
        let own =
            |rule: &RuleInfo| rule.comment.as_deref().is_some_and(|c| is_masquerade(c, &tail));
        remove_rules(backend, MASQUERADE, &["masq_checks"], own)?;
    }
    if tables.has(Family::Bridge, SPOOF.name) {
        let chain = format!("cni-br-iface-{}-{}", id.owner, id.slot);
        let mac_chain = format!("{chain}-mac");
        remove_chain(backend, SPOOF, &chain, &["PREROUTING"])?;
        remove_chain(backend, SPOOF, &mac_chain, &[])?;
    }
    Ok(())
}

/// Its ports are published by the reference's rules.
pub fn has_ports(backend: &mut Netlink, id: &AttachmentId) -> Result<bool> {
    let tables = Tables::read(backend)?;
    let name = format!("CNI-DN-{}", hex(&digest(id), 21));
    for family in FAMILIES {
        let chain = tables.has(family, "nat")
            && backend.chains(family, "nat")?.iter().any(|chain| chain.name == name);
        let mut rules = Vec::new();
        if tables.has(family, "cni_hostport") {
            for chain in HOSTPORT_CHAINS {
                rules.extend(backend.rules(family, "cni_hostport", chain)?);
            }
        }
        if chain || rules.iter().any(|rule| rule.comment.as_deref() == Some(id.owner.as_str())) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The reference's firewall lets this address's traffic pass.
pub fn has_policy(backend: &mut Netlink, addresses: &[IpAddr]) -> Result<bool> {
    for family in FAMILIES {
        for rule in backend.rules(family, "filter", "CNI-FORWARD")? {
            if addresses.iter().map(octets).any(|own| rule.compared.contains(&own)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

const MASQUERADE: Table = Table::new(Family::Inet, "cni_plugins_masquerade");
const SPOOF: Table = Table::new(Family::Bridge, "nat");
const HOSTPORT_CHAINS: [&str; 3] = ["hostports", "hostip_hostports", "masquerading"];

/// The tables there are: on most nodes none of these, which one question tells.
struct Tables(Vec<(u8, String)>);

impl Tables {
    fn read(backend: &mut Netlink) -> Result<Self> {
        match backend.tables() {
            Ok(tables) => Ok(Self(tables)),
            // Without nf_tables nobody has any.
            Err(error) if error.is_unsupported() => Ok(Self(Vec::new())),
            Err(error) => Err(error.into()),
        }
    }

    fn has(&self, family: Family, name: &str) -> bool {
        self.0.iter().any(|(number, table)| *number == family.number() && table == name)
    }
}

/// The reference's name for an attachment's intermediate device.
pub(crate) fn ifb_name(id: &AttachmentId) -> String {
    format!("bwp{}", hex(&digest(id), 12))
}

fn digest(id: &AttachmentId) -> Vec<u8> {
    Sha512::digest(format!("{}{}", id.network, id.owner).as_bytes()).to_vec()
}

/// The attachment's own chains of the nat table, with those that lead to them.
fn owned_chains(digest: &[u8]) -> [(String, &'static [&'static str]); 2] {
    [
        (format!("CNI-{}", hex(digest, 24)), &["POSTROUTING"]),
        (format!("CNI-DN-{}", hex(digest, 21)), &["CNI-HOSTPORT-DNAT"]),
    ]
}

fn octets(address: &IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// Two hashes stand before the names. Long names are cut where a comment ends.
fn is_masquerade(comment: &str, tail: &str) -> bool {
    comment.split_once(", net: ").is_some_and(|(_, named)| {
        !named.is_empty() && tail.trim_start_matches(", net: ").starts_with(named)
    })
}

fn remove_chain(backend: &mut Netlink, table: Table, chain: &str, from: &[&str]) -> Result<()> {
    if !backend.chains(table.family, table.name)?.iter().any(|found| found.name == chain) {
        return Ok(());
    }
    let mut transaction = Transaction::new();
    for base in from {
        for rule in backend.rules(table.family, table.name, base)? {
            if rule.targets.iter().any(|target| target == chain) {
                transaction.delete_rule(table, base, rule.handle);
            }
        }
    }
    transaction.flush_chain(table, chain).delete_chain(table, chain);
    commit(backend, &transaction)
}

fn remove_rules(
    backend: &mut Netlink,
    table: Table,
    chains: &[&str],
    own: impl Fn(&RuleInfo) -> bool,
) -> Result<()> {
    let mut transaction = Transaction::new();
    for chain in chains {
        for rule in backend.rules(table.family, table.name, chain)?.iter().filter(|r| own(r)) {
            transaction.delete_rule(table, chain, rule.handle);
        }
    }
    commit(backend, &transaction)
}

/// What another process removed meanwhile is removed.
fn commit(backend: &mut Netlink, transaction: &Transaction) -> Result<()> {
    if transaction.is_empty() {
        return Ok(());
    }
    match backend.commit(transaction) {
        Err(error) if !error.is_not_found() => Err(Error::Firewall(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_cut_short_are_known() {
        let tail = ", net: n, if: eth0, id: c1";
        assert!(is_masquerade("0a-0b, net: n, if: eth0, id: c1", tail));
        assert!(is_masquerade("0a-0b, net: n, if: eth0, id: c", tail));
        assert!(!is_masquerade("0a-0b, net: n, if: eth1, id: c1", tail));
        assert!(!is_masquerade("0a-0b", tail));
    }
}

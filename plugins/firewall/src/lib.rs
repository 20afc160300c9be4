//! The `firewall` plugin: lets a container's traffic through the host, and sets who may open
//! connections to it. By nftables, whatever backend is named. Chained behind a plugin that made
//! the container's interface.

use cleat_cni::{CniResult, Error, Plugin, Request, SpecVersion};
use cleat_engine::policy::{self, Policy};
use cleat_engine::record::Ingress;
use cleat_front::{attachment, interface, node, own_addresses, previous, to_cni};
use serde::Deserialize;

const ADMIN_CHAIN: &str = "CNI-ADMIN";
/// nf_tables' `NFT_NAME_MAXLEN` is 256; iptables' chains have at most 28.
const LONGEST_CHAIN: usize = 28;

/// The plugin.
pub struct Firewall;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    backend: Option<String>,
    iptables_admin_chain_name: Option<String>,
    ingress_policy: Option<String>,
}

impl Plugin for Firewall {
    fn name(&self) -> &'static str {
        "firewall"
    }

    fn versions(&self) -> &'static [SpecVersion] {
        &[SpecVersion::V0_4_0, SpecVersion::V1_0_0, SpecVersion::V1_1_0]
    }

    fn add(&self, request: &Request) -> Result<CniResult, Error> {
        let result = previous(request)?.clone();
        if let Some(policy) = policy(request, &result)? {
            policy::apply(&node(), &policy).map_err(to_cni)?;
        }
        Ok(result)
    }

    fn del(&self, request: &Request) -> Result<(), Error> {
        let (node, id) = (node(), attachment(request));
        if !policy::remove(&node, &id).map_err(to_cni)? {
            policy::remove_foreign(&node, &id, &own_addresses(request)).map_err(to_cni)?;
        }
        Ok(())
    }

    fn check(&self, request: &Request) -> Result<(), Error> {
        match policy(request, previous(request)?)? {
            Some(policy) => policy::check(&node(), &policy).map_err(to_cni),
            None => Ok(()),
        }
    }

    fn gc(&self, request: &Request) -> Result<(), Error> {
        interface::collect(request)
    }

    fn status(&self, request: &Request) -> Result<(), Error> {
        read(request)?;
        cleat_engine::ruleset::available().map_err(|e| Error::not_available(e.to_string()))
    }
}

fn read(request: &Request) -> Result<(Ingress, String), Error> {
    let wire: Wire = request.config_as()?;
    let bad = |text: String| Err(Error::invalid_config(text));
    if let Some(backend) = wire.backend.as_deref()
        && !["iptables", "nftables", "firewalld"].contains(&backend)
    {
        let known = "\"iptables\", \"nftables\", \"firewalld\"";
        return bad(format!("backend: {backend:?} is none of {known}"));
    }
    let ingress = match wire.ingress_policy.as_deref() {
        None | Some("open") => Ingress::Open,
        Some("same-bridge") => Ingress::SameBridge,
        Some("isolated") => Ingress::Isolated,
        Some(other) => {
            let known = "\"open\", \"same-bridge\", \"isolated\"";
            return bad(format!("ingressPolicy: {other:?} is none of {known}"));
        }
    };
    let chain = wire.iptables_admin_chain_name.unwrap_or_else(|| ADMIN_CHAIN.to_owned());
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let starts = chain.chars().next().is_some_and(|c| c.is_ascii_alphabetic());
    if chain.len() > LONGEST_CHAIN || !starts || !chain.chars().all(plain) {
        return bad(format!(
            "iptablesAdminChainName: {chain:?} is not a letter and up to {} letters, digits, \
             '-', '_' or '.'",
            LONGEST_CHAIN - 1
        ));
    }
    Ok((ingress, chain))
}

/// The policy; none where the container's interface has no link of the host's to set one on.
fn policy(request: &Request, result: &CniResult) -> Result<Option<Policy>, Error> {
    let (ingress, admin_chain) = read(request)?;
    let outside = |i: &&cleat_cni::Interface| i.sandbox.as_deref().is_none_or(str::is_empty);
    let mut hosts = result.interfaces.iter().filter(outside).map(|i| i.name.clone());
    let Some(first) = hosts.next() else {
        return Ok(None);
    };
    let host_end = hosts.next();
    // In a VLAN of a bridge the host routes by the gateway's own link.
    let of_bridge = format!("{first}.");
    let gateway = hosts.find(|name| name.starts_with(&of_bridge));
    Ok(Some(Policy {
        id: attachment(request),
        link: gateway.unwrap_or(first),
        host_end,
        addresses: own_addresses(request),
        ingress,
        admin_chain,
    }))
}

//! The `dnsname` plugin: names for containers whose interface another plugin made, behind it in
//! the chain. It registers them; netd answers. Takes the place of the plugin of that name that
//! ran a dnsmasq per network.

use cleat_cni::{CniResult, Error, Plugin, Request};
use cleat_engine::names::{self, NamesPart, is_name};
use cleat_engine::plan::Grant;
use cleat_front::{attachment, interface, names_plan, node, previous, remembered, to_cni};
use serde::Deserialize;

/// The plugin.
pub struct Dnsname;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    domain_name: Option<String>,
}

impl Plugin for Dnsname {
    fn name(&self) -> &'static str {
        "dnsname"
    }

    fn add(&self, request: &Request) -> Result<CniResult, Error> {
        let mut result = previous(request)?.clone();
        let bridge = bridge(&result)?.to_owned();
        let domain = domain(request)?;
        let plan = names_plan(request)?;
        let node = node();
        let grants = remembered(request).grants.addresses;
        let part = NamesPart {
            names: plan.usable(&|text| node.warn(text)),
            asks: gateways(&grants),
            servers: plan.servers,
            internal: false,
            on_host: false,
            domain: domain.clone(),
        };
        result.dns.nameservers.splice(0..0, part.asks.iter().map(ToString::to_string));
        result.dns.search.extend(domain);
        names::register(&node, &attachment(request), part, &grants, Some(&bridge))
            .map_err(to_cni)?;
        Ok(result)
    }

    fn del(&self, request: &Request) -> Result<(), Error> {
        names::unregister(&node(), &attachment(request)).map_err(to_cni)
    }

    fn check(&self, request: &Request) -> Result<(), Error> {
        previous(request)?;
        names::check(&node(), &attachment(request)).map_err(to_cni)
    }

    fn gc(&self, request: &Request) -> Result<(), Error> {
        interface::collect(request)
    }

    fn status(&self, request: &Request) -> Result<(), Error> {
        domain(request)?;
        if cleat_engine::service::is_attended(&node()) {
            return Ok(());
        }
        Err(Error::not_available(
            "names are not answered: netd does not run; start it (systemctl start cleat-netd, or \
             `netd run`)"
                .to_owned(),
        ))
    }
}

/// The bridge is the first interface of the result, as the reference's bridge plugin has it.
fn bridge(result: &CniResult) -> Result<&str, Error> {
    let outside = |i: &&cleat_cni::Interface| i.sandbox.as_deref().is_none_or(str::is_empty);
    result.interfaces.first().filter(outside).map(|interface| interface.name.as_str()).ok_or_else(
        || {
            Error::invalid_config(
                "prevResult.interfaces: the first one is not a bridge of the host; dnsname goes \
                 behind the bridge plugin"
                    .to_owned(),
            )
        },
    )
}

fn gateways(grants: &[Grant]) -> Vec<std::net::IpAddr> {
    let mut gateways = Vec::new();
    for gateway in grants.iter().filter_map(|grant| grant.gateway) {
        if !gateways.contains(&gateway) {
            gateways.push(gateway);
        }
    }
    gateways
}

fn domain(request: &Request) -> Result<Option<String>, Error> {
    let wire: Wire = request.config_as()?;
    let Some(domain) = wire.domain_name.filter(|domain| !domain.is_empty()) else {
        return Ok(None);
    };
    let domain = domain.trim_matches('.').to_ascii_lowercase();
    if is_name(&domain) {
        return Ok(Some(domain));
    }
    Err(Error::invalid_config(format!(
        "domainName: {domain:?} is not a domain such as \"dns.example\""
    )))
}

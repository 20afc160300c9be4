//! The `portmap` plugin: publishes ports of the container on the host. Chained behind a plugin
//! that made the container's interface, ours or any other.

mod conditions;
mod config;

use cleat_cni::{CniResult, Error, Plugin, Request};
use cleat_engine::ports::{self, Publish};
use cleat_engine::ruleset::conditions::Conditions;
use cleat_front::{attachment, interface, node, previous, to_cni};

/// The plugin.
pub struct Portmap;

impl Plugin for Portmap {
    fn name(&self) -> &'static str {
        "portmap"
    }

    fn add(&self, request: &Request) -> Result<CniResult, Error> {
        let result = previous(request)?.clone();
        let config = config::read(request)?;
        let publish = publish(request, &config, &result)?;
        if publish.bindings.is_empty() {
            return Ok(result);
        }
        let node = node();
        if let Some(chain) = &config.mark_chain {
            node.warn(&format!(
                "externalSetMarkChain: {chain} is not jumped to; what it would mark is masqueraded \
                 by cleat's own table"
            ));
        }
        ports::publish(&node, &publish).map_err(to_cni)?;
        Ok(result)
    }

    fn del(&self, request: &Request) -> Result<(), Error> {
        ports::unpublish(&node(), &attachment(request)).map_err(to_cni)
    }

    fn check(&self, request: &Request) -> Result<(), Error> {
        let result = previous(request)?;
        let publish = publish(request, &config::read(request)?, result)?;
        ports::check(&node(), &publish.id, &publish.bindings).map_err(to_cni)
    }

    fn gc(&self, request: &Request) -> Result<(), Error> {
        interface::collect(request)
    }

    fn status(&self, request: &Request) -> Result<(), Error> {
        config::read(request)?;
        cleat_engine::ruleset::available().map_err(|e| Error::not_available(e.to_string()))
    }
}

fn publish(
    request: &Request,
    config: &config::Config,
    result: &CniResult,
) -> Result<Publish, Error> {
    let addresses = config::container_addresses(result);
    let mut bindings = Vec::new();
    for mapping in &config.mappings {
        bindings.extend(mapping.bindings(&addresses)?);
    }
    for binding in &mut bindings {
        let own = config.conditions.iter().find(|c| c.ipv6 == binding.to.is_ipv6());
        binding.conditions = own.map(Conditions::id);
    }
    Ok(Publish {
        id: attachment(request),
        bindings,
        conditions: config.conditions.clone(),
        host_end: config::host_end(result),
        hairpin: config.snat,
        masquerade_all: config.masquerade_all,
    })
}

//! The `sbr` plugin: what a container sends from an address leaves by the interface that has the
//! address. Chained behind a plugin that made the interface.

use cleat_cni::{CniResult, Error, Plugin, Request};
use cleat_engine::source_routing::{self, SourceRouting};
use cleat_front::{attachment, interface, node, own_addresses, previous, remembered, to_cni};
use serde::Deserialize;

/// The plugin.
pub struct Sbr;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire {
    table: Option<i64>,
}

impl Plugin for Sbr {
    fn name(&self) -> &'static str {
        "sbr"
    }

    fn add(&self, request: &Request) -> Result<CniResult, Error> {
        let result = previous(request)?.clone();
        let asked = read(request)?;
        if asked.grants.addresses.is_empty() {
            let text = format!("prevResult: it has no address of {}", request.ifname);
            return Err(Error::invalid_config(text));
        }
        source_routing::apply(&node(), &asked).map_err(to_cni)?;
        Ok(result)
    }

    fn del(&self, request: &Request) -> Result<(), Error> {
        let (netns, addresses) = (request.netns.as_deref(), own_addresses(request));
        source_routing::remove(&node(), &attachment(request), netns, &addresses).map_err(to_cni)
    }

    fn check(&self, request: &Request) -> Result<(), Error> {
        previous(request)?;
        source_routing::check(&read(request)?).map_err(to_cni)
    }

    fn gc(&self, request: &Request) -> Result<(), Error> {
        interface::collect(request)
    }

    fn status(&self, request: &Request) -> Result<(), Error> {
        table(request).map(drop)
    }
}

fn read(request: &Request) -> Result<SourceRouting, Error> {
    Ok(SourceRouting {
        id: attachment(request),
        netns: request.netns.clone().unwrap_or_default(),
        grants: remembered(request).grants,
        table: table(request)?,
    })
}

fn table(request: &Request) -> Result<Option<u32>, Error> {
    let wire: Wire = request.config_as()?;
    match wire.table {
        None => Ok(None),
        Some(table) => match u32::try_from(table) {
            Ok(table) if table > 0 && !(253..=255).contains(&table) => Ok(Some(table)),
            _ => {
                let text = format!("table: {table} is not the number of a table of your own");
                Err(Error::invalid_config(text))
            }
        },
    }
}

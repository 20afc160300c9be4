//! The `vrf` plugin: the container's interface in a routing domain of its own, with a table of its
//! own. Chained behind a plugin that made the interface.

use cleat_cni::{CniResult, Error, Plugin, Request, SpecVersion};
use cleat_engine::vrf::{self, Domain};
use cleat_front::{attachment, interface, node, previous, to_cni};
use serde::Deserialize;

/// An interface's name has no more bytes.
const LONGEST: usize = 15;

/// The plugin.
pub struct Vrf;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire {
    vrfname: String,
    table: i64,
}

impl Plugin for Vrf {
    fn name(&self) -> &'static str {
        "vrf"
    }

    fn versions(&self) -> &'static [SpecVersion] {
        // From 0.3.1 on, as the reference.
        SpecVersion::ALL.get(3..).unwrap_or_default()
    }

    fn add(&self, request: &Request) -> Result<CniResult, Error> {
        let result = previous(request)?.clone();
        vrf::apply(&node(), &read(request)?).map_err(to_cni)?;
        Ok(result)
    }

    fn del(&self, request: &Request) -> Result<(), Error> {
        let netns = request.netns.as_deref();
        // A configuration that cannot be read made no domain.
        let Ok(asked) = read(request) else { return Ok(()) };
        vrf::remove(&node(), &attachment(request), netns, &asked.name).map_err(to_cni)
    }

    fn check(&self, request: &Request) -> Result<(), Error> {
        previous(request)?;
        vrf::check(&read(request)?).map_err(to_cni)
    }

    fn gc(&self, request: &Request) -> Result<(), Error> {
        interface::collect(request)
    }

    fn status(&self, request: &Request) -> Result<(), Error> {
        read(request)?;
        vrf::status().map_err(|error| Error::not_available(error.to_string()))
    }
}

fn read(request: &Request) -> Result<Domain, Error> {
    let wire: Wire = request.config_as()?;
    let bad = |text: String| Err(Error::invalid_config(text));
    if wire.vrfname.is_empty() {
        return bad("vrfname: missing; name the routing domain".to_owned());
    }
    let is_name = |c: char| !c.is_whitespace() && c != '/' && c != ':';
    if wire.vrfname.len() > LONGEST || !wire.vrfname.chars().all(is_name) {
        return bad(format!("vrfname: {:?} is no interface's name of 1..15 bytes", wire.vrfname));
    }
    let table = match u32::try_from(wire.table) {
        Ok(0) => None,
        Ok(table) if !(253..=255).contains(&table) => Some(table),
        _ => return bad(format!("table: {} is not the number of a table of your own", wire.table)),
    };
    Ok(Domain {
        id: attachment(request),
        netns: request.netns.clone().unwrap_or_default(),
        name: wire.vrfname,
        table,
    })
}

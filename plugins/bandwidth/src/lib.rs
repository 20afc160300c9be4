//! The `bandwidth` plugin: limits what goes to a container and what comes from it. Chained behind a
//! plugin that made the container's interface, of any kind.

mod config;

use cleat_cni::{CniResult, Error, Interface, Plugin, Request, SpecVersion};
use cleat_engine::bandwidth;
use cleat_front::{attachment, interface, node, previous, to_cni};

/// The plugin.
pub struct Bandwidth;

impl Plugin for Bandwidth {
    fn name(&self) -> &'static str {
        "bandwidth"
    }

    fn versions(&self) -> &'static [SpecVersion] {
        // Those whose results have interfaces.
        SpecVersion::ALL.get(2..).unwrap_or_default()
    }

    fn add(&self, request: &Request) -> Result<CniResult, Error> {
        let mut result = previous(request)?.clone();
        let limits = config::read(request)?;
        if limits.ingress.is_none() && limits.egress.is_none() {
            return Ok(result);
        }
        let device = bandwidth::apply(&node(), &limits).map_err(to_cni)?;
        result.interfaces.extend(device.map(|device| Interface {
            name: device.name,
            mac: device.mac.map(|mac| mac.to_string()),
            mtu: Some(device.mtu),
            sandbox: device.inside.then(|| limits.netns.to_string_lossy().into_owned()),
            ..Interface::default()
        }));
        Ok(result)
    }

    fn del(&self, request: &Request) -> Result<(), Error> {
        let netns = request.netns.as_deref();
        bandwidth::remove(&node(), &attachment(request), netns).map_err(to_cni)
    }

    fn check(&self, request: &Request) -> Result<(), Error> {
        previous(request)?;
        bandwidth::check(&config::read(request)?).map_err(to_cni)
    }

    fn gc(&self, request: &Request) -> Result<(), Error> {
        interface::collect(request)
    }

    fn status(&self, request: &Request) -> Result<(), Error> {
        config::read(request)?;
        bandwidth::status().map_err(|error| Error::not_available(error.to_string()))
    }
}

//! The `tuning` plugin: sysctls of the container's network namespace and settings of its
//! interface. Chained behind a plugin that made the interface.

mod allowlist;
mod config;

use cleat_cni::{CniResult, Error, Plugin, Request};
use cleat_engine::tuning;
use cleat_front::{attachment, node, previous, to_cni};

/// The plugin.
pub struct Tuning;

impl Plugin for Tuning {
    fn name(&self) -> &'static str {
        "tuning"
    }

    fn add(&self, request: &Request) -> Result<CniResult, Error> {
        let mut result = previous(request)?.clone();
        let tune = config::read(request)?;
        allowlist::check(&tune.sysctls)?;
        if !config::is_empty(&tune) {
            tuning::apply(&node(), &tune).map_err(to_cni)?;
        }
        let own = result.interfaces.iter_mut().find(|interface| {
            interface.name == request.ifname
                && interface.sandbox.as_deref().is_some_and(|s| !s.is_empty())
        });
        if let Some(own) = own {
            own.mac = tune.link.mac.map(|mac| mac.to_string()).or(own.mac.take());
            own.mtu = tune.link.mtu.or(own.mtu);
        }
        Ok(result)
    }

    fn del(&self, request: &Request) -> Result<(), Error> {
        let netns = request.netns.as_deref();
        tuning::revert(&node(), &attachment(request), netns).map_err(to_cni)
    }

    fn check(&self, request: &Request) -> Result<(), Error> {
        previous(request)?;
        tuning::check(&config::read(request)?).map_err(to_cni)
    }

    fn status(&self, request: &Request) -> Result<(), Error> {
        config::read(request).map(drop)
    }
}

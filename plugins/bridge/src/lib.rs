//! The `bridge` plugin: a veth pair from the container into a bridge of the host, with gateway,
//! masquerading and what else the reference plugin of that name offers.

mod config;

use cleat_cni::{CniResult, Error, Plugin, Request};
use cleat_front::interface;

/// The plugin.
pub struct Bridge;

impl Plugin for Bridge {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn add(&self, request: &Request) -> Result<CniResult, Error> {
        interface::add(request, &config::plan(request)?)
    }

    fn del(&self, request: &Request) -> Result<(), Error> {
        interface::del(request, config::bridge_of(request))
    }

    fn check(&self, request: &Request) -> Result<(), Error> {
        interface::check(request, &config::plan(request)?)
    }

    fn gc(&self, request: &Request) -> Result<(), Error> {
        interface::gc(request)
    }

    fn status(&self, request: &Request) -> Result<(), Error> {
        interface::status(request, &config::network(request)?)
    }
}

//! The `bridge` plugin: a veth pair from the container into a bridge of the host, with gateway,
//! masquerading and what else the reference plugin of that name offers.

mod config;

use cleat_cni::{CniResult, Error, Plugin, Request};
use cleat_engine::plan::Lessor;
use cleat_engine::{AttachmentId, Detach};
use cleat_front::{Addressing, attached_result, attachment, node, remembered, to_cni};

/// The plugin.
pub struct Bridge;

impl Plugin for Bridge {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn add(&self, request: &Request) -> Result<CniResult, Error> {
        let node = node();
        let (plan, gateway) = config::plan(request)?;
        let mut addressing = Addressing::read(&node, request)?.deriving_gateways(gateway);
        let attached = cleat_engine::attach(&node, &plan, &mut addressing).map_err(to_cni)?;
        Ok(attached_result(request, &attached, addressing.dns()))
    }

    fn del(&self, request: &Request) -> Result<(), Error> {
        let node = node();
        let mut addressing = Addressing::read_or_none(&node, request);
        let asked = Detach {
            id: attachment(request),
            netns: request.netns.clone(),
            delete_interface: true,
            addresses: cleat_front::own_addresses(request),
            bridge: config::bridge_of(request),
        };
        cleat_engine::detach(&node, &asked, &mut addressing).map_err(to_cni)
    }

    fn check(&self, request: &Request) -> Result<(), Error> {
        let node = node();
        cleat_front::previous(request)?;
        let (plan, _) = config::plan(request)?;
        Addressing::read(&node, request)?.check().map_err(to_cni)?;
        cleat_engine::check(&node, &plan, &remembered(request)).map_err(to_cni)
    }

    fn gc(&self, request: &Request) -> Result<(), Error> {
        let node = node();
        let keep = |id: &AttachmentId| cleat_front::is_valid(request, id);
        cleat_engine::collect(&node, Some(&request.config.name), &keep).map_err(to_cni)?;
        Addressing::read(&node, request)?.collect(&node)
    }

    fn status(&self, request: &Request) -> Result<(), Error> {
        let node = node();
        let plan = config::network(request)?;
        Addressing::read(&node, request)?.status()?;
        cleat_engine::status(&plan).map_err(|e| Error::not_available(e.to_string()))
    }
}

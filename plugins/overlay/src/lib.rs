//! The `overlay` plugin: a container on a network that spans nodes. It needs no daemon while this
//! node's blocks of the network have room; otherwise netd is asked for what is missing.

mod config;

use cleat_cni::{CniResult, Error, Plugin, Request};
use cleat_engine::ipam::Owner;
use cleat_engine::overlay::{OverlayLessor, joined, membership};
use cleat_engine::plan::Lessor;
use cleat_engine::{Detach, Node, overlay};
use cleat_front::{
    answered_by, attached_result, attachment, interface, is_valid_owner, node, own_addresses,
    previous, remembered, requested_addresses, to_cni,
};
use config::Wire;

/// The plugin.
pub struct Overlay;

fn lessor<'n>(node: &'n Node, request: &Request, wire: &Wire) -> Result<OverlayLessor<'n>, Error> {
    let id = attachment(request);
    OverlayLessor::new(node, wire.network(request), &id, wire.data_dir()).map_err(to_cni)
}

fn not_available(error: cleat_engine::Error) -> Error {
    Error::not_available(error.to_string())
}

impl Plugin for Overlay {
    fn name(&self) -> &'static str {
        "overlay"
    }

    fn add(&self, request: &Request) -> Result<CniResult, Error> {
        let wire = Wire::read(request)?;
        let requested = requested_addresses(request)?;
        let node = node();
        let id = attachment(request);
        let part = joined(&node, wire.network(request), &id).map_err(to_cni)?;
        let plan = config::plan(request, wire.plan_of_network(request, &part)?)?;
        let mut lessor = lessor(&node, request, &wire)?.with(requested);
        let attached = cleat_engine::attach(&node, &plan, &mut lessor).map_err(to_cni)?;
        let dns = answered_by(request, &plan, &attached.grants, request.config.dns.clone())?;
        Ok(attached_result(request, &attached, dns))
    }

    fn del(&self, request: &Request) -> Result<(), Error> {
        let node = node();
        // What cannot be read is no reason to keep the rest.
        let wire: Wire = request.config_as().unwrap_or_default();
        let mut lessor = lessor(&node, request, &wire)?;
        let asked = Detach {
            id: attachment(request),
            netns: request.netns.clone(),
            delete_interface: true,
            is_device: false,
            addresses: own_addresses(request),
            bridge: Some(overlay::bridge_name(wire.network(request))),
        };
        cleat_engine::detach(&node, &asked, &mut lessor).map_err(to_cni)
    }

    fn check(&self, request: &Request) -> Result<(), Error> {
        let wire = Wire::read(request)?;
        let node = node();
        previous(request)?;
        lessor(&node, request, &wire)?.check().map_err(to_cni)?;
        let plan = config::plan(request, config::bare(request, wire.network(request)))?;
        cleat_engine::check(&node, &plan, &remembered(request)).map_err(to_cni)
    }

    fn gc(&self, request: &Request) -> Result<(), Error> {
        interface::collect(request)?;
        let wire = Wire::read(request)?;
        let node = node();
        let keep = |owner: &Owner| is_valid_owner(request, owner);
        lessor(&node, request, &wire)?.collect(&keep).map(drop).map_err(to_cni)
    }

    fn status(&self, request: &Request) -> Result<(), Error> {
        let wire = Wire::read(request)?;
        let node = node();
        lessor(&node, request, &wire)?.status().map_err(not_available)?;
        let network = wire.network(request);
        let plan = match membership(&node, network).map_err(not_available)? {
            Some(part) => wire.plan_of_network(request, &part)?,
            None => config::bare(request, network),
        };
        cleat_engine::status(&plan).map_err(not_available)
    }
}

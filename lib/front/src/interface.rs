//! The verbs of a plugin that makes a container's interface: the same for all of them once the
//! configuration is a plan.

use cleat_cni::{CniResult, Error, Request};
use cleat_engine::plan::{AttachmentPlan, Driver, Lessor, NetworkPlan};
use cleat_engine::{AttachmentId, Detach};

use crate::names;
use crate::{Addressing, attached_result, attachment, is_valid, node, own_addresses, previous};
use crate::{remembered, to_cni};

/// ADD.
pub fn add(request: &Request, plan: &AttachmentPlan) -> Result<CniResult, Error> {
    let node = node();
    // The host itself is the gateway, so it has to have an address.
    let gateway = matches!(&plan.network.driver, Driver::Bridge(bridge) if bridge.gateway);
    let mut addressing = Addressing::read(&node, request)?.deriving_gateways(gateway);
    let attached = cleat_engine::attach(&node, plan, &mut addressing).map_err(to_cni)?;
    let dns = names::answered_by(request, plan, &attached.grants, addressing.dns())?;
    Ok(attached_result(request, &attached, dns))
}

/// DEL. `bridge` is that of the configuration, as far as it can be read.
pub fn del(request: &Request, bridge: Option<String>) -> Result<(), Error> {
    let node = node();
    let mut addressing = Addressing::read_or_none(&node, request);
    let asked = Detach {
        id: attachment(request),
        netns: request.netns.clone(),
        delete_interface: true,
        addresses: own_addresses(request),
        bridge,
    };
    cleat_engine::detach(&node, &asked, &mut addressing).map_err(to_cni)
}

/// CHECK.
pub fn check(request: &Request, plan: &AttachmentPlan) -> Result<(), Error> {
    let node = node();
    previous(request)?;
    Addressing::read(&node, request)?.check().map_err(to_cni)?;
    cleat_engine::check(&node, plan, &remembered(request)).map_err(to_cni)
}

/// GC.
pub fn gc(request: &Request) -> Result<(), Error> {
    collect(request)?;
    let node = node();
    Addressing::read(&node, request)?.collect(&node)
}

/// GC of what is recorded of attachments, whichever plugin's part.
pub fn collect(request: &Request) -> Result<(), Error> {
    let keep = |id: &AttachmentId| is_valid(request, id);
    cleat_engine::collect(&node(), Some(&request.config.name), &keep).map(drop).map_err(to_cni)
}

/// STATUS.
pub fn status(request: &Request, network: &NetworkPlan) -> Result<(), Error> {
    Addressing::read(&node(), request)?.status()?;
    cleat_engine::status(network).map_err(|error| Error::not_available(error.to_string()))
}

//! The verbs of a plugin that makes a container's interface: the same for all of them once the
//! configuration is a plan.

use cleat_cni::{CniResult, Error, Plugin, Request};
use cleat_engine::kernel::Mac;
use cleat_engine::plan::{AttachmentPlan, Driver, Lessor, NetworkPlan};
use cleat_engine::{AttachmentId, Detach, Node};

use crate::config::gateway_priority;
use crate::names;
use crate::{Addressing, attached_result, attachment, is_valid, node, own_addresses, previous};
use crate::{names_plan, remembered, to_cni};

/// What tells one such plugin from the others.
pub trait Interface {
    /// The plugin's name.
    const NAME: &'static str;

    /// The network that the configuration describes.
    fn network(request: &Request) -> Result<NetworkPlan, Error>;

    /// Without an `ipam` section the addresses of an earlier result are given to it.
    const INHERITS: bool = false;

    /// The interface is a device of the host's, never to be deleted.
    const IS_DEVICE: bool = false;

    /// The link address that is asked for.
    fn mac(_request: &Request) -> Result<Option<Mac>, Error> {
        Ok(None)
    }
}

/// A plugin that is no more than an [`Interface`].
pub struct InterfacePlugin<I>(pub I);

impl<I: Interface> InterfacePlugin<I> {
    fn plan(request: &Request) -> Result<AttachmentPlan, Error> {
        if !request.args.as_str().is_empty() {
            request.args.parse(&["MAC", "IP", "GATEWAY"])?;
        }
        Ok(AttachmentPlan {
            id: attachment(request),
            network: I::network(request)?,
            netns: request.netns.clone().unwrap_or_default(),
            mac: I::mac(request)?,
            names: names_plan(request)?,
            gateway_priority: gateway_priority(request)?,
        })
    }
}

impl<I: Interface> Plugin for InterfacePlugin<I> {
    fn name(&self) -> &'static str {
        I::NAME
    }

    fn add(&self, request: &Request) -> Result<CniResult, Error> {
        let plan = Self::plan(request)?;
        let node = node();
        let addressing = Addressing::read(&node, request)?;
        let addressing = if I::INHERITS { addressing.or_inherited() } else { addressing };
        attach(&node, request, &plan, addressing)
    }

    fn del(&self, request: &Request) -> Result<(), Error> {
        detach(request, None, I::IS_DEVICE)
    }

    fn check(&self, request: &Request) -> Result<(), Error> {
        check(request, &Self::plan(request)?)
    }

    fn gc(&self, request: &Request) -> Result<(), Error> {
        gc(request)
    }

    fn status(&self, request: &Request) -> Result<(), Error> {
        status(request, &I::network(request)?)
    }
}

/// ADD.
pub fn add(request: &Request, plan: &AttachmentPlan) -> Result<CniResult, Error> {
    let node = node();
    let addressing = Addressing::read(&node, request)?;
    attach(&node, request, plan, addressing)
}

fn attach(
    node: &Node,
    request: &Request,
    plan: &AttachmentPlan,
    addressing: Addressing<'_>,
) -> Result<CniResult, Error> {
    // The host itself is the gateway, so it has to have an address.
    let gateway = match &plan.network.driver {
        Driver::Bridge(bridge) => bridge.gateway,
        Driver::Ptp => true,
        _ => false,
    };
    let mut addressing = addressing.deriving_gateways(gateway);
    let attached = cleat_engine::attach(node, plan, &mut addressing).map_err(to_cni)?;
    let dns = names::answered_by(request, plan, &attached.grants, addressing.dns())?;
    Ok(attached_result(request, &attached, dns))
}

/// DEL. `bridge` is that of the configuration, as far as it can be read.
pub fn del(request: &Request, bridge: Option<String>) -> Result<(), Error> {
    detach(request, bridge, false)
}

fn detach(request: &Request, bridge: Option<String>, is_device: bool) -> Result<(), Error> {
    let node = node();
    let mut addressing = Addressing::read_or_none(&node, request);
    let asked = Detach {
        id: attachment(request),
        netns: request.netns.clone(),
        delete_interface: true,
        is_device,
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
    let node = node();
    let addressing = Addressing::read(&node, request)?;
    if addressing.over_link().is_some() {
        // Given back over the interface, while it is there.
        addressing.collect(&node)?;
        return collect(request);
    }
    collect(request)?;
    addressing.collect(&node)
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

//! The wire form of an `overlay` configuration, and what it means together with this node's part
//! of the network.

use std::path::{Path, PathBuf};

use cleat_cni::{Error, Request};
use cleat_engine::overlay::{Membership, bridge_name};
use cleat_engine::plan::{
    AntiSpoof, AttachmentPlan, BridgePlan, DnsPlan, Driver, Inbound, NetworkPlan,
};
use cleat_front::{
    DATA_DIR, RequestedMac, attachment, dns_plan, gateway_priority, mtu, names_plan, requested_mac,
};
use serde::Deserialize;

/// A configuration, read.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Wire {
    network: Option<String>,
    mtu: Option<u32>,
    inbound_policy: Option<String>,
    permanent_neighbours: Option<bool>,
    data_dir: Option<PathBuf>,
}

impl Wire {
    pub(crate) fn read(request: &Request) -> Result<Self, Error> {
        let wire: Self = request.config_as()?;
        if let Some(ipam) = &request.config.ipam {
            return Err(Error::invalid_config(format!(
                "ipam: {:?} cannot be used: addresses come from the network's blocks; leave it out",
                ipam.kind
            )));
        }
        Ok(wire)
    }

    /// The network as the store calls it.
    pub(crate) fn network<'s>(&'s self, request: &'s Request) -> &'s str {
        self.network.as_deref().filter(|name| !name.is_empty()).unwrap_or(&request.config.name)
    }

    /// Where leases lie.
    pub(crate) fn data_dir(&self) -> &Path {
        self.data_dir.as_deref().unwrap_or(Path::new(DATA_DIR))
    }

    fn inbound(&self) -> Result<Option<Inbound>, Error> {
        match self.inbound_policy.as_deref() {
            None => Ok(None),
            Some("open") => Ok(Some(Inbound::Open)),
            Some("published") => Ok(Some(Inbound::Published)),
            Some("internal") => Ok(Some(Inbound::Internal)),
            Some(other) => Err(Error::invalid_config(format!(
                "inboundPolicy: {other:?} is none of \"open\", \"published\", \"internal\""
            ))),
        }
    }

    fn mtu(&self, largest: u32) -> Result<u32, Error> {
        match mtu(self.mtu)? {
            Some(asked) if asked > largest => Err(Error::invalid_config(format!(
                "mtu: {asked} is larger than {largest}, the most that reaches the network's other \
                 nodes in one piece"
            ))),
            asked => Ok(asked.unwrap_or(largest)),
        }
    }

    /// The network, of which this node has that part.
    pub(crate) fn plan_of_network(
        &self,
        request: &Request,
        part: &Membership,
    ) -> Result<NetworkPlan, Error> {
        let inbound = self.inbound()?.unwrap_or(part.network.inbound);
        let outside = inbound != Inbound::Internal;
        let driver = BridgePlan { default_gateway: outside, ..bridge(self.network(request)) };
        let dns = dns_plan(request)?.or_else(|| part.network.dns.then(DnsPlan::default));
        Ok(NetworkPlan {
            mtu: Some(self.mtu(part.mtu)?),
            inbound,
            masquerade: outside,
            anti_spoof: AntiSpoof::Held,
            permanent_neighbours: self.permanent_neighbours.unwrap_or(true),
            dns,
            ..NetworkPlan::new(&request.config.name, Driver::Bridge(driver))
        })
    }
}

/// What is known of the network without this node's part.
pub(crate) fn bare(request: &Request, network: &str) -> NetworkPlan {
    NetworkPlan::new(&request.config.name, Driver::Bridge(bridge(network)))
}

fn bridge(network: &str) -> BridgePlan {
    BridgePlan {
        bridge: bridge_name(network),
        gateway: true,
        overlay: true,
        ..BridgePlan::default()
    }
}

/// The attachment that is asked for.
pub(crate) fn plan(request: &Request, network: NetworkPlan) -> Result<AttachmentPlan, Error> {
    let order = [RequestedMac::Capability, RequestedMac::Args, RequestedMac::Environment];
    Ok(AttachmentPlan {
        id: attachment(request),
        network,
        netns: request.netns.clone().unwrap_or_default(),
        mac: requested_mac(request, &order)?,
        names: names_plan(request)?,
        gateway_priority: gateway_priority(request)?,
    })
}

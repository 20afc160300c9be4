//! The `ptp` plugin: a veth pair between the container and the host, which routes for it.

use cleat_cni::{Error, Request};
use cleat_engine::kernel::Mac;
use cleat_engine::plan::{Driver, NetworkPlan};
use cleat_front::interface::{Interface, InterfacePlugin};
use cleat_front::{RequestedMac, check_masquerade_backend, mtu, requested_mac};
use serde::Deserialize;

/// The plugin.
pub const PLUGIN: InterfacePlugin<Ptp> = InterfacePlugin(Ptp);

/// What it makes.
pub struct Ptp;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    ip_masq: bool,
    ip_masq_backend: Option<String>,
    mtu: Option<u32>,
}

impl Interface for Ptp {
    const NAME: &'static str = "ptp";

    fn network(request: &Request) -> Result<NetworkPlan, Error> {
        let wire: Wire = request.config_as()?;
        check_masquerade_backend(wire.ip_masq_backend.as_deref())?;
        if request.config.ipam.is_none() {
            let text = "ipam: missing; the host routes to addresses, so there have to be some";
            return Err(Error::invalid_config(text.to_owned()));
        }
        Ok(NetworkPlan {
            mtu: mtu(wire.mtu)?,
            masquerade: wire.ip_masq,
            ..NetworkPlan::new(&request.config.name, Driver::Ptp)
        })
    }

    fn mac(request: &Request) -> Result<Option<Mac>, Error> {
        requested_mac(request, &[RequestedMac::Capability, RequestedMac::Environment])
    }
}

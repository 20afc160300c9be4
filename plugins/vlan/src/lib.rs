//! The `vlan` plugin: a VLAN of a host interface in the container.

use cleat_cni::{Error, Request};
use cleat_engine::kernel::Mac;
use cleat_engine::plan::{Driver, NetworkPlan, VlanPlan};
use cleat_front::interface::{Interface, InterfacePlugin};
use cleat_front::{RequestedMac, dns_plan, mtu, requested_mac};
use serde::Deserialize;

/// The plugin.
pub const PLUGIN: InterfacePlugin<Vlan> = InterfacePlugin(Vlan);

const LARGEST: u16 = 4094;

/// What it makes.
pub struct Vlan;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    master: Option<String>,
    vlan_id: Option<i64>,
    mtu: Option<u32>,
    link_in_container: bool,
}

impl Interface for Vlan {
    const NAME: &'static str = "vlan";

    fn network(request: &Request) -> Result<NetworkPlan, Error> {
        let wire: Wire = request.config_as()?;
        let bad = |text: String| Err(Error::invalid_config(text));
        let Some(master) = wire.master else {
            return bad("master: missing; name the interface whose VLAN it is".to_owned());
        };
        let given = wire.vlan_id.unwrap_or(0);
        let Some(id) = u16::try_from(given).ok().filter(|id| *id <= LARGEST) else {
            return bad(format!("vlanId: {given} is not in 0..{LARGEST}"));
        };
        let driver =
            Driver::Vlan(VlanPlan { master, id, master_in_container: wire.link_in_container });
        let dns = dns_plan(request)?;
        Ok(NetworkPlan {
            mtu: mtu(wire.mtu)?,
            dns,
            ..NetworkPlan::new(&request.config.name, driver)
        })
    }

    fn mac(request: &Request) -> Result<Option<Mac>, Error> {
        requested_mac(request, &[RequestedMac::Capability, RequestedMac::Environment])
    }
}

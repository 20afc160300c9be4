//! The `tap` plugin: a persistent tap in the container, for a program there to open, such as a
//! virtual machine.

use cleat_cni::{Error, Request};
use cleat_engine::kernel::Mac;
use cleat_engine::plan::{Driver, NetworkPlan, TapPlan};
use cleat_front::interface::{Interface, InterfacePlugin};
use cleat_front::{RequestedMac, dns_plan, mac_or_configured, mtu};
use serde::Deserialize;

/// The plugin.
pub const PLUGIN: InterfacePlugin<Tap> = InterfacePlugin(Tap);

/// What it makes.
pub struct Tap;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    multi_queue: bool,
    mtu: Option<u32>,
    mac: Option<String>,
    owner: Option<u32>,
    group: Option<u32>,
    selinux_context: String,
    bridge: String,
}

impl Interface for Tap {
    const NAME: &'static str = "tap";

    fn network(request: &Request) -> Result<NetworkPlan, Error> {
        let wire: Wire = request.config_as()?;
        let driver = Driver::Tap(TapPlan {
            multi_queue: wire.multi_queue,
            owner: wire.owner,
            group: wire.group,
            selinux: Some(wire.selinux_context).filter(|context| !context.is_empty()),
            bridge: Some(wire.bridge).filter(|bridge| !bridge.is_empty()),
        });
        let dns = dns_plan(request)?;
        Ok(NetworkPlan {
            mtu: mtu(wire.mtu)?,
            dns,
            ..NetworkPlan::new(&request.config.name, driver)
        })
    }

    fn mac(request: &Request) -> Result<Option<Mac>, Error> {
        let wire: Wire = request.config_as()?;
        let order = [RequestedMac::Capability, RequestedMac::Environment];
        mac_or_configured(request, &order, wire.mac.as_deref())
    }
}

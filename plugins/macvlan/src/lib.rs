//! The `macvlan` plugin: a macvlan of a host interface in the container, on request with one for
//! the host so that both reach each other.

use cleat_cni::{Error, Request};
use cleat_engine::kernel::Mac;
use cleat_engine::plan::{Driver, MacvlanMode, MacvlanPlan, NetworkPlan};
use cleat_front::interface::{Interface, InterfacePlugin};
use cleat_front::{RequestedMac, dns_plan, mac_or_configured, mtu};
use serde::Deserialize;

/// The plugin.
pub const PLUGIN: InterfacePlugin<Macvlan> = InterfacePlugin(Macvlan);

/// What it makes.
pub struct Macvlan;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    master: Option<String>,
    mode: Option<String>,
    mtu: Option<u32>,
    mac: Option<String>,
    link_in_container: bool,
    bcqueuelen: Option<u32>,
    host_access: bool,
}

impl Interface for Macvlan {
    const NAME: &'static str = "macvlan";

    fn network(request: &Request) -> Result<NetworkPlan, Error> {
        let wire: Wire = request.config_as()?;
        let mode = match wire.mode.as_deref() {
            None | Some("bridge") => MacvlanMode::Bridge,
            Some("private") => MacvlanMode::Private,
            Some("vepa") => MacvlanMode::Vepa,
            Some("passthru") => MacvlanMode::Passthru,
            Some(other) => {
                let known = "\"bridge\", \"private\", \"vepa\", \"passthru\"";
                return Err(Error::invalid_config(format!("mode: {other:?} is none of {known}")));
            }
        };
        if wire.host_access && (mode != MacvlanMode::Bridge || wire.link_in_container) {
            let text = "hostAccess: possible only in mode \"bridge\" with a master on the host";
            return Err(Error::invalid_config(text.to_owned()));
        }
        let driver = Driver::Macvlan(MacvlanPlan {
            master: wire.master,
            mode,
            master_in_container: wire.link_in_container,
            broadcast_queue: wire.bcqueuelen.filter(|length| *length > 0),
            host_access: wire.host_access,
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

//! The `ipvlan` plugin: an ipvlan of a host interface in the container, with the interface's link
//! address and IP addresses of its own. Alone, or chained behind a plugin whose interface it is
//! made on.

use cleat_cni::{Error, Request};
use cleat_engine::plan::{Driver, IpvlanMode, IpvlanPlan, NetworkPlan};
use cleat_front::interface::{Interface, InterfacePlugin};
use cleat_front::{dns_plan, mtu};
use serde::Deserialize;

/// The plugin.
pub const PLUGIN: InterfacePlugin<Ipvlan> = InterfacePlugin(Ipvlan);

/// What it makes.
pub struct Ipvlan;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    master: Option<String>,
    mode: Option<String>,
    mtu: Option<u32>,
    link_in_container: bool,
}

impl Interface for Ipvlan {
    const NAME: &'static str = "ipvlan";
    const INHERITS: bool = true;

    fn network(request: &Request) -> Result<NetworkPlan, Error> {
        let wire: Wire = request.config_as()?;
        let mode = match wire.mode.as_deref() {
            None | Some("l2") => IpvlanMode::L2,
            Some("l3") => IpvlanMode::L3,
            Some("l3s") => IpvlanMode::L3s,
            Some(other) => {
                let text = format!("mode: {other:?} is none of \"l2\", \"l3\", \"l3s\"");
                return Err(Error::invalid_config(text));
            }
        };
        let inherited = request.config.prev_result.as_ref();
        if request.config.ipam.is_none() && inherited.is_some_and(|r| r.ips.is_empty()) {
            let text = "ipam: missing, and the earlier result has no addresses to take";
            return Err(Error::invalid_config(text.to_owned()));
        }
        let driver = Driver::Ipvlan(IpvlanPlan {
            master: master(request, wire.master)?,
            mode,
            master_in_container: wire.link_in_container,
        });
        let dns = dns_plan(request)?;
        Ok(NetworkPlan {
            mtu: mtu(wire.mtu)?,
            dns,
            ..NetworkPlan::new(&request.config.name, driver)
        })
    }
}

/// The master as configured; chained, the only interface of the earlier result.
fn master(request: &Request, given: Option<String>) -> Result<Option<String>, Error> {
    let (None, Some(earlier)) = (&given, &request.config.prev_result) else {
        return Ok(given);
    };
    let own = |name: &str| earlier.interfaces.len() > 1 && name == request.ifname;
    let mut names = earlier.interfaces.iter().map(|i| &i.name).filter(|name| !own(name));
    match (names.next(), names.next()) {
        (Some(only), None) if !only.is_empty() => Ok(Some(only.clone())),
        _ => {
            let text = "master: missing, and the earlier result has not one interface to take";
            Err(Error::invalid_config(text.to_owned()))
        }
    }
}

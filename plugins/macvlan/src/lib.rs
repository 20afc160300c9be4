//! The `macvlan` plugin: a macvlan of a host interface in the container, on request with one for
//! the host so that both reach each other.

use cleat_cni::{CniResult, Error, Plugin, Request};
use cleat_engine::plan::{
    AntiSpoof, AttachmentPlan, Driver, Inbound, MacvlanMode, MacvlanPlan, NetworkPlan,
};
use cleat_front::{
    RequestedMac, attachment, dns_plan, interface, names_plan, parse_mac, requested_mac,
};
use serde::Deserialize;

/// The plugin.
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

impl Plugin for Macvlan {
    fn name(&self) -> &'static str {
        "macvlan"
    }

    fn add(&self, request: &Request) -> Result<CniResult, Error> {
        interface::add(request, &plan(request)?)
    }

    fn del(&self, request: &Request) -> Result<(), Error> {
        interface::del(request, None)
    }

    fn check(&self, request: &Request) -> Result<(), Error> {
        interface::check(request, &plan(request)?)
    }

    fn gc(&self, request: &Request) -> Result<(), Error> {
        interface::gc(request)
    }

    fn status(&self, request: &Request) -> Result<(), Error> {
        interface::status(request, &network(request, &request.config_as()?)?)
    }
}

fn plan(request: &Request) -> Result<AttachmentPlan, Error> {
    let wire: Wire = request.config_as()?;
    let network = network(request, &wire)?;
    let order = [RequestedMac::Capability, RequestedMac::Environment];
    let asked = requested_mac(request, &order)?;
    let mac = match (asked, wire.mac.as_deref()) {
        (None, Some(text)) => Some(parse_mac("mac", text)?),
        (asked, _) => asked,
    };
    let netns = request.netns.clone().unwrap_or_default();
    let names = names_plan(request)?;
    Ok(AttachmentPlan { id: attachment(request), network, netns, mac, names })
}

fn network(request: &Request, wire: &Wire) -> Result<NetworkPlan, Error> {
    if !request.args.as_str().is_empty() {
        request.args.parse(&["MAC", "IP", "GATEWAY"])?;
    }
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
    Ok(NetworkPlan {
        name: request.config.name.clone(),
        mtu: wire.mtu.filter(|mtu| *mtu > 0),
        inbound: Inbound::Open,
        masquerade: false,
        anti_spoof: AntiSpoof::Off,
        permanent_neighbours: false,
        dns: dns_plan(request)?,
        driver: Driver::Macvlan(MacvlanPlan {
            master: wire.master.clone(),
            mode,
            master_in_container: wire.link_in_container,
            broadcast_queue: wire.bcqueuelen.filter(|length| *length > 0),
            host_access: wire.host_access,
        }),
    })
}

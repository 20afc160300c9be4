//! The wire form of a `tuning` configuration, and what it means.

use std::collections::BTreeMap;

use cleat_cni::{Error, Request};
use cleat_engine::record::LinkState;
use cleat_engine::tuning::{Tune, sysctl_path};
use cleat_front::{RequestedMac, attachment, parse_mac, requested_mac, settings_value, to_cni};
use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire {
    sysctl: BTreeMap<String, String>,
    mac: Option<String>,
    promisc: Option<bool>,
    mtu: Option<u32>,
    #[serde(rename = "txQLen")]
    txqlen: Option<u32>,
    allmulti: Option<bool>,
}

/// Reads and validates; settings of the attachment come before those of the network.
pub(crate) fn read(request: &Request) -> Result<Tune, Error> {
    let wire: Wire = request.config_as()?;
    if !request.args.as_str().is_empty() {
        request.args.parse(&["MAC", "IP", "GATEWAY"])?;
    }
    let mut sysctls = wire.sysctl;
    sysctls
        .extend(settings_value::<BTreeMap<String, String>>(request, "sysctl")?.unwrap_or_default());
    for key in sysctls.keys() {
        sysctl_path(key, &request.ifname).map_err(to_cni)?;
    }
    let order = [RequestedMac::Args, RequestedMac::Capability, RequestedMac::Environment];
    let mac = match (requested_mac(request, &order)?, wire.mac.as_deref()) {
        (None, Some(text)) => Some(parse_mac("mac", text)?),
        (asked, _) => asked,
    };
    // Zero and false are what is not asked for, as the reference plugin has it.
    let number = |own: Option<u32>, network: Option<u32>| own.or(network).filter(|n| *n > 0);
    let switch = |own: Option<bool>, network: Option<bool>| own.or(network).filter(|on| *on);
    let link = LinkState {
        mac,
        mtu: number(settings_value(request, "mtu")?, wire.mtu),
        txqlen: settings_value(request, "txQLen")?.or(wire.txqlen),
        promisc: switch(settings_value(request, "promisc")?, wire.promisc),
        allmulti: settings_value(request, "allmulti")?.or(wire.allmulti),
    };
    Ok(Tune {
        id: attachment(request),
        netns: request.netns.clone().unwrap_or_default(),
        sysctls: sysctls.into_iter().collect(),
        link,
    })
}

/// Nothing is to be set.
pub(crate) fn is_empty(tune: &Tune) -> bool {
    tune.sysctls.is_empty() && tune.link == LinkState::default()
}

//! Networks that conflists describe, as far as names need them: at which of the host's addresses
//! their containers will ask. So a name can be asked before the first container has come, and
//! before there is a bridge.

use std::net::IpAddr;
use std::path::Path;

use cleat_cni::{ConfList, conf_files, json};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Plugin {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "embeddedDNS")]
    embedded: bool,
    #[serde(rename = "dnsIntercept")]
    intercept: bool,
    #[serde(rename = "isGateway")]
    is_gateway: bool,
    #[serde(rename = "isDefaultGateway")]
    is_default_gateway: bool,
    ipam: Ipam,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ipam {
    subnet: Option<IpNet>,
    gateway: Option<IpAddr>,
    ranges: Vec<Vec<Range>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Range {
    subnet: Option<IpNet>,
    gateway: Option<IpAddr>,
}

/// The gateways of all networks with names that the folder's conflists describe. A file that
/// cannot be read describes none: who uses it is told.
pub(crate) fn gateways(folder: &Path) -> Vec<IpAddr> {
    let Ok(files) = conf_files(folder) else {
        return Vec::new();
    };
    let lists = files.iter().filter_map(|file| ConfList::load(file).ok());
    let mut found = Vec::new();
    for list in lists {
        for plugin in &list.plugins {
            found.extend(gateways_of(plugin));
        }
    }
    found
}

fn gateways_of(plugin: &Value) -> Vec<IpAddr> {
    let Ok(plugin) = json::from_ref::<Plugin>(plugin) else {
        return Vec::new();
    };
    let is_gateway = plugin.is_gateway || plugin.is_default_gateway;
    if plugin.kind != "bridge" || !is_gateway || !(plugin.embedded || plugin.intercept) {
        return Vec::new();
    }
    let flat = Range { subnet: plugin.ipam.subnet, gateway: plugin.ipam.gateway };
    let ranges = plugin.ipam.ranges.into_iter().flatten().chain([flat]);
    let gateway = |range: Range| range.gateway.or_else(|| first(range.subnet?));
    ranges.filter_map(gateway).collect()
}

/// What a pool takes for its gateway: the address behind the subnet's own, which for IPv6 is one of
/// its hosts', too.
fn first(subnet: IpNet) -> Option<IpAddr> {
    subnet.hosts().find(|address| *address != subnet.network())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_gateway_is_the_one_given_or_the_first_address() {
        let plugin = |change: fn(&mut Value)| {
            let mut plugin = json!({
                "type": "bridge", "isGateway": true, "embeddedDNS": true,
                "ipam": {"ranges": [
                    [{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64", "gateway": "fd00::9"}]
                ]},
            });
            change(&mut plugin);
            gateways_of(&plugin).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(plugin(|_| {}), ["10.1.0.1", "fd00::9"]);
        assert!(plugin(|p| p["embeddedDNS"] = false.into()).is_empty());
        assert!(plugin(|p| p["isGateway"] = false.into()).is_empty());
        assert!(plugin(|p| p["type"] = "macvlan".into()).is_empty());
        assert_eq!(plugin(|p| p["ipam"] = json!({"subnet": "10.2.0.0/16"})), ["10.2.0.1"]);
        assert_eq!(plugin(|p| p["ipam"] = json!({"subnet": "fd02::/64"})), ["fd02::1"]);
    }
}

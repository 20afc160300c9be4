//! The two forms of a result: `ip4` and `ip6` before 0.3.0, lists since.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CniResult, Dns, Interface, IpConfig, Route};
use crate::{Error, SpecVersion, json};

pub(super) fn read(value: &Value, version: SpecVersion) -> Result<CniResult, json::Error> {
    if value.is_null() {
        return Ok(CniResult::default());
    }
    if version < SpecVersion::V0_3_0 {
        json::from_ref::<Families>(value).map(CniResult::from)
    } else {
        json::from_ref::<Lists>(value).map(CniResult::from)
    }
}

pub(super) fn to_value(result: &CniResult, version: SpecVersion) -> Result<Value, Error> {
    let value = if version < SpecVersion::V0_3_0 {
        serde_json::to_value(Families::new(result, version)?)
    } else {
        serde_json::to_value(Lists::new(result, version))
    };
    value.map_err(|error| Error::internal(format!("write a result: {error}")))
}

pub(super) fn to_json(result: &CniResult, version: SpecVersion) -> Result<String, Error> {
    if version < SpecVersion::V0_3_0 {
        Ok(json::to_pretty(&Families::new(result, version)?))
    } else {
        Ok(json::to_pretty(&Lists::new(result, version)))
    }
}

/// 0.3.0 and later.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Lists {
    #[serde(rename = "cniVersion", skip_deserializing)]
    cni_version: SpecVersion,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    interfaces: Vec<Interface>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ips: Vec<Ip>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Route>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dns: Option<Dns>,
}

#[derive(Deserialize, Serialize)]
struct Ip {
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
    /// -1 stands for none in programs of the time of 0.3.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interface: Option<i64>,
    address: IpNet,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
}

impl Lists {
    fn new(result: &CniResult, version: SpecVersion) -> Self {
        let before_1 = version < SpecVersion::V1_0_0;
        let interfaces = result.interfaces.iter().cloned().map(|interface| match before_1 {
            true => Interface { mtu: None, socket_path: None, pci_id: None, ..interface },
            false => interface,
        });
        let ips = result.ips.iter().map(|ip| Ip {
            version: before_1.then_some(if ip.address.addr().is_ipv4() { "4" } else { "6" }),
            interface: ip.interface.and_then(|index| index.try_into().ok()),
            address: ip.address,
            gateway: ip.gateway,
        });
        Self {
            cni_version: version,
            interfaces: interfaces.collect(),
            ips: ips.collect(),
            routes: result.routes.clone(),
            // Readers of the older versions know it as a field that is always there.
            dns: (before_1 || !result.dns.is_empty()).then(|| result.dns.clone()),
        }
    }
}

impl From<Lists> for CniResult {
    fn from(lists: Lists) -> Self {
        let ips = lists.ips.into_iter().map(|ip| IpConfig {
            interface: ip.interface.and_then(|index| index.try_into().ok()),
            address: ip.address,
            gateway: ip.gateway,
        });
        let interfaces = lists
            .interfaces
            .into_iter()
            .map(|interface| Interface { mtu: interface.mtu.filter(|mtu| *mtu != 0), ..interface });
        Self {
            interfaces: interfaces.collect(),
            ips: ips.collect(),
            routes: lists.routes,
            dns: lists.dns.unwrap_or_default(),
        }
    }
}

/// 0.1.0 and 0.2.0.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Families {
    #[serde(rename = "cniVersion", skip_deserializing)]
    cni_version: SpecVersion,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip4: Option<Family>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip6: Option<Family>,
    dns: Dns,
}

#[derive(Deserialize, Serialize)]
struct Family {
    ip: IpNet,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Route>,
}

impl Families {
    fn new(result: &CniResult, version: SpecVersion) -> Result<Self, Error> {
        let family = |v4: bool| {
            let ip = result.ips.iter().find(|ip| ip.address.addr().is_ipv4() == v4)?;
            let routes = result.routes.iter().filter(|route| route.dst.addr().is_ipv4() == v4);
            let routes = routes.map(|route| Route::new(route.dst, route.gw)).collect();
            Some(Family { ip: ip.address, gateway: ip.gateway, routes })
        };
        let (ip4, ip6) = (family(true), family(false));
        if ip4.is_none() && ip6.is_none() {
            return Err(Error::new(
                Error::INCOMPATIBLE_VERSION,
                "cannot convert: no valid IP addresses",
            )
            .with_details(format!(
                "a result of CNI {version} needs an address; set cniVersion to 0.3.0 or later"
            )));
        }
        Ok(Self { cni_version: version, ip4, ip6, dns: result.dns.clone() })
    }
}

impl From<Families> for CniResult {
    fn from(families: Families) -> Self {
        let mut result = Self { dns: families.dns, ..Self::default() };
        for family in [families.ip4, families.ip6].into_iter().flatten() {
            result.ips.push(IpConfig {
                interface: None,
                address: family.ip,
                gateway: family.gateway,
            });
            let routes = family.routes.into_iter().map(|route| Route::new(route.dst, route.gw));
            result.routes.extend(routes);
        }
        result
    }
}

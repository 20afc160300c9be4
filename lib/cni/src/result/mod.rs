//! What an ADD gives: interfaces, addresses, routes, name servers.
//!
//! One form for all versions of the specification; `wire` has the forms that travel. It says
//! nothing about whether the kernel agrees.

mod wire;

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, SpecVersion};

/// The result of ADD, without the version that it is written for.
///
/// [specification, section 5](https://www.cni.dev/docs/spec/#section-5-result-types)
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CniResult {
    /// Every interface of the attachment, in the container and in the host.
    pub interfaces: Vec<Interface>,
    /// The addresses.
    pub ips: Vec<IpConfig>,
    /// The routes in the container.
    pub routes: Vec<Route>,
    /// Name service for the container.
    pub dns: Dns,
}

/// One interface of an attachment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Interface {
    /// Its name where it is.
    pub name: String,
    /// The hardware address, such as `02:42:0a:01:00:02`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The MTU in bytes (1.1.0).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The path of the namespace it is in; `None` for the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// The path of a socket that stands for the interface (1.1.0).
    #[serde(rename = "socketPath", skip_serializing_if = "Option::is_none")]
    pub socket_path: Option<String>,
    /// The PCI address behind the interface (1.1.0).
    #[serde(rename = "pciID", skip_serializing_if = "Option::is_none")]
    pub pci_id: Option<String>,
}

/// One address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpConfig {
    /// Which of the result's interfaces has it; `None` in the result of an IPAM plugin.
    pub interface: Option<usize>,
    /// The address with its prefix length, host bits kept.
    pub address: IpNet,
    /// The gateway of its network.
    pub gateway: Option<IpAddr>,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Route {
    /// The destination.
    pub dst: IpNet,
    /// The next hop; `None` for the address's gateway or the link itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gw: Option<IpAddr>,
    /// The path MTU in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The TCP maximum segment size to advertise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advmss: Option<u32>,
    /// The metric; the lowest is preferred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// The routing table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    /// The scope, as the kernel numbers it: 0 global, 253 link, 254 host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<u8>,
}

impl Route {
    /// A route with nothing but its destination and next hop.
    pub const fn new(dst: IpNet, gw: Option<IpAddr>) -> Self {
        Self { dst, gw, mtu: None, advmss: None, priority: None, table: None, scope: None }
    }
}

/// Name service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Dns {
    /// Addresses of name servers, in order of preference.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// The local domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Domains to search, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Options of the resolver.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Dns {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl CniResult {
    /// Reads a result in the form of `version`, whatever version it claims; `null` is the empty
    /// result. Indexes are not checked, since IPAM plugins send some that mean nothing.
    ///
    /// # Errors
    /// Code 6, naming the field.
    pub fn from_value(value: &Value, version: SpecVersion) -> Result<Self, Error> {
        wire::read(value, version).map_err(|error| Error::decode(format!("result: {error}")))
    }

    /// Reads a plugin's output in the version that it names, else in `fallback`.
    ///
    /// # Errors
    /// Code 6 for a text that is no result; code 1 for a version that is unknown.
    pub fn parse(output: &[u8], fallback: SpecVersion) -> Result<Self, Error> {
        let value: Value = crate::json::from_slice(output)
            .map_err(|error| Error::decode(format!("result: {error}")))?;
        let version = match value.as_object().and_then(|o| crate::json::field(o, "cniVersion")) {
            Some(Value::String(text)) if !text.is_empty() => text.parse().map_err(|error| {
                Error::new(Error::INCOMPATIBLE_VERSION, format!("result: {error}"))
            })?,
            _ => fallback,
        };
        Self::from_value(&value, version)
    }

    /// Fails if an address names an interface that is not in the list.
    ///
    /// # Errors
    /// Code 6, naming the index.
    pub fn check_indexes(&self) -> Result<(), Error> {
        let count = self.interfaces.len();
        for (position, ip) in self.ips.iter().enumerate() {
            if let Some(index) = ip.interface.filter(|index| *index >= count) {
                return Err(Error::decode(format!(
                    "result: ips[{position}].interface: invalid index {index}: there are {count} interfaces"
                )));
            }
        }
        Ok(())
    }

    /// The result as `version` has it.
    ///
    /// # Errors
    /// Code 6 for a bad index; code 1 where a version before 0.3.0 cannot say it: a result
    /// without an address. Second addresses and interfaces are left out there.
    pub fn to_value(&self, version: SpecVersion) -> Result<Value, Error> {
        self.check_indexes()?;
        wire::to_value(self, version)
    }

    /// As [`CniResult::to_value`], in the layout that plugins print: four spaces, no newline at
    /// the end.
    ///
    /// # Errors
    /// As [`CniResult::to_value`].
    pub fn to_json(&self, version: SpecVersion) -> Result<String, Error> {
        self.check_indexes()?;
        wire::to_json(self, version)
    }
}

#[cfg(test)]
mod tests;

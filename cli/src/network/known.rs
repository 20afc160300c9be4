//! The networks there are: every conflist of the folder, by whomever it was written, and the two
//! predefined ones. Of two with one name the first file counts, as for a runtime.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use cleat_cni::{ConfList, conf_files, json};
use cleat_engine::ipam::{PoolConfig, Range};
use cleat_engine::overlay;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::output;

/// The type of the plugin of overlay networks.
pub(super) const OVERLAY: &str = "overlay";
/// Where host-local keeps leases unless told otherwise.
const LEASES: &str = "/var/lib/cni/networks";

/// What `network create` notes in a conflist, under a key that runtimes ignore.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Note {
    /// When it was made, in RFC 3339.
    pub(crate) created: String,
    /// As given.
    pub(crate) labels: BTreeMap<String, String>,
    /// As given.
    pub(crate) options: BTreeMap<String, String>,
    /// What the names of containers' interfaces start with, if not `eth`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) interface_prefix: Option<String>,
    /// The host address that ports are published at unless one is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host_binding: Option<IpAddr>,
}

/// A network.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) name: String,
    /// `bridge`, `macvlan`, …: the type of the first plugin that makes an interface.
    pub(crate) driver: String,
    /// The conflist; `None` for the predefined ones.
    pub(crate) list: Option<ConfList>,
    /// What `network create` noted; `None`: made by somebody else.
    pub(crate) note: Option<Note>,
    /// Its subnets; empty where addresses come from elsewhere.
    pub(crate) subnets: Vec<Subnet>,
    /// The bridge or master.
    pub(crate) link: Option<String>,
    /// Closed to the outside.
    pub(crate) internal: bool,
    /// The type of the plugin that gives addresses; empty if none does.
    pub(crate) ipam: String,
    data_dir: Option<PathBuf>,
    sets: Vec<Vec<Wire>>,
}

/// A subnet as the conflist has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Subnet {
    pub(crate) subnet: IpNet,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gateway: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) range_start: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) range_end: Option<IpAddr>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Wire {
    subnet: Option<IpNet>,
    gateway: Option<IpAddr>,
    #[serde(rename = "rangeStart")]
    range_start: Option<IpAddr>,
    #[serde(rename = "rangeEnd")]
    range_end: Option<IpAddr>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct IpamWire {
    r#type: String,
    #[serde(rename = "dataDir")]
    data_dir: Option<PathBuf>,
    ranges: Vec<Vec<Wire>>,
    subnet: Option<IpNet>,
    gateway: Option<IpAddr>,
    #[serde(rename = "rangeStart")]
    range_start: Option<IpAddr>,
    #[serde(rename = "rangeEnd")]
    range_end: Option<IpAddr>,
    addresses: Vec<AddressWire>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AddressWire {
    address: Option<IpNet>,
    gateway: Option<IpAddr>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MainWire {
    bridge: Option<String>,
    master: Option<String>,
    #[serde(rename = "inboundPolicy")]
    inbound: Option<String>,
    /// Of an overlay, for people.
    subnets: Vec<IpNet>,
    ipam: Option<IpamWire>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Noted {
    cleat: Option<Note>,
}

/// All networks, in the order in which a runtime takes them; the predefined ones last.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) networks: Vec<Network>,
    folder: PathBuf,
}

impl Known {
    /// Files that cannot be read are warned of.
    pub(crate) fn read(context: &Context) -> Result<Self> {
        let folder = context.net_dir();
        let mut networks: Vec<Network> = Vec::new();
        for path in conf_files(folder)? {
            match Network::load(&path) {
                Ok(network) if networks.iter().any(|n| n.name == network.name) => {
                    let (name, path) = (&network.name, path.display());
                    output::warn(&format!("{path}: network {name} has an earlier file"));
                }
                Ok(network) => networks.push(network),
                Err(error) => output::warn(&error.to_string()),
            }
        }
        for name in PREDEFINED {
            if networks.iter().all(|network| network.name != name) {
                networks.push(Network::predefined(name));
            }
        }
        Ok(Self { networks, folder: folder.to_owned() })
    }

    pub(crate) fn find(&self, name: &str) -> Result<&Network> {
        let found = self.networks.iter().find(|network| network.name == name);
        found.ok_or_else(|| Error::NoNetwork { name: name.to_owned(), folder: self.folder.clone() })
    }
}

/// Always there.
pub(crate) const PREDEFINED: [&str; 2] = ["host", "none"];

impl Network {
    fn predefined(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            driver: name.to_owned(),
            list: None,
            note: None,
            subnets: Vec::new(),
            link: None,
            internal: name == "none",
            ipam: String::new(),
            data_dir: None,
            sets: Vec::new(),
        }
    }

    /// There without a conflist.
    pub(crate) fn is_predefined(&self) -> bool {
        self.list.is_none()
    }

    fn load(path: &Path) -> Result<Self> {
        let list = ConfList::load(path)?;
        let bytes = std::fs::read(path).map_err(crate::context::file_error("read", path))?;
        let noted: Noted = json::from_slice(&bytes).unwrap_or_default();
        // Some lists bring the loopback up first.
        let main = list.plugins.iter().find(|p| kind(p) != "loopback").or(list.plugins.first());
        let wire: MainWire =
            main.and_then(|plugin| json::from_ref(plugin).ok()).unwrap_or_default();
        let driver = main.map(kind).unwrap_or_default().to_owned();
        let bridge = wire.bridge.or_else(|| match driver.as_str() {
            "bridge" => Some("cni0".to_owned()),
            OVERLAY => Some(overlay::bridge_name(&list.name)),
            _ => None,
        });
        let ipam = wire.ipam.unwrap_or_default();
        let sets = ipam.sets();
        let plain = |subnet| Subnet { subnet, gateway: None, range_start: None, range_end: None };
        let fixed = ipam.addresses.iter().filter_map(|a| {
            Some(Subnet {
                subnet: a.address?.trunc(),
                gateway: a.gateway,
                range_start: None,
                range_end: None,
            })
        });
        Ok(Self {
            name: list.name.clone(),
            driver,
            note: noted.cleat,
            subnets: sets
                .iter()
                .flatten()
                .filter_map(Wire::subnet)
                .chain(fixed)
                .chain(wire.subnets.into_iter().map(plain))
                .collect(),
            link: bridge.or(wire.master),
            internal: wire.inbound.as_deref() == Some("internal"),
            ipam: ipam.r#type,
            data_dir: ipam.data_dir,
            sets,
            list: Some(list),
        })
    }

    /// Where its leases are, whether or not there are any.
    pub(crate) fn lease_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| LEASES.into()).join(&self.name)
    }

    /// What its addresses are leased from.
    pub(crate) fn pool(&self) -> Result<PoolConfig> {
        if self.ipam != "host-local" {
            let ipam = if self.ipam.is_empty() { "none" } else { &self.ipam };
            return Err(Error::NoPool { name: self.name.clone(), ipam: ipam.to_owned() });
        }
        let mut sets = Vec::new();
        for set in &self.sets {
            let mut ranges = Vec::new();
            for range in set {
                let Some(subnet) = range.subnet else { continue };
                let Wire { range_start, range_end, gateway, .. } = *range;
                ranges.push(Range::new(subnet, range_start, range_end, gateway)?);
            }
            sets.push(ranges);
        }
        let data_dir = self.data_dir.as_deref().unwrap_or(Path::new(LEASES));
        Ok(PoolConfig::new(&self.name, data_dir, sets)?)
    }

    /// Some plugin of it publishes ports.
    pub(crate) fn publishes(&self) -> bool {
        let declares = |plugin: &Value| plugin.pointer("/capabilities/portMappings").is_some();
        self.list.as_ref().is_some_and(|list| list.plugins.iter().any(declares))
    }

    /// Names of its containers are answered on this node.
    pub(crate) fn has_names(&self) -> bool {
        let is_set = |plugin: &Value, key: &str| plugin.get(key) == Some(&Value::Bool(true));
        let answers = |plugin: &Value| {
            is_set(plugin, "embeddedDNS")
                || is_set(plugin, "dnsIntercept")
                || kind(plugin) == "dnsname"
        };
        self.list.as_ref().is_some_and(|list| list.plugins.iter().any(answers))
    }

    /// The label is there, with this value if one is given.
    pub(crate) fn has_label(&self, wanted: &str) -> bool {
        let labels = self.note.as_ref().map(|note| &note.labels);
        let (key, value) = match wanted.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (wanted, None),
        };
        labels
            .and_then(|labels| labels.get(key))
            .is_some_and(|found| value.is_none_or(|value| value == found))
    }
}

fn kind(plugin: &Value) -> &str {
    plugin.get("type").and_then(Value::as_str).unwrap_or_default()
}

impl IpamWire {
    /// The old flat form counts as a first set.
    fn sets(&self) -> Vec<Vec<Wire>> {
        let flat = self.subnet.map(|subnet| {
            vec![Wire {
                subnet: Some(subnet),
                gateway: self.gateway,
                range_start: self.range_start,
                range_end: self.range_end,
            }]
        });
        flat.into_iter().chain(self.ranges.iter().cloned()).collect()
    }
}

impl Wire {
    fn subnet(&self) -> Option<Subnet> {
        let Self { gateway, range_start, range_end, .. } = *self;
        Some(Subnet { subnet: self.subnet?.trunc(), gateway, range_start, range_end })
    }
}

//! A network's conflist, as `network create` writes it: plain CNI, for any runtime. Those of
//! overlays are written by every node's netd.

use cleat_engine::identity::hashed_name;
use serde_json::{Map, Value, json};

use super::args::DriverName;
use super::known::{Note, Subnet};
use super::settings::Settings;

/// A network to be written.
#[derive(Debug)]
pub(super) struct NewNetwork<'a> {
    pub(super) name: &'a str,
    pub(super) driver: DriverName,
    pub(super) settings: &'a Settings,
    /// Empty: no addresses.
    pub(super) subnets: &'a [Subnet],
    pub(super) internal: bool,
    /// The bridge; the master of a macvlan, if one is named.
    pub(super) link: Option<&'a str>,
    /// Where leases are kept, if not at host-local's default.
    pub(super) data_dir: Option<&'a std::path::Path>,
    pub(super) note: &'a Note,
}

/// The file's name: after all others, since runtimes take the first.
pub(super) fn file_name(network: &str) -> String {
    format!("zz-cleat-{network}.conflist")
}

/// `cl` and the name, or a hash of it where the name is too long for an interface.
pub(super) fn bridge_name(network: &str) -> String {
    if network.len() <= 12 { format!("cl{network}") } else { hashed_bridge_name(network) }
}

/// For when the plain one is taken.
pub(super) fn hashed_bridge_name(network: &str) -> String {
    format!("cl{}", hashed_name(network, 12))
}

impl NewNetwork<'_> {
    /// The document.
    pub(super) fn to_value(&self) -> Value {
        let is_macvlan = self.driver == DriverName::Macvlan;
        let mut plugins = vec![if is_macvlan { self.macvlan() } else { self.bridge() }];
        if self.driver == DriverName::Bridge && !self.internal && !self.is_unmanaged() {
            plugins.push(json!({"type": "portmap", "capabilities": {"portMappings": true}}));
        }
        if let Some(ingress) = self.settings.bridge.ingress {
            plugins.push(json!({"type": "firewall", "ingressPolicy": ingress}));
        }
        plugins.extend(self.tuning());
        json!({
            // The newest that old runtimes know, and the one that ours takes.
            "cniVersion": "1.0.0",
            "cniVersions": ["1.0.0", "1.1.0"],
            "name": self.name,
            "cleat": self.note,
            "plugins": plugins,
        })
    }

    fn is_unmanaged(&self) -> bool {
        self.settings.bridge.unmanaged
    }

    fn bridge(&self) -> Value {
        let (settings, bridge) = (self.settings, &self.settings.bridge);
        let is_gateway = !self.subnets.is_empty() && !self.is_unmanaged() && !bridge.no_gateway;
        let mut plugin = base("bridge");
        set(&mut plugin, "bridge", self.link);
        set(&mut plugin, "isGateway", is_gateway.then_some(true));
        let default_route = is_gateway && self.has_default_route() && settings.metric.is_none();
        set(&mut plugin, "isDefaultGateway", default_route.then_some(true));
        let masquerade = bridge.masquerade.unwrap_or(true) && is_gateway && !self.internal;
        set(&mut plugin, "ipMasq", masquerade.then_some(true));
        let inbound = match (self.internal, self.is_unmanaged()) {
            (true, _) => "internal",
            (_, true) => "open",
            _ => bridge.inbound.unwrap_or("published"),
        };
        set(&mut plugin, "inboundPolicy", Some(inbound));
        set(&mut plugin, "hairpinMode", (bridge.hairpin && !bridge.promiscuous).then_some(true));
        set(&mut plugin, "promiscMode", bridge.promiscuous.then_some(true));
        set(&mut plugin, "enabledad", bridge.dad.then_some(true));
        set(&mut plugin, "forceAddress", bridge.force_address.then_some(true));
        set(&mut plugin, "portIsolation", bridge.port_isolation.then_some(true));
        set(&mut plugin, "macspoofchk", bridge.mac_spoof_check.then_some(true));
        set(&mut plugin, "vlan", bridge.vlan);
        set(&mut plugin, "antiSpoof", bridge.anti_spoof);
        set(&mut plugin, "permanentNeighbours", bridge.neighbours);
        set(&mut plugin, "mtu", settings.mtu);
        // With a metric, or without a gateway on the bridge, the route comes with the address.
        let routes = self.has_default_route() && !default_route;
        self.finish(plugin, routes)
    }

    fn macvlan(&self) -> Value {
        let (settings, macvlan) = (self.settings, &self.settings.macvlan);
        let mut plugin = base("macvlan");
        set(&mut plugin, "master", self.link);
        set(&mut plugin, "mode", Some(macvlan.mode));
        set(&mut plugin, "mtu", settings.mtu);
        set(&mut plugin, "bcqueuelen", macvlan.broadcast_queue);
        set(&mut plugin, "hostAccess", macvlan.host_access.then_some(true));
        self.finish(plugin, self.has_default_route())
    }

    fn has_default_route(&self) -> bool {
        self.settings.default_route && !self.internal
    }

    fn finish(&self, mut plugin: Map<String, Value>, routes: bool) -> Value {
        let mut capabilities = vec!["mac"];
        if !self.subnets.is_empty() {
            plugin.insert("ipam".into(), self.ipam(routes));
            capabilities.push("ips");
            if self.settings.names {
                self.names(&mut plugin);
                capabilities.extend(["aliases", "dns"]);
            }
        }
        let capabilities = capabilities.into_iter().map(|name| (name.to_owned(), true.into()));
        plugin.insert("capabilities".into(), Value::Object(capabilities.collect()));
        Value::Object(plugin)
    }

    fn names(&self, plugin: &mut Map<String, Value>) {
        set(plugin, "embeddedDNS", Some(true));
        set(plugin, "dnsIntercept", self.settings.intercept.then_some(true));
        let servers = &self.settings.name_servers;
        if !servers.is_empty() {
            plugin.insert("dns".into(), json!({"nameservers": servers}));
        }
    }

    fn ipam(&self, routes: bool) -> Value {
        let mut ipam = base("host-local");
        set(&mut ipam, "dataDir", self.data_dir);
        // A container gets an address of each set.
        let sets: Vec<Value> = self.subnets.iter().map(|subnet| json!([subnet])).collect();
        ipam.insert("ranges".into(), sets.into());
        if routes {
            let has = |v6| self.subnets.iter().any(|s| s.subnet.addr().is_ipv6() == v6);
            let families = [(has(false), "0.0.0.0/0"), (has(true), "::/0")];
            let route = |dst: &str| {
                let mut route = Map::new();
                set(&mut route, "dst", Some(dst));
                set(&mut route, "priority", self.settings.metric);
                Value::Object(route)
            };
            let all: Vec<Value> =
                families.iter().filter(|(there, _)| *there).map(|(_, dst)| route(dst)).collect();
            ipam.insert("routes".into(), all.into());
        }
        Value::Object(ipam)
    }

    fn tuning(&self) -> Option<Value> {
        let Settings { sysctls, txqlen, .. } = self.settings;
        if sysctls.is_empty() && txqlen.is_none() {
            return None;
        }
        let mut plugin = base("tuning");
        set(&mut plugin, "sysctl", (!sysctls.is_empty()).then_some(sysctls));
        set(&mut plugin, "txQLen", *txqlen);
        Some(Value::Object(plugin))
    }
}

fn base(kind: &str) -> Map<String, Value> {
    Map::from_iter([("type".to_owned(), kind.into())])
}

/// What is not set is not written.
fn set<T: serde::Serialize>(plugin: &mut Map<String, Value>, key: &str, value: Option<T>) {
    if let Some(value) = value {
        plugin.insert(key.to_owned(), json!(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(net: &str) -> Subnet {
        let subnet = net.parse().unwrap();
        Subnet { subnet, gateway: None, range_start: None, range_end: None }
    }

    fn plugins(internal: bool, change: impl Fn(&mut Settings)) -> Vec<Value> {
        let mut settings = Settings::default();
        change(&mut settings);
        let network = NewNetwork {
            name: "n",
            driver: DriverName::Bridge,
            settings: &settings,
            subnets: &[subnet("10.1.0.0/24"), subnet("fd00::/64")],
            internal,
            link: Some("cln"),
            data_dir: None,
            note: &Note::default(),
        };
        network.to_value()["plugins"].as_array().unwrap().clone()
    }

    fn kinds(plugins: &[Value]) -> Vec<&str> {
        plugins.iter().map(|p| p["type"].as_str().unwrap()).collect()
    }

    #[test]
    fn a_plain_network() {
        let plugins = plugins(false, |_| {});
        assert_eq!(kinds(&plugins), ["bridge", "portmap"]);
        let expected = json!({
            "type": "bridge", "bridge": "cln", "isGateway": true, "isDefaultGateway": true,
            "ipMasq": true, "inboundPolicy": "published", "hairpinMode": true,
            "capabilities": {"aliases": true, "dns": true, "ips": true, "mac": true},
            "embeddedDNS": true,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]],
            },
        });
        assert_eq!(plugins[0], expected);
    }

    #[test]
    fn an_internal_network_has_no_way_out() {
        let plugins = plugins(true, |_| {});
        assert_eq!(kinds(&plugins), ["bridge"]);
        assert_eq!(plugins[0]["inboundPolicy"], "internal");
        for key in ["isDefaultGateway", "ipMasq"] {
            assert_eq!(plugins[0].get(key), None, "{key}");
        }
        assert_eq!(plugins[0]["ipam"].get("routes"), None);
    }

    #[test]
    fn names_are_answered_unless_nobody_wants_them() {
        let plugins = plugins(false, |s| s.names = false);
        assert_eq!(plugins[0].get("embeddedDNS"), None);
        assert_eq!(plugins[0]["capabilities"], json!({"ips": true, "mac": true}));
        let plugins = self::plugins(false, |s| {
            s.intercept = true;
            s.name_servers = vec!["192.0.2.53".parse().unwrap()];
        });
        assert_eq!(plugins[0]["dnsIntercept"], true);
        assert_eq!(plugins[0]["dns"], json!({"nameservers": ["192.0.2.53"]}));
    }

    #[test]
    fn a_metric_moves_the_default_route_to_the_addresses() {
        let plugins = plugins(false, |s| s.metric = Some(7));
        assert_eq!(plugins[0].get("isDefaultGateway"), None);
        let routes = json!([
            {"dst": "0.0.0.0/0", "priority": 7}, {"dst": "::/0", "priority": 7}
        ]);
        assert_eq!(plugins[0]["ipam"]["routes"], routes);
    }

    #[test]
    fn names_of_bridges_fit() {
        assert_eq!(bridge_name("web"), "clweb");
        assert_eq!(bridge_name("twelve-chars").len(), 14);
        let long = bridge_name("a-network-with-a-long-name");
        assert!(
            long.len() == 14 && long.starts_with("cl") && long != bridge_name("another-long-name")
        );
    }
}

//! The `host-local` address section: pools on this host.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use cleat_cni::{Dns, Error, Request, Route, SpecVersion, json};
use cleat_engine::Node;
use cleat_engine::ipam::{Owner, PoolConfig, Range};
use cleat_engine::lease::PoolLessor;
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;

use crate::config::{runtime_value, settings_value};
use crate::convert::route_grant;
use crate::errors::to_cni;

/// Where leases lie unless a configuration says otherwise.
pub const DATA_DIR: &str = "/var/lib/cni/networks";

/// A `host-local` section, validated.
#[derive(Debug)]
pub struct HostLocal {
    /// The pool.
    pub pool: PoolConfig,
    /// Addresses that are asked for.
    pub requested: Vec<IpAddr>,
    /// Routes that come with an address.
    pub routes: Vec<Route>,
    /// Name servers that come with an address.
    pub dns: Dns,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    ipam: Section,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Section {
    r#type: String,
    ranges: Vec<Vec<WireRange>>,
    subnet: Option<IpNet>,
    range_start: Option<IpAddr>,
    range_end: Option<IpAddr>,
    gateway: Option<IpAddr>,
    routes: Vec<Route>,
    data_dir: Option<PathBuf>,
    resolv_conf: Option<PathBuf>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireRange {
    subnet: Option<IpNet>,
    range_start: Option<IpAddr>,
    range_end: Option<IpAddr>,
    gateway: Option<IpAddr>,
}

impl HostLocal {
    /// Reads and validates the section. Of the host only `resolvConf` is read.
    pub fn read(request: &Request) -> Result<Self, Error> {
        let section = request.config_as::<Wire>()?.ipam;
        let name = &request.config.name;
        let given = runtime_value::<Vec<Vec<WireRange>>>(request, "ipRanges")?;
        let pool = section.pool(name, given.unwrap_or_default())?;
        one_per_family(request, &pool)?;
        let dns = match &section.resolv_conf {
            Some(path) if request.command == cleat_cni::Command::Add => read_resolv_conf(path)?,
            _ => Dns::default(),
        };
        Ok(Self { pool, requested: requested_addresses(request)?, routes: section.routes, dns })
    }

    /// The lessor for the request's attachment.
    pub fn lessor(self, node: &Node, request: &Request) -> PoolLessor {
        let owner = Owner::new(request.container_id.clone(), request.ifname.clone());
        let routes = self.routes.iter().map(route_grant).collect();
        PoolLessor::new(node, self.pool, owner).with(self.requested, routes)
    }
}

/// What the containers of a plugin's network get their addresses from, as its configuration alone
/// says; `None` where that is not host-local.
pub fn pool_of(network: &str, plugin: &Value) -> Result<Option<PoolConfig>, Error> {
    let wire: Wire = json::from_ref(plugin)
        .map_err(|error| Error::invalid_config(format!("network {network}: {error}")))?;
    if wire.ipam.r#type != "host-local" {
        return Ok(None);
    }
    wire.ipam.pool(network, Vec::new()).map(Some)
}

impl Section {
    /// The ranges that the runtime gave come first; the old flat form counts as a set.
    fn pool(&self, network: &str, given: Vec<Vec<WireRange>>) -> Result<PoolConfig, Error> {
        let mut wire = given;
        if self.subnet.is_some() {
            wire.push(vec![WireRange {
                subnet: self.subnet,
                range_start: self.range_start,
                range_end: self.range_end,
                gateway: self.gateway,
            }]);
        }
        wire.extend(self.ranges.iter().cloned());
        let sets = read_sets(&wire)?;
        let data_dir = self.data_dir.as_deref().unwrap_or(Path::new(DATA_DIR));
        PoolConfig::new(network, data_dir, sets)
            .map_err(|error| to_cni(cleat_engine::Error::from(error)))
    }
}

fn read_sets(wire: &[Vec<WireRange>]) -> Result<Vec<Vec<Range>>, Error> {
    let mut sets = Vec::with_capacity(wire.len());
    for (s, set) in wire.iter().enumerate() {
        let mut ranges = Vec::with_capacity(set.len());
        for (r, range) in set.iter().enumerate() {
            let field =
                |text: String| Error::invalid_config(format!("ipam.ranges[{s}][{r}]: {text}"));
            let subnet =
                range.subnet.ok_or_else(|| field("missing field \"subnet\"".to_owned()))?;
            let range = Range::new(subnet, range.range_start, range.range_end, range.gateway);
            ranges.push(range.map_err(|error| field(error.to_string()))?);
        }
        sets.push(ranges);
    }
    Ok(sets)
}

/// Results before 0.3.0 have room for one address of each family.
fn one_per_family(request: &Request, pool: &PoolConfig) -> Result<(), Error> {
    let version = request.config.cni_version;
    let of = |v4: bool| {
        pool.sets
            .iter()
            .filter(|s| s.first().is_some_and(|r| r.subnet().addr().is_ipv4() == v4))
            .count()
    };
    if version < SpecVersion::V0_3_0 && (of(true) > 1 || of(false) > 1) {
        return Err(Error::invalid_config(format!(
            "ipam.ranges: CNI version {version} does not support more than 1 address per family; \
             use cniVersion 0.3.0 or later"
        )));
    }
    Ok(())
}

/// `IP` in `CNI_ARGS`, `args.cni.ips` and the `ips` capability, together.
pub fn requested_addresses(request: &Request) -> Result<Vec<IpAddr>, Error> {
    let mut texts: Vec<(&str, String)> = Vec::new();
    if !request.args.as_str().is_empty() {
        let args = request.args.parse(&["IP", "MAC", "GATEWAY"])?;
        texts.extend(args.get("IP").filter(|t| !t.is_empty()).map(|t| ("CNI_ARGS IP", t.clone())));
    }
    for text in settings_value::<Vec<String>>(request, "ips")?.unwrap_or_default() {
        texts.push(("args.cni.ips", text));
    }
    for text in runtime_value::<Vec<String>>(request, "ips")?.unwrap_or_default() {
        texts.push(("runtimeConfig.ips", text));
    }
    let mut requested = Vec::new();
    for (field, text) in texts {
        let address = parse_address(&text).ok_or_else(|| {
            Error::invalid_config(format!(
                "{field}: {text:?} is not an IP address such as 10.1.0.5"
            ))
        })?;
        if !requested.contains(&address) {
            requested.push(address);
        }
    }
    Ok(requested)
}

fn parse_address(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| text.parse::<IpNet>().ok().map(|net| net.addr()))
}

/// resolv.conf(5).
fn read_resolv_conf(path: &Path) -> Result<Dns, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::io(format!("ipam.resolvConf: read {}: {error}", path.display())))?;
    let mut dns = Dns::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let rest = |words: std::str::SplitWhitespace<'_>| words.map(str::to_owned).collect();
        match words.next() {
            Some("nameserver") => dns.nameservers.extend(words.next().map(str::to_owned)),
            Some("domain") => dns.domain = words.next().map(str::to_owned),
            Some("search") => dns.search = rest(words),
            Some("options") => dns.options = rest(words),
            _ => {}
        }
    }
    Ok(dns)
}

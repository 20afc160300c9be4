//! The wire form of a `portmap` configuration and of port mappings, and what they mean.

use std::net::IpAddr;

use cleat_cni::{CniResult, Error, Request};
use cleat_engine::record::{Binding, Protocol};
use cleat_engine::ruleset::conditions::Conditions;
use cleat_front::runtime_value;
use serde::Deserialize;

use crate::conditions::{self, Syntax};

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    backend: Option<String>,
    snat: bool,
    masq_all: bool,
    mark_masq_bit: Option<i64>,
    external_set_mark_chain: Option<String>,
    #[serde(rename = "conditionsV4")]
    conditions_v4: Vec<String>,
    #[serde(rename = "conditionsV6")]
    conditions_v6: Vec<String>,
}

impl Default for Wire {
    fn default() -> Self {
        Self {
            backend: None,
            snat: true,
            masq_all: false,
            mark_masq_bit: None,
            external_set_mark_chain: None,
            conditions_v4: Vec::new(),
            conditions_v6: Vec::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireMapping {
    host_port: i64,
    container_port: i64,
    protocol: Option<String>,
    #[serde(rename = "hostIP")]
    host_ip: Option<IpAddr>,
    range: i64,
}

impl Default for WireMapping {
    fn default() -> Self {
        Self { host_port: 0, container_port: 0, protocol: None, host_ip: None, range: 1 }
    }
}

/// What is to be published.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) snat: bool,
    pub(crate) masquerade_all: bool,
    pub(crate) conditions: Vec<Conditions>,
    /// The chain that another program marks in what is to be masqueraded.
    pub(crate) mark_chain: Option<String>,
    pub(crate) mappings: Vec<Mapping>,
}

/// A run of host ports to a run of container ports.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    host_ip: Option<IpAddr>,
    host_port: u16,
    container_port: u16,
    count: u16,
    protocols: Vec<Protocol>,
}

/// Reads and validates the configuration and the runtime's port mappings.
pub(crate) fn read(request: &Request) -> Result<Config, Error> {
    let wire: Wire = request.config_as()?;
    let bad = |text: String| Err(Error::invalid_config(text));
    if let Some(backend) = wire.backend.as_deref()
        && backend != "iptables"
        && backend != "nftables"
    {
        return bad(format!("backend: {backend:?} is neither \"iptables\" nor \"nftables\""));
    }
    if let Some(bit) = wire.mark_masq_bit.filter(|bit| !(0..=31).contains(bit)) {
        return bad(format!("markMasqBit: {bit} is not in 0..31"));
    }
    if wire.external_set_mark_chain.is_some() && wire.mark_masq_bit.is_some() {
        return bad("externalSetMarkChain and markMasqBit cannot both be set".to_owned());
    }
    let mut conditions = Vec::new();
    for (field, ipv6, words) in
        [("conditionsV4", false, &wire.conditions_v4), ("conditionsV6", true, &wire.conditions_v6)]
    {
        let Some((syntax, read)) = conditions::read(field, ipv6, words)? else { continue };
        let expected = if syntax == Syntax::Iptables { "iptables" } else { "nftables" };
        if wire.backend.as_deref().is_some_and(|backend| backend != expected) {
            return bad(format!("{field}: is in the syntax of {expected}, which backend is not"));
        }
        conditions.push(read);
    }
    let mappings = runtime_value::<Vec<WireMapping>>(request, "portMappings")?.unwrap_or_default();
    let mappings = mappings.iter().enumerate().map(|(n, wire)| Mapping::read(n, wire));
    Ok(Config {
        snat: wire.snat,
        masquerade_all: wire.masq_all,
        conditions,
        mark_chain: wire.external_set_mark_chain,
        mappings: mappings.collect::<Result<_, _>>()?,
    })
}

impl Mapping {
    fn read(n: usize, wire: &WireMapping) -> Result<Self, Error> {
        let place = |field: &str| format!("runtimeConfig.portMappings[{n}].{field}");
        let port = |field: &str, value: i64| {
            u16::try_from(value).ok().filter(|port| *port > 0).ok_or_else(|| {
                Error::invalid_config(format!("{}: {value} is not in 1..65535", place(field)))
            })
        };
        let (host_port, container_port) =
            (port("hostPort", wire.host_port)?, port("containerPort", wire.container_port)?);
        let room = u16::MAX - host_port.max(container_port);
        let count = u16::try_from(wire.range.max(1)).ok().filter(|count| *count - 1 <= room);
        let count = count.ok_or_else(|| {
            let text =
                format!("{}: {} ports from there end after 65535", place("range"), wire.range);
            Error::invalid_config(text)
        })?;
        let protocols = wire.protocol.as_deref().unwrap_or("tcp");
        let protocols = protocols
            .split(',')
            .map(|name| {
                let name = name.trim();
                [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
                    .into_iter()
                    .find(|known| known.name().eq_ignore_ascii_case(name))
                    .ok_or_else(|| {
                        let known = "\"tcp\", \"udp\", \"sctp\"";
                        let text = format!("{}: {name:?} is none of {known}", place("protocol"));
                        Error::invalid_config(text)
                    })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { host_ip: wire.host_ip, host_port, container_port, count, protocols })
    }

    /// One binding per port, protocol and family of the container.
    pub(crate) fn bindings(&self, container: &[IpAddr]) -> Result<Vec<Binding>, Error> {
        let fits = |to: &&IpAddr| self.host_ip.is_none_or(|host| host.is_ipv4() == to.is_ipv4());
        let backends: Vec<IpAddr> = container.iter().filter(fits).copied().collect();
        if backends.is_empty() {
            let family = match self.host_ip {
                Some(host) if host.is_ipv4() => "IPv4 ",
                Some(_) => "IPv6 ",
                None => "",
            };
            return Err(Error::invalid_config(format!(
                "host port {}: the container has no {family}address to publish it to",
                self.host_port
            )));
        }
        // The unspecified address is every address of its family.
        let host = self.host_ip.filter(|host| !host.is_unspecified());
        let mut bindings = Vec::new();
        for offset in 0..self.count {
            for &protocol in &self.protocols {
                bindings.extend(backends.iter().map(|&to| Binding {
                    host,
                    port: self.host_port + offset,
                    protocol,
                    to,
                    to_port: self.container_port + offset,
                    conditions: None,
                }));
            }
        }
        Ok(bindings)
    }
}

/// The container's first address of each family.
pub(crate) fn container_addresses(result: &CniResult) -> Vec<IpAddr> {
    let inside = |index: Option<usize>| match index.and_then(|index| result.interfaces.get(index)) {
        Some(interface) => interface.sandbox.as_deref().is_some_and(|sandbox| !sandbox.is_empty()),
        None => true,
    };
    let of = |v4: bool| {
        let own = result.ips.iter().filter(|ip| inside(ip.interface)).map(|ip| ip.address.addr());
        own.into_iter().find(|address| address.is_ipv4() == v4)
    };
    [of(true), of(false)].into_iter().flatten().collect()
}

/// The host end: behind the bridge where there is one; a gateway's link may follow.
pub(crate) fn host_end(result: &CniResult) -> Option<String> {
    let outside = |i: &&cleat_cni::Interface| i.sandbox.as_deref().is_none_or(str::is_empty);
    let mut hosts = result.interfaces.iter().filter(outside);
    let first = hosts.next();
    hosts.next().or(first).map(|interface| interface.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(json: &str) -> Result<Mapping, Error> {
        Mapping::read(0, &cleat_cni::json::from_str(json).map_err(Error::from)?)
    }

    #[test]
    fn go_runtimes_spellings_are_read() {
        let read = mapping(r#"{"HostPort":8081,"ContainerPort":80,"Protocol":"TCP","HostIP":""}"#);
        let v4 = "10.1.0.2".parse().unwrap();
        let v6 = "fd00::2".parse().unwrap();
        let bindings = read.unwrap().bindings(&[v4, v6]).unwrap();
        assert_eq!(bindings.len(), 2);
        assert!(bindings.iter().all(|b| b.host.is_none() && b.port == 8081 && b.to_port == 80));
    }

    #[test]
    fn ranges_protocols_and_families_multiply() {
        let read = mapping(
            r#"{"hostPort":1000,"containerPort":2000,"range":3,"protocol":"tcp,udp","hostIP":"0.0.0.0"}"#,
        );
        let container = ["10.1.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        let bindings = read.unwrap().bindings(&container).unwrap();
        assert_eq!(bindings.len(), 6);
        assert!(bindings.iter().all(|b| b.to.is_ipv4() && b.host.is_none()));
        assert_eq!((bindings[5].port, bindings[5].to_port), (1002, 2002));
    }

    #[test]
    fn bad_mappings_name_their_field() {
        for (json, field) in [
            (r#"{"hostPort":0,"containerPort":80}"#, "hostPort"),
            (r#"{"hostPort":80,"containerPort":65536}"#, "containerPort"),
            (r#"{"hostPort":80,"containerPort":80,"protocol":"icmp"}"#, "protocol"),
            (r#"{"hostPort":65535,"containerPort":1,"range":2}"#, "range"),
            (r#"{"hostPort":80,"containerPort":80,"hostIP":"localhost"}"#, "hostIP"),
        ] {
            let error = mapping(json).unwrap_err();
            assert!(format!("{} {}", error.msg, error.details).contains(field), "{json}: {error}");
        }
        let only_v6 = mapping(r#"{"hostPort":80,"containerPort":80,"hostIP":"::1"}"#).unwrap();
        assert!(only_v6.bindings(&["10.1.0.2".parse().unwrap()]).is_err());
    }
}

//! `--publish [ADDRESS:][PORT[-PORT]:]PORT[-PORT][/PROTOCOL]`, as Docker has it.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use cleat_engine::record::Protocol;
use serde::{Deserialize, Serialize};

/// Ports to publish, as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublishRequest {
    /// The host's address; `None`: all.
    pub(crate) host: Option<IpAddr>,
    /// The host's ports; `None`: any free one for each.
    pub(crate) host_ports: Option<RangeInclusive<u16>>,
    /// The container's ports.
    pub(crate) ports: RangeInclusive<u16>,
    pub(crate) protocol: Protocol,
}

/// One published port, in the names of the portMappings capability.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Mapping {
    #[serde(rename = "hostIP", default, skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<IpAddr>,
    pub(crate) host_port: u16,
    pub(crate) container_port: u16,
    pub(crate) protocol: Protocol,
}

impl std::fmt::Display for Mapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host {
            Some(IpAddr::V6(host)) => write!(f, "[{host}]:")?,
            Some(host) => write!(f, "{host}:")?,
            None => {}
        }
        write!(f, "{}->{}/{}", self.host_port, self.container_port, self.protocol.name())
    }
}

/// What is wrong with a request to publish.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadPublish {
    #[error("{0:?} is no port: expected 1 to 65535, or a range such as 8000-8010")]
    Port(String),
    #[error("{0:?} is no address of this host; put IPv6 addresses in brackets: [::1]:80:80")]
    Address(String),
    #[error("no protocol {0:?}: there are tcp, udp and sctp")]
    Protocol(String),
    #[error("{host} host ports for {container} of the container: give as many, or one port each")]
    Lengths { host: usize, container: usize },
}

impl FromStr for PublishRequest {
    type Err = BadPublish;

    fn from_str(text: &str) -> Result<Self, BadPublish> {
        let (text, protocol) = match text.rsplit_once('/') {
            Some((rest, name)) => (rest, protocol(name)?),
            None => (text, Protocol::Tcp),
        };
        let (front, last) = match text.rsplit_once(':') {
            Some((front, last)) => (Some(front), last),
            None => (None, text),
        };
        let ports = range(last)?;
        let (host, host_ports) = match front {
            None => (None, None),
            Some(front) => match front.rsplit_once(':') {
                // An address in brackets has colons of its own.
                Some((address, port)) if !port.ends_with(']') => {
                    (Some(address_of(address)?), port_or_any(port)?)
                }
                _ if front.starts_with('[') => (Some(address_of(front)?), None),
                _ => (None, port_or_any(front)?),
            },
        };
        if let Some(host_ports) = &host_ports {
            let (host, container) = (host_ports.len(), ports.len());
            if container != 1 && host != container {
                return Err(BadPublish::Lengths { host, container });
            }
        }
        Ok(Self { host: host.filter(|h| !h.is_unspecified()), host_ports, ports, protocol })
    }
}

fn protocol(name: &str) -> Result<Protocol, BadPublish> {
    let all = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
    let found = all.into_iter().find(|protocol| protocol.name().eq_ignore_ascii_case(name));
    found.ok_or_else(|| BadPublish::Protocol(name.to_owned()))
}

fn address_of(text: &str) -> Result<IpAddr, BadPublish> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let parsed = match bare {
        Some(bare) => bare.parse().map(IpAddr::V6),
        None => text.parse().map(IpAddr::V4),
    };
    parsed.map_err(|_| BadPublish::Address(text.to_owned()))
}

/// Empty and 0 are any free port.
fn port_or_any(text: &str) -> Result<Option<RangeInclusive<u16>>, BadPublish> {
    if matches!(text, "" | "0") { Ok(None) } else { range(text).map(Some) }
}

fn range(text: &str) -> Result<RangeInclusive<u16>, BadPublish> {
    let bad = || BadPublish::Port(text.to_owned());
    let port = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
        _ => Err(bad()),
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    if first > last { Err(bad()) } else { Ok(first..=last) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests() {
        for (text, expected) in [
            ("80", "None None 80..=80 tcp"),
            ("8080:80", "None Some(8080..=8080) 80..=80 tcp"),
            (":80", "None None 80..=80 tcp"),
            ("0:80/udp", "None None 80..=80 udp"),
            ("8000-8010:80", "None Some(8000..=8010) 80..=80 tcp"),
            ("8000-8001:90-91/SCTP", "None Some(8000..=8001) 90..=91 sctp"),
            ("90-91", "None None 90..=91 tcp"),
            ("127.0.0.1:8080:80", "Some(127.0.0.1) Some(8080..=8080) 80..=80 tcp"),
            ("127.0.0.1::80", "Some(127.0.0.1) None 80..=80 tcp"),
            ("0.0.0.0:8080:80", "None Some(8080..=8080) 80..=80 tcp"),
            ("[::1]:8080:80", "Some(::1) Some(8080..=8080) 80..=80 tcp"),
            ("[fd00::1]::80", "Some(fd00::1) None 80..=80 tcp"),
            ("[::]:8080:80", "None Some(8080..=8080) 80..=80 tcp"),
        ] {
            let PublishRequest { host, host_ports, ports, protocol } = text.parse().unwrap();
            let found = format!("{host:?} {host_ports:?} {ports:?} {}", protocol.name());
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn refusals_say_what_would_be_right() {
        for (text, part) in [
            ("", "is no port"),
            ("0", "is no port"),
            ("65536:80", "1 to 65535"),
            ("+80", "is no port"),
            ("80:81:82", "is no address"),
            ("::1:80:80", "in brackets"),
            ("80-70", "a range such as"),
            ("8000-8002:80-81", "3 host ports for 2"),
            ("80/icmp", "tcp, udp and sctp"),
            ("a.example:80:80", "is no address"),
        ] {
            let error = text.parse::<PublishRequest>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9:./a-z\\[\\]-]{0,30}") {
            let _ = text.parse::<PublishRequest>();
        }
    }
}

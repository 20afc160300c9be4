//! `--network NAME[:OPTION=VALUE,...]`, and Docker's `name=NAME,OPTION=VALUE,...`.

use std::net::IpAddr;
use std::str::FromStr;

use cleat_cni::name;
use cleat_engine::kernel::Mac;
use serde::{Deserialize, Serialize};

/// A network, and what is asked of it for one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct NetworkRequest {
    pub(crate) network: String,
    /// Addresses to have.
    pub(crate) ips: Vec<IpAddr>,
    /// More names for it.
    pub(crate) aliases: Vec<String>,
    pub(crate) mac: Option<Mac>,
    /// The network with the highest has the default route.
    pub(crate) gw_priority: i32,
    /// The interface's name.
    pub(crate) ifname: Option<String>,
}

/// What is wrong with a network request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRequest {
    #[error("no network is named")]
    NoName,
    #[error("{0:?} is not OPTION=VALUE, such as ip=10.89.0.9")]
    NotAPair(String),
    #[error("no option {0:?}: there are ip, alias, mac, gw-priority and ifname")]
    Unknown(String),
    #[error("{key}={value}: expected {expected}")]
    Value { key: &'static str, value: String, expected: &'static str },
}

impl FromStr for NetworkRequest {
    type Err = BadRequest;

    fn from_str(text: &str) -> Result<Self, BadRequest> {
        let mut request = Self::default();
        let options = match text.split_once(':') {
            Some((network, options)) if !network.contains('=') => {
                request.network = network.to_owned();
                options
            }
            _ if text.contains('=') => text,
            _ => {
                request.network = text.to_owned();
                ""
            }
        };
        for pair in options.split(',').filter(|pair| !pair.is_empty()) {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| BadRequest::NotAPair(pair.to_owned()))?;
            request.set(key, value)?;
        }
        if request.network.is_empty() { Err(BadRequest::NoName) } else { Ok(request) }
    }
}

impl NetworkRequest {
    /// A network of which nothing is asked.
    pub(crate) fn of(network: &str) -> Self {
        Self { network: network.to_owned(), ..Self::default() }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), BadRequest> {
        let bad = |key, expected| BadRequest::Value { key, value: value.to_owned(), expected };
        match key {
            "name" => self.network = value.to_owned(),
            "ip" | "ip6" => {
                self.ips.push(value.parse().map_err(|_| bad("ip", "an IPv4 or IPv6 address"))?);
            }
            "alias" => {
                let valid = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
                if value.is_empty() || !value.chars().all(valid) {
                    return Err(bad("alias", "letters, digits, `-`, `_` and `.`"));
                }
                self.aliases.push(value.to_owned());
            }
            "mac" | "mac-address" => {
                let expected = "a unicast Ethernet address such as 02:42:0a:59:00:02";
                let mac: Mac = value.parse().map_err(|_| bad("mac", expected))?;
                if !mac.is_unicast() {
                    return Err(bad("mac", expected));
                }
                self.mac = Some(mac);
            }
            "gw-priority" => {
                self.gw_priority = value.parse().map_err(|_| bad("gw-priority", "a number"))?;
            }
            "ifname" => {
                let expected = "the name of an interface, up to 15 characters, not lo";
                if name::check_interface(value).is_err() || value == "lo" {
                    return Err(bad("ifname", expected));
                }
                self.ifname = Some(value.to_owned());
            }
            _ => return Err(BadRequest::Unknown(key.to_owned())),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests() {
        let full = "web:ip=10.89.0.9,ip=fd00::9,alias=db,alias=a.b,mac=02:42:0a:59:00:09,\
                    gw-priority=-3,ifname=lan0";
        let request: NetworkRequest = full.parse().unwrap();
        assert_eq!(request.network, "web");
        assert_eq!(request.ips.len(), 2);
        assert_eq!(request.aliases, ["db", "a.b"]);
        assert_eq!(request.mac.unwrap().to_string(), "02:42:0a:59:00:09");
        assert_eq!((request.gw_priority, request.ifname.as_deref()), (-3, Some("lan0")));
        assert_eq!("web".parse::<NetworkRequest>().unwrap(), NetworkRequest::of("web"));
        let dockers: NetworkRequest = "name=web,ip6=fd00::9".parse().unwrap();
        assert_eq!((dockers.network.as_str(), dockers.ips.len()), ("web", 1));
    }

    #[test]
    fn refusals_say_what_would_be_right() {
        for (text, part) in [
            ("", "no network is named"),
            (":ip=10.0.0.1", "no network is named"),
            ("web:ip", "not OPTION=VALUE"),
            ("web:ip=10.0.0", "an IPv4 or IPv6 address"),
            ("web:ipv4=10.0.0.1", "there are ip, alias, mac"),
            ("web:mac=01:00:00:00:00:00", "unicast"),
            ("web:alias=a b", "letters, digits"),
            ("web:ifname=lo", "not lo"),
            ("web:gw-priority=x", "a number"),
        ] {
            let error = text.parse::<NetworkRequest>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = text.parse::<NetworkRequest>();
        }
    }
}

//! The wire form of a `tuning` configuration, and what it means.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use cleat_cni::{Error, Request};
use cleat_engine::record::LinkState;
use cleat_engine::tuning::{Tune, sysctl_path};
use cleat_front::{RequestedMac, attachment, mac_or_configured, settings_value, to_cni};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

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
    refuse_duplicates(&request.stdin)?;
    let mut sysctls = wire.sysctl;
    sysctls
        .extend(settings_value::<BTreeMap<String, String>>(request, "sysctl")?.unwrap_or_default());
    for key in sysctls.keys() {
        sysctl_path(key, &request.ifname).map_err(to_cni)?;
    }
    let order = [RequestedMac::Args, RequestedMac::Capability, RequestedMac::Environment];
    let mac = mac_or_configured(request, &order, wire.mac.as_deref())?;
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

/// A setting that is there twice has two meanings. A parsed document has lost the first.
fn refuse_duplicates(config: &[u8]) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Twice {
        #[serde(default, rename = "sysctl")]
        _sysctl: Keys,
    }
    match serde_json::from_slice::<Twice>(config) {
        Err(error) if error.to_string().starts_with(DUPLICATE) => {
            Err(Error::invalid_config(error.to_string()))
        }
        // Whatever else is wrong is told where the field is read.
        _ => Ok(()),
    }
}

const DUPLICATE: &str = "sysctl: duplicate key";

/// The keys of an object, each once.
#[derive(Default)]
struct Keys;

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Keys)
    }
}

impl<'de> Visitor<'de> for Keys {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of sysctls")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut seen = BTreeSet::new();
        while let Some((key, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
            if seen.contains(&key) {
                return Err(serde::de::Error::custom(format!("{DUPLICATE} {key:?}; name it once")));
            }
            seen.insert(key);
        }
        Ok(self)
    }
}

/// Nothing is to be set.
pub(crate) fn is_empty(tune: &Tune) -> bool {
    tune.sysctls.is_empty() && tune.link == LinkState::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sysctl_is_named_once() {
        let twice = br#"{"sysctl": {"net.core.somaxconn": "1", "net.core.somaxconn": "2"}}"#;
        let error = refuse_duplicates(twice).unwrap_err();
        assert!(error.msg.contains("net.core.somaxconn"), "{error}");
        refuse_duplicates(br#"{"sysctl": {"net.a": "1", "net.b": "2"}, "mac": 5}"#).unwrap();
    }
}

//! Values that a runtime hands over in several places.

use std::str::FromStr;

use cleat_cni::{Error, Request, json};
use cleat_engine::default_route::PRIORITIES;
use cleat_engine::kernel::Mac;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A `runtimeConfig` value; key and fields in any case.
pub fn runtime_value<T: DeserializeOwned>(
    request: &Request,
    key: &str,
) -> Result<Option<T>, Error> {
    read(&request.config.runtime_config, key, "runtimeConfig")
}

/// An `args.cni` value; key and fields in any case.
pub fn settings_value<T: DeserializeOwned>(
    request: &Request,
    key: &str,
) -> Result<Option<T>, Error> {
    read(&request.config.args_cni, key, "args.cni")
}

fn read<T: DeserializeOwned>(
    from: &Map<String, Value>,
    key: &str,
    place: &str,
) -> Result<Option<T>, Error> {
    let found = from
        .get(key)
        .or_else(|| from.iter().find(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, v)| v));
    match found {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(value) => json::from_ref::<T>(value)
            .map(Some)
            .map_err(|error| Error::invalid_config(format!("{place}.{key}: {error}"))),
    }
}

/// The kernel's largest MTU, of a bridge or veth.
const LARGEST_MTU: u32 = 65535;

/// The `mtu` of a configuration; 0 leaves it to us.
pub fn mtu(given: Option<u32>) -> Result<Option<u32>, Error> {
    match given.filter(|mtu| *mtu > 0) {
        Some(mtu) if !(68..=LARGEST_MTU).contains(&mtu) => {
            Err(Error::invalid_config(format!("mtu: {mtu} is not in 68..{LARGEST_MTU}")))
        }
        other => Ok(other),
    }
}

/// The `gwPriority` of a configuration: Docker's `gw-priority`.
pub fn gateway_priority(request: &Request) -> Result<i32, Error> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Wire {
        gw_priority: i64,
    }
    let given = request.config_as::<Wire>()?.gw_priority;
    let known = i32::try_from(given).ok().filter(|given| PRIORITIES.contains(given));
    known.ok_or_else(|| {
        let (lowest, highest) = (PRIORITIES.start(), PRIORITIES.end());
        Error::invalid_config(format!("gwPriority: {given} is not in {lowest}..{highest}"))
    })
}

/// Accepts the two backends that the reference masquerades by; both are served by nf_tables.
pub fn check_masquerade_backend(given: Option<&str>) -> Result<(), Error> {
    match given {
        None | Some("iptables" | "nftables") => Ok(()),
        Some(other) => Err(Error::invalid_config(format!(
            "ipMasqBackend: {other:?} is neither \"iptables\" nor \"nftables\""
        ))),
    }
}

/// Where a requested link address is looked for, the first one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestedMac {
    /// The `mac` capability.
    Capability,
    /// `args.cni.mac`.
    Args,
    /// `MAC` in `CNI_ARGS`.
    Environment,
}

/// The link address that is asked for, looked for in this order.
pub fn requested_mac(request: &Request, order: &[RequestedMac]) -> Result<Option<Mac>, Error> {
    for place in order {
        let (field, text) = match place {
            RequestedMac::Capability => ("runtimeConfig.mac", runtime_value(request, "mac")?),
            RequestedMac::Args => ("args.cni.mac", settings_value(request, "mac")?),
            RequestedMac::Environment => {
                ("CNI_ARGS MAC", request.args.get("MAC").map(str::to_owned))
            }
        };
        if let Some(text) = text.filter(|text: &String| !text.is_empty()) {
            return parse_mac(field, &text).map(Some);
        }
    }
    Ok(None)
}

/// The link address that is asked for, looked for in this order, or else what the key `mac` says.
pub fn mac_or_configured(
    request: &Request,
    order: &[RequestedMac],
    key: Option<&str>,
) -> Result<Option<Mac>, Error> {
    match (requested_mac(request, order)?, key) {
        (None, Some(text)) => parse_mac("mac", text).map(Some),
        (asked, _) => Ok(asked),
    }
}

/// A link address that an interface may have.
pub fn parse_mac(field: &str, text: &str) -> Result<Mac, Error> {
    let bad = |why: String| Error::invalid_config(format!("{field}: {why}"));
    let mac = Mac::from_str(text).map_err(|error| bad(error.to_string()))?;
    if mac.is_unicast() {
        Ok(mac)
    } else {
        Err(bad(format!("{mac} is a multicast or zero address; use a unicast one")))
    }
}

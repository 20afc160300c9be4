//! Values of options, read the way Docker and Podman read them.

use std::collections::BTreeMap;

type Read<T> = std::result::Result<T, &'static str>;

/// What Go's `ParseBool` takes.
pub(super) fn bool(text: &str) -> Read<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("true or false"),
    }
}

/// Bytes; 0 is the driver's choice.
pub(super) fn mtu(text: &str) -> Read<Option<u32>> {
    const EXPECTED: &str = "an MTU in bytes, 68 to 65535, or 0 for the default route's";
    let mtu: u32 = text.parse().map_err(|_| EXPECTED)?;
    match mtu {
        0 => Ok(None),
        68..=65_535 => Ok(Some(mtu)),
        _ => Err(EXPECTED),
    }
}

pub(super) fn metric(text: &str) -> Read<u32> {
    text.parse().map_err(|_| "a route metric, 0 to 4294967295")
}

/// 0 is no VLAN.
pub(super) fn vlan(text: &str) -> Read<Option<u16>> {
    const EXPECTED: &str = "a VLAN, 1 to 4094, or 0 for none";
    let vlan: u16 = text.parse().map_err(|_| EXPECTED)?;
    match vlan {
        0 => Ok(None),
        1..=4094 => Ok(Some(vlan)),
        _ => Err(EXPECTED),
    }
}

/// The name of an interface.
pub(super) fn link(text: &str) -> Read<String> {
    let valid = cleat_cni::name::check_interface(text).is_ok();
    valid.then(|| text.to_owned()).ok_or("the name of an interface, up to 15 characters")
}

/// The start of interfaces' names, with room for a number.
pub(super) fn prefix(text: &str) -> Read<String> {
    const EXPECTED: &str = "the start of interface names, up to 12 characters";
    if text.len() > 12 { Err(EXPECTED) } else { link(text).map_err(|_| EXPECTED) }
}

/// `net.ipv4.conf.IFNAME.forwarding=1,...`
pub(super) fn sysctls(text: &str) -> Read<BTreeMap<String, String>> {
    const EXPECTED: &str = "net.FAMILY.conf.IFNAME.NAME=VALUE, separated by commas";
    let pairs = text.split(',').map(|pair| match pair.split_once('=') {
        Some((key, value)) if key.starts_with("net.") && key.contains(".IFNAME.") => {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => Err(EXPECTED),
    });
    pairs.collect()
}

/// One of a few words.
pub(super) fn word(
    text: &str,
    words: &[&'static str],
    expected: &'static str,
) -> Read<&'static str> {
    words.iter().find(|word| **word == text).copied().ok_or(expected)
}

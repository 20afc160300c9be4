//! Which link a new network is on: a bridge of its own, a bridge by name, or a macvlan's master.

use cleat_engine::kernel::Link;

use super::args::{CreateArgs, DriverName};
use super::conflist;
use super::known::Known;
use super::settings::Settings;
use crate::error::{Error, Result};

/// The bridge or master; `None`: a macvlan on the default route's link.
pub(super) fn choose(
    asked: &CreateArgs,
    settings: &Settings,
    known: &Known,
    links: &[Link],
) -> Result<Option<String>> {
    match (asked.driver, &settings.link) {
        // netd makes the links of overlays, under names of its own.
        (DriverName::Macvlan, None) | (DriverName::Overlay, _) => Ok(None),
        (DriverName::Macvlan, Some(name)) => master(name, links).map(Some),
        (DriverName::Bridge, Some(name)) => {
            named_bridge(name, settings.bridge.unmanaged, links).map(Some)
        }
        (DriverName::Bridge, None) => own_bridge(&asked.name, known, links).map(Some),
    }
}

fn kind<'l>(name: &str, links: &'l [Link]) -> Option<&'l str> {
    links.iter().find(|link| link.name == name).map(|link| link.kind.as_str())
}

fn bad(argument: &'static str, value: &str, problem: String) -> Error {
    Error::Argument { argument, value: value.to_owned(), problem }
}

fn master(name: &str, links: &[Link]) -> Result<String> {
    if kind(name, links).is_some() {
        return Ok(name.to_owned());
    }
    let problem = match name.split_once('.') {
        Some((lower, vlan)) => format!(
            "no such interface here; VLAN interfaces are yours to make: \
             ip link add link {lower} name {name} type vlan id {vlan}"
        ),
        None => "no such interface here".to_owned(),
    };
    Err(bad("parent", name, problem))
}

fn named_bridge(name: &str, unmanaged: bool, links: &[Link]) -> Result<String> {
    match kind(name, links) {
        None if unmanaged => {
            Err(bad("bridge", name, "no such interface here, and mode is unmanaged".into()))
        }
        Some(other) if other != "bridge" => {
            let other = if other.is_empty() { "hardware" } else { other };
            Err(bad("bridge", name, format!("is not a bridge, but {other}")))
        }
        _ => Ok(name.to_owned()),
    }
}

/// It must be nobody else's.
fn own_bridge(network: &str, known: &Known, links: &[Link]) -> Result<String> {
    let taken = |name: &String| {
        kind(name, links).is_some() || known.networks.iter().any(|n| n.link.as_ref() == Some(name))
    };
    let plain = conflist::bridge_name(network);
    let names = [plain.clone(), conflist::hashed_bridge_name(network)];
    names.into_iter().find(|name| !taken(name)).ok_or_else(|| {
        let problem = "an interface of this name is there already; choose another by \
                       --opt com.docker.network.bridge.name=NAME";
        bad("bridge", &plain, problem.to_owned())
    })
}

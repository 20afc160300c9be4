//! The `dhcp` address section.

use std::path::PathBuf;

use cleat_cni::{Error, Request};
use ipnet::Ipv6Net;
use serde::Deserialize;

use super::options;
use super::protocol::{Asked, default_socket};
use crate::{attachment, node};

/// A client identifier has no more bytes, its type not counted: the reference's measure.
const LONGEST: usize = 254;
/// An option has no more bytes (RFC 2132, section 2).
const LARGEST_VALUE: usize = 255;
const CLIENT_IDENTIFIER: u8 = 61;

/// A `dhcp` section, validated.
#[derive(Debug)]
pub struct Section {
    /// The daemon's socket.
    pub socket: PathBuf,
    /// The lease.
    pub asked: Asked,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire {
    ipam: WireSection,
}

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireSection {
    daemon_socket_path: String,
    request: Vec<WireRequest>,
    provide: Vec<WireProvide>,
    priority: Option<u32>,
    ipv4: bool,
    ipv6: bool,
    prefix_hint: Option<Ipv6Net>,
}

impl Default for WireSection {
    fn default() -> Self {
        Self {
            daemon_socket_path: String::new(),
            request: Vec::new(),
            provide: Vec::new(),
            priority: None,
            ipv4: true,
            ipv6: false,
            prefix_hint: None,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireRequest {
    skip_default: bool,
    option: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireProvide {
    option: String,
    value: String,
    from_arg: String,
}

impl Section {
    /// Reads and validates the section.
    ///
    /// # Errors
    /// Code 7, naming the field.
    pub fn read(request: &Request) -> Result<Self, Error> {
        let wire = request.config_as::<Wire>()?.ipam;
        if !wire.ipv4 && !wire.ipv6 {
            let text = "ipam.ipv4 and ipam.ipv6: both are false; one has to be asked for";
            return Err(Error::invalid_config(text.to_owned()));
        }
        if wire.prefix_hint.is_some() && !wire.ipv6 {
            let text = "ipam.prefixHint: of use with \"ipv6\": true only";
            return Err(Error::invalid_config(text.to_owned()));
        }
        let mut provide = provided(request, &wire.provide)?;
        let own = provide.iter().position(|(option, _)| *option == CLIENT_IDENTIFIER);
        let client = match own {
            Some(index) => provide.remove(index).1,
            None => client_identifier(request),
        };
        let socket = Some(wire.daemon_socket_path).filter(|path| !path.is_empty());
        Ok(Self {
            socket: socket.map_or_else(|| default_socket(node().dirs()), PathBuf::from),
            asked: Asked {
                id: attachment(request),
                netns: request.netns.clone().unwrap_or_default(),
                ipv4: wire.ipv4,
                ipv6: wire.ipv6,
                prefix: wire.prefix_hint,
                client,
                request: requested(&wire.request)?,
                provide,
                priority: wire.priority,
            },
        })
    }
}

/// The reference's: servers know the client by it, also after a change of plugins.
fn client_identifier(request: &Request) -> Vec<u8> {
    let name = [&request.container_id, &request.config.name, &request.ifname]
        .map(String::as_str)
        .join("/");
    let mut client = vec![0];
    client.extend(name.bytes().take(LONGEST));
    client
}

/// `None` for the usual ones alone.
fn requested(wire: &[WireRequest]) -> Result<Option<Vec<u8>>, Error> {
    /// What a result needs or can hold: mask, router, name servers, domain, static routes, search
    /// list, classless routes.
    const USUAL: [u8; 7] = [1, 121, 3, 6, 15, 33, 119];
    if wire.is_empty() {
        return Ok(None);
    }
    let skip = wire.iter().any(|one| one.skip_default);
    let mut all = if skip { Vec::new() } else { USUAL.to_vec() };
    for (n, one) in wire.iter().enumerate().filter(|(_, one)| !one.option.is_empty()) {
        let number = options::number(&format!("ipam.request[{n}].option"), &one.option)?;
        if !all.contains(&number) {
            all.push(number);
        }
    }
    Ok(Some(all))
}

fn provided(request: &Request, wire: &[WireProvide]) -> Result<Vec<(u8, Vec<u8>)>, Error> {
    let mut all: Vec<(u8, Vec<u8>)> = Vec::new();
    for (n, one) in wire.iter().enumerate() {
        let number = options::number(&format!("ipam.provide[{n}].option"), &one.option)?;
        let given = Some(one.from_arg.as_str()).filter(|name| !name.is_empty());
        let given = given.and_then(|name| argument(request, name));
        let value = given.or_else(|| Some(one.value.clone()).filter(|value| !value.is_empty()));
        let Some(value) = value else { continue };
        if value.len() > LARGEST_VALUE {
            return Err(Error::invalid_config(format!(
                "ipam.provide[{n}]: a value of {} bytes; an option has {LARGEST_VALUE} at most",
                value.len()
            )));
        }
        all.retain(|(option, _)| *option != number);
        all.push((number, value.into_bytes()));
    }
    Ok(all)
}

/// Any key of `CNI_ARGS`, which others than this plugin may be meant by.
fn argument(request: &Request, name: &str) -> Option<String> {
    let pairs = request.args.as_str().split(';').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).next_back()
}

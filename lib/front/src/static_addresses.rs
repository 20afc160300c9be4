//! The `static` address section: addresses that the configuration or the runtime names.

use std::net::IpAddr;

use cleat_cni::{Dns, Error, IpConfig, Request, Route};
use ipnet::IpNet;
use serde::Deserialize;

use crate::config::{runtime_value, settings_value};

/// A `static` section, validated.
#[derive(Debug, Default)]
pub struct StaticAddresses {
    /// The addresses with their gateways.
    pub ips: Vec<IpConfig>,
    /// The routes.
    pub routes: Vec<Route>,
    /// The name servers.
    pub dns: Dns,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    ipam: Section,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Section {
    addresses: Vec<WireAddress>,
    routes: Vec<Route>,
    dns: Dns,
}

#[derive(Deserialize)]
struct WireAddress {
    address: String,
    #[serde(default)]
    gateway: Option<IpAddr>,
}

impl StaticAddresses {
    /// Reads and validates the section. Addresses of the runtime replace the configured ones;
    /// a gateway is kept for whatever subnet it lies in.
    pub fn read(request: &Request) -> Result<Self, Error> {
        let section = request.config_as::<Wire>()?.ipam;
        let mut ips = Vec::new();
        let mut gateways: Vec<IpAddr> =
            section.addresses.iter().filter_map(|a| a.gateway).collect();
        for (n, wire) in section.addresses.iter().enumerate() {
            ips.push(parse(&format!("ipam.addresses[{n}].address"), &wire.address)?);
        }
        if !request.args.as_str().is_empty() {
            let args = request.args.parse(&["IP", "MAC", "GATEWAY"])?;
            for text in list(args.get("IP")) {
                ips.push(parse("CNI_ARGS IP", text)?);
            }
            for text in list(args.get("GATEWAY")) {
                gateways.push(text.parse().map_err(|_| {
                    let message = format!("CNI_ARGS GATEWAY: {text:?} is not an IP address");
                    Error::invalid_environment(message)
                })?);
            }
        }
        let replacing = [
            ("args.cni.ips", settings_value::<Vec<String>>(request, "ips")?),
            ("runtimeConfig.ips", runtime_value::<Vec<String>>(request, "ips")?),
        ];
        for (field, texts) in replacing {
            let texts = texts.unwrap_or_default();
            if !texts.is_empty() {
                ips = texts.iter().map(|t| parse(field, t)).collect::<Result<_, _>>()?;
            }
        }
        for ip in &mut ips {
            ip.gateway = gateways
                .iter()
                .copied()
                .find(|g| ip.address.contains(g) && *g != ip.address.addr());
        }
        Ok(Self { ips, routes: section.routes, dns: section.dns })
    }
}

fn list(text: Option<&String>) -> impl Iterator<Item = &str> {
    text.into_iter().flat_map(|text| text.split(',')).map(str::trim).filter(|t| !t.is_empty())
}

fn parse(field: &str, text: &str) -> Result<IpConfig, Error> {
    let address: IpNet = text.parse().map_err(|_| {
        let expected = "an IP address with its prefix length, such as 10.1.0.5/24";
        Error::invalid_config(format!("{field}: {text:?} is not {expected}"))
    })?;
    Ok(IpConfig { interface: None, address, gateway: None })
}

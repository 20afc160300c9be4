//! The `host` plugin: the container shares the host's network namespace. It reports the host's
//! interfaces and addresses and changes nothing; with `embeddedDNS` the container has a name.

use cleat_cni::{CniResult, Error, Interface, IpConfig, Plugin, Request};
use cleat_engine::host;
use cleat_engine::names::{self, NamesPart};
use cleat_front::{
    attachment, dns_plan, grants_of, interface, names_plan, node, runtime_value, to_cni,
};
use serde::Deserialize;

/// The plugin.
pub struct Host;

#[derive(Deserialize)]
struct PortMapping {
    #[serde(default, rename = "hostPort")]
    host_port: i64,
}

impl Plugin for Host {
    fn name(&self) -> &'static str {
        "host"
    }

    fn netns_check(&self, request: &Request, is_own: bool) -> Result<(), Error> {
        if is_own || request.command == cleat_cni::Command::Del {
            return Ok(());
        }
        let path = request.netns.as_deref().unwrap_or(std::path::Path::new("")).display();
        Err(Error::invalid_netns(format!(
            "{path} is not the host's network namespace, which a container on this network shares"
        )))
    }

    fn add(&self, request: &Request) -> Result<CniResult, Error> {
        let ports: Vec<PortMapping> = runtime_value(request, "portMappings")?.unwrap_or_default();
        if let Some(port) = ports.iter().find(|port| port.host_port > 0) {
            return Err(Error::invalid_config(format!(
                "runtimeConfig.portMappings: host port {} cannot be published: the container \
                 shares the host's network, where its ports are reachable as they are",
                port.host_port
            )));
        }
        let result = result(request)?;
        if dns_plan(request)?.is_some() {
            register(request, &result)?;
        }
        Ok(result)
    }

    fn del(&self, request: &Request) -> Result<(), Error> {
        names::unregister(&node(), &attachment(request)).map_err(to_cni)
    }

    fn gc(&self, request: &Request) -> Result<(), Error> {
        interface::collect(request)
    }

    fn check(&self, _: &Request) -> Result<(), Error> {
        Ok(())
    }
}

/// The container is called by its name where the host asks; it asks where the host does.
fn register(request: &Request, result: &CniResult) -> Result<(), Error> {
    let node = node();
    let plan = names_plan(request)?;
    let part = NamesPart {
        names: plan.usable(&|text| node.warn(text)),
        on_host: true,
        ..NamesPart::default()
    };
    let grants = grants_of(result).addresses;
    names::register(&node, &attachment(request), part, &grants, None).map_err(to_cni)
}

fn result(request: &Request) -> Result<CniResult, Error> {
    let sandbox = request.netns.as_ref().map(|path| path.to_string_lossy().into_owned());
    let mut result = CniResult { dns: request.config.dns.clone(), ..CniResult::default() };
    for (index, found) in host::interfaces().map_err(to_cni)?.into_iter().enumerate() {
        let ip = |address| IpConfig { interface: Some(index), address, gateway: None };
        result.ips.extend(found.addresses.into_iter().map(ip));
        result.interfaces.push(Interface {
            name: found.name,
            mac: found.mac.map(|mac| mac.to_string()),
            mtu: Some(found.mtu),
            sandbox: sandbox.clone(),
            ..Interface::default()
        });
    }
    Ok(result)
}

//! What a container is called, out of the several places in which runtimes say so, and the name
//! servers that its result is to have.

use std::collections::BTreeMap;
use std::net::IpAddr;

use cleat_cni::{Dns, Error, Request};
use cleat_engine::names::{NamesPlan, is_name};
use cleat_engine::plan::{AttachmentPlan, DnsPlan, Driver, Grants};
use serde::Deserialize;

use crate::config::{runtime_value, settings_value};

/// Where containers without a gateway of the host's ask: in their own namespace.
const INSIDE: &str = "127.0.0.11";
/// The domain that all names end in.
pub const DOMAIN: &str = "cleat.internal";
/// What runtimes show of an id.
const SHORT_ID: usize = 12;
/// Labels whose value is a name.
const NAME_LABELS: [&str; 6] = [
    "cleat.name",
    "nerdctl/name",
    "nerdctl/hostname",
    "io.kubernetes.pod.name",
    "io.kubernetes.container.name",
    "com.docker.compose.service",
];
/// Labels whose value is a list of names.
const ALIAS_LABELS: [&str; 2] = ["cleat.alias", "cleat.aliases"];

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire {
    #[serde(rename = "embeddedDNS")]
    embedded: bool,
    #[serde(rename = "dnsIntercept")]
    intercept: bool,
}

/// The `aliases` capability: a list, or Podman's lists by network.
#[derive(Deserialize)]
#[serde(untagged)]
enum Aliases {
    List(Vec<String>),
    ByNetwork(BTreeMap<String, Vec<String>>),
}

/// `args.cni.labels`: a list of keys and values (CNI's conventions), or an object.
#[derive(Deserialize)]
#[serde(untagged)]
enum Labels {
    List(Vec<Label>),
    Object(BTreeMap<String, String>),
}

#[derive(Deserialize)]
struct Label {
    key: String,
    value: String,
}

/// The `dns` capability, in the words of Go runtimes.
#[derive(Default, Deserialize)]
#[serde(default)]
struct RuntimeDns {
    servers: Vec<String>,
    searches: Vec<String>,
    options: Vec<String>,
}

/// The network's names: `embeddedDNS` and `dnsIntercept`, which implies it. The configuration's
/// own name servers are asked what is not a name here.
pub fn dns_plan(request: &Request) -> Result<Option<DnsPlan>, Error> {
    let wire: Wire = request.config_as()?;
    if !wire.embedded && !wire.intercept {
        return Ok(None);
    }
    let servers = addresses("dns.nameservers", &request.config.dns.nameservers)?;
    Ok(Some(DnsPlan { servers, intercept: wire.intercept }))
}

/// What the container is called.
pub fn names_plan(request: &Request) -> Result<NamesPlan, Error> {
    let mut names = Vec::new();
    let arg = |key: &str| request.args.get(key).filter(|v| !v.is_empty()).map(str::to_owned);
    let pod = arg("K8S_POD_NAME");
    names.extend(pod.clone());
    let (named, mut aliases) = labelled(request)?;
    names.extend(named);
    match runtime_value::<Aliases>(request, "aliases")? {
        None => {}
        Some(Aliases::List(list)) => aliases.extend(list),
        Some(Aliases::ByNetwork(mut lists)) => {
            aliases.extend(lists.remove(&request.config.name).unwrap_or_default());
        }
    }
    names.extend(aliases);
    if let (Some(pod), Some(namespace)) = (pod, arg("K8S_POD_NAMESPACE")) {
        names.push(format!("{pod}.{namespace}"));
    }
    let id = &request.container_id;
    names.push(id.get(..SHORT_ID).unwrap_or(id).to_owned());
    // Ids may hold what a name may not: then the runtime says another name, or none is had.
    names.retain(|name| is_name(name) || name != id);
    let dns: RuntimeDns = runtime_value(request, "dns")?.unwrap_or_default();
    Ok(NamesPlan { names, servers: addresses("runtimeConfig.dns.servers", &dns.servers)? })
}

/// The result's `dns`: where to ask, and how. `given` came with the configuration or the
/// addresses; what it says of domains and options is kept.
pub fn answered_by(
    request: &Request,
    plan: &AttachmentPlan,
    grants: &Grants,
    given: Dns,
) -> Result<Dns, Error> {
    if plan.network.dns.is_none() {
        return Ok(given);
    }
    let at_gateway = matches!(&plan.network.driver, Driver::Bridge(bridge) if bridge.gateway);
    let gateways = [false, true].map(|ipv6| grants.gateway(ipv6));
    let mut nameservers: Vec<String> = Vec::new();
    nameservers
        .extend(gateways.into_iter().flatten().filter(|_| at_gateway).map(|g| g.to_string()));
    if nameservers.is_empty() {
        nameservers.push(INSIDE.to_owned());
    }
    let own: RuntimeDns = runtime_value(request, "dns")?.unwrap_or_default();
    let mut search = if own.searches.is_empty() { given.search } else { own.searches };
    let network = plan.network.name.to_ascii_lowercase();
    let domain = format!("{network}.{DOMAIN}");
    if is_name(&domain) && !search.contains(&domain) {
        search.push(domain);
    }
    let mut options = if own.options.is_empty() { given.options } else { own.options };
    if !options.iter().any(|option| option.starts_with("ndots:")) {
        // Names are known without a domain: asking with none first saves a question.
        options.push("ndots:0".to_owned());
    }
    Ok(Dns { nameservers, domain: given.domain, search, options })
}

fn labelled(request: &Request) -> Result<(Vec<String>, Vec<String>), Error> {
    let pairs: Vec<(String, String)> = match settings_value::<Labels>(request, "labels")? {
        None => Vec::new(),
        Some(Labels::List(list)) => list.into_iter().map(|l| (l.key, l.value)).collect(),
        Some(Labels::Object(object)) => object.into_iter().collect(),
    };
    let (mut names, mut aliases) = (Vec::new(), Vec::new());
    for (key, value) in pairs {
        if NAME_LABELS.contains(&key.as_str()) {
            names.push(value);
        } else if ALIAS_LABELS.contains(&key.as_str()) {
            aliases.extend(value.split([',', ' ']).filter(|a| !a.is_empty()).map(str::to_owned));
        }
    }
    Ok((names, aliases))
}

fn addresses(field: &str, texts: &[String]) -> Result<Vec<IpAddr>, Error> {
    let parse = |text: &String| {
        text.parse().map_err(|_| {
            Error::invalid_config(format!(
                "{field}: {text:?} is not an IP address such as 192.0.2.53"
            ))
        })
    };
    texts.iter().filter(|text| !text.is_empty()).map(parse).collect()
}

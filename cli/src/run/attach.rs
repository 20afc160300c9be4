//! A container's attachments: a CNI runtime's part, for any plugins. Ports are published on the
//! first network that can; the network with the highest priority is attached first, since the
//! first holds the default route.

use cleat_cni::{Attachment, CniResult, ConfList, Dns};
use serde_json::{Map, Value, json};

use super::publish::Mapping;
use super::record::{Container, Joined};
use super::request::NetworkRequest;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::network::{Known, Network};
use crate::output;

/// What attaching gave.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) joined: Vec<Joined>,
    pub(crate) dns: Dns,
    /// They are answered on this node, as these name servers say.
    pub(crate) names: bool,
}

/// The networks that a container asks for, in the order of attaching, with interface names.
pub(crate) struct Plan<'n> {
    steps: Vec<Step<'n>>,
}

struct Step<'n> {
    network: &'n Network,
    request: &'n NetworkRequest,
    interface: String,
    ports: Vec<Mapping>,
}

impl<'n> Plan<'n> {
    /// Everything that can be refused before anything is touched.
    pub(crate) fn make(
        known: &'n Known,
        requests: &'n [NetworkRequest],
        ports: &[Mapping],
    ) -> Result<Self> {
        let mut steps: Vec<Step<'n>> = Vec::new();
        for request in requests {
            let network = known.find(&request.network)?;
            refuse_bad_mix(network, requests)?;
            if steps.iter().any(|step| step.network.name == network.name) {
                return Err(bad(&request.network, "is named twice"));
            }
            if network.is_predefined() {
                if *request != NetworkRequest::of(&request.network) {
                    return Err(bad(&request.network, "is predefined and takes no options"));
                }
                continue;
            }
            let taken: Vec<&str> = steps.iter().map(|step| step.interface.as_str()).collect();
            let interface = interface_name(network, request, &taken)?;
            steps.push(Step { network, request, interface, ports: Vec::new() });
        }
        steps.sort_by_key(|step| -i64::from(step.request.gw_priority));
        if !ports.is_empty() {
            let publisher = steps.iter_mut().find(|step| step.network.publishes());
            let publisher = publisher.ok_or_else(|| cannot_publish(requests))?;
            publisher.ports = ports.to_vec();
        }
        Ok(Self { steps })
    }

    /// The host's address that ports are published at unless one is given.
    pub(crate) fn host_binding(&self) -> Option<std::net::IpAddr> {
        let publisher = self.steps.iter().find(|step| step.network.publishes())?;
        publisher.network.note.as_ref()?.host_binding
    }

    /// Attaches to all; to none if one fails.
    pub(crate) fn carry_out(&self, context: &Context, container: &Container) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        for step in &self.steps {
            match step.carry_out(context, container) {
                Ok((joined, result)) => {
                    outcome.joined.push(joined);
                    if outcome.dns.is_empty() {
                        outcome.dns = result.dns;
                        outcome.names = step.network.has_names();
                    }
                }
                Err(error) => {
                    for joined in outcome.joined.iter().rev() {
                        if let Err(error) = leave(context, container, joined) {
                            output::warn(&error.to_string());
                        }
                    }
                    return Err(error);
                }
            }
        }
        Ok(outcome)
    }
}

impl Step<'_> {
    fn carry_out(&self, context: &Context, container: &Container) -> Result<(Joined, CniResult)> {
        let Some(list) = &self.network.list else {
            return Err(bad(&self.network.name, "is predefined"));
        };
        let list = prioritized(list, self.request.gw_priority);
        let attachment = attachment(container, self, &list);
        let result = match context.runtime.add_list(&list, &attachment) {
            Ok(result) => result,
            Err(error) => {
                // What earlier plugins of the chain did is undone by their DEL.
                if let Err(error) = context.runtime.del_list(&list, &attachment) {
                    output::warn(&error.to_string());
                }
                return Err(error.into());
            }
        };
        let inside = |i: &&cleat_cni::Interface| i.sandbox.is_some() && i.name == self.interface;
        let joined = Joined {
            network: self.network.name.clone(),
            interface: self.interface.clone(),
            addresses: result.ips.iter().map(|ip| ip.address).collect(),
            mac: result.interfaces.iter().find(inside).and_then(|i| i.mac.clone()),
            aliases: self.request.aliases.clone(),
            ports: self.ports.clone(),
        };
        Ok((joined, result))
    }
}

/// Attaches a running container to one more network.
pub(crate) fn one_more(
    context: &Context,
    container: &Container,
    network: &Network,
    request: &NetworkRequest,
) -> Result<Joined> {
    let taken: Vec<&str> = container.networks.iter().map(|j| j.interface.as_str()).collect();
    let interface = interface_name(network, request, &taken)?;
    let step = Step { network, request, interface, ports: Vec::new() };
    step.carry_out(context, container).map(|(joined, _)| joined)
}

/// Detaches from a network, whether or not its conflist is still there.
pub(crate) fn leave(context: &Context, container: &Container, joined: &Joined) -> Result<()> {
    let attachment = Attachment {
        container_id: container.id.clone(),
        netns: container.netns_path(),
        ifname: joined.interface.clone(),
        ..Attachment::default()
    };
    let known = Known::read(context)?;
    let listed = known.find(&joined.network).ok().and_then(|network| network.list.clone());
    let cached = || context.runtime.cached(&joined.network, &attachment).and_then(|c| c.list);
    match listed.or_else(cached) {
        Some(list) => Ok(context.runtime.del_list(&list, &attachment)?),
        None => known.find(&joined.network).map(drop),
    }
}

fn bad(network: &str, problem: &str) -> Error {
    let (value, problem) = (network.to_owned(), problem.to_owned());
    Error::Argument { argument: "--network", value, problem }
}

/// The predefined networks stand alone.
fn refuse_bad_mix(network: &Network, requests: &[NetworkRequest]) -> Result<()> {
    if network.is_predefined() && requests.len() > 1 {
        return Err(bad(&network.name, "cannot be combined with other networks"));
    }
    Ok(())
}

fn cannot_publish(requests: &[NetworkRequest]) -> Error {
    let reason = match requests {
        [] => "there is no --network to reach the container by".to_owned(),
        [only] if only.network == "host" => {
            "the container shares the host's network, where its ports are reachable as they are"
                .to_owned()
        }
        [only] if only.network == "none" => "network none leads nowhere".to_owned(),
        _ => "no network of the container has a plugin for it (portmap)".to_owned(),
    };
    Error::CannotPublish { reason }
}

/// As asked for, or the first free one of `eth0`, `eth1`, ….
fn interface_name(network: &Network, request: &NetworkRequest, taken: &[&str]) -> Result<String> {
    if let Some(name) = &request.ifname {
        let is_taken = taken.contains(&name.as_str());
        return if is_taken {
            Err(bad(&request.network, &format!("ifname={name} is taken by another network")))
        } else {
            Ok(name.clone())
        };
    }
    let prefix = network.note.as_ref().and_then(|note| note.interface_prefix.as_deref());
    let mut names = (0_u32..).map(|n| format!("{}{n}", prefix.unwrap_or("eth")));
    Ok(names.find(|name| !taken.contains(&name.as_str())).unwrap_or_default())
}

/// The list with the priority, for plugins that order default routes by it.
fn prioritized(list: &ConfList, priority: i32) -> ConfList {
    let mut list = list.clone();
    if priority != 0 {
        for plugin in &mut list.plugins {
            if plugin.get("ipam").is_some()
                && let Some(plugin) = plugin.as_object_mut()
            {
                plugin.insert("gwPriority".into(), priority.into());
            }
        }
    }
    list
}

fn attachment(container: &Container, step: &Step<'_>, list: &ConfList) -> Attachment {
    let request = step.request;
    let declares = |name: &str| {
        let pointer = format!("/capabilities/{name}");
        list.plugins.iter().any(|p| p.pointer(&pointer).and_then(Value::as_bool) == Some(true))
    };
    let mut capabilities = Map::new();
    let mut args = vec![("IgnoreUnknown".to_owned(), "1".to_owned())];
    if !step.ports.is_empty() {
        capabilities.insert("portMappings".into(), json!(step.ports));
    }
    // As Podman and Kubernetes say it.
    args.push(("K8S_POD_NAME".to_owned(), container.name.clone()));
    let mut aliases = request.aliases.clone();
    aliases.extend(container.setup.hostname.clone().filter(|name| *name != container.name));
    if !aliases.is_empty() {
        capabilities.insert("aliases".into(), json!(aliases));
    }
    let setup = &container.setup;
    if !(setup.nameservers.is_empty()
        && setup.search.is_empty()
        && setup.resolver_options.is_empty())
    {
        let (servers, searches) = (&setup.nameservers, &setup.search);
        let options = &setup.resolver_options;
        let dns = json!({"servers": servers, "searches": searches, "options": options});
        capabilities.insert("dns".into(), dns);
    }
    // A conflist that knows nothing of a capability gets the older form; both would ask twice.
    if !request.ips.is_empty() {
        let texts: Vec<String> = request.ips.iter().map(ToString::to_string).collect();
        if declares("ips") {
            capabilities.insert("ips".into(), json!(texts));
        } else {
            args.push(("IP".to_owned(), texts.join(",")));
        }
    }
    if let Some(mac) = request.mac {
        if declares("mac") {
            capabilities.insert("mac".into(), json!(mac));
        } else {
            args.push(("MAC".to_owned(), mac.to_string()));
        }
    }
    Attachment {
        container_id: container.id.clone(),
        netns: container.netns_path(),
        ifname: step.interface.clone(),
        args,
        capability_args: capabilities,
    }
}

//! The files that a container sees in place of the host's: resolv.conf where somebody names name
//! servers for it, hosts with its own names.

use std::net::IpAddr;
use std::path::PathBuf;

use cleat_cni::Dns;
use cleat_engine::records::{Durability, write_atomic};
use cleat_engine::{Node, service};

use super::record::{self, Container};
use crate::context::Context;
use crate::error::Result;
use crate::output;

/// Writes them. What is to be bound where.
pub(super) fn write(
    context: &Context,
    container: &Container,
    dns: &Dns,
) -> Result<Vec<(PathBuf, PathBuf)>> {
    let folder = record::folder(context, &container.id);
    // On the host's network the host's names are right.
    let hosts = container.netns.is_some().then(|| hosts(container));
    let contents =
        [("resolv.conf", "/etc/resolv.conf", resolver(dns)), ("hosts", "/etc/hosts", hosts)];
    let mut binds = Vec::new();
    for (name, target, text) in contents {
        let Some(text) = text else { continue };
        // A link into /run is followed; with no file there is nothing to bind over.
        let Ok(target) = std::fs::canonicalize(target) else {
            output::warn(&format!("{target} does not exist here, so the container has none"));
            continue;
        };
        let source = folder.join(name);
        // Read by any user in the container, behind a folder that only root can enter.
        write_atomic(&source, text.as_bytes(), 0o644, Durability::Runtime)?;
        binds.push((source, target));
    }
    Ok(binds)
}

/// resolv.conf(5).
fn resolver(dns: &Dns) -> Option<String> {
    if dns.nameservers.is_empty() {
        return None;
    }
    let mut text: String = dns.nameservers.iter().map(|s| format!("nameserver {s}\n")).collect();
    let mut search = dns.search.clone();
    if search.is_empty() {
        search.extend(dns.domain.clone());
    }
    for (word, values) in [("search", &search), ("options", &dns.options)] {
        if !values.is_empty() {
            text.push_str(&format!("{word} {}\n", values.join(" ")));
        }
    }
    Some(text)
}

/// The container's own settings go before those of its networks.
pub(super) fn own_before(container: &Container, dns: Dns) -> Dns {
    let setup = &container.setup;
    let own = setup.nameservers.iter().map(ToString::to_string).collect();
    let or = |own: Vec<String>, given| if own.is_empty() { given } else { own };
    let dns = Dns {
        nameservers: or(own, dns.nameservers),
        search: or(setup.search.clone(), dns.search),
        options: or(setup.resolver_options.clone(), dns.options),
        ..dns
    };
    if container.networks.is_empty() { dns } else { without_loopback(dns) }
}

/// While netd does not run, nobody answers where it would: the container's own servers, or the
/// host's, know at least the names outside.
pub(super) fn with_a_way_out(node: &Node, container: &Container, mut dns: Dns) -> Dns {
    if service::is_attended(node) {
        return dns;
    }
    let own = own_before(container, Dns::default()).nameservers;
    let host = || servers_of("/etc/resolv.conf").iter().map(ToString::to_string).collect();
    dns.nameservers.extend(if own.is_empty() { host() } else { own });
    dns
}

/// hosts(5).
fn hosts(container: &Container) -> String {
    let mut text =
        String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    let hostname = container.setup.hostname.iter();
    let mut names: Vec<&str> = hostname.map(String::as_str).collect();
    if !names.contains(&container.name.as_str()) {
        names.push(&container.name);
    }
    for joined in &container.networks {
        let aliases = joined.aliases.iter().map(String::as_str);
        let all: Vec<&str> = names.iter().copied().chain(aliases).collect();
        for address in &joined.addresses {
            text.push_str(&line(address.addr(), &all.join(" ")));
        }
    }
    for (name, address) in &container.setup.hosts {
        text.push_str(&line(*address, name));
    }
    text
}

fn line(address: IpAddr, names: &str) -> String {
    format!("{address}\t{names}\n")
}

/// Name servers for a container that nobody names any for. The host's file will do, unless it
/// names the host's loopback only: then those behind systemd-resolved, where it runs.
fn without_loopback(dns: Dns) -> Dns {
    if !dns.nameservers.is_empty() {
        return dns;
    }
    let servers = servers_of("/etc/resolv.conf");
    if servers.is_empty() || !servers.iter().all(IpAddr::is_loopback) {
        return dns;
    }
    let behind = servers_of("/run/systemd/resolve/resolv.conf");
    if behind.is_empty() {
        output::warn(
            "the host's name server listens on its loopback only, where no container reaches it; \
             name one by --dns",
        );
    }
    Dns { nameservers: behind.iter().map(ToString::to_string).collect(), ..dns }
}

fn servers_of(path: &str) -> Vec<IpAddr> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let servers = text.lines().filter_map(|line| line.strip_prefix("nameserver"));
    servers.filter_map(|server| server.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::record::Joined;
    use super::*;

    fn container() -> Container {
        let joined = Joined {
            network: "web".into(),
            interface: "eth0".into(),
            addresses: vec!["10.1.0.2/24".parse().unwrap(), "fd00::2/64".parse().unwrap()],
            mac: None,
            aliases: vec!["db".into()],
            ports: Vec::new(),
        };
        let mut container: Container = serde_json::from_value(serde_json::json!({
            "id": "0", "name": "site", "command": [], "created": 0, "requests": [],
            "publish": [], "netns": "/x", "setup": {"hostname": "site.example"}, "networks": [],
        }))
        .unwrap();
        container.networks.push(joined);
        container
    }

    #[test]
    fn a_container_finds_itself() {
        let mut container = container();
        container.setup.hosts.push(("other".into(), "192.0.2.1".parse().unwrap()));
        let text = hosts(&container);
        for line in [
            "127.0.0.1\tlocalhost",
            "10.1.0.2\tsite.example site db",
            "fd00::2\tsite.example site db",
            "192.0.2.1\tother",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}: {text}");
        }
    }

    #[test]
    fn its_own_name_servers_go_before_its_networks() {
        let mut container = container();
        container.networks.clear();
        assert_eq!(resolver(&Dns::default()), None);
        let dns = || Dns {
            nameservers: vec!["10.1.0.1".into()],
            domain: Some("example".into()),
            search: Vec::new(),
            options: vec!["ndots:0".into()],
        };
        let text = resolver(&own_before(&container, dns())).unwrap();
        assert_eq!(text, "nameserver 10.1.0.1\nsearch example\noptions ndots:0\n");
        container.setup.nameservers.push("192.0.2.53".parse().unwrap());
        let text = resolver(&own_before(&container, dns())).unwrap();
        assert_eq!(text, "nameserver 192.0.2.53\nsearch example\noptions ndots:0\n");
    }
}

//! Which ports are to be relayed and to whom, as the records say it now.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;

use cleat_engine::Node;
use cleat_engine::record::{AttachmentRecord, Binding, Phase, Protocol};
use cleat_engine::records::{Change, Durability, Store};

/// A port at ::1.
pub(super) type Port = (Protocol, u16);

/// The published ports of all attachments.
pub(super) struct Published {
    store: Store<AttachmentRecord>,
    /// By record; only of those that have some.
    bindings: HashMap<String, Vec<Binding>>,
}

impl Published {
    /// Nothing is read yet.
    pub(super) fn new(run: &Path) -> Self {
        let store = Store::open(run.join("attachments"), Durability::Runtime);
        Self { store, bindings: HashMap::new() }
    }

    /// Reads all records.
    pub(super) fn read_all(&mut self, node: &Node) {
        self.take_in(node, &[Change::Rescan]);
    }

    /// Reads what has changed. Whether other ports are published now; most changes of records are
    /// of other parts.
    pub(super) fn take_in(&mut self, node: &Node, changes: &[Change]) -> bool {
        let mut any = false;
        for change in changes {
            match change {
                Change::Changed(file) => {
                    if let Some(name) = Store::<AttachmentRecord>::document_of(file) {
                        any |= self.read(node, name);
                    }
                }
                Change::Removed(file) => {
                    if let Some(name) = Store::<AttachmentRecord>::document_of(file) {
                        any |= self.bindings.remove(name).is_some();
                    }
                }
                Change::Rescan => {
                    any = true;
                    self.bindings.clear();
                    let names = self.store.names().unwrap_or_else(|error| {
                        tracing::warn!("published ports: {error}");
                        Vec::new()
                    });
                    for name in names {
                        self.read(node, &name);
                    }
                }
            }
        }
        any
    }

    fn read(&mut self, node: &Node, name: &str) -> bool {
        let record = self.store.read(name).unwrap_or_else(|error| {
            tracing::warn!("record {name}: {error}");
            None
        });
        let part = record.filter(|record| node.is_this_boot(&record.boot)).and_then(|r| r.ports);
        let bindings = part.filter(|part| part.phase == Phase::Ready).map(|part| part.bindings);
        let bindings = bindings.map(relayed).filter(|bindings| !bindings.is_empty());
        if self.bindings.get(name) == bindings.as_ref() {
            return false;
        }
        match bindings {
            Some(bindings) => drop(self.bindings.insert(name.to_owned(), bindings)),
            None => drop(self.bindings.remove(name)),
        }
        true
    }

    /// Where each port leads. Of a backend of both families the IPv6 address is taken, and what is
    /// published at ::1 itself before what is at any address.
    pub(super) fn wanted(&self) -> BTreeMap<Port, SocketAddr> {
        let mut wanted: BTreeMap<Port, &Binding> = BTreeMap::new();
        let rank = |binding: &Binding| (binding.host.is_some(), binding.to.is_ipv6());
        for binding in self.bindings.values().flatten() {
            let known = wanted.entry((binding.protocol, binding.port)).or_insert(binding);
            if rank(known) < rank(binding) {
                *known = binding;
            }
        }
        let leads = |binding: &Binding| SocketAddr::new(binding.to, binding.to_port);
        wanted.into_iter().map(|(port, binding)| (port, leads(binding))).collect()
    }
}

/// Those that somebody at ::1 would expect.
fn relayed(mut bindings: Vec<Binding>) -> Vec<Binding> {
    const HERE: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
    bindings.retain(|binding| {
        binding.protocol != Protocol::Sctp
            && binding.conditions.is_none()
            && binding.host.is_none_or(|host| host == HERE)
    });
    bindings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(host: Option<&str>, port: u16, to: &str) -> Binding {
        Binding {
            host: host.map(|host| host.parse().unwrap()),
            port,
            protocol: Protocol::Tcp,
            to: to.parse().unwrap(),
            to_port: 80,
            conditions: None,
        }
    }

    #[test]
    fn the_most_fitting_backend_is_taken() {
        let mut published = Published::new(Path::new("/nowhere"));
        let conditional =
            Binding { conditions: Some("x".to_owned()), ..binding(None, 8084, "10.1.0.2") };
        let sctp = Binding { protocol: Protocol::Sctp, ..binding(None, 8085, "10.1.0.2") };
        let bindings = vec![
            binding(None, 8080, "10.1.0.2"),
            binding(None, 8080, "fd00::2"),
            binding(None, 8081, "10.1.0.2"),
            binding(Some("127.0.0.1"), 8082, "10.1.0.2"),
            binding(None, 8083, "fd00::2"),
            binding(Some("::1"), 8083, "fd00::3"),
            conditional,
            sctp,
        ];
        published.bindings.insert("a".to_owned(), relayed(bindings));
        let wanted: Vec<String> =
            published.wanted().iter().map(|((_, port), to)| format!("{port} {to}")).collect();
        assert_eq!(wanted, ["8080 [fd00::2]:80", "8081 10.1.0.2:80", "8083 [fd00::3]:80"]);
    }
}

//! A runtime in the manner of libcni: a conflist's plugins in order, each with the result of the
//! one before; capabilities as `runtimeConfig`; detach and check with the final result, detach in
//! reverse and stopping at the first failure.

use std::fs;

use serde_json::{Map, Value, json};

use crate::invoke::{Invocation, Outcome};
use crate::lab::{Container, Lab};
use crate::programs::Programs;
use crate::snapshot::Snapshot;

/// A conflist and what the runtime adds to it.
#[derive(Debug, Clone)]
pub struct Chain<'l> {
    lab: &'l Lab,
    conflist: Value,
    programs: Programs,
    capabilities: Value,
    args: Option<String>,
    ifname: String,
}

/// An attachment that a chain made: what libcni keeps in its cache.
#[derive(Debug, Clone)]
pub struct Attached {
    /// The last plugin's result.
    pub result: Value,
}

impl Attached {
    /// The result with what each implementation names by itself made the same: link addresses,
    /// host ends, the container's path.
    pub fn without_names(&self, container: &Container) -> Value {
        let mut result = without_empty_dns(self.result.clone());
        let recent = result["cniVersion"].as_str().is_some_and(|v| v.starts_with("1."));
        for interface in result["interfaces"].as_array_mut().into_iter().flatten() {
            assert!(interface["mac"].as_str().is_some_and(|mac| mac.len() == 17), "{interface}");
            interface["mac"] = json!("MAC");
            if recent {
                // Newer than Debian's reference, which leaves it out.
                interface.as_object_mut().unwrap().remove("mtu");
            }
            if interface["name"].as_str().unwrap().starts_with("veth") {
                interface["name"] = json!("VETH");
            }
            if interface["sandbox"] == json!(container.ns.path()) {
                interface["sandbox"] = json!("SANDBOX");
            }
        }
        result
    }

    /// The container's addresses without prefix lengths, in the result's order.
    pub fn addresses(&self) -> Vec<String> {
        let text = |ip: &Value| ip["address"].as_str().unwrap().split('/').next().unwrap().into();
        self.result["ips"].as_array().into_iter().flatten().map(text).collect()
    }

    /// The first address of a family.
    pub fn v4(&self) -> String {
        self.addresses().into_iter().find(|a| !a.contains(':')).unwrap()
    }

    /// The first address of a family.
    pub fn v6(&self) -> String {
        self.addresses().into_iter().find(|a| a.contains(':')).unwrap()
    }
}

/// How a container ended before its DEL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All is there.
    Usual,
    /// `CNI_NETNS` is empty and no result is known, while the namespace lives.
    NoNamespace,
    /// The namespace is gone, and its path.
    Gone,
    /// The path is there, but is no namespace.
    NotANamespace,
}

impl End {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Usual, Self::NoNamespace, Self::Gone, Self::NotANamespace];
}

impl<'l> Chain<'l> {
    pub(crate) fn new(lab: &'l Lab, conflist: Value) -> Self {
        Self {
            lab,
            conflist,
            programs: lab.programs().clone(),
            capabilities: json!({}),
            args: None,
            ifname: "eth0".into(),
        }
    }

    /// The same conflist with the plugins of another folder.
    pub fn by(mut self, programs: &Programs) -> Self {
        self.programs = programs.clone();
        self
    }

    /// Capability arguments by name; a plugin gets those that its `capabilities` name.
    pub fn capabilities(mut self, capabilities: Value) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// `CNI_ARGS`.
    pub fn args(mut self, args: &str) -> Self {
        self.args = Some(args.into());
        self
    }

    /// `CNI_IFNAME`, if not eth0.
    pub fn ifname(mut self, name: &str) -> Self {
        self.ifname = name.into();
        self
    }

    /// ADD of all plugins; the first failure ends it, and nothing is undone, as in libcni.
    pub fn add(&self, container: &Container) -> Result<Attached, Outcome> {
        let mut previous = None;
        for plugin in self.plugins() {
            let outcome = self.invocation(plugin, "ADD", container, previous.as_ref()).run();
            if !outcome.succeeded() {
                return Err(outcome);
            }
            previous = Some(outcome.json());
        }
        Ok(Attached { result: previous.unwrap() })
    }

    /// ADD that must succeed.
    #[track_caller]
    pub fn attach(&self, container: &Container) -> Attached {
        self.add(container).unwrap_or_else(|outcome| panic!("{}: {outcome:?}", outcome.what))
    }

    /// DEL of all plugins in reverse; the first failure ends it.
    pub fn del(&self, container: &Container, attached: Option<&Attached>) -> Result<(), Outcome> {
        self.run_reversed(container, attached, true)
    }

    /// DEL as nerdctl sends it: no namespace, no result.
    pub fn del_without_namespace(&self, container: &Container) -> Result<(), Outcome> {
        self.run_reversed(container, None, false)
    }

    fn run_reversed(
        &self,
        container: &Container,
        attached: Option<&Attached>,
        with_namespace: bool,
    ) -> Result<(), Outcome> {
        let previous = attached.map(|a| &a.result);
        for plugin in self.plugins().rev() {
            let mut invocation = self.invocation(plugin, "DEL", container, previous);
            if !with_namespace {
                invocation = invocation.netns("");
            }
            let outcome = invocation.run();
            if !outcome.succeeded() {
                return Err(outcome);
            }
        }
        Ok(())
    }

    /// DEL that must succeed.
    #[track_caller]
    pub fn detach(&self, container: &Container, attached: &Attached) {
        if let Err(outcome) = self.del(container, Some(attached)) {
            panic!("{}: {outcome:?}", outcome.what)
        }
    }

    /// DEL that must succeed, after this end of the container.
    #[track_caller]
    pub fn detach_by(&self, end: End, container: &Container, attached: &Attached) {
        let outcome = match end {
            End::Usual => self.del(container, Some(attached)),
            End::NoNamespace => self.del_without_namespace(container),
            End::Gone => {
                container.ns.delete();
                self.del(container, Some(attached))
            }
            End::NotANamespace => {
                container.ns.delete();
                fs::write(container.ns.path(), "").unwrap();
                let outcome = self.del(container, Some(attached));
                fs::remove_file(container.ns.path()).unwrap();
                outcome
            }
        };
        if let Err(outcome) = outcome {
            panic!("{end:?}: {}: {outcome:?}", outcome.what)
        }
    }

    /// Attaches a container which then ends this way, and detaches it twice; what it left, and what
    /// it took with it, is compared with [`Self::used`].
    #[track_caller]
    pub fn comes_and_goes(&self, end: End, before: &Snapshot) {
        let container = self.lab.container();
        let attached = self.attach(&container);
        self.detach_by(end, &container, &attached);
        self.detach_by(end, &container, &attached);
        let difference = self.lab.changes(before);
        let with = &self.conflist;
        assert!(difference.is_empty(), "{with} {end:?}: not as before:\n{difference}");
    }

    /// Attaches and detaches one container and returns what is there then: what a network keeps
    /// (bridge, chains, range cursor) is included, so any later difference is a container's.
    #[track_caller]
    pub fn used(&self) -> Snapshot {
        let container = self.lab.container();
        let attached = self.attach(&container);
        self.detach(&container, &attached);
        self.lab.snapshot()
    }

    /// CHECK of all plugins; the first failure ends it.
    pub fn check(&self, container: &Container, attached: &Attached) -> Result<(), Outcome> {
        for plugin in self.plugins() {
            let previous = Some(&attached.result);
            let outcome = self.invocation(plugin, "CHECK", container, previous).run();
            if !outcome.succeeded() {
                return Err(outcome);
            }
        }
        Ok(())
    }

    /// GC of all plugins with the attachments that are still valid.
    pub fn gc(&self, valid: &[&Container]) -> Result<(), Outcome> {
        let valid: Vec<Value> =
            valid.iter().map(|c| json!({"containerID": c.id, "ifname": self.ifname})).collect();
        for plugin in self.plugins() {
            let mut config = self.config(plugin, None);
            config["cni.dev/valid-attachments"] = json!(valid);
            let outcome = self.call(plugin, "GC").config(&config).run();
            if !outcome.succeeded() {
                return Err(outcome);
            }
        }
        Ok(())
    }

    /// The call of one plugin of the chain, to change before it runs.
    pub fn invocation(
        &self,
        plugin: &Value,
        verb: &str,
        container: &Container,
        previous: Option<&Value>,
    ) -> Invocation<'l> {
        let mut invocation = self
            .call(plugin, verb)
            .container(container)
            .ifname(&self.ifname)
            .config(&self.config(plugin, previous));
        if let Some(args) = &self.args {
            invocation = invocation.args(args);
        }
        invocation
    }

    /// The plugins' sections.
    pub fn plugins(&self) -> impl DoubleEndedIterator<Item = &Value> {
        self.conflist["plugins"].as_array().unwrap().iter()
    }

    fn call(&self, plugin: &Value, verb: &str) -> Invocation<'l> {
        let program = plugin["type"].as_str().unwrap();
        self.lab.plugin_of(&self.programs, program).command(verb)
    }

    /// What one plugin reads: its section, the network's name and version, what was asked of the
    /// capabilities it has, the result before.
    fn config(&self, plugin: &Value, previous: Option<&Value>) -> Value {
        let mut config = plugin.clone();
        config["name"] = self.conflist["name"].clone();
        config["cniVersion"] = self.conflist["cniVersion"].clone();
        let mut asked = Map::new();
        for (name, value) in self.capabilities.as_object().unwrap() {
            if plugin["capabilities"][name] == true {
                asked.insert(name.clone(), value.clone());
            }
        }
        if !asked.is_empty() {
            config["runtimeConfig"] = Value::Object(asked);
        }
        if let Some(previous) = previous {
            config["prevResult"] = previous.clone();
        }
        config
    }
}

/// A result of 1.0.0 or later without `"dns": {}`, which Debian's reference still prints there and
/// its successors do not.
pub fn without_empty_dns(mut result: Value) -> Value {
    let recent = result["cniVersion"].as_str().is_some_and(|version| version.starts_with("1."));
    if recent && result["dns"] == json!({}) {
        result.as_object_mut().unwrap().remove("dns");
    }
    result
}

//! Published ports: one map element each, decided by the kernel where two want the same.

use std::net::IpAddr;

use cleat_kernel::conntrack::{self, Port};
use cleat_kernel::{Change, Errno, LinkChange, Rtnl, sysctl};
use cleat_nft::{Element, Key};

use crate::Node;
use crate::error::{Error, Result};
use crate::identity::AttachmentId;
use crate::inventory::{self, Standing};
use crate::record::{AttachmentRecord, Binding, Phase, PortsPart, Protocol};
use crate::ruleset::conditions::{self, Conditions};
use crate::ruleset::{
    self, Elements, LinkRules, Ruleset, SetName, Stored, binding_element, legacy,
};
use crate::undo::Undo;

/// How often what is in the way is taken away.
const TRIES: u32 = 5;

/// Ports to publish.
#[derive(Debug, Clone)]
pub struct Publish {
    /// The attachment.
    pub id: AttachmentId,
    /// One per host address, port and protocol.
    pub bindings: Vec<Binding>,
    /// Under which conditions, for each family.
    pub conditions: Vec<Conditions>,
    /// The host end of the container's link, where that is in a bridge.
    pub host_end: Option<String>,
    /// Rewrite the source of what comes from the host itself or from the container's own link.
    pub hairpin: bool,
    /// Rewrite the source of everything.
    pub masquerade_all: bool,
}

/// Publishes ports. On failure none is.
pub fn publish(node: &Node, asked: &Publish) -> Result<()> {
    node.require_boot_id()?;
    node.mark()?;
    let name = asked.id.record_name();
    let _lock = node.locks().acquire(&name)?;
    let mut record = node
        .attachments()
        .read(&name)?
        .filter(|record| node.is_this_boot(&record.boot))
        .unwrap_or_else(|| AttachmentRecord::new(asked.id.clone(), node.boot_id()));
    let mut rtnl = Rtnl::open()?;
    if record.ports.is_some() {
        take_back(node, &mut Ruleset::open(node), &mut record)?;
    }
    let Some(via) = link_to(&mut rtnl, asked)? else {
        return Ok(());
    };
    let before = record.clone();
    let mut ruleset = Ruleset::open(node);
    for conditions in &asked.conditions {
        conditions::ensure(&mut ruleset, conditions)?;
    }
    record.ports = Some(PortsPart {
        phase: Phase::Adding,
        via: via.clone(),
        bindings: asked.bindings.clone(),
        hairpin: asked.hairpin,
        masquerade_all: asked.masquerade_all,
    });
    let mut undo = Undo::new(node.warner());
    undo.push("record", || before.store(node).map_err(|e| e.to_string()));
    node.attachments().replace(&name, &record)?;

    let elements =
        record.ports.as_ref().map(|p| ruleset::of_ports(&record.id, p)).unwrap_or_default();
    let uncommitted = record.clone();
    undo.push("ports", move || {
        let mut ruleset = Ruleset::open(node);
        let mut elements = ruleset::of_attachment(&uncommitted);
        elements.retain(|set, _| is_ports_set(set));
        keep_others(&mut ruleset, &uncommitted, &mut elements).map_err(|e| e.to_string())?;
        ruleset.remove(&elements).map_err(|e| e.to_string())
    });
    let link = ruleset.stored_link(&via)?.unwrap_or_else(|| LinkRules::open(&via));
    let wanted = (!link.settled).then_some(&link);
    for attempt in 0.. {
        let Err(error) = ruleset.add(&record, wanted, &elements) else { break };
        // What another program detached may still have ports here.
        let freed = is_taken(&error)
            && (take_from_the_gone(node, &mut rtnl, asked)?
                || take_from_nobody(node, &mut ruleset, asked)?
                || holder(&mut ruleset, asked)?.is_none());
        // A rebuild that crosses with others' detaches brings back what is gone, for a moment.
        if !freed || attempt == TRIES {
            return Err(taken(&mut ruleset, asked, error));
        }
    }
    wildcard_conflicts(&mut ruleset, asked)?;
    reach_from_localhost(node, asked, &via)?;
    reach_itself(&mut rtnl, asked)?;
    if let Some(part) = &mut record.ports {
        part.phase = Phase::Ready;
    }
    node.attachments().replace(&name, &record)?;
    undo.commit();
    forget_flows(node, &mut ruleset, &record)
}

/// Takes an attachment's ports back. None is no error.
pub fn unpublish(node: &Node, id: &AttachmentId) -> Result<()> {
    let name = id.record_name();
    let _lock = node.lock_to_free(&name);
    let mut record = match node.attachments().read(&name) {
        Ok(Some(record)) => record,
        Ok(None) => return legacy::remove(Ruleset::open(node).backend(), id, &[]),
        Err(error) => {
            node.warn(&error.to_string());
            node.attachments().set_aside(&name)?;
            return Ruleset::open(node).rebuild(None);
        }
    };
    if !node.is_this_boot(&record.boot) || record.ports.is_none() {
        return Ok(());
    }
    let mut ruleset = Ruleset::open(node);
    take_back(node, &mut ruleset, &mut record)?;
    record.store_rest(node);
    Ok(())
}

/// Compares an attachment's ports with the kernel.
pub fn check(node: &Node, id: &AttachmentId, wanted: &[Binding]) -> Result<()> {
    let differs = |what: String| Error::Differs { id: id.clone(), what };
    let mut ruleset = Ruleset::open(node);
    for binding in wanted {
        let (set, element) = binding_element(binding);
        let found = ruleset.element(&set, &element.key)?;
        match found {
            None if legacy::has_ports(ruleset.backend(), id)? => return Ok(()),
            None => return Err(differs(format!("host port {} is not published", text(binding)))),
            Some(found) if found.data != element.data => {
                let to = found.comment.unwrap_or_default();
                return Err(differs(format!("host port {} leads to {to}", text(binding))));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Removes from `elements` those ports that are somebody else's in the kernel: an interrupted or
/// refused publish never had them. A port that was committed is ours.
pub(crate) fn keep_others(
    ruleset: &mut Ruleset<'_>,
    record: &AttachmentRecord,
    elements: &mut Elements,
) -> Result<()> {
    let Some(ports) = record.ports.as_ref().filter(|ports| ports.phase != Phase::Ready) else {
        return Ok(());
    };
    let mut foreign: Vec<(SetName, Key)> = Vec::new();
    for binding in &ports.bindings {
        let (set, element) = binding_element(binding);
        let found = ruleset.element(&set, &element.key)?;
        if found.is_some_and(|found| found.data != element.data) {
            foreign.push((set, element.key));
        }
    }
    elements
        .retain(|set, element| !foreign.iter().any(|(s, key)| *s == set && *key == element.key));
    Ok(())
}

/// Forgets tracked flows of connectionless protocols to the record's ports.
pub(crate) fn forget_flows(
    node: &Node,
    ruleset: &mut Ruleset<'_>,
    record: &AttachmentRecord,
) -> Result<()> {
    let Some(ports) = &record.ports else { return Ok(()) };
    let mut local: Option<Vec<IpAddr>> = None;
    for binding in ports.bindings.iter().filter(|b| b.protocol == Protocol::Udp) {
        let port =
            Port { protocol: binding.protocol.number(), port: binding.port, address: binding.host };
        let is_local = |address: IpAddr| {
            let known = local.get_or_insert_with(|| {
                let all = Rtnl::open().and_then(|mut rtnl| rtnl.addresses(None));
                all.unwrap_or_default().iter().map(|a| a.net.addr()).collect()
            });
            address.is_loopback() || known.contains(&address)
        };
        let outcome = ruleset
            .backend()
            .socket()
            .map_err(Error::from)
            .and_then(|socket| Ok(conntrack::forget(socket, port, is_local)?));
        if let Err(error) = outcome {
            node.warn(&format!(
                "flows to port {} may go on to where they went: {error}",
                text(binding)
            ));
        }
    }
    Ok(())
}

/// Takes back what a record says is published, or may be.
pub(crate) fn take_back(
    node: &Node,
    ruleset: &mut Ruleset<'_>,
    record: &mut AttachmentRecord,
) -> Result<()> {
    let mut elements = ruleset::of_attachment(record);
    elements.retain(|set, _| is_ports_set(set));
    keep_others(ruleset, record, &mut elements)?;
    ruleset.remove(&elements)?;
    forget_flows(node, ruleset, record)?;
    record.ports = None;
    Ok(())
}

fn is_ports_set(set: &str) -> bool {
    ["exact", "any", "specific", "snat", "cond_"].iter().any(|prefix| set.starts_with(prefix))
}

/// The link that leads to the backends.
fn link_to(rtnl: &mut Rtnl, asked: &Publish) -> Result<Option<String>> {
    let Some(binding) = asked.bindings.first() else {
        return Ok(None);
    };
    let index = rtnl.route_to(binding.to)?;
    let link = match index {
        Some(index) => rtnl.link_by_index(index)?,
        None => None,
    };
    let link = link.ok_or_else(|| Error::Address {
        address: binding.to,
        why: "the host has no route to it, so no port can be published to it",
    })?;
    Ok(Some(link.name))
}

/// 127.0.0.1 leads to the container only if the kernel routes it out.
fn reach_from_localhost(node: &Node, asked: &Publish, via: &str) -> Result<()> {
    let v4 = asked.bindings.iter().any(|binding| binding.to.is_ipv4());
    if !asked.hairpin || !v4 {
        return Ok(());
    }
    match sysctl::set(&format!("ipv4/conf/{via}/route_localnet"), "1") {
        Ok(_) => Ok(()),
        Err(error) if error.is_permission() => {
            node.warn(&format!("ports are not reachable by 127.0.0.1: {error}"));
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// The hash maps do not see that a port on one address and the same port on all addresses are
/// the same port. Both sides look after they have added, so that one of two sees the other.
fn wildcard_conflicts(ruleset: &mut Ruleset<'_>, asked: &Publish) -> Result<()> {
    for binding in asked.bindings.iter().filter(|binding| binding.conditions.is_none()) {
        let v4 = binding.to.is_ipv4();
        let key = Key::new().proto(binding.protocol.number()).port(binding.port);
        let other = if binding.host.is_some() {
            ruleset.element(if v4 { "any4" } else { "any6" }, &key)?
        } else {
            let marker = ruleset.element(if v4 { "specific4" } else { "specific6" }, &key)?;
            match marker {
                Some(_) => specific_holder(ruleset, binding)?,
                None => None,
            }
        };
        if let Some(other) = other {
            let holder = other.comment.unwrap_or_default();
            return Err(Error::PortTaken { port: text(binding), holder });
        }
    }
    Ok(())
}

/// Who has the port on one address. The marker may be of a port long gone.
fn specific_holder(ruleset: &mut Ruleset<'_>, binding: &Binding) -> Result<Option<Element>> {
    let set = if binding.to.is_ipv4() { "exact4" } else { "exact6" };
    let tail = Key::new().proto(binding.protocol.number()).port(binding.port);
    let all = ruleset.elements(ruleset::INET, set)?;
    Ok(all.into_iter().find(|element| element.key.bytes().ends_with(tail.bytes())))
}

/// br_netfilter shows bridged packets to the ruleset: one to the container that it came from then
/// passes only in hairpin mode.
pub(crate) fn is_bridged_traffic_filtered() -> bool {
    const CALLS: [&str; 2] = ["bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"];
    CALLS.iter().any(|call| sysctl::read(call).is_ok_and(|on| on == "1"))
}

fn reach_itself(rtnl: &mut Rtnl, asked: &Publish) -> Result<()> {
    let wanted = |_: &&str| asked.hairpin && is_bridged_traffic_filtered();
    let Some(host_end) = asked.host_end.as_deref().filter(wanted) else {
        return Ok(());
    };
    let port = rtnl.link(host_end)?.and_then(|link| link.bridge_port);
    if port.is_none_or(|port| port.hairpin) {
        return Ok(());
    }
    let change = LinkChange { name: host_end, hairpin: Some(true), ..LinkChange::default() };
    rtnl.apply(&[Change::Link(change)]).map_err(|refused| refused.error.into())
}

/// Takes wanted ports from attachments whose containers are proven to be gone. Whether any was.
fn take_from_the_gone(node: &Node, rtnl: &mut Rtnl, asked: &Publish) -> Result<bool> {
    let mut taken = false;
    for mut record in inventory::attachments(node)? {
        let same = |held: &Binding| {
            asked.bindings.iter().any(|b| {
                (b.port, b.protocol, b.to.is_ipv4())
                    == (held.port, held.protocol, held.to.is_ipv4())
            })
        };
        let conflicting = record.ports.as_ref().is_some_and(|p| p.bindings.iter().any(same));
        let gone = Standing::Gone;
        if record.id == asked.id
            || !conflicting
            || inventory::standing(node, rtnl, &record)? != gone
        {
            continue;
        }
        take_back(node, &mut Ruleset::open(node), &mut record)?;
        record.store(node)?;
        taken = true;
    }
    Ok(taken)
}

/// Removes elements in the way that no record stands behind: a detach that crossed with a rebuild
/// may leave one. Whoever publishes has said so on record before. Whether there was any.
fn take_from_nobody(node: &Node, ruleset: &mut Ruleset<'_>, asked: &Publish) -> Result<bool> {
    let stored = Stored::read(node)?;
    let mut leaked = Elements::default();
    if !stored.is_whole {
        return Ok(false);
    }
    for binding in &asked.bindings {
        let (set, element) = binding_element(binding);
        let Some(found) = ruleset.element(&set, &element.key)? else { continue };
        let same = |held: &Binding| {
            let (of, held) = binding_element(held);
            of == set && held.key == element.key
        };
        let held = stored.records.iter().map(|(_, record)| record);
        let held = held.filter(|record| record.id != asked.id);
        let mut held = held.flat_map(|record| &record.ports).flat_map(|ports| &ports.bindings);
        // What stands for a link has no comment.
        if found.data != element.data && found.comment.is_some() && !held.any(same) {
            leaked.push(ruleset::INET, set, element);
        }
    }
    ruleset.remove(&leaked)?;
    Ok(!leaked.is_empty())
}

/// EBUSY: the key is there with other data.
fn is_taken(error: &Error) -> bool {
    matches!(error, Error::Firewall(e) if e.is_exists() || e.errno() == Some(Errno::BUSY))
}

/// The error for a refused publish: who has the port.
fn taken(ruleset: &mut Ruleset<'_>, asked: &Publish, error: Error) -> Error {
    if !is_taken(&error) {
        return error;
    }
    match holder(ruleset, asked) {
        Ok(Some((port, holder))) => Error::PortTaken { port, holder },
        _ => error,
    }
}

/// The first of the asked ports that leads elsewhere, and whose it is.
fn holder(ruleset: &mut Ruleset<'_>, asked: &Publish) -> Result<Option<(String, String)>> {
    for binding in &asked.bindings {
        let (set, element) = binding_element(binding);
        if let Some(found) = ruleset.element(&set, &element.key)?
            && found.data != element.data
        {
            let holder = found.comment.unwrap_or_else(|| "another program".to_owned());
            return Ok(Some((text(binding), holder)));
        }
    }
    Ok(None)
}

/// `0.0.0.0:8080/tcp`.
pub fn text(binding: &Binding) -> String {
    let host = binding.host.unwrap_or_else(|| {
        if binding.to.is_ipv4() {
            std::net::Ipv4Addr::UNSPECIFIED.into()
        } else {
            std::net::Ipv6Addr::UNSPECIFIED.into()
        }
    });
    let socket = std::net::SocketAddr::new(host, binding.port);
    format!("{socket}/{}", binding.protocol.name())
}

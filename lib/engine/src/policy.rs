//! Inbound policies that a chained plugin asks for: a property of the link, so that containers
//! cost nothing; a bridge's port is isolated by the bridge itself where nothing may pass.

use std::net::IpAddr;

use cleat_kernel::{Change, LinkChange, Rtnl};

use crate::Node;
use crate::error::{Error, Result};
use crate::identity::AttachmentId;
use crate::record::{AttachmentRecord, Ingress, Phase, PolicyPart};
use crate::ruleset::{LinkRules, Ruleset, legacy};

/// A policy for an attachment.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The attachment.
    pub id: AttachmentId,
    /// The bridge, or the host end where there is no bridge.
    pub link: String,
    /// The host end, where there is a bridge.
    pub host_end: Option<String>,
    /// The container's addresses.
    pub addresses: Vec<IpAddr>,
    /// What is let in.
    pub ingress: Ingress,
    /// The chain for an administrator's own rules.
    pub admin_chain: String,
}

/// Applies a policy.
pub fn apply(node: &Node, policy: &Policy) -> Result<()> {
    node.require_boot_id()?;
    node.mark()?;
    let name = policy.id.record_name();
    let _lock = node.locks().acquire(&name)?;
    let mut record = node
        .attachments()
        .read(&name)?
        .filter(|record| node.is_this_boot(&record.boot))
        .unwrap_or_else(|| AttachmentRecord::new(policy.id.clone(), node.boot_id()));
    if Rtnl::open()?.link(&policy.link)?.is_none() {
        return Err(Error::NoLink { role: "link", name: policy.link.clone() });
    }
    let mut ruleset = Ruleset::open(node);
    let stored = ruleset.stored_link(&policy.link)?;
    let mut rules = stored.unwrap_or_else(|| LinkRules::open(&policy.link));
    rules.ingress = Some(policy.ingress);
    if !rules.admin_chains.contains(&policy.admin_chain) {
        rules.admin_chains.push(policy.admin_chain.clone());
    }
    ruleset.set_link(&rules)?;
    isolate(policy)?;
    record.policy = Some(PolicyPart {
        phase: Phase::Ready,
        link: policy.link.clone(),
        ingress: policy.ingress,
        admin_chain: policy.admin_chain.clone(),
    });
    Ok(node.attachments().replace(&name, &record)?)
}

/// Removes what the reference's firewall made for an attachment.
pub fn remove_foreign(node: &Node, id: &AttachmentId, addresses: &[IpAddr]) -> Result<()> {
    legacy::remove(Ruleset::open(node).backend(), id, addresses)
}

/// Forgets an attachment's policy; that of the link stays for the others on it. A link that was
/// only this attachment's is forgotten. Whether it had one.
pub fn remove(node: &Node, id: &AttachmentId) -> Result<bool> {
    let name = id.record_name();
    let _lock = node.lock_to_free(&name);
    let Ok(Some(mut record)) = node.attachments().read(&name) else {
        return Ok(false);
    };
    let Some(part) = record.policy.take() else {
        return Ok(false);
    };
    record.store_rest(node);
    // A VLAN's gateway is others' too.
    let routed_by = record.link.as_ref().and_then(|link| link.routed_by.as_ref());
    let own = routed_by != Some(&part.link)
        && Rtnl::open()?.link(&part.link)?.is_none_or(|link| link.kind != "bridge");
    if own && node.is_this_boot(&record.boot) {
        Ruleset::open(node).forget_link(&part.link)?;
    }
    Ok(true)
}

/// Says whether a policy is in force.
pub fn check(node: &Node, policy: &Policy) -> Result<()> {
    let differs = |what: String| Error::Differs { id: policy.id.clone(), what };
    let mut ruleset = Ruleset::open(node);
    let rules = ruleset
        .stored_link(&policy.link)?
        .filter(|rules| rules.ingress == Some(policy.ingress))
        .ok_or_else(|| differs(format!("link {} has no such ingress policy", policy.link)));
    let rules = match rules {
        // The reference's firewall may have let it through.
        Err(_) if legacy::has_policy(ruleset.backend(), &policy.addresses)? => return Ok(()),
        other => other?,
    };
    for (table, set, element) in rules.elements().iter() {
        if table == crate::ruleset::INET && ruleset.element(set, &element.key)?.is_none() {
            return Err(differs(format!("set {set} has no element for link {}", policy.link)));
        }
    }
    Ok(())
}

fn isolate(policy: &Policy) -> Result<()> {
    let Some(host_end) = policy.host_end.as_deref().filter(|_| policy.ingress == Ingress::Isolated)
    else {
        return Ok(());
    };
    let mut rtnl = Rtnl::open()?;
    let is_port = rtnl.link(host_end)?.is_some_and(|link| link.bridge_port.is_some());
    if !is_port {
        return Ok(());
    }
    let isolated = LinkChange { name: host_end, isolated: Some(true), ..LinkChange::default() };
    rtnl.apply(&[Change::Link(isolated)]).map_err(|refused| refused.error.into())
}

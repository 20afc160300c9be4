//! What an attachment is called, for those who answer names. The record alone says it all: who
//! answers reads nothing else, and needs neither configuration nor plan.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::identity::AttachmentId;
use crate::plan::Grant;
use crate::record::AttachmentRecord;
use crate::ruleset::{LinkDns, LinkRules, Ruleset};
use crate::{Node, service};

/// Longest name in text form, without the dot at its end (RFC 1035, section 2.3.4).
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

/// The names of an attachment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamesPart {
    /// In lower case; the first one is what a question for the address's name is answered with.
    pub names: Vec<String>,
    /// The host's addresses at which its questions are answered; empty: at 127.0.0.11, inside,
    /// unless it is the host's own namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asks: Vec<IpAddr>,
    /// Where questions of its go that are not about names here, in order; empty: where the
    /// host's own go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<IpAddr>,
    /// No question of its leaves the host.
    #[serde(default)]
    pub internal: bool,
    /// It shares the host's namespace, and asks where the host does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_host: bool,
    /// A domain that the names stand in, beside that of all names here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}

/// What an attachment is to be called, as a front found it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamesPlan {
    /// In order of preference, in any case.
    pub names: Vec<String>,
    /// The container's own name servers, behind those of the network.
    pub servers: Vec<IpAddr>,
}

impl NamesPlan {
    /// The names that DNS can carry, in lower case, each once; `warn` hears of the others.
    pub fn usable(&self, warn: &dyn Fn(&str)) -> Vec<String> {
        let mut usable: Vec<String> = Vec::with_capacity(self.names.len());
        for name in &self.names {
            let lower = name.trim_end_matches('.').to_ascii_lowercase();
            if !is_name(&lower) {
                warn(&format!("name {name:?}: cannot be a name in DNS, and is left out"));
            } else if !usable.contains(&lower) {
                usable.push(lower);
            }
        }
        usable
    }
}

/// It can be asked for: labels of 1 to 63 printable ASCII characters, 253 in all.
pub fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=LONGEST_LABEL).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_graphic())
    };
    name.len() <= LONGEST_NAME && name.split('.').all(label)
}

/// Registers names for an attachment whose interface another program made, in this bridge, or
/// that has none of its own. What was registered for it before is replaced.
pub fn register(
    node: &Node,
    id: &AttachmentId,
    part: NamesPart,
    grants: &[Grant],
    bridge: Option<&str>,
) -> Result<()> {
    node.require_boot_id()?;
    if let Some(bridge) = bridge {
        lead_questions(node, id, &part, bridge)?;
    }
    let name = id.record_name();
    let _lock = node.locks().acquire(&name)?;
    let stored = node.attachments().read(&name)?;
    let mut record = stored
        .filter(|record| node.is_this_boot(&record.boot))
        .unwrap_or_else(|| AttachmentRecord::new(id.clone(), node.boot_id()));
    if record.addresses.is_empty() {
        record.addresses = grants.to_vec();
    }
    let asks = part.asks.clone();
    record.names = Some(part);
    node.attachments().replace(&name, &record)?;
    service::await_gateways(node, &asks);
    Ok(())
}

fn lead_questions(node: &Node, id: &AttachmentId, part: &NamesPart, bridge: &str) -> Result<()> {
    let rules = LinkRules {
        networks: vec![id.network.clone()],
        gateways: part.asks.clone(),
        dns: Some(LinkDns { port: service::served(node).port, intercept: false }),
        ..LinkRules::open(bridge)
    };
    let mut ruleset = Ruleset::open(node);
    let stored = ruleset.stored_link(bridge)?;
    // A policy that somebody else asked for stays.
    let inbound = stored.map_or(rules.inbound, |stored| stored.inbound);
    ruleset.set_link(&LinkRules { inbound, ..rules })
}

/// The attachment has names.
pub fn check(node: &Node, id: &AttachmentId) -> Result<()> {
    let record = node.attachments().read(&id.record_name())?;
    if record.is_some_and(|record| node.is_this_boot(&record.boot) && record.names.is_some()) {
        return Ok(());
    }
    Err(Error::Differs { id: id.clone(), what: "no names are registered for it".to_owned() })
}

/// Takes names back that were registered so. None is no error.
pub fn unregister(node: &Node, id: &AttachmentId) -> Result<()> {
    let name = id.record_name();
    let _lock = node.lock_to_free(&name);
    if let Some(mut record) = node.attachments().read(&name)?
        && record.names.take().is_some()
    {
        record.store_rest(node);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_folded_and_what_dns_cannot_carry_is_left_out() {
        let warned = std::cell::RefCell::new(0);
        let long = "a".repeat(64);
        let names = ["Web", "web.", "db_1", "site.example", "", "a b", "ä", "a..b", long.as_str()];
        let plan =
            NamesPlan { names: names.iter().map(|n| (*n).to_owned()).collect(), servers: vec![] };
        let usable = plan.usable(&|_| *warned.borrow_mut() += 1);
        assert_eq!(usable, ["web", "db_1", "site.example"]);
        assert_eq!(*warned.borrow(), 5);
    }
}

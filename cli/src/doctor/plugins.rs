//! Whether the plugins that the networks name are there, and would attach a container.

use std::collections::BTreeMap;

use cleat_cni::{RuntimeError, find};
use serde_json::Value;

use super::Finding;
use crate::context::Context;
use crate::error::Result;
use crate::network::Known;

pub(super) fn look(context: &Context, findings: &mut Vec<Finding>) -> Result<()> {
    let known = Known::read(context)?;
    let folders: Vec<String> =
        context.runtime.path.iter().map(|folder| folder.display().to_string()).collect();
    let folders = folders.join(", ");
    let mut users: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for network in &known.networks {
        for plugin in network.list.iter().flat_map(|list| &list.plugins) {
            let ipam = plugin.pointer("/ipam/type");
            for kind in plugin.get("type").into_iter().chain(ipam).filter_map(Value::as_str) {
                let names = users.entry(kind).or_default();
                if !kind.is_empty() && !names.contains(&network.name.as_str()) {
                    names.push(&network.name);
                }
            }
        }
    }
    for network in &known.networks {
        let Some(list) = &network.list else { continue };
        match context.runtime.status_list(list) {
            // Told below, by plugin.
            Ok(()) | Err(RuntimeError::NotFound { .. }) => {}
            Err(error) => findings.push(Finding::problem(
                format!("network {}", network.name),
                format!("no container can be attached: {error}"),
                "mend what it names; containers that run are not affected",
            )),
        }
    }
    let missing = users.iter().filter(|(kind, _)| find(kind, &context.runtime.path).is_err());
    let before = findings.len();
    for (kind, networks) in missing {
        findings.push(Finding::problem(
            format!("plugin {kind}"),
            format!("is in none of {folders}, and network {} needs it", networks.join(", ")),
            "install it there, or name its folder by --cni-path or CNI_PATH",
        ));
    }
    if findings.len() == before {
        findings.push(Finding::ok("plugins", format!("all that networks need are in {folders}")));
    }
    Ok(())
}

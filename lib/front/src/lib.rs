//! What the CNI plugin programs share: the address section of a configuration, conversions
//! between CNI's results and the engine's grants, and engine errors in CNI's words. Decides
//! nothing: that is the engine's.

mod addressing;
mod config;
mod convert;
pub mod dhcp;
mod errors;
mod host_local;
pub mod interface;
mod names;
mod static_addresses;

use cleat_cni::{Error, Request};
use cleat_engine::{AttachmentId, Dirs, Node};

pub use addressing::{Addressing, collect_pool};
pub use config::{
    RequestedMac, check_masquerade_backend, gateway_priority, mac_or_configured, mtu, parse_mac,
    requested_mac, runtime_value, settings_value,
};
pub use convert::{attached_result, grants_of, own_addresses, remembered, result_of, route_grant};
pub use errors::{code, to_cni};
pub use host_local::{DATA_DIR, HostLocal, pool_of, requested_addresses};
pub use names::{DOMAIN, answered_by, dns_plan, names_plan};
pub use static_addresses::StaticAddresses;

/// This node, as the environment describes it. Warnings go to standard error.
#[allow(clippy::print_stderr, reason = "warnings for the runtime's log")]
pub fn node() -> Node {
    let warn = |text: &str| eprintln!("cleat: {text}");
    Node::new(Dirs::from_env(|name| std::env::var_os(name)), warn)
}

/// Who the request is about.
pub fn attachment(request: &Request) -> AttachmentId {
    AttachmentId {
        network: request.config.name.clone(),
        owner: request.container_id.clone(),
        slot: request.ifname.clone(),
    }
}

/// The result of the plugins before this one, which a chained plugin cannot do without.
pub fn previous(request: &Request) -> Result<&cleat_cni::CniResult, Error> {
    request
        .config
        .prev_result
        .as_ref()
        .ok_or_else(|| Error::missing_prev_result(&request.config.kind))
}

/// The runtime counts the owner of a lease among the valid ones. Leases of host-local before 0.8.3
/// have no slot.
pub fn is_valid_owner(request: &Request, owner: &cleat_engine::ipam::Owner) -> bool {
    request.attachments_valid().iter().any(|valid| {
        valid.container_id == owner.id && (valid.ifname == owner.slot || owner.slot.is_empty())
    })
}

/// The runtime counts an attachment among the valid ones.
pub fn is_valid(request: &Request, id: &AttachmentId) -> bool {
    request
        .attachments_valid()
        .iter()
        .any(|valid| valid.container_id == id.owner && valid.ifname == id.slot)
}

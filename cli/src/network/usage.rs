//! Who uses a network: attachments that the engine knows, containers of `cleat run` on plugins of
//! others, and leases that neither tells of.

use std::net::IpAddr;

use cleat_engine::inventory::{self, Standing};
use cleat_engine::ipam::{Held, Kind};
use cleat_engine::kernel::Rtnl;
use cleat_engine::lease::open_pool;
use cleat_engine::record::AttachmentRecord;
use serde::Serialize;

use super::known::Network;
use crate::context::Context;
use crate::error::Result;
use crate::run::record::{self, Container};

/// One user of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct User {
    /// The owner: for CNI the container's id.
    pub(crate) id: String,
    /// The container's name, if `cleat run` gave it one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// The interface in the container.
    pub(crate) interface: String,
    pub(crate) addresses: Vec<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mac: Option<String>,
    /// The host's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host_interface: Option<String>,
}

impl User {
    /// What people call it.
    pub(crate) fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id)
    }
}

/// All that is known of users, read once for several networks.
pub(crate) struct Usage {
    attachments: Vec<AttachmentRecord>,
    containers: Vec<Container>,
}

impl Usage {
    /// Attachments that are proven to be over are left out.
    pub(crate) fn read(context: &Context) -> Result<Self> {
        let mut rtnl = Rtnl::open()?;
        let mut attachments = Vec::new();
        for found in inventory::attachments(&context.node)? {
            if inventory::standing(&context.node, &mut rtnl, &found)? != Standing::Gone {
                attachments.push(found);
            }
        }
        Ok(Self { attachments, containers: record::all(context)? })
    }

    /// The users of one network, by name.
    pub(crate) fn of(&self, context: &Context, network: &Network) -> Result<Vec<User>> {
        let mut users: Vec<User> = Vec::new();
        for attachment in self.attachments.iter().filter(|a| a.id.network == network.name) {
            users.push(self.of_record(attachment));
        }
        for container in self.containers.iter().filter(|c| c.is_attached()) {
            for joined in container.networks.iter().filter(|j| j.network == network.name) {
                if !users.iter().any(|u| u.id == container.id && u.interface == joined.interface) {
                    users.push(User {
                        id: container.id.clone(),
                        name: Some(container.name.clone()),
                        interface: joined.interface.clone(),
                        addresses: joined.addresses.iter().map(|a| a.addr()).collect(),
                        mac: joined.mac.clone(),
                        host_interface: None,
                    });
                }
            }
        }
        for held in leases(context, network)? {
            let known = users.iter().any(|u| u.id == held.owner.id);
            if held.kind == Kind::Foreign && !known {
                users.push(User {
                    id: held.owner.id,
                    name: None,
                    interface: held.owner.slot,
                    addresses: vec![held.address],
                    mac: None,
                    host_interface: None,
                });
            }
        }
        users.sort_by(|a, b| a.label().cmp(b.label()));
        Ok(users)
    }

    /// The name that `cleat run` gave an owner.
    pub(crate) fn name_of(&self, owner: &str) -> Option<&str> {
        self.containers.iter().find(|c| c.id == owner).map(|c| c.name.as_str())
    }

    /// All attachments that are not over.
    pub(crate) fn attachments(&self) -> &[AttachmentRecord] {
        &self.attachments
    }

    fn of_record(&self, record: &AttachmentRecord) -> User {
        let link = record.link.as_ref();
        User {
            id: record.id.owner.clone(),
            name: self.name_of(&record.id.owner).map(str::to_owned),
            interface: record.id.slot.clone(),
            addresses: record.addresses.iter().map(|g| g.address.addr()).collect(),
            mac: link.and_then(|link| link.mac).map(|mac| mac.to_string()),
            host_interface: link.and_then(|link| link.host.clone()),
        }
    }
}

/// Addresses that are held until they are released by hand.
pub(crate) fn reservations(context: &Context, network: &Network) -> Result<Vec<Held>> {
    let mut held = leases(context, network)?;
    held.retain(|held| held.kind == Kind::Reservation);
    Ok(held)
}

/// All addresses held on a network; none where it leases none.
pub(crate) fn leases(context: &Context, network: &Network) -> Result<Vec<Held>> {
    match network.pool() {
        Ok(config) => Ok(open_pool(&context.node, config).list()?),
        Err(_) => Ok(Vec::new()),
    }
}

//! Where the other nodes are reached.

use std::net::IpAddr;

use cleat_engine::overlay::OverlayNetwork;

use super::part::Outer;
use super::underlay::{local, same_family};
use crate::overlay::view::State;

/// Over the links underneath, in clear.
pub(super) struct Underneath<'m> {
    /// This node's addresses.
    pub(super) own: &'m [IpAddr],
}

impl Outer for Underneath<'_> {
    fn local(&self, network: &OverlayNetwork, state: &State) -> Option<IpAddr> {
        let owners = state.claims(&network.id).filter_map(|(_, owner)| state.host(&owner.node));
        local(self.own, owners.map(|host| host.addresses.as_slice()))
    }

    fn of(&self, state: &State, node: &str, local: &IpAddr) -> Option<IpAddr> {
        same_family(&state.host(node)?.addresses, local)
    }
}

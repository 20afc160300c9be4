//! The `dummy` plugin: an interface with addresses that leads nowhere.

use cleat_cni::{Error, Request};
use cleat_engine::kernel::Mac;
use cleat_engine::plan::{Driver, NetworkPlan};
use cleat_front::interface::{Interface, InterfacePlugin};
use cleat_front::{RequestedMac, requested_mac};

/// The plugin.
pub const PLUGIN: InterfacePlugin<Dummy> = InterfacePlugin(Dummy);

/// What it makes.
pub struct Dummy;

impl Interface for Dummy {
    const NAME: &'static str = "dummy";

    fn network(request: &Request) -> Result<NetworkPlan, Error> {
        if request.config.ipam.is_none() {
            let text = "ipam: missing; an interface that leads nowhere is of use for its addresses";
            return Err(Error::invalid_config(text.to_owned()));
        }
        Ok(NetworkPlan::new(&request.config.name, Driver::Dummy))
    }

    fn mac(request: &Request) -> Result<Option<Mac>, Error> {
        requested_mac(request, &[RequestedMac::Capability, RequestedMac::Environment])
    }
}

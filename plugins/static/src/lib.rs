//! The `static` plugin: addresses that the configuration or the runtime names. Keeps nothing.

use cleat_cni::{CniResult, Error, Plugin, Request};
use cleat_front::StaticAddresses;

/// The plugin.
pub struct Static;

impl Plugin for Static {
    fn name(&self) -> &'static str {
        "static"
    }

    fn add(&self, request: &Request) -> Result<CniResult, Error> {
        let section = StaticAddresses::read(request)?;
        let StaticAddresses { ips, routes, dns } = section;
        Ok(CniResult { ips, routes, dns, ..CniResult::default() })
    }

    fn del(&self, _: &Request) -> Result<(), Error> {
        Ok(())
    }

    fn check(&self, request: &Request) -> Result<(), Error> {
        let previous = cleat_front::previous(request)?;
        for wanted in StaticAddresses::read(request)?.ips {
            let found = previous.ips.iter().find(|ip| ip.address == wanted.address);
            let differs = match found {
                None => format!("the result lacks address {}", wanted.address),
                Some(ip) if ip.gateway != wanted.gateway && wanted.gateway.is_some() => {
                    format!("address {} has another gateway in the result", wanted.address)
                }
                Some(_) => continue,
            };
            return Err(Error::new(cleat_front::code::DIFFERS, differs));
        }
        Ok(())
    }

    fn status(&self, request: &Request) -> Result<(), Error> {
        StaticAddresses::read(request).map(drop)
    }
}

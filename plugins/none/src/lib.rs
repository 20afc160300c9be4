//! The `none` plugin: a namespace with its loopback and nothing else. Installed under the name
//! `loopback` too, which runtimes execute for every container.

use std::path::Path;

use cleat_cni::{CniResult, Error, Interface, IpConfig, Plugin, Request};
use cleat_engine::loopback;
use cleat_front::to_cni;

/// The plugin.
pub struct None;

impl Plugin for None {
    fn name(&self) -> &'static str {
        let own = std::env::args_os().next();
        let name = own.as_deref().map(Path::new).and_then(Path::file_name);
        if name.is_some_and(|name| name == "loopback") { "loopback" } else { "none" }
    }

    fn add(&self, request: &Request) -> Result<CniResult, Error> {
        let netns = netns(request);
        let addresses = loopback::up(netns).map_err(to_cni)?;
        if let Some(previous) = &request.config.prev_result {
            return Ok(previous.clone());
        }
        let interface = Interface {
            name: "lo".to_owned(),
            mac: Some("00:00:00:00:00:00".to_owned()),
            sandbox: Some(netns.to_string_lossy().into_owned()),
            ..Interface::default()
        };
        let ips = addresses
            .into_iter()
            .map(|address| IpConfig { interface: Some(0), address, gateway: Option::None })
            .collect();
        Ok(CniResult { interfaces: vec![interface], ips, ..CniResult::default() })
    }

    fn del(&self, request: &Request) -> Result<(), Error> {
        // A namespace that is gone took its loopback along.
        match request.netns.as_deref().filter(|path| path.exists()) {
            Some(netns) => match loopback::down(netns) {
                Err(cleat_engine::Error::Netns { .. }) | Ok(()) => Ok(()),
                Err(error) => Err(to_cni(error)),
            },
            Option::None => Ok(()),
        }
    }

    fn check(&self, request: &Request) -> Result<(), Error> {
        if loopback::is_up(netns(request)).map_err(to_cni)? {
            Ok(())
        } else {
            Err(Error::new(cleat_front::code::DIFFERS, "loopback interface is down"))
        }
    }
}

fn netns(request: &Request) -> &Path {
    request.netns.as_deref().unwrap_or(Path::new(""))
}

//! CNI results to grants and back.

use cleat_cni::{CniResult, Dns, Interface, IpConfig, Request, Route};
use cleat_engine::plan::{Grant, Grants, RouteGrant};
use cleat_engine::{Attached, Remembered};

/// What an address plugin's result grants.
pub fn grants_of(result: &CniResult) -> Grants {
    let addresses =
        result.ips.iter().map(|ip| Grant { address: ip.address, gateway: ip.gateway }).collect();
    Grants { addresses, routes: result.routes.iter().map(route_grant).collect() }
}

/// A route of a result or a configuration as the engine takes it.
pub fn route_grant(route: &Route) -> RouteGrant {
    RouteGrant {
        dst: route.dst,
        gateway: route.gw,
        mtu: route.mtu,
        advmss: route.advmss,
        priority: route.priority,
        table: route.table,
        scope: route.scope,
    }
}

/// Grants as an address plugin's result: no interfaces, no indexes.
pub fn result_of(grants: &Grants, dns: Dns) -> CniResult {
    let ips = grants
        .addresses
        .iter()
        .map(|grant| IpConfig { interface: None, address: grant.address, gateway: grant.gateway })
        .collect();
    let routes = grants.routes.iter().map(route).collect();
    CniResult { interfaces: Vec::new(), ips, routes, dns }
}

/// A made attachment as a result. The addresses are the container's interface's.
pub fn attached_result(request: &Request, attached: &Attached, dns: Dns) -> CniResult {
    let sandbox = request.netns.as_ref().map(|path| path.to_string_lossy().into_owned());
    let interfaces: Vec<Interface> = attached
        .interfaces
        .iter()
        .map(|interface| Interface {
            name: interface.name.clone(),
            mac: interface.mac.map(|mac| mac.to_string()),
            mtu: Some(interface.mtu),
            sandbox: sandbox.clone().filter(|_| interface.inside),
            ..Interface::default()
        })
        .collect();
    let container = attached.interfaces.iter().position(|interface| interface.inside);
    let mut result = result_of(&attached.grants, dns);
    result.ips.iter_mut().for_each(|ip| ip.interface = container);
    CniResult { interfaces, ..result }
}

/// What the runtime remembers of an attachment, for a check of the interface with this name.
pub fn remembered(request: &Request) -> Remembered {
    let Some(result) = &request.config.prev_result else {
        return Remembered::default();
    };
    let own = result.interfaces.iter().position(|interface| {
        interface.name == request.ifname
            && interface.sandbox.as_deref().is_some_and(|s| !s.is_empty())
    });
    let mac = own
        .and_then(|index| result.interfaces.get(index))
        .and_then(|interface| interface.mac.as_deref()?.parse().ok());
    let mut grants = grants_of(result);
    let ours = |ip: &IpConfig| ip.interface.is_none() || ip.interface == own;
    let keep: Vec<bool> = result.ips.iter().map(ours).collect();
    let mut keep = keep.into_iter();
    grants.addresses.retain(|_| keep.next().unwrap_or(true));
    Remembered { grants, mac }
}

fn route(grant: &RouteGrant) -> Route {
    Route {
        mtu: grant.mtu,
        advmss: grant.advmss,
        priority: grant.priority,
        table: grant.table,
        scope: grant.scope,
        ..Route::new(grant.dst, grant.gateway)
    }
}

/// The container's addresses as the runtime remembers them.
pub fn own_addresses(request: &Request) -> Vec<std::net::IpAddr> {
    remembered(request).grants.addresses.iter().map(|grant| grant.address.addr()).collect()
}

//! What a server's acknowledgement grants.

use std::net::{IpAddr, Ipv4Addr};

use cleat_cni::Dns;
use cleat_engine::kernel::Mac;
use cleat_engine::plan::{Grant, RouteGrant};
use cleat_front::dhcp::{Asked, Leased};
use dhcproto::v4::{DhcpOption, Message, OptionCode};
use ipnet::{IpNet, Ipv4Net};

use super::super::lease::{Held, Server, Times};

/// `RT_SCOPE_LINK`.
const ON_LINK: u8 = 253;
/// T1 and T2 where the server says none, in eighths (RFC 2131, section 4.4.5).
const SHARES: (u32, u32) = (4, 7);

/// The server that sent a message, as it names itself.
pub(super) fn server(message: &Message) -> Option<Ipv4Addr> {
    match message.opts().get(OptionCode::ServerIdentifier) {
        Some(DhcpOption::ServerIdentifier(server)) => Some(*server),
        _ => None,
    }
}

/// The lease that an acknowledgement gives, of a question asked at this moment; `None` for one
/// that says not for how long.
pub(super) fn held(
    ack: &Message,
    server: Ipv4Addr,
    hop: Option<Mac>,
    asked_at: u64,
) -> Option<Held> {
    let seconds = |code| match ack.opts().get(code) {
        Some(
            DhcpOption::AddressLeaseTime(s) | DhcpOption::Renewal(s) | DhcpOption::Rebinding(s),
        ) => Some(*s),
        _ => None,
    };
    let end = seconds(OptionCode::AddressLeaseTime).filter(|end| *end > 0)?;
    let t1 = seconds(OptionCode::Renewal).unwrap_or(0);
    let t2 = seconds(OptionCode::Rebinding).unwrap_or(0);
    Some(Held {
        address: ack.yiaddr().into(),
        server: Server { id: server.octets().to_vec(), hop },
        times: Times::from_now(asked_at, (t1, t2, end), SHARES),
        lost: false,
        again: 0,
    })
}

/// What the container is given.
pub(super) fn leased(ack: &Message, asked: &Asked) -> Leased {
    let gateway = router(ack);
    // Without a mask the address's class has it, as before masks were sent.
    let mask = match ack.opts().get(OptionCode::SubnetMask) {
        Some(DhcpOption::SubnetMask(mask)) => ipnet::ipv4_mask_to_prefix(*mask).ok(),
        _ => None,
    };
    let prefix = mask.unwrap_or_else(|| class(ack.yiaddr()));
    let address = Ipv4Net::new(ack.yiaddr(), prefix).unwrap_or_else(|_| ack.yiaddr().into());
    let mut routes = routes(ack, gateway);
    routes.iter_mut().for_each(|route| route.priority = asked.priority);
    Leased {
        addresses: vec![Grant { address: address.into(), gateway: gateway.map(IpAddr::V4) }],
        routes,
        dns: dns(ack),
    }
}

fn router(ack: &Message) -> Option<Ipv4Addr> {
    match ack.opts().get(OptionCode::Router) {
        Some(DhcpOption::Router(routers)) => routers.first().copied(),
        _ => None,
    }
}

/// Where there are classless routes, the others and the router mean nothing (RFC 3442).
fn routes(ack: &Message, router: Option<Ipv4Addr>) -> Vec<RouteGrant> {
    if let Some(DhcpOption::ClasslessStaticRoute(routes)) =
        ack.opts().get(OptionCode::ClasslessStaticRoute)
        && !routes.is_empty()
    {
        return routes.iter().map(|(to, by)| route(*to, *by)).collect();
    }
    let mut all = Vec::new();
    if let Some(DhcpOption::StaticRoutingTable(routes)) =
        ack.opts().get(OptionCode::StaticRoutingTable)
    {
        let net = |to: Ipv4Addr| Ipv4Net::new(to, class(to)).ok();
        all.extend(routes.iter().filter_map(|(to, by)| Some(route(net(*to)?, *by))));
    }
    all.extend(router.map(|router| route(Ipv4Net::default(), router)));
    all
}

fn route(to: Ipv4Net, by: Ipv4Addr) -> RouteGrant {
    let to = IpNet::V4(to.trunc());
    match by.is_unspecified() {
        true => RouteGrant { scope: Some(ON_LINK), ..RouteGrant::to(to, None) },
        false => RouteGrant::to(to, Some(by.into())),
    }
}

/// The prefix length of an address's class.
fn class(address: Ipv4Addr) -> u8 {
    match address.octets() {
        [0..=127, ..] => 8,
        [128..=191, ..] => 16,
        _ => 24,
    }
}

fn dns(ack: &Message) -> Dns {
    let mut dns = Dns::default();
    if let Some(DhcpOption::DomainNameServer(servers)) =
        ack.opts().get(OptionCode::DomainNameServer)
    {
        dns.nameservers = servers.iter().map(Ipv4Addr::to_string).collect();
    }
    if let Some(DhcpOption::DomainName(domain)) = ack.opts().get(OptionCode::DomainName) {
        let domain = domain.trim_end_matches('\0');
        dns.domain = Some(domain.to_owned()).filter(|domain| !domain.is_empty());
    }
    if let Some(DhcpOption::DomainSearch(domains)) = ack.opts().get(OptionCode::DomainSearch) {
        let text = |name: &hickory_proto::rr::Name| name.to_utf8().trim_end_matches('.').to_owned();
        dns.search = domains.iter().map(text).collect();
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Asked {
        let id = cleat_engine::AttachmentId {
            network: "net".into(),
            owner: "c".into(),
            slot: "eth0".into(),
        };
        Asked {
            id,
            netns: "/ns".into(),
            ipv4: true,
            ipv6: false,
            prefix: None,
            client: vec![0, 1],
            request: None,
            provide: Vec::new(),
            priority: Some(7),
        }
    }

    fn ack(options: Vec<DhcpOption>) -> Message {
        let none = Ipv4Addr::UNSPECIFIED;
        let address = Ipv4Addr::new(192, 0, 2, 50);
        let mut ack = Message::new_with_id(1, none, address, none, none, &[2; 6]);
        options.into_iter().for_each(|option| drop(ack.opts_mut().insert(option)));
        ack
    }

    #[test]
    fn classless_routes_stand_for_all_others() {
        let router = Ipv4Addr::new(192, 0, 2, 1);
        let old = (Ipv4Addr::new(10, 1, 0, 0), router);
        let mut options = vec![
            DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 128)),
            DhcpOption::Router(vec![router]),
            DhcpOption::StaticRoutingTable(vec![old]),
        ];
        let leased = |options: &[DhcpOption]| super::leased(&ack(options.to_vec()), &asked());
        let text = |leased: &Leased| {
            let one = |r: &RouteGrant| format!("{} {:?} {:?}", r.dst, r.gateway, r.priority);
            leased.routes.iter().map(one).collect::<Vec<_>>()
        };
        let found = leased(&options);
        assert_eq!(found.addresses[0].address.to_string(), "192.0.2.50/25");
        assert_eq!(found.addresses[0].gateway, Some(router.into()));
        assert_eq!(
            text(&found),
            ["10.0.0.0/8 Some(192.0.2.1) Some(7)", "0.0.0.0/0 Some(192.0.2.1) Some(7)"]
        );
        let on_link = ("198.51.100.0/24".parse().unwrap(), Ipv4Addr::UNSPECIFIED);
        let by = ("203.0.113.0/24".parse().unwrap(), router);
        options.push(DhcpOption::ClasslessStaticRoute(vec![on_link, by]));
        let found = leased(&options);
        assert_eq!(
            text(&found),
            ["198.51.100.0/24 None Some(7)", "203.0.113.0/24 Some(192.0.2.1) Some(7)"]
        );
        assert_eq!(found.routes[0].scope, Some(ON_LINK));
    }

    #[test]
    fn a_lease_has_an_end() {
        let server = Ipv4Addr::new(192, 0, 2, 2);
        assert_eq!(held(&ack(Vec::new()), server, None, 0), None);
        let held = held(&ack(vec![DhcpOption::AddressLeaseTime(80)]), server, None, 0).unwrap();
        assert_eq!((held.times.renew, held.times.expire), (40_000, 80_000));
    }
}

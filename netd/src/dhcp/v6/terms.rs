//! What a server's answer grants.

use std::net::Ipv6Addr;

use cleat_cni::Dns;
use cleat_engine::kernel::Mac;
use cleat_engine::plan::Grant;
use cleat_front::dhcp::{Asked, Leased};
use dhcproto::v6::{DhcpOption, DhcpOptions, IAAddr, IANA, Message, OptionCode, Status};
use ipnet::{IpNet, Ipv6Net};

use super::super::lease::{Held, Server, Times};
use super::message::{ASSOCIATION, duid};

/// T1 and T2 where the server says none, in eighths of the lifetime (RFC 8415, section 21.4: half,
/// and eight tenths).
const SHARES: (u32, u32) = (4, 6);

/// The server of an answer that is meant for this client.
pub(super) fn server(message: &Message, asked: &Asked) -> Option<Vec<u8>> {
    let own = duid(asked);
    match message.opts().get(OptionCode::ClientId) {
        Some(DhcpOption::ClientId(client)) if *client == own => {}
        _ => return None,
    }
    match message.opts().get(OptionCode::ServerId) {
        Some(DhcpOption::ServerId(server)) => Some(server.clone()),
        _ => None,
    }
}

/// The address that an answer gives, or the server's words.
pub(super) fn address(message: &Message) -> Result<(IAAddr, IANA), String> {
    refusal(message.opts())?;
    let all = message.opts().get_all(OptionCode::IANA).unwrap_or_default();
    let own = all.iter().find_map(|option| match option {
        DhcpOption::IANA(iana) if iana.id == ASSOCIATION => Some(iana),
        _ => None,
    });
    let iana = own.ok_or("it gives nothing")?;
    refusal(&iana.opts)?;
    let given = iana.opts.iter().find_map(|option| match option {
        DhcpOption::IAAddr(given) if given.valid_life > 0 => Some(given),
        _ => None,
    });
    let given = given.ok_or("it gives no address")?;
    refusal(&given.opts)?;
    Ok((given.clone(), iana.clone()))
}

fn refusal(options: &DhcpOptions) -> Result<(), String> {
    match options.get(OptionCode::StatusCode) {
        Some(DhcpOption::StatusCode(code)) if code.status != Status::Success => {
            match code.msg.is_empty() {
                true => Err(format!("{:?}", code.status)),
                false => Err(format!("{:?}: {}", code.status, code.msg)),
            }
        }
        _ => Ok(()),
    }
}

/// The lease, of a question asked at this moment.
pub(super) fn held(
    (given, iana): &(IAAddr, IANA),
    server: Vec<u8>,
    hop: Option<Mac>,
    asked_at: u64,
) -> Held {
    let said = (iana.t1, iana.t2, given.valid_life);
    Held {
        address: given.addr.into(),
        server: Server { id: server, hop },
        times: Times::from_now(asked_at, said, SHARES),
        lost: false,
        again: 0,
    }
}

/// What the container is given. Which prefix is on the link a DHCPv6 server does not say, nor the
/// router: that is router advertisements', or the configuration's.
pub(super) fn leased(address: Ipv6Addr, message: &Message, asked: &Asked) -> Leased {
    let length = asked.prefix.filter(|prefix| prefix.contains(&address)).map(|p| p.prefix_len());
    let net = Ipv6Net::new(address, length.unwrap_or(128)).unwrap_or_else(|_| address.into());
    let mut dns = Dns::default();
    if let Some(DhcpOption::DomainNameServers(servers)) =
        message.opts().get(OptionCode::DomainNameServers)
    {
        dns.nameservers = servers.iter().map(Ipv6Addr::to_string).collect();
    }
    if let Some(DhcpOption::DomainSearchList(domains)) =
        message.opts().get(OptionCode::DomainSearchList)
    {
        let text = |name: &hickory_proto::rr::Name| name.to_utf8().trim_end_matches('.').to_owned();
        dns.search = domains.iter().map(text).collect();
    }
    let addresses = vec![Grant { address: IpNet::V6(net), gateway: None }];
    Leased { addresses, routes: Vec::new(), dns }
}

//! Which host ports a request gets. A port is free if a socket can be bound to it and nobody has
//! published it: a published port has no socket. The sockets are held until all are chosen.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use cleat_engine::record::Protocol;

use super::publish::{Mapping, PublishRequest};
use crate::error::{Error, Result};

/// How often the kernel may offer a port that is published already.
const TRIES: usize = 64;
/// Where automatic ports of protocols come from whose sockets cannot be bound here (RFC 6335).
const DYNAMIC: std::ops::RangeInclusive<u16> = 49_152..=65_535;

/// Ports that are published already.
pub(super) type Published = BTreeSet<(u8, u16)>;

/// Chooses a host port for every port asked for.
pub(super) fn choose(requests: &[PublishRequest], published: &Published) -> Result<Vec<Mapping>> {
    let mut chooser = Chooser { taken: published.clone(), held: Vec::new() };
    let mut mappings = Vec::new();
    for request in requests {
        let count = request.ports.len();
        for (index, port) in request.ports.clone().enumerate() {
            let host_port = match &request.host_ports {
                None => chooser.any(request)?,
                Some(range) if count == 1 => chooser.first_of(request, range.clone())?,
                Some(range) => {
                    let wanted = range.clone().nth(index).unwrap_or(*range.end());
                    chooser.this(request, wanted)?
                }
            };
            mappings.push(Mapping {
                host: request.host,
                host_port,
                container_port: port,
                protocol: request.protocol,
            });
        }
    }
    Ok(mappings)
}

struct Chooser {
    taken: Published,
    held: Vec<Held>,
}

/// Kept open, so that the next choice cannot be the same.
enum Held {
    Tcp(#[allow(dead_code, reason = "held, not used")] TcpListener),
    Udp(#[allow(dead_code, reason = "held, not used")] UdpSocket),
}

impl Chooser {
    fn this(&mut self, request: &PublishRequest, port: u16) -> Result<u16> {
        self.try_this(request, port).map_err(|source| Error::PortTaken {
            port: format!("{port}/{}", request.protocol.name()),
            source,
        })
    }

    fn first_of(
        &mut self,
        request: &PublishRequest,
        range: std::ops::RangeInclusive<u16>,
    ) -> Result<u16> {
        if range.len() == 1 {
            return self.this(request, *range.start());
        }
        let ports = format!("{}-{}/{}", range.start(), range.end(), request.protocol.name());
        let mut all = range;
        all.find(|port| self.try_this(request, *port).is_ok()).ok_or(Error::NoFreePort { ports })
    }

    fn any(&mut self, request: &PublishRequest) -> Result<u16> {
        if request.protocol == Protocol::Sctp {
            return self.first_of(request, DYNAMIC);
        }
        for _ in 0..TRIES {
            // A port that was offered in vain stays held, so the next one is another.
            let (port, held) = bind(request, 0).map_err(|source| Error::PortTaken {
                port: format!("any/{}", request.protocol.name()),
                source,
            })?;
            self.held.push(held);
            if self.taken.insert((request.protocol.number(), port)) {
                return Ok(port);
            }
        }
        Err(Error::NoFreePort { ports: format!("any/{}", request.protocol.name()) })
    }

    fn try_this(&mut self, request: &PublishRequest, port: u16) -> io::Result<u16> {
        let key = (request.protocol.number(), port);
        if self.taken.contains(&key) && request.host.is_none() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "published already"));
        }
        if request.protocol != Protocol::Sctp {
            self.held.push(bind(request, port)?.1);
        }
        self.taken.insert(key);
        Ok(port)
    }
}

fn bind(request: &PublishRequest, port: u16) -> io::Result<(u16, Held)> {
    match request.host {
        Some(host) => bind_at(request.protocol, host, port),
        // Both families at once; a host without IPv6 has the other.
        None => bind_at(request.protocol, Ipv6Addr::UNSPECIFIED.into(), port).or_else(|error| {
            match error.kind() {
                io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
                _ => bind_at(request.protocol, Ipv4Addr::UNSPECIFIED.into(), port),
            }
        }),
    }
}

fn bind_at(protocol: Protocol, host: IpAddr, port: u16) -> io::Result<(u16, Held)> {
    let address = SocketAddr::new(host, port);
    if protocol == Protocol::Udp {
        let socket = UdpSocket::bind(address)?;
        return Ok((socket.local_addr()?.port(), Held::Udp(socket)));
    }
    let listener = TcpListener::bind(address)?;
    Ok((listener.local_addr()?.port(), Held::Tcp(listener)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose_for(texts: &[&str], published: &Published) -> Result<Vec<Mapping>> {
        let requests: Vec<PublishRequest> = texts.iter().map(|t| t.parse().unwrap()).collect();
        choose(&requests, published)
    }

    #[test]
    fn automatic_ports_differ() {
        let texts = ["127.0.0.1::80", "127.0.0.1::80", "127.0.0.1::90-95"];
        let found = choose_for(&texts, &Published::new()).unwrap();
        let ports: BTreeSet<u16> = found.iter().map(|m| m.host_port).collect();
        assert_eq!(ports.len(), 8);
        assert!(found.iter().all(|m| m.host_port != 0));
    }

    #[test]
    fn what_somebody_listens_on_is_passed_over_or_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = choose_for(&[&format!("127.0.0.1:{port}:80")], &Published::new()).unwrap_err();
        assert!(error.to_string().contains(&format!("{port}/tcp")), "{error}");
        // The same port of another protocol is free.
        let udp = format!("127.0.0.1:{port}:80/udp");
        assert_eq!(choose_for(&[&udp], &Published::new()).unwrap()[0].host_port, port);
    }

    #[test]
    fn what_is_published_is_passed_over_or_refused() {
        let published = Published::from([(132, 7000), (132, 7001)]);
        let first = |text: &str| choose_for(&[text], &published).map(|found| found[0].host_port);
        assert_eq!(first("7000-7005:80/sctp").unwrap(), 7002);
        assert!(first("7000:80/sctp").is_err());
        assert!(first("7000-7001:80/sctp").unwrap_err().to_string().contains("7000-7001/sctp"));
    }

    #[test]
    fn ranges_are_matched_in_order() {
        let found = choose_for(&["7000-7002:80-82/sctp"], &Published::new()).unwrap();
        let pairs: Vec<_> = found.iter().map(|m| (m.host_port, m.container_port)).collect();
        assert_eq!(pairs, [(7000, 80), (7001, 81), (7002, 82)]);
    }
}

//! Datagrams: each client has a socket of its own to the container, so that answers find back, for
//! as long as either side sends something now and then.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{SendFlags, send, sendto};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::budget::Budget;
use super::count::Counted;
use crate::daemon::Shared;

/// As long as the kernel keeps a translated stream of datagrams that both sides speak in
/// (`nf_conntrack_udp_timeout_stream`).
const IDLE: Duration = Duration::from_secs(120);
/// The longest datagram, in bytes.
const LONGEST: usize = 64 << 10;
/// Datagrams that are passed on before others have their turn.
const BURST: usize = 64;
/// After a failed wait, which would fail again at once.
const PAUSE: Duration = Duration::from_millis(100);

/// One client's.
struct Session {
    backend: Rc<UdpSocket>,
    last: Rc<Cell<Instant>>,
}

/// Passes datagrams on until it is aborted, and then ends all sessions.
pub(super) async fn serve(socket: UdpSocket, to: SocketAddr, shared: Arc<Shared>) {
    let socket = Rc::new(socket);
    let mut sessions: HashMap<SocketAddr, Session> = HashMap::new();
    let mut ends: JoinSet<SocketAddr> = JoinSet::new();
    loop {
        tokio::select! {
            ready = socket.readable() => {
                let passed = ready.and_then(|()| {
                    take(&socket, |datagram, from| {
                        let session = match sessions.get(&from) {
                            Some(session) => session,
                            None => {
                                let Some((session, counted)) = open(to, &shared) else { return };
                                let back = (socket.clone(), from);
                                ends.spawn_local(answer(
                                    back,
                                    session.backend.clone(),
                                    session.last.clone(),
                                    counted,
                                ));
                                sessions.entry(from).or_insert(session)
                            }
                        };
                        session.last.set(Instant::now());
                        // Not by the runtime, which knows no new socket to be writable yet. What
                        // there is no room for is lost, like any datagram.
                        let _ = send(&*session.backend, datagram, SendFlags::DONTWAIT);
                    })
                });
                if let Err(error) = passed {
                    tracing::warn!("[::1] to {to}: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
            Some(ended) = ends.join_next() => {
                if let Ok(client) = ended {
                    sessions.remove(&client);
                }
            }
        }
    }
}

fn open(to: SocketAddr, shared: &Shared) -> Option<(Session, Counted)> {
    let most = Budget::new(&shared.config().relay).connections;
    let counted = shared.relay.sessions.enter(most)?;
    let connected = || -> io::Result<UdpSocket> {
        let any = if to.is_ipv4() {
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
        } else {
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
        };
        let socket = std::net::UdpSocket::bind(any)?;
        socket.connect(to)?;
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket)
    };
    match connected() {
        Ok(socket) => {
            let (backend, last) = (Rc::new(socket), Rc::new(Cell::new(Instant::now())));
            Some((Session { backend, last }, counted))
        }
        Err(error) => {
            tracing::debug!("{to}: {error}");
            None
        }
    }
}

/// Passes answers back until there is silence, or until the container says that nobody is there.
async fn answer(
    (socket, client): (Rc<UdpSocket>, SocketAddr),
    backend: Rc<UdpSocket>,
    last: Rc<Cell<Instant>>,
    _counted: Counted,
) -> SocketAddr {
    loop {
        let left = IDLE.saturating_sub(last.get().elapsed());
        if left.is_zero() {
            return client;
        }
        let Ok(ready) = tokio::time::timeout(left, backend.readable()).await else { continue };
        let passed = ready.and_then(|()| {
            take(&backend, |datagram, _| {
                last.set(Instant::now());
                let _ = sendto(&*socket, datagram, SendFlags::DONTWAIT, &client);
            })
        });
        if passed.is_err() {
            return client;
        }
    }
}

/// Takes what is there, a burst at most.
fn take(socket: &UdpSocket, mut each: impl FnMut(&[u8], SocketAddr)) -> io::Result<()> {
    let mut buffer = [0; LONGEST];
    for _ in 0..BURST {
        match socket.try_recv_from(&mut buffer) {
            Ok((length, from)) => each(buffer.get(..length).unwrap_or_default(), from),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

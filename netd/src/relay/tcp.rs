//! Streams: spliced through a pipe in either direction, so that no byte is copied to here. An end
//! of one direction is passed on as such; an error ends both with a reset.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::budget::Budget;
use super::count::Counted;
use crate::daemon::Shared;

/// A container that does not answer is given up.
const CONNECT: Duration = Duration::from_secs(10);
/// After a failed accept, which would fail again at once.
const PAUSE: Duration = Duration::from_millis(100);
/// A pipe's usual size, in bytes.
const CHUNK: usize = 64 << 10;
/// A container that went without a word is noticed after this long, and three more such times.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Accepts until it is aborted, and then ends what it accepted.
pub(super) async fn serve(listener: TcpListener, to: SocketAddr, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    let most = Budget::new(&shared.config().relay).connections;
                    match shared.relay.connections.enter(most) {
                        Some(counted) => {
                            connections.spawn_local(relay(client, to, counted));
                        }
                        None => reset(&client),
                    }
                }
                Err(error) => {
                    tracing::warn!("[::1]:{}: {error}", to.port());
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn relay(client: TcpStream, to: SocketAddr, _counted: Counted) {
    let backend = match tokio::time::timeout(CONNECT, TcpStream::connect(to)).await {
        Ok(Ok(backend)) => backend,
        Ok(Err(error)) => {
            tracing::debug!("{to}: {error}");
            return reset(&client);
        }
        Err(_) => return reset(&client),
    };
    for stream in [&client, &backend] {
        // Both are told by their own sides what to send when.
        let _ = stream.set_nodelay(true);
    }
    let _ = sockopt::set_socket_keepalive(&backend, true);
    let _ = sockopt::set_tcp_keepidle(&backend, KEEPALIVE);
    let _ = sockopt::set_tcp_keepintvl(&backend, KEEPALIVE);
    let _ = sockopt::set_tcp_keepcnt(&backend, 3);
    let both = tokio::try_join!(pass_on(&client, &backend), pass_on(&backend, &client));
    if let Err(error) = both {
        tracing::debug!("{to}: {error}");
        reset(&client);
        reset(&backend);
    }
}

/// What is closed without having ended is a reset.
fn reset(stream: &TcpStream) {
    let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

/// Passes everything on, and then the end.
async fn pass_on(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let (out, into): (OwnedFd, OwnedFd) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    loop {
        // The pipe is empty here, so that to wait is to wait for the stream.
        let fill = || Ok(splice(from, None, &into, None, CHUNK, flags)?);
        let mut left = from.async_io(Interest::READABLE, fill).await?;
        if left == 0 {
            break;
        }
        while left > 0 {
            let empty = || Ok(splice(&out, None, to, None, left, flags)?);
            left -= to.async_io(Interest::WRITABLE, empty).await?;
        }
    }
    match rustix::net::shutdown(to, rustix::net::Shutdown::Write) {
        // Reset meanwhile, which the other direction hears of.
        Err(rustix::io::Errno::NOTCONN) => Ok(()),
        other => Ok(other?),
    }
}

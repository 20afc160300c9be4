//! Published ports at ::1, which the kernel never lets out of the host: connections and datagrams
//! to `[::1]:port` are passed on to the container. Listens only while a port is published, on one
//! thread for all ports, and reads of a stream's bytes none. What is published under conditions, or
//! by SCTP, is not relayed.

mod budget;
mod count;
mod listeners;
mod published;
mod tcp;
mod udp;

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use cleat_engine::records::Watch;
use tokio::io::unix::AsyncFd;
use tokio::task::LocalSet;

use crate::daemon::Shared;
use crate::error::{Error, Result};
use count::Count;
use listeners::Listeners;
use published::Published;

/// What is relayed, for who asks.
#[derive(Debug, Default)]
pub(crate) struct Relay {
    /// Ports that are listened at.
    pub(crate) listeners: AtomicU64,
    /// Streams.
    pub(crate) connections: Count,
    /// Runs of datagrams from one client.
    pub(crate) sessions: Count,
}

/// Starts the thread; listening when this returns.
pub(crate) async fn start(shared: &Arc<Shared>) -> Result<()> {
    let failed = || Error::socket("start a thread for", "relaying");
    // Before the runtime is made, which must not be dropped on the way out of here.
    let watch = Watch::open(shared.options.dirs.run.join("attachments"))?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed())?;
    let (tell, started) = tokio::sync::oneshot::channel();
    let shared = shared.clone();
    std::thread::Builder::new()
        .name("relay".into())
        .spawn(move || {
            let local = LocalSet::new();
            let relayed = local.run_until(relay(shared, watch, tell));
            if let Err(error) = runtime.block_on(relayed) {
                tracing::error!("published ports at ::1 are no longer followed: {error}");
            }
        })
        .map_err(failed())?;
    started.await.map_err(|_| failed()(std::io::ErrorKind::BrokenPipe.into()))
}

async fn relay(
    shared: Arc<Shared>,
    mut watch: Watch,
    started: tokio::sync::oneshot::Sender<()>,
) -> Result<()> {
    let watched = || Error::socket("watch", "attachments");
    let changed = watch.as_fd().try_clone_to_owned();
    #[allow(
        deprecated,
        reason = "unsound for types that lie about their descriptor; this owns one"
    )]
    let changed = changed.and_then(AsyncFd::new).map_err(watched())?;
    let mut published = Published::new(&shared.options.dirs.run);
    let mut listeners = Listeners::new(shared.clone());
    published.read_all(&shared.node());
    listeners.settle(&published.wanted());
    let _ = started.send(());
    loop {
        tokio::select! {
            ready = changed.readable() => {
                ready.map_err(watched())?.clear_ready();
                if !published.take_in(&shared.node(), &watch.drain()?) {
                    continue;
                }
            }
            // What another program holds may be free again, which nobody tells.
            () = tokio::time::sleep_until(listeners.due()) => {}
            () = shared.reconfigured.notified() => {}
        }
        listeners.settle(&published.wanted());
    }
}

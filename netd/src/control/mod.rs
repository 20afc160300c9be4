//! The control socket: what this daemon knows and does, over HTTP and JSON, for root on this host.
//! docs/netd-api.md describes it. It changes nothing of any container; attach and detach are the
//! plugins', with or without this daemon.

mod attachments;
mod dns;
mod events;
mod exposition;
mod metrics;
mod names;
mod networks;
mod overlay;
mod refusal;
mod status;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use cleat_engine::Node;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::daemon::{Options, Shared};
use crate::error::{Error, Result};
use crate::events::Trouble;
use crate::unix_socket::{self, Socket};
use refusal::Refusal;

const SOCKET: &str = "netd.sock";
/// The largest body of a request, in bytes.
const LARGEST_BODY: usize = 64 << 10;
/// Requests that are under way when the daemon stops get so long.
const GRACE: std::time::Duration = std::time::Duration::from_millis(500);

type State = axum::extract::State<Arc<Shared>>;
type Outcome<T> = std::result::Result<axum::Json<T>, Refusal>;

/// The control socket, served until [`Control::stop`].
pub(crate) struct Control {
    shared: Arc<Shared>,
    socket: Socket,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
    metrics: Option<(SocketAddr, JoinHandle<std::io::Result<()>>)>,
}

impl Control {
    /// Serves at the socket that was handed over, or else at one of our own.
    pub(crate) fn start(shared: &Arc<Shared>, given: Option<UnixListener>) -> Result<Self> {
        let path = shared.options.dirs.run.join(SOCKET);
        let (socket, listener) = Socket::open(&path, given)?;
        let listener = unix_socket::adopt(listener, &path)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = axum::serve(listener, all(shared.clone())).with_graceful_shutdown(async {
            // An error is a daemon that is gone.
            let _ = stopped.await;
        });
        let serving = tokio::spawn(serving.into_future());
        Ok(Self { shared: shared.clone(), socket, stop, serving, metrics: None })
    }

    /// Serves metrics at this address, and at no other that it served them at before.
    pub(crate) async fn serve_metrics(&mut self, at: Option<SocketAddr>) {
        if self.metrics.as_ref().map(|(address, _)| *address) == at {
            return;
        }
        if let Some((_, serving)) = self.metrics.take() {
            serving.abort();
            let _ = serving.await;
        }
        let mut troubles = BTreeSet::new();
        if let Some(address) = at {
            match TcpListener::bind(address).await {
                Ok(listener) => {
                    let router = finished(Router::new(), self.shared.clone());
                    let serving = tokio::spawn(axum::serve(listener, router).into_future());
                    self.metrics = Some((address, serving));
                }
                Err(error) => {
                    let error = Error::socket("serve metrics at", address)(error);
                    troubles.insert(Trouble::new("netd.trouble", "metrics", error.to_string()));
                }
            }
        }
        self.shared.events.settle("metrics", troubles);
    }

    /// Ends well: who listens to events hears of it.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        let _ = tokio::time::timeout(GRACE, self.serving).await;
        self.socket.remove();
    }
}

/// The control API over a run directory, as a service that no daemon stands behind: for fuzzing.
///
/// # Errors
/// What keeps the daemon from starting, too.
#[doc(hidden)]
pub fn router(options: Options) -> Result<Router> {
    Ok(all(Shared::open(options, Config::default())?.0))
}

fn all(shared: Arc<Shared>) -> Router {
    let router = Router::new()
        .route("/v1/status", get(status::get))
        .route("/v1/networks", get(networks::get))
        .route("/v1/attachments", get(attachments::get))
        .route("/v1/names", get(names::get))
        .route("/v1/events", get(events::get))
        .route("/v1/upstreams", get(dns::upstreams))
        .route("/v1/overlay", get(overlay::get))
        .route("/v1/overlay/networks", get(overlay::networks).post(overlay::create))
        .route("/v1/overlay/networks/{name}", get(overlay::network).delete(overlay::remove))
        .route("/v1/overlay/nodes", get(overlay::nodes))
        .route("/v1/overlay/nodes/{node}", get(overlay::node))
        .route("/v1/overlay/nodes/{node}/forget", post(overlay::forget))
        .route("/v1/overlay/rotate-key", post(overlay::rotate_key))
        .route("/v1/overlay/drain", post(overlay::drain))
        .route("/v1/dns/flush", post(dns::flush))
        .route("/v1/dns/query", post(dns::query));
    finished(router, shared)
}

fn finished(router: Router<Arc<Shared>>, shared: Arc<Shared>) -> Router {
    router
        .route("/metrics", get(metrics::get))
        .fallback(refusal::not_found)
        .method_not_allowed_fallback(refusal::wrong_method)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(shared)
}

/// Work that reads files or asks the kernel, on a thread where it may take its time.
async fn with_node<T: Send + 'static>(
    shared: Arc<Shared>,
    work: impl FnOnce(&Shared, &Node) -> Result<T> + Send + 'static,
) -> std::result::Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(move || work(&shared, &shared.node())).await;
    match done {
        Ok(outcome) => outcome.map_err(|error| Refusal::internal(error.to_string())),
        Err(error) => Err(Refusal::internal(error.to_string())),
    }
}

//! The overlay's part of the daemon, started.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::documents::Host;
use super::member::{self, Reservations};

use super::{ControlPlane, OverlayConfig, Running, Setup, identity, open_store};
use crate::daemon::Shared;
use crate::error::{Error, Result};
use crate::events::Trouble;

/// Overlay networks, kept up to date until this is dropped.
pub(crate) struct Started {
    plane: Arc<ControlPlane>,
    _running: Running,
}

impl Started {
    /// Ends well: what is known of the other nodes is kept for the next start.
    pub(crate) async fn stop(self) {
        self.plane.close().await;
    }
}

/// Opens the store and follows it; the thread that makes the kernel as it says runs from then on.
/// What cannot be is a trouble, and the rest of the daemon does without.
pub(crate) fn start(shared: &Arc<Shared>) -> Option<Started> {
    let trouble = |error: Error| {
        let text = format!("overlay networks are left as they are: {error}");
        let trouble = Trouble::new("overlay.trouble", "overlay", text);
        shared.events.settle("overlay's start", [trouble].into());
    };
    try_start(shared).map_err(trouble).ok()
}

fn try_start(shared: &Arc<Shared>) -> Result<Started> {
    let config = shared.config();
    let config = &config.overlay;
    let dirs = &shared.options.dirs;
    let state = dirs.state.join("overlay");
    let store = open_store(config, state.join("store"))?;
    let reserve = Reservations { dirs: dirs.clone(), data_dir: member::data_dir(&dirs.state) };
    let setup = Setup {
        state,
        run: dirs.run.join("overlay"),
        boot: shared.node().boot_id().to_owned(),
        machine: identity::machine(),
        host: host(config, &[]),
        ttl: Duration::from_secs(config.ttl),
        reserve: Arc::new(reserve),
    };
    let (plane, running) = ControlPlane::open(store, setup)?;
    member::start(shared, shared.attached.clone(), plane.clone())?;
    let plane = shared.overlay.get_or_init(|| plane).clone();
    Ok(Started { plane, _running: running })
}

/// What the others are to know of this node.
pub(super) fn host(config: &OverlayConfig, addresses: &[IpAddr]) -> Host {
    let of_host = || {
        let name = rustix::system::uname();
        name.nodename().to_string_lossy().into_owned()
    };
    Host {
        name: config.name.clone().unwrap_or_else(of_host),
        addresses: addresses.to_vec(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Host::default()
    }
}

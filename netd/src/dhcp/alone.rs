//! The DHCP client as a daemon by itself: what `dhcp daemon` of the reference is.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use cleat_engine::Dirs;
use cleat_engine::records::{Durability, write_atomic};
use tokio::signal::unix::{SignalKind, signal};

use super::{Dhcp, Settings, serve};
use crate::error::{Error, Result};
use crate::events::Events;
use crate::service_manager;
use crate::unix_socket::{self, Socket};

/// What the command line says.
#[derive(Debug, Clone)]
pub struct AloneOptions {
    /// The folders that cleat keeps its state in.
    pub dirs: Dirs,
    /// How the client behaves.
    pub settings: Settings,
    /// Where plugins ask.
    pub socket: PathBuf,
    /// A file for the process's id.
    pub pidfile: Option<PathBuf>,
}

/// Runs until it is told to stop; the leases stay. The socket may be one that the service manager
/// holds.
///
/// # Errors
/// What keeps it from starting or going on.
pub async fn run(options: AloneOptions, given: Option<UnixListener>) -> Result<()> {
    service_manager::raise_fd_limit();
    let AloneOptions { dirs, settings, socket: path, pidfile } = options;
    settings
        .check()
        .map_err(|problem| Error::Config { path: "the command line".into(), problem })?;
    let boot = crate::daemon::node(&dirs).boot_id().to_owned();
    let dhcp = Dhcp::open(&dirs, &boot, settings, Events::new())?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
    }
    let (socket, listener) = Socket::open(&path, given)?;
    let listener = unix_socket::adopt(listener, &path)?;
    if let Some(file) = &pidfile {
        write_id(file)?;
    }
    let listen = |kind| signal(kind).map_err(Error::socket("listen for", "signals"));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    tracing::info!("serving {}", path.display());
    service_manager::ready();
    let outcome = tokio::select! {
        outcome = serve(dhcp, listener) => outcome,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    service_manager::stopping();
    socket.remove();
    if let Some(file) = &pidfile {
        let _ = std::fs::remove_file(file);
    }
    outcome
}

fn write_id(file: &Path) -> Result<()> {
    const READABLE: u32 = 0o644;
    let id = format!("{}\n", std::process::id());
    Ok(write_atomic(file, id.as_bytes(), READABLE, Durability::Runtime)?)
}

//! The daemon from start to end: what runs, in which order it starts, and how it stops.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use cleat_engine::records::{Durability, Watch, make_dir};
use cleat_engine::{Dirs, Node, host, service};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, oneshot};

use crate::config::Config;
use crate::control::Control;
use crate::dhcp::{self, Dhcp};
use crate::dns::answerer::Answerer;
use crate::dns::forward::{Forwarder, ResolvConf};
use crate::dns::{Changed, Kept, Listeners};
use crate::error::{Error, Result};
use crate::events::{Events, STOPPED, Trouble, now};
use crate::firewalld;
use crate::metrics::Metrics;
use crate::names::Directory;
use crate::overlay::{self, ControlPlane, Requests};
use crate::relay::{self, Relay};
use crate::repair;
use crate::service_manager::{self, Given};
use crate::wake::Wake;

/// Folders that come and go wake nobody; they are looked at this often.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What the command line says.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folders that cleat keeps its state in.
    pub dirs: Dirs,
    /// The configuration's file.
    pub config: PathBuf,
    /// The file that names the host's own name servers.
    pub resolv_conf: PathBuf,
}

/// What all parts of the daemon share.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) answerer: Arc<Answerer>,
    pub(crate) events: Arc<Events>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) relay: Relay,
    /// Overlay networks, once they are started.
    pub(crate) overlay: OnceLock<Arc<ControlPlane>>,
    /// What is asked of who keeps them.
    pub(crate) requests: Requests,
    /// Wakes who keeps them when attachments came or went.
    pub(crate) attached: Arc<Wake>,
    /// Set once it has started, where it is wanted.
    pub(crate) dhcp: OnceLock<Arc<Dhcp>>,
    /// The configuration was read again.
    pub(crate) reconfigured: Notify,
    pub(crate) started: Instant,
    /// Milliseconds since 1970.
    pub(crate) started_at: u64,
    config: RwLock<Arc<Config>>,
}

impl Shared {
    /// Over the run directory's records, with what wakes whoever waits for their changes.
    pub(crate) fn open(options: Options, config: Config) -> Result<(Arc<Self>, Arc<Wake>)> {
        let boot = node(&options.dirs).boot_id().to_owned();
        let metrics = Arc::new(Metrics::default());
        let wake = Arc::new(Wake::new()?);
        let attached = Arc::new(Wake::new()?);
        let waking = [wake.clone(), attached.clone()];
        let changed = move || waking.iter().for_each(|wake| wake.wake());
        let directory = Directory::open(&options.dirs.run, &boot, changed)?;
        let host = ResolvConf::new(options.resolv_conf.clone());
        let forwarder = Forwarder::new(Arc::new(config.dns.clone()), host);
        let shared = Self {
            options,
            answerer: Arc::new(Answerer::new(directory, forwarder, metrics.clone())),
            events: Events::new(),
            metrics,
            relay: Relay::default(),
            overlay: OnceLock::new(),
            requests: Requests::default(),
            attached,
            dhcp: OnceLock::new(),
            reconfigured: Notify::new(),
            started: Instant::now(),
            started_at: now(),
            config: RwLock::new(Arc::new(config)),
        };
        Ok((Arc::new(shared), wake))
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn reconfigure(&self, config: Config) {
        self.answerer.forwarder().reconfigure(Arc::new(config.dns.clone()));
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        self.reconfigured.notify_one();
    }

    /// The engine's view of this node, for one thread.
    pub(crate) fn node(&self) -> Node {
        node(&self.options.dirs)
    }
}

/// Runs until it is told to stop, with what the service manager handed over.
///
/// # Errors
/// What keeps it from starting; later troubles are told, and it goes on.
pub async fn run(options: Options, given: Given) -> Result<()> {
    service_manager::raise_fd_limit();
    // Where random numbers come out of a file, it is opened on first use and kept: now, and not
    // when descriptors have run out and a question is to be answered.
    drop(rand::rng());
    let config = Config::read(&options.config)?;
    let run = options.dirs.run.clone();
    let _charge =
        service::take_charge(&node(&options.dirs))?.ok_or(Error::InCharge { run: run.clone() })?;
    for folder in ["", "links", "served/inside"] {
        make_dir(&run.join(folder), Durability::Runtime)?;
    }
    let (shared, wake) = Shared::open(options, config)?;
    start_listening(&shared, wake, given.kept).await?;
    repair::start(&shared)?;
    relay::start(&shared).await?;
    firewalld::start(&shared)?;
    let leases = dhcp::start(&shared);
    let overlay = overlay::start(&shared);
    let mut control = Control::start(&shared, given.control)?;
    control.serve_metrics(shared.config().metrics).await;
    shared.events.tell("netd.started", "netd", format!("serving {}", run.display()));
    service_manager::ready();
    let outcome = serve(&shared, &mut control).await;
    service_manager::stopping();
    // Who attaches from here on is told that nobody answers.
    if let Err(error) = service::withdraw(&shared.node()) {
        tracing::warn!("{error}");
    }
    shared.events.tell(STOPPED, "netd", "containers stay as they are");
    control.stop().await;
    if let Some(overlay) = overlay {
        overlay.stop().await;
    }
    if let Some(leases) = leases {
        leases.remove();
    }
    outcome
}

/// Until it is told to stop; on SIGHUP the configuration is read again.
async fn serve(shared: &Shared, control: &mut Control) -> Result<()> {
    let listen = |kind| signal(kind).map_err(Error::socket("listen for", "signals"));
    let mut hangup = listen(SignalKind::hangup())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let alive = service_manager::keep_alive();
    tokio::pin!(alive);
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                service_manager::reloading();
                reload(shared);
                control.serve_metrics(shared.config().metrics).await;
                service_manager::ready();
            }
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            () = &mut alive => {}
        }
    }
}

fn reload(shared: &Shared) {
    let mut troubles = BTreeSet::new();
    match Config::read(&shared.options.config) {
        Ok(config) => {
            shared.reconfigure(config);
            shared.events.tell("netd.configured", "netd", "configuration read again");
        }
        Err(error) => {
            let text = format!("the configuration stays as it was: {error}");
            troubles.insert(Trouble::new("netd.trouble", "configuration", text));
        }
    }
    shared.events.settle("configuration", troubles);
}

/// Starts a thread that listens wherever records, links and networks say; listening when this
/// returns.
async fn start_listening(shared: &Arc<Shared>, wake: Arc<Wake>, kept: Kept) -> Result<()> {
    let runtime = tokio::runtime::Handle::current();
    let records = shared.answerer.directory().descriptor()?;
    let dirs = &shared.options.dirs;
    let mut folders = [dirs.run.join("links"), dirs.net.clone()].map(Folder::new);
    let (tell, started) = oneshot::channel();
    let shared = shared.clone();
    std::thread::Builder::new()
        .name("listeners".into())
        .spawn(move || {
            let (answerer, events) = (shared.answerer.clone(), shared.events.clone());
            let listeners = Listeners::new(shared.node(), answerer, events, runtime, kept);
            let mut listeners = match listeners {
                Ok(listeners) => listeners,
                Err(error) => return drop(tell.send(Err(error))),
            };
            note_host(&shared);
            listeners.settle(Changed { links: true, networks: true });
            let _ = tell.send(Ok(()));
            loop {
                let quiet = wait_for_any(&records, &wake, &folders);
                wake.clear();
                let [links, networks] = folders.each_mut().map(Folder::drain);
                // What wakes nobody is looked at when there is time: a dump of all links is not
                // for every attachment.
                if quiet && shared.answerer.directory().current().inside() > 0 {
                    note_host(&shared);
                }
                listeners.settle(Changed { links: links || quiet, networks: networks || quiet });
            }
        })
        .map_err(Error::socket("start a thread for", "listeners"))?;
    match started.await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::socket("start a thread for", "listeners")(
            std::io::ErrorKind::BrokenPipe.into(),
        )),
    }
}

fn note_host(shared: &Shared) {
    match host::interfaces() {
        Ok(interfaces) => {
            let all = interfaces.iter().flat_map(|interface| &interface.addresses);
            shared.answerer.set_host(all.map(|net| net.addr()).collect::<Vec<IpAddr>>());
        }
        Err(error) => tracing::warn!("the host's addresses are not known: {error}"),
    }
}

/// A folder that is watched while it is there.
struct Folder {
    path: PathBuf,
    watch: Option<Watch>,
    /// That it cannot be watched was said.
    told: bool,
}

impl Folder {
    fn new(path: PathBuf) -> Self {
        let mut folder = Self { path, watch: None, told: false };
        folder.open();
        folder
    }

    fn open(&mut self) {
        match Watch::open(&self.path) {
            Ok(watch) => (self.watch, self.told) = (Some(watch), false),
            // A folder that is missing may come.
            Err(error) if self.path.exists() && !self.told => {
                tracing::warn!("{error}: what changes is seen within {LOOK_AGAIN:?} only");
                self.told = true;
            }
            Err(_) => {}
        }
    }

    /// Whether anything happened in it.
    fn drain(&mut self) -> bool {
        match &mut self.watch {
            Some(watch) => watch.drain().is_ok_and(|changes| !changes.is_empty()),
            None => {
                self.open();
                // What cannot be watched may have changed.
                self.watch.is_some() || self.told
            }
        }
    }
}

/// Whether nothing happened for long.
fn wait_for_any(records: &OwnedFd, wake: &Wake, folders: &[Folder]) -> bool {
    let watches = folders.iter().filter_map(|folder| folder.watch.as_ref());
    let all = [records.as_fd(), wake.as_fd()].into_iter().chain(watches.map(AsFd::as_fd));
    let mut fds: Vec<PollFd<'_>> =
        all.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    // An error shows as a wait that is short, and is met again by whoever reads.
    poll(&mut fds, Timespec::try_from(LOOK_AGAIN).ok().as_ref()) == Ok(0)
}

/// The engine's view of this node; its warnings go to the log.
pub(crate) fn node(dirs: &Dirs) -> Node {
    Node::new(dirs.clone(), |text| tracing::warn!("{text}"))
}

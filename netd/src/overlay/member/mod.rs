//! This node as a member of overlay networks: a thread that keeps the kernel, and the notes that
//! plugins read, as the control plane and the other nodes have it. Level-triggered: whatever
//! changed, what should be is made anew and compared with what there is. It joins a network when
//! a plugin asks for it, and leaves it some time after the last container; it touches no
//! container, and when it ends everything stays as it is.

mod leave;
mod names;
mod outer;
mod part;
mod requests;
mod reserve;
mod secured;
mod troubles;
mod tunnels;
mod underlay;
mod usage;
mod wishes;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cleat_engine::Node;
use cleat_engine::kernel::monitor::Notice;
use cleat_engine::kernel::{Monitor, Rtnl};
use cleat_engine::overlay::{self, OverlayNetwork, segment};
use cleat_engine::records::{Change, Durability, Watch, make_dir};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::runtime::Handle;

use super::claims::Held;
use super::view::Changed;
use super::{ControlPlane, conflist};
use crate::daemon::Shared;
use crate::error::{Error, Result};
use crate::wake::Wake;
use leave::Idle;
use names::Names;
use outer::Underneath;
use part::{Outer, Part};
pub(crate) use requests::{Request, Requests};
pub(super) use reserve::Reservations;
use troubles::Troubles;
use tunnels::Tunnels;
use wishes::Wishes;

/// All is compared with the kernel this often, whatever was heard.
const REGULARLY: Duration = Duration::from_secs(60);
/// So often it is looked whether a network can be left.
const LOOK: Duration = Duration::from_secs(1);
/// At most so long.
const LONGEST_REST: Duration = Duration::from_millis(250);
const KEYS: &str = "keys";
const CONFLISTS: &str = "conflists";
/// So long after a change of links or addresses routes may follow, which nobody tells of.
const MOVING: Duration = Duration::from_secs(15);
const TELLER: &str = "overlay";

/// What is to be done at the next turn.
#[derive(Default)]
struct Due {
    networks: bool,
    address: bool,
    /// Compare these networks with the kernel, by name; all of them.
    parts: BTreeSet<String>,
    all: bool,
    names: Changed,
}

impl Due {
    fn everything() -> Self {
        let names = Changed::everything();
        Self { networks: true, address: true, all: true, names, ..Self::default() }
    }
}

/// Starts the thread. `attached`: wakes when attachments came or went.
pub(crate) fn start(shared: &Arc<Shared>, wake: Arc<Wake>, plane: Arc<ControlPlane>) -> Result<()> {
    let runtime = Handle::current();
    let changed = Arc::new(Mutex::new(Changed::default()));
    let (heard, waking) = (changed.clone(), wake.clone());
    let mut changes = plane.view().changes();
    runtime.spawn(async move {
        while let Some(change) = changes.next().await {
            heard.lock().unwrap_or_else(PoisonError::into_inner).add(&change);
            waking.wake();
        }
    });
    let folder = shared.options.dirs.run.join("overlay/wants");
    make_dir(&folder, Durability::Runtime)?;
    let wants = Watch::open(folder)?;
    let shared = shared.clone();
    let state = &shared.options.dirs.state;
    let tunnels = Tunnels::open(state, plane.node(), shared.config().overlay.wireguard_port)?;
    let start = move || {
        let member = Member {
            kernel: Monitor::open().ok(),
            wishes: Wishes::new(plane.clone(), runtime.clone(), wake.clone()),
            idle: Idle::new(Duration::from_secs(shared.config().overlay.linger)),
            names: Names::default(),
            data_dir: data_dir(&shared.options.dirs.state),
            due: Due::everything(),
            addresses: Vec::new(),
            tunnels,
            unwanted: BTreeSet::new(),
            troubles: Troubles::default(),
            moving_until: Instant::now(),
            rest_until: Instant::now(),
            regular: Instant::now(),
            node: shared.node(),
            shared,
            plane,
            runtime,
            wake,
            wants,
            changed,
        };
        member.run();
    };
    std::thread::Builder::new()
        .name("overlay".into())
        .spawn(start)
        .map(drop)
        .map_err(Error::socket("start a thread for", "overlay networks"))
}

/// Where leases lie: with the rest of the state where that is not in its usual place, as `cleat`
/// has it.
pub(super) fn data_dir(state: &std::path::Path) -> PathBuf {
    match state == std::path::Path::new("/var/lib/cleat") {
        true => PathBuf::from(cleat_front::DATA_DIR),
        false => state.join("networks"),
    }
}

struct Member {
    shared: Arc<Shared>,
    node: Node,
    plane: Arc<ControlPlane>,
    runtime: Handle,
    wake: Arc<Wake>,
    wants: Watch,
    kernel: Option<Monitor>,
    changed: Arc<Mutex<Changed>>,
    wishes: Wishes,
    idle: Idle,
    names: Names,
    /// Where leases lie.
    data_dir: PathBuf,
    due: Due,
    /// This node's addresses underneath.
    addresses: Vec<IpAddr>,
    /// Keys and tunnels of encrypted networks.
    tunnels: Tunnels,
    /// Networks that are to be left at once.
    unwanted: BTreeSet<String>,
    troubles: Troubles,
    /// Until then this node's addresses underneath are looked at again and again.
    moving_until: Instant,
    /// Where many nodes change at once, what they said is applied together.
    rest_until: Instant,
    /// When all was compared with the kernel.
    regular: Instant,
}

impl Member {
    fn run(mut self) {
        loop {
            self.troubles.clear(TELLER);
            if let Err(error) = self.turn() {
                self.troubles.add(TELLER, error.to_string());
            }
            self.shared.events.settle(TELLER, self.troubles.all());
            self.wait();
            self.hear();
        }
    }

    fn wait(&self) {
        let rest = self.rest_until.saturating_duration_since(Instant::now());
        if !rest.is_zero() {
            // Who attaches waits for nobody's changes.
            let mut asked = [PollFd::from_borrowed_fd(self.wants.as_fd(), PollFlags::IN)];
            let _ = poll(&mut asked, Timespec::try_from(rest).ok().as_ref());
        }
        let kernel = self.kernel.as_ref().map(AsFd::as_fd);
        let all = [Some(self.wake.as_fd()), Some(self.wants.as_fd()), kernel].into_iter().flatten();
        let mut fds: Vec<PollFd<'_>> =
            all.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        // An error shows as a wait that is short.
        let _ = poll(&mut fds, Timespec::try_from(LOOK).ok().as_ref());
    }

    /// What happened becomes what is due.
    fn hear(&mut self) {
        self.wake.clear();
        let changed =
            std::mem::take(&mut *self.changed.lock().unwrap_or_else(PoisonError::into_inner));
        let due = &mut self.due;
        due.networks |= changed.networks || changed.all;
        due.all |= changed.all || changed.own || !changed.hosts.is_empty();
        for id in &changed.claims {
            let name = self.plane.view().read(|state| {
                state.networks().find(|network| *network.id == **id).map(|n| n.name.clone())
            });
            due.parts.extend(name);
        }
        due.names.add(&changed);
        let notices = self.kernel.as_mut().map(Monitor::drain);
        match notices {
            Some(Ok(notices)) => notices.iter().for_each(|notice| self.hear_notice(notice)),
            Some(Err(error)) => {
                tracing::warn!("links are looked at every minute only: {error}");
                self.kernel = None;
            }
            None => {}
        }
        if self.regular.elapsed() >= REGULARLY {
            self.due.all = true;
            self.due.address = true;
        }
    }

    /// Containers' links come and go all the time. A host inside a container has a pair's end for
    /// its card: it is told from those by its name.
    fn hear_notice(&mut self, notice: &Notice) {
        match notice {
            Notice::LinkChanged { name, kind } | Notice::LinkGone { name, kind }
                if kind == "veth" && name.starts_with("veth") => {}
            Notice::SettingChanged => {}
            Notice::LinkChanged { .. } | Notice::LinkGone { .. } | Notice::Lost => {
                self.due.all = true;
                self.due.address = true;
            }
            Notice::AddressAdded { .. } | Notice::AddressGone { .. } => self.due.address = true,
        }
    }

    fn turn(&mut self) -> Result<()> {
        let mut rtnl = Rtnl::open()?;
        self.take_requests()?;
        self.tell_address(&mut rtnl)?;
        self.settle_conflists();
        self.take_wishes()?;
        let answers = self.wishes.answered();
        for answer in &answers {
            if let Ok(network) = &answer.outcome {
                self.due.parts.insert(network.name.clone());
                self.idle.used(&network.name);
            }
        }
        let untunnelled = self.settle_tunnels(&mut rtnl).err();
        let untunnelled = untunnelled.map(|error| error.to_string());
        let begun = Instant::now();
        let failed = self.settle_parts(&mut rtnl, untunnelled.as_deref())?;
        self.rest_until = Instant::now() + (begun.elapsed() * 2).min(LONGEST_REST);
        for answer in answers {
            let refusal = match &answer.outcome {
                Ok(network) => failed.get(&network.name).cloned(),
                Err(error) => Some(error.to_string()),
            };
            let refusal = refusal.map(|text| (answer.want, text));
            overlay::answered(&self.node, &answer.name, refusal)?;
        }
        self.leave(&mut rtnl)?;
        self.settle_names()
    }

    /// Tells the other nodes where this one is.
    fn tell_address(&mut self, rtnl: &mut Rtnl) -> Result<()> {
        if std::mem::take(&mut self.due.address) {
            self.moving_until = Instant::now() + MOVING;
        } else if Instant::now() > self.moving_until {
            return Ok(());
        }
        let addresses = underlay::addresses(rtnl, self.shared.config().overlay.address)?;
        if addresses != self.addresses {
            self.announce(&addresses);
            self.addresses = addresses;
            self.due.all = true;
        }
        Ok(())
    }

    fn settle_conflists(&mut self) {
        if !self.due.networks {
            return;
        }
        // Nothing is removed for want of knowledge.
        let known = self.plane.view().read(|state| {
            state.at().map(|_| state.networks().map(|n| (**n).clone()).collect::<Vec<_>>())
        });
        let Some(networks) = known else { return };
        let complete = self.plane.is_complete();
        let custom = self.data_dir != std::path::Path::new(cleat_front::DATA_DIR);
        let data_dir = custom.then_some(self.data_dir.as_path());
        let folder = &self.node.dirs().net;
        let errors = conflist::settle(folder, &networks, complete, data_dir);
        self.due.networks = !errors.is_empty() || !complete;
        self.troubles.clear(CONFLISTS);
        for error in errors {
            self.troubles.add(CONFLISTS, error.to_string());
        }
    }

    fn take_wishes(&mut self) -> Result<()> {
        if self.wants.drain()?.iter().all(|change| matches!(change, Change::Removed(_))) {
            return Ok(());
        }
        for (name, want) in overlay::wants(&self.node)? {
            let have = overlay::membership(&self.node, &want.network)?;
            self.wishes.begin(name, want, have);
        }
        Ok(())
    }

    /// Brings the networks that are due up to date. What failed, by network.
    fn settle_parts(
        &mut self,
        rtnl: &mut Rtnl,
        untunnelled: Option<&str>,
    ) -> Result<BTreeMap<String, String>> {
        let all = std::mem::take(&mut self.due.all);
        let due = std::mem::take(&mut self.due.parts);
        if all {
            self.regular = Instant::now();
        }
        let mut failed = BTreeMap::new();
        let joined: BTreeSet<String> =
            overlay::memberships(&self.node)?.into_iter().map(|note| note.network.name).collect();
        let owned = self.plane.owned();
        self.troubles.retain(|subject| {
            [TELLER, KEYS, CONFLISTS].contains(&subject) || owned.iter().any(|n| n.name == subject)
        });
        for network in owned {
            let name = &network.name;
            let is_wanted = due.contains(name) || (all && joined.contains(name));
            let held = kept(&self.plane, &network);
            if !is_wanted || held.is_empty() {
                continue;
            }
            self.troubles.clear(name);
            let settled = match untunnelled.filter(|_| network.encrypted) {
                // Nothing goes in clear for want of a tunnel.
                Some(why) => Err(why.to_owned()),
                None => self.settle_part(rtnl, &network, &held),
            };
            if let Err(text) = settled {
                self.troubles.add(name, text.clone());
                failed.insert(name.clone(), text);
            }
        }
        Ok(failed)
    }

    fn settle_part(
        &mut self,
        rtnl: &mut Rtnl,
        network: &OverlayNetwork,
        held: &[Held],
    ) -> std::result::Result<(), String> {
        let underneath = Underneath { own: &self.addresses };
        let outer: &dyn Outer = if network.encrypted { &self.tunnels } else { &underneath };
        let me = self.plane.node();
        let part = self.plane.view().read(|state| Part::of(network, held, (state, me), outer));
        let mut part = part.ok_or_else(|| {
            "this node has no address that others could send to: no default route, and no \
             overlay.address in netd's configuration"
                .to_owned()
        })?;
        // Asked after the claims were read: what was read before the store went back was complete.
        part.segment.complete &= self.plane.is_complete();
        let applied =
            segment::apply(&self.node, rtnl, &part.segment).map_err(|error| error.to_string())?;
        if !applied.nothing() {
            tracing::debug!(
                network = network.name,
                added = applied.added,
                moved = applied.moved,
                removed = applied.removed,
                "segment"
            );
        }
        for error in &applied.refused {
            self.troubles.add(&network.name, format!("the kernel refused a part of it: {error}"));
        }
        for node in &part.unreachable {
            let why = self.tunnels.refused.get(node.as_str()).filter(|_| network.encrypted);
            let why = why.map_or("it has no address that this one could send to", String::as_str);
            self.troubles.add(&network.name, format!("node {node} is not sent to: {why}"));
        }
        let note = part.note(applied.mtu, self.plane.halted(&network.id));
        for (_, why) in self.plane.troubles().into_iter().filter(|(of, _)| *of == network.name) {
            self.troubles.halt(&network.name, why);
        }
        if let Some(why) = &note.halted {
            self.troubles.halt(&network.name, why.clone());
        }
        let noted = overlay::membership(&self.node, &network.name).map_err(|e| e.to_string())?;
        if noted.as_ref() != Some(&note) {
            let _lock = overlay::using(&self.node, &network.name).map_err(|e| e.to_string())?;
            overlay::note(&self.node, &note).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn settle_names(&mut self) -> Result<()> {
        let changed = std::mem::take(&mut self.due.names);
        let joined: Vec<OverlayNetwork> =
            overlay::memberships(&self.node)?.into_iter().map(|note| note.network).collect();
        let directory = self.shared.answerer.directory();
        self.names.hear(&self.plane, directory, &joined, &changed);
        self.names.tell(&self.plane, directory, &joined, &self.runtime);
        Ok(())
    }
}

/// What this node owns of a network and is not giving up.
fn kept(plane: &ControlPlane, network: &OverlayNetwork) -> Vec<Held> {
    plane.held(&network.id).into_iter().filter(|held| !held.leaving).collect()
}

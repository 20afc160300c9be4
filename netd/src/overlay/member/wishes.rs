//! What plugins ask for: a part of a network, one block more, a certain address. Each question is
//! a task of its own, since the store may take its time; the answer comes back by a channel.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use cleat_engine::overlay::{Membership, OverlayNetwork, Want};
use ipnet::IpNet;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use crate::overlay::session::Standing;
use crate::overlay::{ControlPlane, Error, Result};
use crate::wake::Wake;

/// The plugin waits 10 seconds; who asked for an address is told before that.
const PATIENCE: Duration = Duration::from_secs(8);

/// A question, and what came of it.
pub(super) struct Answer {
    pub(super) name: String,
    pub(super) want: Want,
    pub(super) outcome: Result<Arc<OverlayNetwork>>,
}

/// Questions that are under way.
pub(super) struct Wishes {
    plane: Arc<ControlPlane>,
    runtime: Handle,
    wake: Arc<Wake>,
    asked: BTreeSet<String>,
    sender: Sender<Answer>,
    receiver: Receiver<Answer>,
}

impl Wishes {
    pub(super) fn new(plane: Arc<ControlPlane>, runtime: Handle, wake: Arc<Wake>) -> Self {
        let (sender, receiver) = channel();
        Self { plane, runtime, wake, asked: BTreeSet::new(), sender, receiver }
    }

    /// Begins to answer a question, unless that is so already. `have`: the note about the network.
    pub(super) fn begin(&mut self, name: String, want: Want, have: Option<Membership>) {
        if !self.asked.insert(name.clone()) {
            return;
        }
        let (plane, wake, sender) = (self.plane.clone(), self.wake.clone(), self.sender.clone());
        self.runtime.spawn(async move {
            let outcome = obtain(&plane, &want, have.as_ref()).await;
            // Nobody hears of it where the daemon ends.
            let _ = sender.send(Answer { name, want, outcome });
            wake.wake();
        });
    }

    /// Those that are answered.
    pub(super) fn answered(&mut self) -> Vec<Answer> {
        let answers: Vec<Answer> = self.receiver.try_iter().collect();
        for answer in &answers {
            self.asked.remove(&answer.name);
        }
        answers
    }
}

async fn obtain(
    plane: &ControlPlane,
    want: &Want,
    have: Option<&Membership>,
) -> Result<Arc<OverlayNetwork>> {
    let deadline = Instant::now() + PATIENCE;
    ready(plane, deadline).await?;
    let network = plane.view().read(|state| state.network(&want.network).cloned());
    let network = network.ok_or_else(|| Error::Missing {
        kind: "network",
        name: want.network.clone(),
        hint: "see `cleat network ls`; make it with `cleat network create --driver overlay`",
    })?;
    let blocks = have.map(|note| note.blocks.as_slice()).unwrap_or_default();
    // Who asks because there was no room may have asked before there was some.
    let more = want.address.is_none() && blocks.len() <= want.blocks;
    for subnet in &network.subnets {
        let own: Vec<IpNet> = blocks.iter().filter(|b| subnet.contains(*b)).copied().collect();
        if more || own.is_empty() {
            plane.claim(&network, subnet, &own).await?;
        }
    }
    if let Some(address) = want.address {
        let left = deadline.saturating_duration_since(Instant::now());
        plane.address(&network, address, left).await?;
    }
    Ok(network)
}

/// Who has just started has not heard of the store yet, and after a reboot acts for its node only
/// when the time of the process before it has ended: containers that start with the host wait for
/// it.
async fn ready(plane: &ControlPlane, deadline: Instant) -> Result<()> {
    let mut changes = plane.view().changes();
    let is_listed = || plane.view().read(|state| state.at().is_some());
    while !is_listed() || matches!(plane.standing(), Standing::Waiting(_)) {
        if !matches!(timeout_at(deadline, changes.next()).await, Ok(Some(_))) {
            break;
        }
    }
    match plane.view().problem().filter(|_| !is_listed()) {
        Some(problem) => Err(Error::unanswered("ask for what it holds", problem)),
        None => Ok(()),
    }
}

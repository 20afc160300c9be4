//! The task that makes books and store agree where they differ, and answers who asks for addresses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cleat_engine::overlay::OverlayNetwork;
use tokio::time::Instant;

use super::ControlPlane;
use crate::overlay::claims::{Licence, differs};
use crate::overlay::pause::Pause;
use crate::overlay::view::{Changed, State};

/// Changes that come at once are looked at once.
const TOGETHER: Duration = Duration::from_millis(20);
/// What could not be settled is tried again by itself.
const REGULAR: Duration = Duration::from_secs(5);

/// A network that could not be settled, or differs still.
struct Waiting {
    pause: Pause,
    until: Instant,
}

/// Until it is dropped.
pub(super) async fn keep(plane: Arc<ControlPlane>) {
    let mut changes = plane.view.changes();
    let mut waiting: BTreeMap<String, Waiting> = BTreeMap::new();
    let mut suspects = Changed { all: true, ..Changed::default() };
    loop {
        let next = waiting.values().map(|waiting| waiting.until).min();
        let until = next.unwrap_or_else(|| Instant::now() + REGULAR);
        match tokio::time::timeout_at(until, changes.next()).await {
            Ok(None) => return,
            Ok(Some(changed)) => {
                waiting.retain(|id, _| !concerns(&changed, id));
                suspects.add(&changed);
                tokio::time::sleep(TOGETHER).await;
            }
            Err(_) => {}
        }
        if matches!(plane.claims.licence(), Licence::None(_)) || plane.view.problem().is_some() {
            waiting.clear();
            suspects.all = true;
            continue;
        }
        let is_suspect = |id: &str| concerns(&suspects, id) || waiting.contains_key(id);
        let open = plane.view.read(|state| open(&plane, state, is_suspect));
        waiting.retain(|id, _| open.iter().any(|network| network.id == *id));
        suspects = Changed::default();
        for network in open {
            let now = Instant::now();
            let waits = waiting
                .entry(network.id.clone())
                .or_insert_with(|| Waiting { pause: Pause::new(), until: now });
            if waits.until > now {
                continue;
            }
            waits.until = now + waits.pause.next();
            settle(&plane, &network).await;
        }
    }
}

fn concerns(changed: &Changed, id: &str) -> bool {
    changed.all || changed.own || changed.claims.contains(id) || changed.asks.contains(id)
}

/// The networks of which books and store differ, among those that something was heard of.
fn open(
    plane: &ControlPlane,
    state: &State,
    is_suspect: impl Fn(&str) -> bool,
) -> Vec<OverlayNetwork> {
    if state.at().is_none() {
        return Vec::new();
    }
    let books = plane.claims.books().all();
    let owned = books.values().map(|book| &book.network);
    let known = state.networks().map(|network| &**network);
    let mut networks: BTreeMap<&str, &OverlayNetwork> =
        known.map(|network| (network.id.as_str(), network)).collect();
    networks.extend(owned.map(|network| (network.id.as_str(), network)));
    let suspects = networks.into_values().filter(|network| is_suspect(&network.id));
    let differing = suspects.filter(|network| {
        let claims: Vec<_> = state.booked(&network.id).collect();
        let asks = state.asks(&network.id).map(|(address, wished)| (*address, wished));
        let claims = claims.iter().map(|(block, claim)| (*block, claim));
        differs(&plane.node, books.get(&network.id), claims, asks)
    });
    differing.cloned().collect()
}

async fn settle(plane: &ControlPlane, network: &OverlayNetwork) {
    let books = plane.claims.books();
    let before = books.page(&network.id);
    if let Err(error) = plane.claims.settle(network, &*plane.reserve).await {
        tracing::debug!("overlay network {}: {error}", network.name);
    }
    let after = books.page(&network.id);
    if before != after {
        plane.view.stir();
    }
}

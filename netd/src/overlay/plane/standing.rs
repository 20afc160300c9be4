//! The task that keeps the session, and says what may be done by it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::ControlPlane;
use crate::events::now;
use crate::overlay::claims::Licence;
use crate::overlay::documents::encode;
use crate::overlay::epoch::{self, Age};
use crate::overlay::error::Result;
use crate::overlay::keys;
use crate::overlay::session::{Session, Standing};
use crate::overlay::store::{Condition, Outcome, Position, Txn, Write};
use crate::overlay::view::State;

/// Between two tries to get a session.
const AGAIN: Duration = Duration::from_secs(1);

const WENT_BACK: &str = "the store went back to an earlier state, and is told again what is owned; try again in a minute";

/// The epoch, and when owners have had their time.
#[derive(Clone, Copy)]
struct Known {
    age: Age,
    settled: Instant,
}

/// Until it is dropped.
pub(super) async fn keep(plane: Arc<ControlPlane>, mut session: Session) {
    let started = Instant::now();
    let mut changes = plane.view.changes();
    let mut known: Option<Known> = None;
    loop {
        let turn = async {
            if plane.view.went_back().is_some() {
                // Counted before the session is told again, since no claim is made without it.
                plane.claims.license(Licence::None(WENT_BACK.to_owned()));
                session.doubt();
                plane.known().told = 0;
                known = Some(age(&plane, known).await?);
            }
            look(&plane, &mut session);
            let standing = session.step(started.elapsed()).await?;
            let is_held = matches!(standing, Standing::Held(_));
            note(&plane, standing, session.was_held());
            if is_held {
                known = Some(age(&plane, known).await?);
                publish(&plane).await?;
            }
            Ok(())
        };
        let outcome: Result<()> = turn.await;
        if let Err(error) = &outcome {
            tracing::debug!("{error}");
        }
        license(&plane, known);
        let mut wait = if matches!(plane.standing(), Standing::Held(_)) && outcome.is_ok() {
            plane.ttl / 3
        } else {
            AGAIN
        };
        if let Some(known) = known {
            let left = known.settled.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                wait = wait.min(left + Duration::from_millis(10));
            }
        }
        let until = Instant::now() + wait;
        loop {
            match tokio::time::timeout_at(until, changes.next()).await {
                Ok(Some(changed)) if !changed.own && !changed.all => {}
                Ok(None) => return,
                _ => break,
            }
        }
    }
}

/// The store may have lost the session's key, or another process taken it.
fn look(plane: &ControlPlane, session: &mut Session) {
    if plane.view.problem().is_some() {
        return;
    }
    plane.view.read(|state| {
        if let Some(at) = state.at() {
            session.seen(state.own_live(), at);
        }
    });
}

fn note(plane: &ControlPlane, standing: Standing, was_held: bool) {
    let mut known = plane.known();
    let is_news = known.standing != standing;
    if is_news {
        match &standing {
            Standing::Held(_) => tracing::info!("acting for node {}", plane.node),
            Standing::Waiting(reason) => tracing::info!("node {}: {reason}", plane.node),
            Standing::Refused(reason) => tracing::error!("{reason}"),
        }
    }
    known.standing = standing;
    known.was_held = was_held;
    drop(known);
    if is_news {
        plane.view.stir();
    }
}

/// Asks only if something is new.
async fn age(plane: &ControlPlane, known: Option<Known>) -> Result<Known> {
    let went_back = plane.view.went_back();
    let (at, seen) = plane.view.read(|state| (state.at(), state.epoch()));
    let Some(at) = at else {
        // What there is comes with the first list.
        return known
            .ok_or_else(|| crate::overlay::Error::unanswered("list", "it has not answered yet"));
    };
    if let Some(known) = known
        && went_back.is_none()
        && (seen == Some(known.age.revision) || at.revision < known.age.revision)
    {
        return Ok(known);
    }
    // A store that is ahead again is behind all the same.
    let back = went_back.map(|at| Position { revision: i64::MAX, ..at });
    let age = epoch::ensure(&*plane.store, at, back, plane.ttl * 2, now()).await?;
    if went_back.is_some() {
        tracing::warn!(
            "the overlay store went back to an earlier state; what this node owns is told again"
        );
        plane.view.acknowledge();
    }
    Ok(Known { age, settled: Instant::now() + age.left })
}

fn license(plane: &ControlPlane, known: Option<Known>) {
    let licence = match (plane.standing(), known) {
        (Standing::Held(live), Some(known)) if Instant::now() >= known.settled => {
            Licence::Full { live, epoch: known.age.revision }
        }
        (Standing::Held(live), _) => Licence::Keep { live },
        (Standing::Waiting(reason) | Standing::Refused(reason), _) => Licence::None(reason),
    };
    if plane.claims.licence() != licence {
        plane.claims.license(licence);
        plane.view.stir();
    }
}

/// Tells the others of this node, where they know something else.
async fn publish(plane: &ControlPlane) -> Result<()> {
    let (host, standing, told) = {
        let known = plane.known();
        (known.host.clone(), known.standing.clone(), known.told)
    };
    let is_known = |state: &State| {
        // What was told may still be on its way.
        state.at().is_none_or(|at| at.revision < told)
            || state.host(&plane.node).is_some_and(|there| **there == host)
    };
    let Standing::Held(live) = standing else { return Ok(()) };
    if plane.view.read(is_known) {
        return Ok(());
    }
    let key = keys::host(&plane.node);
    let txn = Txn::new(
        [Condition::Holds(keys::live(&plane.node), live)],
        [Write::put(key.as_str(), encode(&key, &host)?)],
    );
    if let Outcome::Committed(revision) = plane.store.commit(&txn).await? {
        plane.known().told = revision;
    }
    Ok(())
}

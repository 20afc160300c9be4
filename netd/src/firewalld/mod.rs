//! firewalld rejects what is forwarded from interfaces that are in no zone of its. So the bridges
//! and host ends that cleat made are put into one while firewalld runs: `cleat` where there is such
//! a zone, else `trusted`. Only those that are in none, and only those are taken out again that were
//! put in from here. Adds no rule, changes no zone and nothing permanent, and never starts firewalld.
//! A bridge of somebody else's, whose other ports may lead anywhere, is left to the administrator.

mod added;
mod bus;
mod zones;

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use cleat_engine::inventory;
use cleat_engine::records::Watch;
use tokio::io::unix::AsyncFd;

use crate::daemon::Shared;
use crate::error::{Error, Result};
use crate::events::Trouble;
use added::Added;
use bus::{Bus, Firewalld};

/// A bus or a folder that comes wakes nobody, nor does what did not work the last time.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Starts the task.
pub(crate) fn start(shared: &Arc<Shared>) -> Result<()> {
    let run = &shared.options.dirs.run;
    let watch = Watch::open(run.join("links"))?;
    let changed = watch.as_fd().try_clone_to_owned();
    #[allow(
        deprecated,
        reason = "unsound for types that lie about their descriptor; this owns one"
    )]
    let changed = changed.and_then(AsyncFd::new).map_err(Error::socket("watch", "links"))?;
    let keeper =
        Keeper { shared: shared.clone(), bus: None, added: Added::read(run), settled: None };
    tokio::spawn(async move {
        if let Err(error) = keeper.run(watch, changed).await {
            tracing::error!("firewalld's zones are no longer followed: {error}");
        }
    });
    Ok(())
}

struct Keeper {
    shared: Arc<Shared>,
    /// There only while there is something to keep in a zone.
    bus: Option<Bus>,
    added: Added,
    /// The links for which all was in order.
    settled: Option<BTreeSet<String>>,
}

impl Keeper {
    async fn run(mut self, mut watch: Watch, changed: AsyncFd<OwnedFd>) -> Result<()> {
        loop {
            let troubles = match self.settle().await {
                Ok(()) => BTreeSet::new(),
                Err(error) => {
                    self.settled = None;
                    [Trouble::new("firewalld.trouble", "firewalld", error.to_string())].into()
                }
            };
            self.shared.events.settle("firewalld", troubles);
            self.wait(&mut watch, &changed).await?;
        }
    }

    /// Until something may have to be done.
    async fn wait(&mut self, watch: &mut Watch, changed: &AsyncFd<OwnedFd>) -> Result<()> {
        loop {
            tokio::select! {
                ready = changed.readable() => {
                    ready.map_err(Error::socket("watch", "links"))?.clear_ready();
                    watch.drain()?;
                    return Ok(());
                }
                is_there = news(&mut self.bus) => {
                    if !is_there {
                        self.bus = None;
                    }
                    self.settled = None;
                    return Ok(());
                }
                () = tokio::time::sleep(LOOK_AGAIN) => {
                    if !watch.drain()?.is_empty() || self.settled.is_none() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Every link is in a zone afterwards, where there is firewalld.
    async fn settle(&mut self) -> Result<()> {
        let links = self.links().await?;
        if self.settled.as_ref() == Some(&links) {
            return Ok(());
        }
        if links.is_empty() && self.added.is_empty() {
            self.bus = None;
        } else {
            if self.bus.is_none() {
                self.bus = Bus::connect().await.map_err(bus_error("connect"))?;
            }
            let Some(bus) = self.bus.take() else {
                // Asked for again.
                return Ok(());
            };
            let outcome = self.settle_at(&bus, &links).await;
            self.bus = Some(bus);
            outcome?;
        }
        self.settled = Some(links);
        Ok(())
    }

    async fn settle_at(&mut self, bus: &Bus, links: &BTreeSet<String>) -> Result<()> {
        match bus.firewalld().await.map_err(bus_error("look for it"))? {
            Some(firewalld) => self.place(&firewalld, links).await,
            // What it was told at run time has ended with it.
            None => self.added.all().iter().try_for_each(|(link, _)| self.added.forget(link)),
        }
    }

    /// Links into a zone, those that are gone out of it. What one of them meets keeps no other.
    async fn place(&mut self, firewalld: &Firewalld<'_>, links: &BTreeSet<String>) -> Result<()> {
        let zones = firewalld.zones().await.map_err(bus_error("read its zones"))?;
        let mut outcome = Ok(());
        for (link, zone) in self.added.all() {
            if !zones.binds(&link, &zone) {
                // Somebody has chosen another zone, which is not ours to change.
                self.added.forget(&link)?;
            } else if !links.contains(&link) {
                outcome = self.take_out(firewalld, &zone, &link).await.and(outcome);
            }
        }
        for link in zones.missing(links) {
            outcome = self.put_in(firewalld, zones.home(), link).await.and(outcome);
        }
        outcome
    }

    async fn put_in(&mut self, firewalld: &Firewalld<'_>, zone: &str, link: &str) -> Result<()> {
        self.added.note(link, zone)?;
        let added = firewalld.add(zone, link).await;
        added.map_err(bus_error(&format!("add {link} to zone {zone}")))?;
        let text = format!("added to zone {zone}: it was in none");
        self.shared.events.tell("firewalld.added", link, text);
        Ok(())
    }

    async fn take_out(&mut self, firewalld: &Firewalld<'_>, zone: &str, link: &str) -> Result<()> {
        let removed = firewalld.remove(zone, link).await;
        removed.map_err(bus_error(&format!("remove {link} from zone {zone}")))?;
        self.added.forget(link)?;
        self.shared.events.tell("firewalld.removed", link, format!("removed from zone {zone}"));
        Ok(())
    }

    /// The links that lead to containers and that we made.
    async fn links(&self) -> Result<BTreeSet<String>> {
        let shared = self.shared.clone();
        let read = tokio::task::spawn_blocking(move || inventory::links(&shared.node()));
        let links = read.await.map_err(|e| Error::socket("read", "links")(e.into()))??;
        let ours = links.into_iter().filter(|rules| rules.created);
        Ok(ours.map(|rules| rules.link).collect())
    }
}

/// Never ready without a bus.
async fn news(bus: &mut Option<Bus>) -> bool {
    match bus {
        Some(bus) => bus.news().await,
        None => std::future::pending().await,
    }
}

fn bus_error(doing: &str) -> impl FnOnce(zbus::Error) -> Error {
    let doing = doing.to_owned();
    move |source| Error::Firewalld { doing, source: Box::new(source) }
}

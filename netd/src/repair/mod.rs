//! Repair: a thread that listens to what others do to the node, has the engine look at all of it
//! when that may concern containers, and every minute in any case, and mends what is found. While
//! it runs it holds the guard table, so that nothing stops or opens until a flush is undone. When
//! it ends, everything stays as it is.

mod concern;
mod pace;

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cleat_engine::guard::{self, Guard};
use cleat_engine::kernel::{Drained, Monitor as LinkMonitor, delete, process};
use cleat_engine::nft::Monitor as TableMonitor;
use cleat_engine::repair::{self, Finding, Survey};
use cleat_engine::{Error as EngineError, Node};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};

use crate::daemon::Shared;
use crate::error::{Error, Result};
use crate::events::Trouble;
use concern::Concern;
use pace::Pace;

/// What is mended may uncover what was behind it.
const ROUNDS: usize = 3;
/// The kind of what is told and cannot be mended from here.
const FOUND: &str = "repair.found";

/// Starts the thread.
pub(crate) fn start(shared: &Arc<Shared>) -> Result<()> {
    let shared = shared.clone();
    std::thread::Builder::new()
        .name("repair".into())
        .spawn(move || Repairer::new(shared).run())
        .map(drop)
        .map_err(Error::socket("start a thread for", "repair"))
}

struct Repairer {
    shared: Arc<Shared>,
    node: Node,
    /// What this kernel lets us listen to.
    tables: Option<TableMonitor>,
    links: Option<LinkMonitor>,
    guard: Option<Guard>,
    /// It cannot be had, which was told.
    refused: bool,
    pace: Pace,
}

impl Repairer {
    fn new(shared: Arc<Shared>) -> Self {
        let node = shared.node();
        // Listening comes first: what happens after it is heard, what happened before is surveyed.
        let mut troubles = BTreeSet::new();
        let mut unheard = |what: &str, error: String| {
            let text = format!("{what} are looked at every minute only: {error}");
            troubles.insert(Trouble::new(FOUND, what, text));
        };
        let tables = TableMonitor::open().map_err(|e| unheard("nftables", e.to_string())).ok();
        let links = LinkMonitor::open().map_err(|e| unheard("links", e.to_string())).ok();
        shared.events.settle("repair's means", troubles);
        let pace = Pace::new(Instant::now());
        let mut repairer = Self { shared, node, tables, links, guard: None, refused: false, pace };
        repairer.hold_guard();
        repairer
    }

    /// Holds the guard table, or not, as configured.
    fn hold_guard(&mut self) {
        if !self.shared.config().repair.guard {
            (self.guard, self.refused) = (None, false);
            return;
        }
        if self.guard.is_some() || self.refused {
            return;
        }
        let mut troubles = BTreeSet::new();
        match Guard::hold(&self.node) {
            Ok(guard) => self.guard = Some(guard),
            Err(error) => {
                self.refused = true;
                let why = match &error {
                    EngineError::Firewall(e) if e.is_unsupported() => {
                        "this kernel has none (Linux 5.12)".to_owned()
                    }
                    EngineError::Firewall(e) if e.is_permission() => {
                        "another process holds it, or CAP_NET_ADMIN is missing".to_owned()
                    }
                    other => other.to_string(),
                };
                let text = format!("no guard: a flush resets translated connections; {why}");
                troubles.insert(Trouble::new(FOUND, guard::TABLE.to_string(), text));
            }
        }
        self.shared.events.settle("repair's guard", troubles);
    }

    fn run(mut self) {
        loop {
            if self.pace.is_due(Instant::now()) {
                self.look();
            }
            self.wait();
            let concern = self.listen();
            self.pace.concern(Instant::now(), concern.urgency);
            if concern.are_links_new {
                self.follow_links();
            }
            // Of deletions that nobody had to wait for.
            delete::reap();
        }
    }

    fn wait(&self) {
        let left = self.pace.left(Instant::now());
        let fds = [self.tables.as_ref().map(AsFd::as_fd), self.links.as_ref().map(AsFd::as_fd)];
        let mut fds: Vec<PollFd<'_>> = fds
            .into_iter()
            .flatten()
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        // An error shows as a wait that is short, and is met again by whoever reads.
        let _ = poll(&mut fds, Timespec::try_from(left).ok().as_ref());
    }

    fn listen(&mut self) -> Concern {
        let mut concern = Concern::default();
        if let Some(tables) = &mut self.tables {
            match tables.drain() {
                Ok((commits, drained)) => {
                    commits.iter().for_each(|commit| concern.hear_commit(commit));
                    if drained == Drained::SomeLost {
                        concern.hear_loss();
                    }
                }
                Err(error) => {
                    tracing::warn!("nftables are looked at every minute only: {error}");
                    self.tables = None;
                }
            }
        }
        if let Some(links) = &mut self.links {
            match links.drain() {
                Ok(notices) => notices.iter().for_each(|notice| concern.hear_notice(notice)),
                Err(error) => {
                    tracing::warn!("links are looked at every minute only: {error}");
                    self.links = None;
                }
            }
        }
        concern
    }

    /// Surveys and mends, again where something was mended.
    fn look(&mut self) {
        let before = processor_time();
        let mut busy = 0;
        for _ in 0..ROUNDS {
            match repair::survey(&self.node) {
                Ok(survey) => {
                    busy = survey.busy;
                    if !self.mend(&survey) {
                        break;
                    }
                }
                Err(error) => {
                    tracing::warn!("the node cannot be surveyed: {error}");
                    busy = 1;
                    break;
                }
            }
        }
        self.hold_guard();
        self.follow_links();
        // A picture of a large node is large.
        process::release_memory();
        let cost = processor_time().saturating_sub(before);
        self.pace.looked(cost, Instant::now(), busy > 0);
    }

    /// Mends what can be, and tells of everything once. Whether anything was mended.
    fn mend(&mut self, survey: &Survey) -> bool {
        let mut mended = false;
        let mut troubles = BTreeSet::new();
        for finding in &survey.findings {
            match self.mend_one(finding) {
                Ok(()) => mended = true,
                Err(trouble) => drop(troubles.insert(trouble)),
            }
        }
        self.shared.events.settle("repair", troubles);
        mended
    }

    fn mend_one(&self, finding: &Finding) -> std::result::Result<(), Trouble> {
        if !finding.is_mendable() {
            return Err(Trouble::new(FOUND, finding.object(), finding.to_string()));
        }
        let mended = repair::mend(&self.node, finding);
        self.shared.metrics.repaired(finding.kind(), mended.is_ok());
        match mended {
            Ok(()) => {
                self.shared.events.tell("repair.done", finding.object(), finding.to_string());
                Ok(())
            }
            Err(error) => {
                let text = format!("{finding}; it cannot be mended: {error}");
                Err(Trouble::new("repair.failed", finding.object(), text))
            }
        }
    }

    /// The guard keeps to the links that lead to containers.
    fn follow_links(&mut self) {
        if let Some(guard) = &mut self.guard
            && let Err(error) = guard.follow(&self.node)
        {
            tracing::warn!("{}: {error}", guard::TABLE);
        }
    }
}

/// What the calling thread has taken of a processor so far.
fn processor_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(now).unwrap_or_default()
}

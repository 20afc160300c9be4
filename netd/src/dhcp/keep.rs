//! Keeping leases: each is looked at when its time has come, by one timer for all.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::clock::{self, NEVER, Timer};
use super::exchange::Pace;
use super::failure::Failure;
use super::lease::{Held, LeaseRecord};
use super::link::{Link, NotFound};
use super::{Dhcp, Entry, client};
use crate::error::Result;

/// One try to renew: twice asked.
const TRY: Pace = Pace {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(2),
    whole: Duration::from_secs(3),
};
/// Two tries are at least so far apart, in milliseconds.
const LEAST: u64 = 1000;
/// An interface that cannot be looked at, and a lease that has ended, are tried again after this.
const LATER: u64 = 10_000;

/// Looks after all leases, for ever.
pub(super) async fn keep(dhcp: Arc<Dhcp>) -> Result<()> {
    let timer = Timer::new()?;
    loop {
        let (due, next) = dhcp.due(clock::now());
        for name in due {
            let dhcp = dhcp.clone();
            tokio::spawn(async move { dhcp.tend(&name).await });
        }
        tokio::select! {
            outcome = timer.wait_until(next) => outcome?,
            () = dhcp.changed.notified() => {}
        }
    }
}

impl Dhcp {
    /// What has to be done now, marked as being done, and when the next of the rest has to be.
    fn due(&self, now: u64) -> (Vec<String>, u64) {
        let (mut due, mut next) = (Vec::new(), NEVER);
        for (name, entry) in self.locked().iter_mut().filter(|(_, entry)| !entry.busy) {
            match entry.record.due() {
                at if at <= now => {
                    entry.busy = true;
                    due.push(name.clone());
                }
                at => next = next.min(at),
            }
        }
        (due, next)
    }

    /// Does for one lease what its time has come for.
    async fn tend(&self, name: &str) {
        let Ok(_permit) = self.renewals.acquire().await else { return };
        let _turn = self.turns.take(name).await;
        let Some(mut record) = self.locked().get(name).map(|entry| entry.record.clone()) else {
            return;
        };
        let before = record.clone();
        match self.find(&record) {
            Ok(link) => {
                let asked = record.asked.clone();
                for held in &mut record.held {
                    let one =
                        LeaseRecord { held: Vec::new(), asked: asked.clone(), ..before.clone() };
                    self.tend_one(&link, &one, held).await;
                }
            }
            Err(NotFound::Gone(text)) => return self.drop_gone(name, &record, &text),
            Err(NotFound::Unknown(text)) => {
                let now = clock::now();
                if record.held.iter().all(|held| held.times.expire <= now) {
                    return self.drop_gone(name, &record, &text);
                }
                record.held.iter_mut().for_each(|held| held.again = now + LATER);
            }
        }
        if record != before
            && let Err(error) = self.store.replace(name, &record)
        {
            tracing::warn!("{error}");
        }
        if let Some(entry) = self.locked().get_mut(name) {
            *entry = Entry { record, busy: false };
        }
        self.tell_lost();
        self.changed.notify_one();
    }

    fn drop_gone(&self, name: &str, record: &LeaseRecord, text: &str) {
        self.forget(name);
        self.events.tell("dhcp.gone", record.asked.id.to_string(), text);
        self.changed.notify_one();
    }

    async fn tend_one(&self, link: &Link, lease: &LeaseRecord, held: &mut Held) {
        let now = clock::now();
        let times = held.times;
        if held.lost {
            return self.regain(link, lease, held).await;
        }
        if now >= times.expire {
            return self.lose(lease, held, "its time is over");
        }
        if now < times.renew {
            held.again = 0;
            return;
        }
        let any = now >= times.rebind;
        let end = if any { times.expire } else { times.rebind };
        let pace = Pace { whole: TRY.whole.min(Duration::from_millis(end - now)), ..TRY };
        match client::extend(link, &lease.asked, held, (any, pace), &self.settings).await {
            Ok(extended) => {
                tracing::debug!("{}: {} renewed", lease.asked.id, held.address);
                self.counts.renewed.fetch_add(1, Ordering::Relaxed);
                *held = extended;
            }
            Err(Failure::Refused { text, .. }) => self.lose(lease, held, &text),
            Err(error) => {
                tracing::info!("{}: {} not renewed: {error}", lease.asked.id, held.address);
                // Half of what is left, and again (RFC 2131, section 4.4.5).
                let now = clock::now();
                let half = end.saturating_sub(now) / 2;
                held.again = (now + half.max(LEAST)).min(end.max(now));
            }
        }
    }

    fn lose(&self, lease: &LeaseRecord, held: &mut Held, why: &str) {
        tracing::warn!("{}: the lease of {} is lost: {why}", lease.asked.id, held.address);
        self.counts.lost.fetch_add(1, Ordering::Relaxed);
        held.lost = true;
        held.again = clock::now();
    }

    /// Asks for the same address once more. Another one is of no use: the container keeps what it
    /// was given.
    async fn regain(&self, link: &Link, lease: &LeaseRecord, held: &mut Held) {
        let settings =
            super::Settings { resend_timeout: TRY.whole.as_secs(), ..self.settings.clone() };
        let wanted = (matches!(held.address, IpAddr::V6(_)), Some(held.address));
        let id = &lease.asked.id;
        match client::acquire(link, &lease.asked, wanted, &settings).await {
            Ok((again, _)) if again.address == held.address => {
                self.events.tell("dhcp.regained", id.to_string(), held.address.to_string());
                *held = again;
                return;
            }
            Ok((other, _)) => {
                tracing::warn!("{id}: {} is given in place of {}", other.address, held.address);
                if let Err(error) =
                    client::release(link, &lease.asked, &other, &self.settings).await
                {
                    tracing::warn!("{id}: {} stays leased: {error}", other.address);
                }
            }
            Err(error) => tracing::debug!("{id}: {error}"),
        }
        held.again = clock::now() + LATER.max(self.settings.resend_max * 1000);
    }
}

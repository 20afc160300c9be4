//! Which of a container's networks holds the default route: the one of the highest priority, of
//! several such the first.
//!
//! The holder's route has the lowest metric there is. A network with a priority has a second
//! default route, whose metric tells the priority: so whoever comes later needs to know nothing of
//! the others, and when the holder goes the kernel goes on with the next best.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use cleat_kernel::{Change, Route, Rtnl};

use crate::error::{Error, Result};

/// The priorities that there are.
pub const PRIORITIES: RangeInclusive<i32> = -900_000..=900_000;

/// Metrics of networks with a priority above 0 count down from here, so they end at 110,000,000.
const ABOVE: u32 = 200_000_000;
/// Those of networks with one below 0 count up from here.
const BELOW: u32 = 400_000_000;
/// From one priority to the next, which leaves room for networks of the same one.
const STEP: u32 = 100;
/// What others have given is less than this, and moves behind all that is above.
const PLAIN_END: u32 = 100_000_000;
/// The kernel's for IPv6 routes without one (`IP6_RT_PRIO_USER`).
const USUAL_V6: u32 = 1024;

/// Adds a network's default route where its priority puts it.
pub(crate) fn place(rtnl: &mut Rtnl, wanted: &Route, priority: i32) -> Result<()> {
    let present = defaults(rtnl, wanted)?;
    let best = best_metric(wanted);
    let holder = present.iter().find(|route| metric(route) == best);
    let takes = holder.is_none_or(|holder| priority > priority_on(&present, holder.link));
    let at = |route: &Route, metric: u32| Route { priority: Some(metric), ..route.clone() };
    let mut changes = Vec::new();
    if priority > 0 {
        let plain = present.iter().filter(|r| metric(r) < PLAIN_END);
        let plain = plain.filter(|r| priority_on(&present, r.link) == 0);
        for route in plain.filter(|r| takes || metric(r) != best) {
            changes.push(Change::AddRoute(at(route, ABOVE + metric(route))));
            changes.push(Change::DeleteRoute(at(route, metric(route))));
        }
    }
    if let Some(holder) = holder.filter(|h| takes && priority_on(&present, h.link) != 0) {
        changes.push(Change::DeleteRoute(at(holder, best)));
    }
    if takes {
        changes.push(Change::AddRoute(at(wanted, best)));
    }
    if priority != 0 {
        let first = marker(priority);
        let taken = |m: &u32| present.iter().any(|route| metric(route) == *m);
        let free = (first..first + STEP).find(|m| !taken(m)).unwrap_or(first);
        changes.push(Change::AddRoute(at(wanted, free)));
    }
    rtnl.apply(&changes).map_err(|refused| Error::Kernel(refused.error))
}

/// The default route is held by a network of a priority below 0.
pub(crate) fn is_for_the_taking(rtnl: &mut Rtnl, wanted: &Route) -> Result<bool> {
    let present = defaults(rtnl, wanted)?;
    let best = best_metric(wanted);
    let holder = present.iter().find(|route| metric(route) == best);
    Ok(holder.is_some_and(|holder| priority_on(&present, holder.link) < 0))
}

/// The metric behind which a route of a network without a priority belongs.
pub(crate) fn highest<'r>(present: impl Iterator<Item = &'r Route>) -> u32 {
    let before = present.map(metric).filter(|metric| *metric < BELOW);
    before
        .map(|metric| if metric < PLAIN_END { metric } else { metric.max(ABOVE) })
        .max()
        .unwrap_or(0)
}

/// Its place is a matter of priority: whoever wrote it has not said.
pub(crate) fn is_free(route: &Route) -> bool {
    route.dst.prefix_len() == 0 && route.priority.is_none() && route.table.is_none()
}

/// Those of the wanted one's family on other links.
fn defaults(rtnl: &mut Rtnl, wanted: &Route) -> Result<Vec<Route>> {
    let mut present = rtnl.routes()?;
    present.retain(|route| route.dst == wanted.dst && route.link != wanted.link);
    Ok(present)
}

fn best_metric(wanted: &Route) -> u32 {
    if matches!(wanted.dst.addr(), IpAddr::V4(_)) { 0 } else { USUAL_V6 }
}

fn metric(route: &Route) -> u32 {
    route.priority.unwrap_or(0)
}

fn marker(priority: i32) -> u32 {
    let steps = priority.unsigned_abs() * STEP;
    if priority > 0 { ABOVE - steps } else { BELOW + steps }
}

fn priority_on(present: &[Route], link: Option<u32>) -> i32 {
    let on_link = present.iter().filter(|route| route.link == link);
    on_link.map(|route| priority_of(metric(route))).find(|p| *p != 0).unwrap_or(0)
}

/// The priority that a marker tells; 0 for any other metric.
fn priority_of(metric: u32) -> i32 {
    let told = match metric {
        PLAIN_END..ABOVE => i32::try_from((ABOVE - metric).div_ceil(STEP)).ok(),
        BELOW.. => i32::try_from((metric - BELOW) / STEP).ok().map(|p| -p),
        _ => None,
    };
    told.filter(|p| PRIORITIES.contains(p)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_tells_its_priority_and_they_sort() {
        let mut last = 0;
        for priority in [900_000, 1000, 100, 1, -1, -100, -900_000] {
            let metric = marker(priority);
            assert_eq!(priority_of(metric), priority);
            assert_eq!(priority_of(metric + STEP - 1), priority);
            assert!(metric > last && metric >= PLAIN_END, "{priority}");
            last = metric + STEP - 1;
        }
        for plain in [0, 100, 1024, 1100, ABOVE, ABOVE + 1024, BELOW] {
            assert_eq!(priority_of(plain), 0, "{plain}");
        }
    }
}

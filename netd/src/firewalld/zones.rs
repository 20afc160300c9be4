//! Which interface is in which zone, and what follows from that. Pure; asks nobody.

use std::collections::{BTreeMap, BTreeSet};

/// The zone that is taken where it exists, and the one that every firewalld has.
const OWN: &str = "cleat";
const FALLBACK: &str = "trusted";

/// firewalld's zones as they are now.
#[derive(Debug, Default)]
pub(super) struct Zones {
    names: BTreeSet<String>,
    /// By interface, or by the beginning of their names before a `+`.
    bound: BTreeMap<String, String>,
}

impl Zones {
    /// Of all zones' names, and the interfaces of those that have some.
    pub(super) fn new(
        names: impl IntoIterator<Item = String>,
        interfaces: impl IntoIterator<Item = (String, Vec<String>)>,
    ) -> Self {
        let bound = interfaces.into_iter().flat_map(|(zone, interfaces)| {
            interfaces.into_iter().map(move |interface| (interface, zone.clone()))
        });
        Self { names: names.into_iter().collect(), bound: bound.collect() }
    }

    /// Where links go.
    pub(super) fn home(&self) -> &'static str {
        if self.names.contains(OWN) { OWN } else { FALLBACK }
    }

    /// Links that are in no zone.
    pub(super) fn missing<'l>(
        &self,
        links: &'l BTreeSet<String>,
    ) -> impl Iterator<Item = &'l String> {
        links.iter().filter(|link| !self.holds(link))
    }

    /// The link is bound to this zone by its own name.
    pub(super) fn binds(&self, link: &str, zone: &str) -> bool {
        self.bound.get(link).is_some_and(|bound| bound == zone)
    }

    /// firewalld itself looks for the exact name only, its rules match on the beginning as well.
    fn holds(&self, link: &str) -> bool {
        let begins = |bound: &String| {
            bound.strip_suffix('+').is_some_and(|beginning| link.starts_with(beginning))
        };
        self.bound.contains_key(link) || self.bound.keys().any(begins)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones(names: &[&str], bound: &[(&str, &[&str])]) -> Zones {
        let owned = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        let bound = bound.iter().map(|(zone, links)| ((*zone).to_owned(), owned(links)));
        Zones::new(owned(names), bound)
    }

    #[test]
    fn what_is_in_a_zone_by_name_or_beginning_stays_where_it_is() {
        let zones =
            zones(&["cleat", "home", "trusted"], &[("cleat", &["cl+"]), ("home", &["br1"])]);
        let links = ["br1", "br10", "clweb", "veth0"].map(String::from).into();
        assert_eq!(zones.missing(&links).collect::<Vec<_>>(), ["br10", "veth0"]);
        assert!(zones.binds("br1", "home") && !zones.binds("br1", "cleat"));
        assert!(!zones.binds("clweb", "cleat"), "not by its own name");
    }

    #[test]
    fn the_zone_is_ours_if_there_is_one() {
        assert_eq!(zones(&["cleat", "trusted"], &[]).home(), "cleat");
        assert_eq!(zones(&["public", "trusted"], &[]).home(), "trusted");
    }
}

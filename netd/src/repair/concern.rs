//! What of all that is heard may concern containers, and how much.

use cleat_engine::kernel::monitor::Notice;
use cleat_engine::nft::{Commit, Family, Table, Touched};
use cleat_engine::ruleset::{BRIDGE, INET};

/// How soon the node has to be looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// Not for this.
    #[default]
    None,
    /// It may be something.
    Soon,
    /// Something was taken away.
    Now,
}

/// What was heard, taken together.
#[derive(Debug, Default)]
pub(super) struct Concern {
    pub(super) urgency: Urgency,
    /// A link that leads to containers came.
    pub(super) are_links_new: bool,
}

/// Our programs by the names that the kernel knows them by. They keep the tables in order
/// themselves, hundreds of times a second; who bears the name of one and does not is found by the
/// regular look.
const OURS: [&str; 15] = [
    "bridge",
    "cleat",
    "dnsname",
    "firewall",
    "host",
    "host-local",
    "loopback",
    "macvlan",
    "netd",
    "none",
    "overlay",
    "portmap",
    "ptp",
    "static",
    "tuning",
];
/// Where other firewalls that drop forwarded traffic let containers through.
const FILTERS: [Table; 2] = [Table::new(Family::Ip, "filter"), Table::new(Family::Ip6, "filter")];

impl Concern {
    /// Some notices were lost.
    pub(super) fn hear_loss(&mut self) {
        self.raise(Urgency::Now);
        self.are_links_new = true;
    }

    pub(super) fn hear_commit(&mut self, commit: &Commit) {
        let ours = OURS.contains(&commit.program.as_str()) || is_own_thread(commit.thread);
        for touched in &commit.tables {
            let is = |table: Table| {
                touched.family == table.family.number() && touched.table == table.name
            };
            if is(INET) || is(BRIDGE) {
                self.are_links_new |= is(INET) && touched.filled.iter().any(|set| set == "links");
                if !ours {
                    self.raise(urgency_of(touched));
                }
            } else if FILTERS.into_iter().any(is) && (touched.cut || touched.laid) {
                self.raise(Urgency::Soon);
            }
        }
    }

    pub(super) fn hear_notice(&mut self, notice: &Notice) {
        match notice {
            Notice::LinkGone { kind, .. } if kind == "bridge" => self.raise(Urgency::Now),
            Notice::LinkGone { .. } | Notice::AddressGone { .. } | Notice::SettingChanged => {
                self.raise(Urgency::Soon);
            }
            // Of others, such as a wireless one's, nothing is ours.
            Notice::LinkChanged { kind, .. } if kind == "bridge" || kind == "veth" => {
                self.raise(Urgency::Soon);
            }
            Notice::LinkChanged { .. } | Notice::AddressAdded { .. } => {}
            Notice::Lost => self.hear_loss(),
        }
    }

    fn raise(&mut self, urgency: Urgency) {
        self.urgency = self.urgency.max(urgency);
    }
}

fn urgency_of(touched: &Touched) -> Urgency {
    if touched.cut || touched.laid || touched.emptied { Urgency::Now } else { Urgency::Soon }
}

/// Our threads have other names.
fn is_own_thread(thread: u32) -> bool {
    std::path::Path::new("/proc/self/task").join(thread.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(program: &str, table: Table, change: fn(&mut Touched)) -> Urgency {
        let mut touched = Touched {
            family: table.family.number(),
            table: table.name.to_owned(),
            ..Touched::default()
        };
        change(&mut touched);
        let commit = Commit { program: program.to_owned(), thread: 0, tables: vec![touched] };
        let mut concern = Concern::default();
        concern.hear_commit(&commit);
        concern.urgency
    }

    #[test]
    fn what_others_take_from_our_tables_is_urgent() {
        let emptied = |touched: &mut Touched| touched.emptied = true;
        let cut = |touched: &mut Touched| touched.cut = true;
        let filled = |touched: &mut Touched| touched.filled = vec!["masq4".to_owned()];
        const OTHER: Table = Table::new(Family::Inet, "other");
        for (program, table, change, urgency) in [
            ("nft", INET, emptied as fn(&mut Touched), Urgency::Now),
            ("nft", BRIDGE, cut, Urgency::Now),
            ("nft", INET, filled, Urgency::Soon),
            ("bridge", INET, emptied, Urgency::None),
            ("portmap", INET, cut, Urgency::None),
            ("iptables-restor", FILTERS[0], cut, Urgency::Soon),
            ("iptables-restor", FILTERS[1], filled, Urgency::None),
            ("nft", OTHER, cut, Urgency::None),
        ] {
            assert_eq!(commit(program, table, change), urgency, "{program} {table}");
        }
    }

    #[test]
    fn new_links_are_followed_whoever_made_them() {
        let filled = Touched {
            family: INET.family.number(),
            table: INET.name.to_owned(),
            filled: vec!["into".to_owned(), "links".to_owned()],
            ..Touched::default()
        };
        let program = "bridge".to_owned();
        let mut concern = Concern::default();
        concern.hear_commit(&Commit { program, thread: 0, tables: vec![filled] });
        assert!(concern.are_links_new && concern.urgency == Urgency::None);
    }
}

//! Where rules live: families, tables, and what makes a chain a base chain.

use std::fmt;

/// An address family of tables, `NFPROTO_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    Ip = 2,
    /// IPv6.
    Ip6 = 10,
    /// IPv4 and IPv6.
    Inet = 1,
    /// Bridged frames.
    Bridge = 7,
}

impl Family {
    /// The kernel's number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The name that `nft` uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Inet => "inet",
            Self::Bridge => "bridge",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A table's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table {
    /// Its family.
    pub family: Family,
    /// Its name within the family.
    pub name: &'static str,
}

impl Table {
    /// The table of this name.
    pub const fn new(family: Family, name: &'static str) -> Self {
        Self { family, name }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.family, self.name)
    }
}

/// What a base chain's rules may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Decide about packets.
    Filter,
    /// Translate addresses; sees only the first packet of a flow.
    Nat,
}

impl Kind {
    /// The kernel's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
        }
    }
}

/// Where in the packet's path a base chain sits, `NF_INET_*`; the same numbers for bridges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Before routing.
    Prerouting = 0,
    /// To the host itself.
    Input = 1,
    /// Through the host.
    Forward = 2,
    /// From the host itself.
    Output = 3,
    /// After routing.
    Postrouting = 4,
}

impl Hook {
    /// The name that `nft` uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        }
    }

    /// The hook of this number; `None` for those of other families, as `ingress`.
    pub const fn of(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Prerouting,
            1 => Self::Input,
            2 => Self::Forward,
            3 => Self::Output,
            4 => Self::Postrouting,
            _ => return None,
        })
    }
}

/// What makes a chain a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// What its rules may do.
    pub kind: Kind,
    /// Where it sits.
    pub hook: Hook,
    /// Lower runs earlier; `filter` is 0, `dstnat` -100, `srcnat` 100, `raw` -300.
    pub priority: i32,
    /// The policy is drop instead of accept.
    pub drop: bool,
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = if self.drop { "drop" } else { "accept" };
        let (kind, hook) = (self.kind.name(), self.hook.name());
        write!(f, "type {kind} hook {hook} priority {}; policy {policy};", self.priority)
    }
}

//! Settings of a container's interface that a chained plugin changes, and what they were.

use std::path::{Path, PathBuf};

use cleat_kernel::link::iff;
use cleat_kernel::{Change, Link, LinkChange, Mac, Namespace, Rtnl, sysctl};

use crate::Node;
use crate::error::{Error, Result};
use crate::identity::AttachmentId;
use crate::record::{AttachmentRecord, LinkState, Phase, TuningPart};
use crate::ruleset::{self, Ruleset};
use crate::undo::Undo;

/// What is to be set.
#[derive(Debug, Clone)]
pub struct Tune {
    /// The attachment.
    pub id: AttachmentId,
    /// The container's namespace.
    pub netns: PathBuf,
    /// Paths below /proc/sys and values; parsed by [`sysctl_path`].
    pub sysctls: Vec<(String, String)>,
    /// The interface's settings; `None` leaves one as it is.
    pub link: LinkState,
}

/// The path below /proc/sys/net of a sysctl as users write it: `net.ipv4.conf.IFNAME.arp_filter`
/// or `net/ipv4/conf/IFNAME/arp_filter`. Only `net`, and nothing that leaves it.
pub fn sysctl_path(key: &str, ifname: &str) -> Result<String> {
    let refuse = |why| Error::Sysctl { key: key.to_owned(), why };
    // The name is put in last: it may hold dots.
    let path = key.replace('.', "/").replacen("IFNAME", ifname, 1);
    let rest = path.strip_prefix("net/").ok_or_else(|| refuse("only net.* may be set"))?;
    if rest.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(refuse("it is no name of a setting"));
    }
    Ok(rest.to_owned())
}

/// Applies settings. On failure all are as before.
pub fn apply(node: &Node, tune: &Tune) -> Result<()> {
    node.require_boot_id()?;
    let name = tune.id.record_name();
    let _lock = node.locks().acquire(&name)?;
    let paths = paths(tune)?;
    let netns = open(&tune.netns)?;
    let mut rtnl = Rtnl::open_in(&netns)?;
    let before = state_of(&link_of(&mut rtnl, &tune.id.slot)?);
    let mut record = node
        .attachments()
        .read(&name)?
        .filter(|record| node.is_this_boot(&record.boot))
        .unwrap_or_else(|| AttachmentRecord::new(tune.id.clone(), node.boot_id()));
    let old = record.clone();
    let changed = only_changed(&before, &tune.link);
    record.tuning = Some(TuningPart {
        phase: Phase::Adding,
        before: changed_from(&before, &tune.link),
        mac: tune.link.mac,
    });
    let mut undo = Undo::new(node.warner());
    let earlier = old.clone();
    undo.push("record", move || earlier.store(node).map_err(|e| e.to_string()));
    node.attachments().replace(&name, &record)?;

    let mut previous: Vec<(String, String)> = Vec::new();
    let outcome = netns.run(|| set_all(&paths, &mut previous))?;
    let home = &netns;
    undo.push("sysctls", move || {
        let back = home.run(|| previous.iter().rev().try_for_each(|(p, v)| sysctl::write(p, v)));
        back.and_then(|result| result).map_err(|e| e.to_string())
    });
    outcome?;
    let restore = changed_from(&before, &tune.link);
    let slot = tune.id.slot.clone();
    undo.push("interface", move || {
        set_link(&mut Rtnl::open_in(home).map_err(|e| e.to_string())?, &slot, &restore)
            .map_err(|e| e.to_string())
    });
    set_link(&mut rtnl, &tune.id.slot, &changed)?;
    if changed.mac.is_some() {
        let (new, earlier) = (record.clone(), old.clone());
        undo.push("rules", move || follow_mac(node, &new, &earlier).map_err(|e| e.to_string()));
        follow_mac(node, &old, &record)?;
    }
    if let Some(part) = &mut record.tuning {
        part.phase = Phase::Ready;
    }
    node.attachments().replace(&name, &record)?;
    undo.commit();
    Ok(())
}

/// Puts the interface back as it was, if it is still there. Sysctls stay, as the reference's do.
pub fn revert(node: &Node, id: &AttachmentId, netns: Option<&Path>) -> Result<()> {
    let name = id.record_name();
    let _lock = node.lock_to_free(&name);
    let Ok(Some(mut record)) = node.attachments().read(&name) else {
        return Ok(());
    };
    let old = record.clone();
    let Some(part) = record.tuning.take() else {
        return Ok(());
    };
    if let Some(netns) = netns.and_then(|path| Namespace::open(path).ok()) {
        let mut rtnl = Rtnl::open_in(&netns)?;
        if rtnl.link(&id.slot)?.is_some() {
            set_link(&mut rtnl, &id.slot, &part.before)?;
        }
    }
    if part.mac.is_some() && node.is_this_boot(&record.boot) {
        follow_mac(node, &old, &record)?;
    }
    record.store_rest(node);
    Ok(())
}

/// Compares an interface with what was set.
pub fn check(tune: &Tune) -> Result<()> {
    let differs = |what: String| Error::Differs { id: tune.id.clone(), what };
    let paths = paths(tune)?;
    let netns = open(&tune.netns)?;
    for (path, wanted) in &paths {
        let found = netns.run(|| sysctl::read(path))??;
        if !same_value(&found, wanted) {
            return Err(differs(format!("sysctl net/{path} is {found:?}, not {wanted:?}")));
        }
    }
    let found = state_of(&link_of(&mut Rtnl::open_in(&netns)?, &tune.id.slot)?);
    let left = only_changed(&found, &tune.link);
    let text = |what: &str, found: String, wanted: String| {
        Err(differs(format!("{what} is {found}, not {wanted}")))
    };
    let mac = |m: Option<Mac>| m.map_or_else(|| "none".to_owned(), |m| m.to_string());
    let number = |n: Option<u32>| n.unwrap_or(0).to_string();
    let switch = |b: Option<bool>| if b == Some(true) { "on" } else { "off" }.to_owned();
    if left.mac.is_some() {
        return text("mac", mac(found.mac), mac(left.mac));
    }
    if left.mtu.is_some() {
        return text("mtu", number(found.mtu), number(left.mtu));
    }
    if left.txqlen.is_some() {
        return text("txQLen", number(found.txqlen), number(left.txqlen));
    }
    if left.promisc.is_some() {
        return text("promisc", switch(found.promisc), switch(left.promisc));
    }
    if left.allmulti.is_some() {
        return text("allmulti", switch(found.allmulti), switch(left.allmulti));
    }
    Ok(())
}

fn open(path: &Path) -> Result<Namespace> {
    Namespace::open(path).map_err(|source| Error::Netns { path: path.to_owned(), source })
}

fn paths(tune: &Tune) -> Result<Vec<(String, String)>> {
    let parse =
        |(key, value): &(String, String)| Ok((sysctl_path(key, &tune.id.slot)?, value.clone()));
    tune.sysctls.iter().map(parse).collect()
}

fn link_of(rtnl: &mut Rtnl, ifname: &str) -> Result<Link> {
    rtnl.link(ifname)?.ok_or_else(|| Error::NoLink { role: "interface", name: ifname.to_owned() })
}

fn set_all(paths: &[(String, String)], previous: &mut Vec<(String, String)>) -> Result<()> {
    for (path, value) in paths {
        let before = sysctl::read(path).ok();
        sysctl::write(path, value)?;
        previous.extend(before.map(|before| (path.clone(), before)));
    }
    Ok(())
}

/// The kernel puts tabs between the numbers of a list.
fn same_value(found: &str, wanted: &str) -> bool {
    found.split_whitespace().eq(wanted.split_whitespace())
}

fn state_of(link: &Link) -> LinkState {
    LinkState {
        mac: link.mac,
        mtu: Some(link.mtu),
        txqlen: Some(link.txqlen),
        promisc: Some(link.flags & iff::PROMISC != 0),
        allmulti: Some(link.flags & iff::ALLMULTI != 0),
    }
}

/// Those of the wanted settings that differ.
fn only_changed(now: &LinkState, wanted: &LinkState) -> LinkState {
    LinkState {
        mac: wanted.mac.filter(|v| now.mac != Some(*v)),
        mtu: wanted.mtu.filter(|v| now.mtu != Some(*v)),
        txqlen: wanted.txqlen.filter(|v| now.txqlen != Some(*v)),
        promisc: wanted.promisc.filter(|v| now.promisc != Some(*v)),
        allmulti: wanted.allmulti.filter(|v| now.allmulti != Some(*v)),
    }
}

/// What those of the wanted settings were before.
fn changed_from(before: &LinkState, wanted: &LinkState) -> LinkState {
    LinkState {
        mac: before.mac.filter(|_| wanted.mac.is_some()),
        mtu: before.mtu.filter(|_| wanted.mtu.is_some()),
        txqlen: before.txqlen.filter(|_| wanted.txqlen.is_some()),
        promisc: before.promisc.filter(|_| wanted.promisc.is_some()),
        allmulti: before.allmulti.filter(|_| wanted.allmulti.is_some()),
    }
}

fn set_link(rtnl: &mut Rtnl, ifname: &str, state: &LinkState) -> Result<()> {
    if *state == LinkState::default() {
        return Ok(());
    }
    let change = Change::Link(LinkChange {
        name: ifname,
        mtu: state.mtu,
        mac: state.mac,
        txqlen: state.txqlen,
        promisc: state.promisc,
        allmulti: state.allmulti,
        ..LinkChange::default()
    });
    rtnl.apply(&[change]).map_err(|refused| refused.error.into())
}

/// What knows the container's link address has to learn the new one.
fn follow_mac(node: &Node, old: &AttachmentRecord, new: &AttachmentRecord) -> Result<()> {
    let Some(link) = &new.link else { return Ok(()) };
    let mut ruleset = Ruleset::open(node);
    let settled = new.settled();
    ruleset.remove(&ruleset::of_attachment(old))?;
    ruleset.add(new, None, &ruleset::of_attachment(&settled))?;
    let mac = new.tuning.as_ref().and_then(|tuning| tuning.mac).or(link.mac);
    if !link.neighbours {
        return Ok(());
    }
    let mut rtnl = Rtnl::open()?;
    let Some((bridge, mac)) = rtnl.link(&link.master)?.zip(mac) else {
        return Ok(());
    };
    let entries: Vec<Change<'_>> = new
        .addresses
        .iter()
        .map(|g| Change::Neighbour { link: bridge.index, address: g.address.addr(), mac })
        .collect();
    rtnl.apply(&entries).map_err(|refused| refused.error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctls_stay_in_net() {
        for (key, path) in [
            ("net.ipv4.conf.IFNAME.arp_filter", "ipv4/conf/eth0.5/arp_filter"),
            ("net/core/somaxconn", "core/somaxconn"),
        ] {
            assert_eq!(sysctl_path(key, "eth0.5").unwrap(), path);
        }
        for bad in ["kernel.panic", "net", "net/../kernel/panic", "net..x", "net/", "/net/x"] {
            assert!(sysctl_path(bad, "eth0").is_err(), "{bad}");
        }
    }

    #[test]
    fn lists_compare_by_their_words() {
        assert!(same_value("1\t2", "1 2") && !same_value("1", "2"));
    }
}

//! Bandwidth of an attachment. What the container's link sends waits in a token bucket on the link;
//! what arrives is led through a device of its own, where it waits in another.
//!
//! Shaped is the host's end of the link, out of the container's reach. Where there is none
//! (macvlan, ipvlan, a device moved into the container) it is the container's own interface.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cleat_kernel::change::Which;
use cleat_kernel::{Change, Link, Namespace, Rtnl, Shaping, TokenBucket};

use crate::Node;
use crate::attach::Interface;
use crate::error::{Error, Result};
use crate::identity::AttachmentId;
use crate::record::{AttachmentRecord, BandwidthPart, Phase};
use crate::ruleset::legacy;
use crate::undo::Undo;

/// Room for the link's header beside the MTU, VLAN tags included.
const HEADER: u32 = 22;
/// Packets that may wait at the least, however slow the link.
const PACKETS: u32 = 10;

/// Limits of an attachment.
#[derive(Debug, Clone)]
pub struct Bandwidth {
    /// The attachment.
    pub id: AttachmentId,
    /// The container's namespace.
    pub netns: PathBuf,
    /// What goes to the container.
    pub ingress: Option<Limit>,
    /// What comes from the container.
    pub egress: Option<Limit>,
}

/// A limit of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Bytes per second.
    pub rate: u64,
    /// Bytes that may go at once.
    pub burst: u32,
    /// How long a packet may wait.
    pub latency: Duration,
}

impl Limit {
    /// As a bucket on a link: a packet that is larger than the bucket would never go.
    fn bucket(&self, mtu: u32) -> TokenBucket {
        let packet = mtu.saturating_add(HEADER);
        let burst = self.burst.max(packet);
        let waiting = u128::from(self.rate) * self.latency.as_millis() / 1000;
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        let limit = burst.saturating_add(waiting.max(packet.saturating_mul(PACKETS)));
        TokenBucket { rate: self.rate, burst, limit }
    }
}

/// Where an attachment's traffic is shaped.
struct Place {
    rtnl: Rtnl,
    link: Link,
    inside: bool,
}

impl Place {
    /// The host's end where there is one.
    fn of(id: &AttachmentId, netns: &Namespace) -> Result<Self> {
        let mut inside = Rtnl::open_in(netns)?;
        let own = inside
            .link(&id.slot)?
            .ok_or_else(|| Error::NoLink { role: "interface", name: id.slot.clone() })?;
        let mut rtnl = Rtnl::open()?;
        // Indexes repeat between namespaces: only when each is the other's peer are they a pair.
        if own.kind == "veth"
            && let Some(peer) = own.lower
            && let Some(link) = rtnl.link_by_index(peer)?
            && link.kind == "veth"
            && link.lower == Some(own.index)
        {
            return Ok(Self { rtnl, link, inside: false });
        }
        Ok(Self { rtnl: inside, link: own, inside: true })
    }

    /// Of the two directions, what the link sends and what arrives on it.
    fn sent_and_arriving(&self, asked: &Bandwidth) -> (Option<Limit>, Option<Limit>) {
        match self.inside {
            false => (asked.ingress, asked.egress),
            true => (asked.egress, asked.ingress),
        }
    }
}

/// Limits an attachment's bandwidth. The device that leads its arrivals, if that takes one.
pub fn apply(node: &Node, asked: &Bandwidth) -> Result<Option<Interface>> {
    node.require_boot_id()?;
    let name = asked.id.record_name();
    let _lock = node.locks().acquire(&name)?;
    let netns = Namespace::open(&asked.netns)
        .map_err(|source| Error::Netns { path: asked.netns.clone(), source })?;
    let stored = node.attachments().read(&name)?;
    let mut record = stored
        .filter(|record| node.is_this_boot(&record.boot))
        .unwrap_or_else(|| AttachmentRecord::new(asked.id.clone(), node.boot_id()));
    if let Some(part) = record.bandwidth.take() {
        // Interrupted, or asked for again.
        take_back(&record, &part, Some(&asked.netns))?;
    }
    let mut place = Place::of(&asked.id, &netns)?;
    let (sent, arriving) = place.sent_and_arriving(asked);
    require_unshaped(&mut place)?;
    let part = BandwidthPart {
        phase: Phase::Adding,
        link: place.link.name.clone(),
        index: place.link.index,
        inside: place.inside,
        sent: sent.is_some(),
        ifb: arriving.is_some().then(|| asked.id.ifb_name()),
    };
    let before = record.clone();
    let mut undo = Undo::new(node.warner());
    undo.push("record", || before.store(node).map_err(|e| e.to_string()));
    record.bandwidth = Some(part.clone());
    node.attachments().replace(&name, &record)?;
    let (of, made, path) = (before.clone(), part.clone(), asked.netns.clone());
    undo.push("shaping", move || take_back(&of, &made, Some(&path)).map_err(|e| e.to_string()));
    let device = shape(&mut place, &part, sent, arriving)?;
    record.bandwidth = Some(BandwidthPart { phase: Phase::Ready, ..part });
    node.attachments().replace(&name, &record)?;
    undo.commit();
    Ok(device)
}

/// What stands there by default has no handle, and none of these kinds.
fn require_unshaped(place: &mut Place) -> Result<()> {
    let shapes = |kind: &str| ["tbf", "htb", "hfsc", "ingress", "clsact"].contains(&kind);
    match place.rtnl.qdiscs(place.link.index)?.into_iter().find(|q| shapes(&q.kind)) {
        Some(there) => Err(Error::Shaped { link: place.link.name.clone(), qdisc: there.kind }),
        None => Ok(()),
    }
}

fn shape(
    place: &mut Place,
    part: &BandwidthPart,
    sent: Option<Limit>,
    arriving: Option<Limit>,
) -> Result<Option<Interface>> {
    let (link, mtu) = (place.link.index, place.link.mtu);
    if let Some(limit) = sent {
        add_bucket(&mut place.rtnl, link, limit.bucket(mtu))?;
    }
    let (Some(limit), Some(name)) = (arriving, part.ifb.as_deref()) else {
        return Ok(None);
    };
    let rtnl = &mut place.rtnl;
    // Of an attach that nobody knows of any more: the name is this attachment's alone.
    rtnl.delete_link(name)?;
    rtnl.apply(&[Change::Shape(Shaping::Ifb { name, mtu })]).map_err(|refused| refused.error)?;
    let ifb = rtnl.link(name)?.ok_or_else(|| missing(name))?;
    add_bucket(rtnl, ifb.index, limit.bucket(mtu))?;
    let lead = Shaping::LeadArrivals { from: link, to: ifb.index };
    rtnl.apply(&[Change::Shape(lead)]).map_err(|refused| refused.error)?;
    Ok(Some(Interface { name: ifb.name, mac: ifb.mac, mtu: ifb.mtu, inside: place.inside }))
}

fn add_bucket(rtnl: &mut Rtnl, link: u32, bucket: TokenBucket) -> Result<()> {
    let bucket = Change::Shape(Shaping::TokenBucket { link, bucket });
    rtnl.apply(&[bucket]).map_err(|refused| refused.error)?;
    // Kernels without it let flows wait in one line.
    match rtnl.apply(&[Change::Shape(Shaping::FairQueue { link })]) {
        Err(refused) if !refused.error.is_not_found() && !refused.error.is_unsupported() => {
            Err(refused.error.into())
        }
        _ => Ok(()),
    }
}

/// Takes limits away. None is no error.
pub fn remove(node: &Node, id: &AttachmentId, netns: Option<&Path>) -> Result<()> {
    let name = id.record_name();
    let _lock = node.lock_to_free(&name);
    let stored = node.attachments().read(&name).ok().flatten();
    let part = stored.and_then(|mut record| record.bandwidth.take().map(|part| (record, part)));
    let Some((record, part)) = part else {
        // Made by the reference, or the record is lost.
        let mut rtnl = Rtnl::open()?;
        for name in [legacy::ifb_name(id), id.ifb_name()] {
            delete_device(&mut rtnl, &name)?;
        }
        return Ok(());
    };
    if node.is_this_boot(&record.boot) {
        take_back(&record, &part, netns)?;
    }
    record.store_rest(node);
    Ok(())
}

/// Undoes a part, whatever is left of it.
pub(crate) fn take_back(
    record: &AttachmentRecord,
    part: &BandwidthPart,
    netns: Option<&Path>,
) -> Result<()> {
    let mut rtnl = if part.inside {
        let noted = record.netns.as_ref().map(|noted| noted.path.as_path());
        let Some(netns) = netns.or(noted).and_then(|path| Namespace::open(path).ok()) else {
            // A namespace that is gone took everything along.
            return Ok(());
        };
        Rtnl::open_in(&netns)?
    } else {
        Rtnl::open()?
    };
    if let Some(link) = rtnl.link(&part.link)?.filter(|link| link.index == part.index) {
        let link = link.index;
        if part.sent {
            unshape(&mut rtnl, Shaping::NoBucket { link })?;
        }
        if part.ifb.is_some() {
            unshape(&mut rtnl, Shaping::KeepArrivals { link })?;
        }
    }
    match &part.ifb {
        Some(name) => delete_device(&mut rtnl, name),
        None => Ok(()),
    }
}

/// `EINVAL` is the kernel's word for a link without such a qdisc.
fn unshape(rtnl: &mut Rtnl, change: Shaping<'_>) -> Result<()> {
    match rtnl.remove(Change::Shape(change)) {
        Err(error) if error.errno() != Some(cleat_kernel::Errno::INVAL) => Err(error.into()),
        _ => Ok(()),
    }
}

fn delete_device(rtnl: &mut Rtnl, name: &str) -> Result<()> {
    if rtnl.link(name)?.is_some_and(|link| link.kind == "ifb") {
        rtnl.delete_link_fast(&Which::Name(name.to_owned()), None)?;
    }
    Ok(())
}

fn missing(name: &str) -> Error {
    Error::NoLink { role: "intermediate device", name: name.to_owned() }
}

/// The kernel has the device that leads arrivals.
pub fn status() -> Result<()> {
    if Rtnl::open()?.has_kind("ifb")? {
        return Ok(());
    }
    let instead = "load its module, or use another kernel";
    Err(Error::NoFeature { feature: "intermediate device", option: "CONFIG_IFB", instead })
}

/// Compares an attachment's limits with the kernel.
pub fn check(asked: &Bandwidth) -> Result<()> {
    let differs = |what: String| Err(Error::Differs { id: asked.id.clone(), what });
    let netns = Namespace::open(&asked.netns)
        .map_err(|source| Error::Netns { path: asked.netns.clone(), source })?;
    let mut place = Place::of(&asked.id, &netns)?;
    let (sent, arriving) = place.sent_and_arriving(asked);
    let mut wanted = vec![(sent, Some(place.link.clone()))];
    if arriving.is_some() {
        let own = place.rtnl.link(&asked.id.ifb_name())?;
        let ifb = match own {
            Some(own) => Some(own),
            None => place.rtnl.link(&legacy::ifb_name(&asked.id))?,
        };
        wanted.push((arriving, ifb));
        let led = place.rtnl.qdiscs(place.link.index)?.iter().any(|q| q.kind == "ingress");
        if !led {
            return differs(format!("what arrives on {} is not shaped", place.link.name));
        }
    }
    for (limit, link) in wanted {
        let Some(limit) = limit else { continue };
        let Some(link) = link else {
            return differs("the device for arrivals is gone".to_owned());
        };
        let rate = place.rtnl.qdiscs(link.index)?.into_iter().find_map(|qdisc| qdisc.rate);
        if rate != Some(limit.rate) {
            let found = rate.map_or("not limited".to_owned(), |rate| format!("{rate} bytes/s"));
            return differs(format!("{} is {found}, not {} bytes/s", link.name, limit.rate));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_a_packet_and_a_queue() {
        let limit = |rate, burst| Limit { rate, burst, latency: Duration::from_millis(25) };
        let slow = limit(1000, 100).bucket(1500);
        assert_eq!((slow.burst, slow.limit), (1522, 1522 * 11));
        let fast = limit(125_000_000, 1 << 20).bucket(1500);
        assert_eq!((fast.burst, fast.limit), (1 << 20, (1 << 20) + 3_125_000));
        assert_eq!(limit(u64::MAX, u32::MAX).bucket(1500).limit, u32::MAX);
    }
}

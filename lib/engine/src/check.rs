//! Check: compares an attachment with the kernel and names the first difference. What chained
//! plugins change later is no difference: another link address that tuning set, routes that
//! moved to another table.

use std::net::IpAddr;
use std::path::Path;

use cleat_kernel::{Link, Mac, Namespace, Rtnl};

use crate::error::{Error, Result};
use crate::plan::{AttachmentPlan, BridgePlan, Driver, Grants};
use crate::record::{AttachmentRecord, Phase};
use crate::ruleset::{self, Ruleset};
use crate::{Node, ptp, virtual_link};
use cleat_nft::Backend;

/// What the runtime remembers of an attachment.
#[derive(Debug, Clone, Default)]
pub struct Remembered {
    /// Addresses and routes.
    pub grants: Grants,
    /// The container end's link address.
    pub mac: Option<Mac>,
}

/// Compares an attachment with the kernel.
pub fn check(node: &Node, plan: &AttachmentPlan, remembered: &Remembered) -> Result<()> {
    let differs = |what: String| Error::Differs { id: plan.id.clone(), what };
    let netns = Namespace::open(&plan.netns)
        .map_err(|source| Error::Netns { path: plan.netns.clone(), source })?;
    let record = node.attachments().read(&plan.id.record_name())?;
    let record = record.filter(|record| node.is_this_boot(&record.boot));
    let mut rtnl = Rtnl::open()?;
    if let Driver::Bridge(driver) = &plan.network.driver {
        let bridge = rtnl
            .link(&driver.bridge)?
            .filter(|link| link.kind == "bridge")
            .ok_or_else(|| differs(format!("there is no bridge {}", driver.bridge)))?;
        check_host_end(&mut rtnl, &bridge, record.as_ref()).map_err(&differs)?;
        if let Some(gateway) = remembered.grants.addresses.iter().find_map(|g| g.gateway)
            && driver.gateway
            && !has_gateway(&mut rtnl, driver, &bridge, gateway)?
        {
            let link = driver.gateway_link();
            let link = link.unwrap_or_else(|| format!("bridge {}", driver.bridge));
            return Err(differs(format!("{link} lacks gateway {gateway}")));
        }
    }
    if plan.network.driver == Driver::Ptp {
        ptp::check(&mut rtnl, &remembered.grants, record.as_ref()).map_err(&differs)?;
    }
    let mut inside = Rtnl::open_in(&netns)?;
    let link = inside
        .link(&plan.id.slot)?
        .ok_or_else(|| differs(format!("the container has no interface {}", plan.id.slot)))?;
    virtual_link::check(&link, &plan.network.driver).map_err(&differs)?;
    check_inside(&mut inside, &link, remembered, record.as_ref()).map_err(&differs)?;
    match record {
        Some(record) => check_record(node, &record, &plan.netns),
        None => Ok(()),
    }
}

fn has_gateway(
    rtnl: &mut Rtnl,
    driver: &BridgePlan,
    bridge: &Link,
    gateway: IpAddr,
) -> Result<bool> {
    let index = match driver.gateway_link() {
        Some(name) => rtnl.link(&name)?.map(|link| link.index),
        None => Some(bridge.index),
    };
    let Some(index) = index else { return Ok(false) };
    Ok(rtnl.addresses(Some(index))?.iter().any(|a| a.net.addr() == gateway))
}

fn check_host_end(
    rtnl: &mut Rtnl,
    bridge: &Link,
    record: Option<&AttachmentRecord>,
) -> std::result::Result<(), String> {
    let Some(host) = record.and_then(|r| r.link.as_ref()).and_then(|l| l.host.as_deref()) else {
        return Ok(());
    };
    let link = rtnl.link(host).map_err(|e| e.to_string())?;
    let link = link.ok_or_else(|| format!("there is no host end {host}"))?;
    if link.master == Some(bridge.index) {
        Ok(())
    } else {
        Err(format!("host end {host} is not in bridge {}", bridge.name))
    }
}

fn check_inside(
    rtnl: &mut Rtnl,
    link: &Link,
    remembered: &Remembered,
    record: Option<&AttachmentRecord>,
) -> std::result::Result<(), String> {
    let tuned = record.and_then(|r| r.tuning.as_ref()).is_some_and(|tuning| tuning.mac.is_some());
    if let (Some(wanted), Some(found)) = (remembered.mac, link.mac)
        && wanted != found
        && !tuned
    {
        return Err(format!("interface {} has address {found}, not {wanted}", link.name));
    }
    let present = rtnl.addresses(Some(link.index)).map_err(|e| e.to_string())?;
    for grant in &remembered.grants.addresses {
        if !present.iter().any(|a| a.net == grant.address) {
            return Err(format!("interface {} lacks address {}", link.name, grant.address));
        }
    }
    let routes = rtnl.all_routes().map_err(|e| e.to_string())?;
    for route in &remembered.grants.routes {
        let there = routes.iter().any(|r| r.dst == route.dst.trunc());
        if !there {
            return Err(format!("there is no route to {}", route.dst));
        }
    }
    Ok(())
}

fn check_record(node: &Node, record: &AttachmentRecord, netns: &Path) -> Result<()> {
    let differs = |what: String| Error::Differs { id: record.id.clone(), what };
    if record.link.as_ref().is_some_and(|link| link.phase != Phase::Ready) {
        return Err(differs("its attach was interrupted".to_owned()));
    }
    let same_path = record.netns.as_ref().is_none_or(|noted| noted.path == netns);
    if !same_path {
        node.warn(&format!("{}: was made with another namespace path", record.id));
    }
    let mut ruleset = Ruleset::open(node);
    for (table, set, element) in ruleset::of_attachment(record).iter() {
        let there = match ruleset.backend().element(table, set, &element.key) {
            Ok(found) => found.is_some(),
            Err(error) if error.is_permission() || error.is_unsupported() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if !there && table == ruleset::INET {
            return Err(differs(format!("set {set} of table {table} lacks its element")));
        }
    }
    Ok(())
}

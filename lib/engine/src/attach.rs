//! Attach: everything that makes a container's interface, each step with its undo.
//!
//! Order: namespace, lock, record `adding`, lease, kernel, ruleset, record `ready`. A process
//! that was killed in between leaves a record in the phase `adding`; the next attach or detach
//! of the same attachment, or a collection, takes it back.

use std::cell::RefCell;
use std::time::Duration;

use cleat_kernel::{Change, Link, Mac, Namespace, Operstate, Rtnl};
use ipnet::IpNet;
use serde::Serialize;

use crate::bridge::{self, Ready};
use crate::container::{self, Configured, Wanted};
use crate::error::{Error, Result};
use crate::identity::hashed_name;
use crate::names::NamesPart;
use crate::plan::{
    AntiSpoof, AttachmentPlan, BridgePlan, Driver, Grants, Inbound, Lessor, OverLink, RouteGrant,
};
use crate::record::{AttachmentRecord, LinkPart, NetnsNote, Phase};
use crate::ruleset::{self, LinkDns, LinkRules, Ruleset};
use crate::undo::Undo;
use crate::veth::Near;
use crate::{Node, detach, device, ptp, service, tap, veth, virtual_link};

/// The kernel needs 0.05 ms for it; a link that is down underneath may need for ever.
pub(crate) const CARRIER: Duration = Duration::from_secs(10);

/// An attachment that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Attached {
    /// The bridge, the host end and the container's end, as far as there are any.
    pub interfaces: Vec<Interface>,
    /// Addresses and routes, default routes included.
    pub grants: Grants,
}

/// An interface of an attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its link address.
    pub mac: Option<Mac>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// It is in the container.
    pub inside: bool,
}

/// Makes an attachment. On failure nothing is left of it.
pub fn attach(node: &Node, plan: &AttachmentPlan, lessor: &mut dyn Lessor) -> Result<Attached> {
    let netns = Namespace::open(&plan.netns)
        .map_err(|source| Error::Netns { path: plan.netns.clone(), source })?;
    node.require_boot_id()?;
    node.mark()?;
    let name = plan.id.record_name();
    let _lock = node.locks().acquire(&name)?;
    recover(node, plan, lessor)?;
    let lessor = RefCell::new(lessor);
    let mut undo = Undo::new(node.warner());
    let mut record = AttachmentRecord::new(plan.id.clone(), node.boot_id());
    record.netns = Some(NetnsNote { path: plan.netns.clone(), cookie: None });
    record.link = Some(link_part(plan));
    record.leases = lessor.borrow().leases();
    record.plan = Some(store_plan(node, plan)?);

    undo.push("record", || node.attachments().remove(&name).map(drop).map_err(|e| e.to_string()));
    node.attachments().replace(&name, &record)?;

    let over_link = lessor.borrow().over_link();
    let mut grants = Grants::default();
    if over_link.is_none() {
        undo.push("lease", || lessor.borrow_mut().release().map_err(|e| e.to_string()));
        grants = with_default_routes(plan, lessor.borrow_mut().lease()?);
        note_addresses(node, plan, &grants, &mut record)?;
    }

    let mut rtnl = Rtnl::open()?;
    let all = Making { node, plan, netns: &netns, grants: &grants, over_link };
    let interfaces = all.link(&mut rtnl, &mut record, &mut undo)?;
    if over_link.is_some() {
        undo.push("lease", || lessor.borrow_mut().release().map_err(|e| e.to_string()));
        let leased = with_default_routes(plan, lessor.borrow_mut().lease()?);
        note_addresses(node, plan, &leased, &mut record)?;
        let all = Making { node, plan, netns: &netns, grants: &leased, over_link: None };
        all.give_addresses(&mut rtnl, &mut record, &mut undo)?;
        grants = leased;
    }

    if let Some(link) = &mut record.link {
        link.phase = Phase::Ready;
    }
    node.attachments().replace(&name, &record)?;
    undo.commit();
    await_answers(node, &record);
    Ok(Attached { interfaces, grants })
}

/// What an attach works with.
pub(crate) struct Making<'m, 'a> {
    pub(crate) node: &'a Node,
    pub(crate) plan: &'a AttachmentPlan,
    pub(crate) netns: &'a Namespace,
    pub(crate) grants: &'m Grants,
    /// Addresses are still to be asked for.
    pub(crate) over_link: Option<OverLink>,
}

impl<'a> Making<'_, 'a> {
    /// Makes the interface, with the addresses that there are.
    fn link(
        &self,
        rtnl: &mut Rtnl,
        record: &mut AttachmentRecord,
        undo: &mut Undo<'a>,
    ) -> Result<Vec<Interface>> {
        let driver = &self.plan.network.driver;
        let nowhere = match driver {
            Driver::Ptp => Some("ptp"),
            Driver::Dummy => Some("dummy"),
            Driver::Tap(_) => Some("tap"),
            _ => None,
        };
        if let Some(driver) = nowhere.filter(|_| self.over_link.is_some()) {
            return Err(Error::LeadsNowhere { driver });
        }
        match (driver, virtual_link::kind_of(driver)) {
            (Driver::Bridge(driver), _) => self.on_bridge(driver, rtnl, record, undo),
            (Driver::Tap(tap), _) => tap::attach(self, tap, (record, undo)),
            (Driver::Device(device), _) => device::attach(self, device, rtnl, (record, undo)),
            (_, Some(kind)) => virtual_link::attach(self, kind, rtnl, (record, undo)),
            (_, None) => ptp::attach(self, rtnl, record, undo),
        }
    }

    /// Gives addresses that were asked for over the interface to it.
    fn give_addresses(
        &self,
        rtnl: &mut Rtnl,
        record: &mut AttachmentRecord,
        undo: &mut Undo<'a>,
    ) -> Result<()> {
        let Driver::Bridge(driver) = &self.plan.network.driver else {
            return self.configure_alone(&mut Rtnl::open_in(self.netns)?, record).map(drop);
        };
        let network = &self.plan.network;
        let bridge = bridge::ensure(self.node, rtnl, (network, driver), self.grants, undo)?;
        let routed_by = bridge.gateway.as_ref().map_or(&bridge.link, |(link, _)| link).index;
        if let Some(mac) =
            record.link.as_ref().and_then(|l| l.mac).filter(|_| network.permanent_neighbours)
        {
            let addresses: Vec<_> =
                self.grants.addresses.iter().map(|g| g.address.addr()).collect();
            let entry = |address: &_| Change::Neighbour { link: routed_by, address: *address, mac };
            let entries: Vec<_> = addresses.iter().map(entry).collect();
            undo.push("neighbours", move || {
                let mut rtnl = Rtnl::open().map_err(|e| e.to_string())?;
                for address in addresses {
                    let entry = Change::DeleteNeighbour { link: routed_by, address };
                    rtnl.remove(entry).map_err(|e| e.to_string())?;
                }
                Ok(())
            });
            rtnl.apply(&entries).map_err(|refused| refused.error)?;
        }
        container::configure(self.node, self.netns, &self.wanted(driver))?;
        self.add_rules_of_bridge(&bridge, record, undo)
    }

    /// The container's end of a bridge network.
    fn wanted(&self, driver: &BridgePlan) -> Wanted<'_> {
        Wanted {
            ifname: &self.plan.id.slot,
            grants: self.grants,
            dad: driver.dad,
            down: driver.no_interface,
            announce: self.plan.mac.is_some(),
            routed: false,
            gateway_priority: self.plan.gateway_priority,
            over_link: self.over_link,
        }
    }

    /// Configures an interface that has no end on the host; the interface as it is then.
    pub(crate) fn configure_alone(
        &self,
        inside: &mut Rtnl,
        record: &mut AttachmentRecord,
    ) -> Result<Link> {
        let ifname = &self.plan.id.slot;
        let wanted = Wanted {
            ifname,
            grants: self.grants,
            dad: false,
            down: false,
            announce: true,
            routed: false,
            gateway_priority: self.plan.gateway_priority,
            over_link: self.over_link,
        };
        let configured = container::configure(self.node, self.netns, &wanted)?;
        note_netns(record, &configured);
        inside
            .link(ifname)?
            .ok_or_else(|| Error::NoLink { role: "interface", name: ifname.clone() })
    }

    fn on_bridge(
        &self,
        driver: &'a BridgePlan,
        rtnl: &mut Rtnl,
        record: &mut AttachmentRecord,
        undo: &mut Undo<'a>,
    ) -> Result<Vec<Interface>> {
        let (node, plan, grants) = (self.node, self.plan, self.grants);
        let bridge = bridge::ensure(node, rtnl, (&plan.network, driver), grants, undo)?;
        let mac = container_mac(plan, grants);
        let routed_by = bridge.gateway.as_ref().map_or(&bridge.link, |(link, _)| link);
        if let Some(link) = &mut record.link {
            link.routed_by = driver.gateway_link();
        }

        let near = Near {
            mtu: plan.network.mtu.or(Some(bridge.link.mtu)),
            bridge: Some(&bridge.link),
            hairpin: driver.hairpin,
            isolated: driver.port_isolation,
            neighbours: plan.network.permanent_neighbours.then_some((grants, routed_by.index)),
        };
        let host = veth::create(rtnl, plan, (self.netns, mac), &near)?;
        let taken = (host.clone(), routed_by.index, grants.clone());
        let neighbours = plan.network.permanent_neighbours;
        undo.push("link", move || {
            let (host, bridge, grants) = taken;
            let addresses = grants.addresses.iter().map(|g| g.address.addr());
            detach::remove_link(&host, neighbours.then_some(bridge), addresses)
                .map_err(|e| e.to_string())
        });
        if let Some(link) = &mut record.link {
            link.host = Some(host.clone());
            link.mac = Some(mac);
        }
        veth::set_vlans(rtnl, &host, driver)?;

        let configured = container::configure(node, self.netns, &self.wanted(driver))?;
        note_netns(record, &configured);

        self.add_rules_of_bridge(&bridge, record, undo)?;

        let near = rtnl.link(&host)?.ok_or_else(|| gone(&host))?;
        if let Some(link) = &mut record.link {
            link.host_index = Some(near.index);
        }
        if !driver.no_interface {
            if near.operstate == Operstate::NotUp {
                rtnl.wait_up(near.index, CARRIER)?;
            }
            if bridge.link.operstate == Operstate::NotUp {
                rtnl.wait_up(bridge.link.index, CARRIER)?;
            }
        }
        let outside =
            |name: &str, mac, mtu| Interface { name: name.to_owned(), mac, mtu, inside: false };
        let mut interfaces = vec![
            outside(&driver.bridge, bridge.link.mac, bridge.link.mtu),
            outside(&host, near.mac, near.mtu),
            Interface {
                name: plan.id.slot.clone(),
                mac: Some(mac),
                mtu: configured.mtu,
                inside: true,
            },
        ];
        interfaces.extend(bridge.gateway.map(|(link, _)| outside(&link.name, link.mac, link.mtu)));
        Ok(interfaces)
    }

    fn add_rules_of_bridge(
        &self,
        bridge: &Ready,
        record: &AttachmentRecord,
        undo: &mut Undo<'a>,
    ) -> Result<()> {
        let node = self.node;
        let of = |link: &Link, created| LinkRules {
            created,
            networks: vec![self.plan.network.name.clone()],
            inbound: self.plan.network.inbound,
            mac: link.mac,
            ..LinkRules::open(&link.name)
        };
        let (link, created) = match &bridge.gateway {
            Some((gateway, created)) => {
                let name = bridge.link.name.clone();
                if bridge.created {
                    undo.push("rules of the bridge", move || {
                        Ruleset::open(node).forget_link(&name).map_err(|e| e.to_string())
                    });
                }
                Ruleset::open(node).set_link(&of(&bridge.link, bridge.created))?;
                (gateway, *created)
            }
            None => (&bridge.link, bridge.created),
        };
        let rules =
            LinkRules { gateways: bridge.gateways.clone(), dns: self.dns(), ..of(link, created) };
        self.add_rules(&rules, bridge.forwarding_changed, record, undo)
    }

    fn dns(&self) -> Option<LinkDns> {
        let dns = self.plan.network.dns.as_ref()?;
        Some(LinkDns { port: service::served(self.node).port, intercept: dns.intercept })
    }

    /// Lets the attachment's packets through as its link's rules say.
    pub(crate) fn add_rules(
        &self,
        rules: &LinkRules,
        forwarding_changed: bool,
        record: &AttachmentRecord,
        undo: &mut Undo<'a>,
    ) -> Result<()> {
        let (node, plan) = (self.node, self.plan);
        let elements = ruleset::of_attachment(record);
        let (on_failure, link) = (elements.clone(), rules.link.clone());
        let forget_link = rules.created;
        undo.push("rules", move || {
            let mut ruleset = Ruleset::open(node);
            ruleset.remove(&on_failure).map_err(|e| e.to_string())?;
            if forget_link { ruleset.forget_link(&link).map_err(|e| e.to_string()) } else { Ok(()) }
        });
        let mut ruleset = Ruleset::open(node);
        if forwarding_changed {
            // The rules against strangers are part of the skeleton.
            ruleset.set_link(rules)?;
            return ruleset.rebuild(Some(record));
        }
        let outcome = ruleset.add(record, Some(rules), &elements);
        match outcome {
            Err(Error::Firewall(error))
                if (error.is_unsupported() || error.is_permission()) && can_do_without(plan) =>
            {
                node.warn(&format!("no firewall rules: {error}"));
                Ok(())
            }
            other => other,
        }
    }
}

/// Nothing that the user asked for needs the ruleset.
fn can_do_without(plan: &AttachmentPlan) -> bool {
    !plan.network.masquerade
        && plan.network.inbound == Inbound::Open
        && plan.network.anti_spoof != AntiSpoof::Strict
}

/// Notes what was leased, and what is answered about it.
fn note_addresses(
    node: &Node,
    plan: &AttachmentPlan,
    grants: &Grants,
    record: &mut AttachmentRecord,
) -> Result<()> {
    record.addresses.clone_from(&grants.addresses);
    if record.leases.is_none() && !grants.addresses.is_empty() {
        // Nobody else could tell whoever comes after a crash which addresses these are.
        node.attachments().replace(&plan.id.record_name(), record)?;
    }
    record.names = names_part(node, plan, grants);
    Ok(())
}

/// An earlier attach of the same attachment: whole is an error, half is taken back.
fn recover(node: &Node, plan: &AttachmentPlan, lessor: &mut dyn Lessor) -> Result<()> {
    let name = plan.id.record_name();
    let Some(mut record) = node.attachments().read(&name)? else {
        return Ok(());
    };
    let this_boot = node.is_this_boot(&record.boot);
    if let Some(link) = record.link.as_ref().filter(|link| link.phase == Phase::Ready && this_boot)
    {
        let alive = match &link.host {
            Some(host) => Rtnl::open()?.link(host)?.is_some(),
            None => Rtnl::open_in(&Namespace::open(&plan.netns)?)?.link(&plan.id.slot)?.is_some(),
        };
        if alive {
            return Err(Error::InterfaceTaken { name: plan.id.slot.clone() });
        }
    }
    node.warn(&format!("{}: taking back what an interrupted attach left", plan.id));
    let mut errors = Vec::new();
    record.complete(plan.mac, &lessor.held());
    detach::release_over_link(lessor, &mut errors);
    detach::take_back(node, (&record, detach::Sequel::More), Some(&plan.netns), &mut errors);
    detach::release_otherwise(lessor, &mut errors);
    if errors.is_empty() { Ok(()) } else { Err(Error::Incomplete { id: plan.id.clone(), errors }) }
}

fn link_part(plan: &AttachmentPlan) -> LinkPart {
    let network = &plan.network;
    let kind = virtual_link::kind_name(&network.driver).map(str::to_owned);
    let pair = matches!(network.driver, Driver::Bridge(_) | Driver::Ptp);
    let host = pair.then(|| plan.id.host_link_name(0));
    let (master, on_bridge) = match &network.driver {
        Driver::Bridge(driver) => (Some(driver.bridge.clone()), true),
        // The host end itself is the link that leads to it.
        _ => (host.clone(), false),
    };
    LinkPart {
        phase: Phase::Adding,
        kind,
        host,
        host_index: None,
        master: master.unwrap_or_default(),
        routed_by: None,
        mac: plan.mac,
        masquerade: network.masquerade,
        neighbours: network.permanent_neighbours && on_bridge,
        spoof_guard: network.anti_spoof != AntiSpoof::Off && on_bridge,
        strict: network.anti_spoof == AntiSpoof::Strict && on_bridge,
        moved: None,
        host_access: None,
    }
}

/// What is answered about it, and where.
fn names_part(node: &Node, plan: &AttachmentPlan, grants: &Grants) -> Option<NamesPart> {
    let dns = plan.network.dns.as_ref()?;
    let has_gateway = matches!(&plan.network.driver, Driver::Bridge(bridge) if bridge.gateway);
    let gateways = grants.addresses.iter().filter_map(|grant| grant.gateway);
    let mut servers = dns.servers.clone();
    servers.extend(plan.names.servers.iter().filter(|server| !dns.servers.contains(server)));
    Some(NamesPart {
        names: plan.names.usable(node.warner()),
        asks: gateways.filter(|_| has_gateway).collect(),
        servers,
        internal: plan.network.inbound == Inbound::Internal,
        on_host: false,
        domain: None,
    })
}

/// Once attach has returned, names are answered.
fn await_answers(node: &Node, record: &AttachmentRecord) {
    match &record.names {
        None => {}
        Some(names) if names.asks.is_empty() => {
            service::await_inside(node, &record.id.record_name());
        }
        Some(names) => service::await_gateways(node, &names.asks),
    }
}

/// The container's link address: as asked for, or from its address, or from who it is.
pub(crate) fn container_mac(plan: &AttachmentPlan, grants: &Grants) -> Mac {
    let first = grants.addresses.first().map(|grant| grant.address.addr());
    plan.mac
        .or_else(|| first.map(Mac::for_address))
        .unwrap_or_else(|| Mac::from_hash(&plan.id.seed()))
}

pub(crate) fn note_netns(record: &mut AttachmentRecord, configured: &Configured) {
    if let Some(netns) = &mut record.netns {
        netns.cookie = configured.cookie;
    }
}

pub(crate) fn gone(host: &str) -> Error {
    Error::NoLink { role: "host end", name: host.to_owned() }
}

/// The leased routes, and the default routes that the network's gateway stands for.
fn with_default_routes(plan: &AttachmentPlan, mut grants: Grants) -> Grants {
    let wanted = matches!(&plan.network.driver, Driver::Bridge(b) if b.default_gateway);
    for ipv6 in [false, true] {
        let default =
            |route: &RouteGrant| route.dst.prefix_len() == 0 && route.dst.addr().is_ipv6() == ipv6;
        let Some(gateway) = grants.gateway(ipv6).filter(|_| wanted) else {
            continue;
        };
        if !grants.routes.iter().any(default) {
            grants.routes.push(RouteGrant::to(everywhere(ipv6), Some(gateway)));
        }
    }
    grants
}

pub(crate) fn everywhere(ipv6: bool) -> IpNet {
    if ipv6 { IpNet::V6(ipnet::Ipv6Net::default()) } else { IpNet::V4(ipnet::Ipv4Net::default()) }
}

/// Stores the network plan by its content, once.
fn store_plan(node: &Node, plan: &AttachmentPlan) -> Result<String> {
    #[derive(Serialize)]
    struct Hashed<'a>(&'a crate::plan::NetworkPlan);
    let text = serde_json::to_string(&Hashed(&plan.network)).unwrap_or_default();
    let name = hashed_name(&text, 32);
    let plans = node.plans();
    if !plans.exists(&name) {
        plans.replace(&name, &plan.network)?;
    }
    Ok(name)
}

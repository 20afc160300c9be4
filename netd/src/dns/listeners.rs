//! Where is listened: at the gateways of all networks with names, from the network's first sign
//! on, and inside the containers that have no gateway of the host's. Compares what should be with
//! what is, opens first and closes last.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use cleat_engine::Node;
use cleat_engine::service::{self, DNS_PORT, Served};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::answerer::{Answerer, Point};
use super::inside::Inside;
use super::kept::{self, Kept};
use super::socket::{self, Pair, Refused};
use super::udp::Inlets;
use super::{inside, tcp};
use crate::error::Result;
use crate::events::{Events, Trouble};
use crate::names::Entry;
use crate::{links, networks};

/// What may have changed beside the records since it was last looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// What the ruleset says of links.
    pub links: bool,
    /// The folder of networks.
    pub networks: bool,
}

/// All that is listened at. For one thread.
pub struct Listeners {
    node: Node,
    answerer: Arc<Answerer>,
    events: Arc<Events>,
    inlets: Arc<Inlets>,
    runtime: Handle,
    fallback: u16,
    served: Served,
    /// The note is out.
    announced: bool,
    /// Gateways that links and conflists name, as they were last read.
    of_links: Vec<IpAddr>,
    of_networks: Vec<IpAddr>,
    open: BTreeMap<IpAddr, Listening>,
    kept: Kept,
    inside: HashMap<String, Inside>,
}

/// A pair of sockets that are served.
pub(super) struct Listening {
    /// Where the service manager keeps it, if it does.
    kept: Option<SocketAddr>,
    udp: u64,
    tcp: JoinHandle<()>,
}

impl Listeners {
    /// Listens nowhere yet; what was kept of an earlier daemon's sockets is used first.
    pub fn new(
        node: Node,
        answerer: Arc<Answerer>,
        events: Arc<Events>,
        runtime: Handle,
        kept: Kept,
    ) -> Result<Self> {
        Ok(Self {
            node,
            inlets: Inlets::start(answerer.clone(), runtime.clone())?,
            fallback: answerer.forwarder().config().fallback_port,
            answerer,
            events,
            runtime,
            served: Served::default(),
            announced: false,
            of_links: Vec::new(),
            of_networks: Vec::new(),
            open: BTreeMap::new(),
            kept,
            inside: HashMap::new(),
        })
    }

    /// Listens where it should, and nowhere else.
    pub fn settle(&mut self, changed: Changed) {
        let mut troubles = BTreeSet::new();
        if let Err(error) = self.settle_gateways(changed, &mut troubles) {
            troubles.insert(error.to_string());
        }
        self.kept.close();
        self.settle_insides(&mut troubles);
        let troubles =
            troubles.into_iter().map(|text| Trouble::new("names.trouble", "listener", text));
        self.events.settle("names", troubles.collect());
    }

    fn settle_gateways(&mut self, changed: Changed, troubles: &mut BTreeSet<String>) -> Result<()> {
        if changed.networks {
            self.of_networks = networks::gateways(&self.node.dirs().net);
        }
        if changed.links {
            self.of_links = links::gateways(&self.node)?;
        }
        let mut wanted: BTreeSet<IpAddr> = self.answerer.directory().current().asks().collect();
        wanted.extend(self.of_networks.iter().chain(&self.of_links));
        let port_before = self.served.port;
        let new: Vec<IpAddr> =
            wanted.iter().copied().filter(|address| !self.open.contains_key(address)).collect();
        for address in new {
            match self.open_at(address) {
                Ok(()) => {}
                Err(Refused::Failed(error)) => {
                    troubles.insert(error.to_string());
                }
                Err(Refused::Taken) if self.served.port == DNS_PORT => self.fall_back(troubles),
                Err(Refused::Taken) => {
                    troubles.insert(format!(
                        "listen at {address}: port {} is taken as well; set dns.fallbackPort to a \
                         free one",
                        self.served.port
                    ));
                }
            }
        }
        if changed.links || self.served.port != port_before {
            links::lead_to(&self.node, self.served.port)?;
        }
        let addresses: Vec<IpAddr> = self.open.keys().copied().collect();
        if !self.announced || self.served.addresses != addresses {
            self.answerer.forwarder().set_own(addresses.clone());
            self.served.addresses = addresses;
            // Until it is written: a full disk may have room the next time.
            self.announced = false;
            service::announce(&self.node, &self.served)?;
            self.announced = true;
        }
        let gone: Vec<IpAddr> =
            self.open.keys().copied().filter(|address| !wanted.contains(address)).collect();
        for address in gone {
            if let Some(listening) = self.open.remove(&address) {
                self.close(listening);
            }
        }
        Ok(())
    }

    /// Another server has port 53 at some address: then all of ours are at the other port, and
    /// questions are led there.
    fn fall_back(&mut self, troubles: &mut BTreeSet<String>) {
        self.served.port = self.fallback;
        self.announced = false;
        let text = format!("another server has port 53: listening at port {}", self.fallback);
        self.events.tell("names.port", "listener", text);
        let before: Vec<(IpAddr, Listening)> = std::mem::take(&mut self.open).into_iter().collect();
        for (address, listening) in before {
            match self.open_at(address) {
                // Questions still come by the old port until they are led to the new one.
                Ok(()) => self.close_later(listening),
                Err(_) => {
                    troubles
                        .insert(format!("listen at {address}: port {} is taken", self.fallback));
                    self.open.insert(address, listening);
                }
            }
        }
    }

    fn open_at(&mut self, address: IpAddr) -> std::result::Result<(), Refused> {
        let at = SocketAddr::new(address, self.served.port);
        let pair = socket::listen_at(at, self.kept.claim(at))?;
        kept::keep(at, &pair);
        let point = Point::Gateway(address);
        let listening = self.serve(pair, &point).map_err(Refused::Failed)?;
        self.open.insert(address, Listening { kept: Some(at), ..listening });
        Ok(())
    }

    fn serve(&self, pair: Pair, point: &Point) -> Result<Listening> {
        // Both belong to the runtime's threads from here on.
        let _entered = self.runtime.enter();
        let tcp = tcp::serve(pair.tcp, point.clone(), self.answerer.clone())?;
        let udp = self.inlets.add(pair.udp, point.clone())?;
        Ok(Listening { kept: None, udp, tcp })
    }

    fn close(&self, listening: Listening) {
        close(&self.inlets, &listening);
    }

    fn close_later(&self, listening: Listening) {
        let inlets = self.inlets.clone();
        self.runtime.spawn(async move {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            close(&inlets, &listening);
        });
    }

    fn settle_insides(&mut self, troubles: &mut BTreeSet<String>) {
        let wanted: HashMap<String, Arc<Entry>> = {
            let index = self.answerer.directory().current();
            if index.inside() == 0 && self.inside.is_empty() {
                return;
            }
            let inside = index.entries().filter(|entry| entry.netns.is_some());
            inside.map(|entry| (entry.record().to_owned(), entry.clone())).collect()
        };
        let gone = |record: &String, inside: &Inside| {
            wanted.get(record).is_none_or(|entry| entry.netns != inside.netns || !inside.is_there())
        };
        let closing: Vec<String> = self
            .inside
            .iter()
            .filter(|(record, inside)| gone(record, inside))
            .map(|(record, _)| record.clone())
            .collect();
        for record in closing {
            if let Some(inside) = self.inside.remove(&record) {
                // The socket would keep the namespace, and with it the container's interface.
                self.close(inside.listening);
            }
            if let Err(error) = service::withdraw_inside(&self.node, &record) {
                troubles.insert(error.to_string());
            }
        }
        for (record, entry) in wanted {
            if self.inside.contains_key(&record) {
                continue;
            }
            if let Err(error) = self.open_inside(&record, &entry) {
                troubles.insert(format!("{}: {error}", entry.owner()));
            }
        }
    }

    fn open_inside(&mut self, record: &str, entry: &Entry) -> Result<()> {
        let Some(made) = inside::listen(entry)? else {
            return Ok(());
        };
        let point = Point::Inside { record: record.to_owned() };
        let listening = self.serve(made.pair, &point)?;
        let inside = Inside { netns: entry.netns.clone(), table: made.table, listening };
        self.inside.insert(record.to_owned(), inside);
        let listener = service::Listener { ports: made.ports };
        service::announce_inside(&self.node, record, &listener)?;
        Ok(())
    }
}

fn close(inlets: &Inlets, listening: &Listening) {
    inlets.remove(listening.udp);
    listening.tcp.abort();
    if let Some(at) = listening.kept {
        kept::forget(at);
    }
}

//! A node of a fleet: a lab of its own on the switch, a netd that comes and goes, and what happens
//! to hosts.

use std::fs;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::chain::Chain;
use crate::etcd::Etcd;
use crate::fleet::port_of;
use crate::lab::{Lab, wait_until};
use crate::namespace::Namespace;
use crate::netd::Netd;

/// One of [`crate::Fleet::nodes`].
#[derive(Debug)]
pub struct Node {
    // Ends before the folders of its lab go.
    netd: Mutex<Option<Netd>>,
    /// Its namespace, folders and programs; `lab.lan` is the switch.
    pub lab: Lab,
    number: usize,
    config: Mutex<Value>,
    boots: Mutex<u32>,
}

impl Node {
    pub(crate) fn new(number: usize, switch: &Namespace) -> Self {
        let [v4, v6] = addresses(number + 10);
        let node = Self {
            netd: Mutex::default(),
            lab: Lab::beside(switch.clone(), [&v4, &v6]),
            number,
            config: Mutex::new(json!({})),
            boots: Mutex::new(0),
        };
        node.plug();
        node
    }

    /// `node1` and so on.
    pub fn name(&self) -> String {
        format!("node{}", self.number)
    }

    /// The section `overlay` of netd's configuration, with its name and with etcd as the engine.
    pub fn overlay_section(&self, etcd: &Etcd) -> Value {
        json!({"engine": "etcd", "name": self.name(), "etcd": etcd.client_section()})
    }

    /// Starts netd with a configuration, and waits until it serves.
    pub fn start(&self, config: &Value) {
        *self.config.lock().unwrap() = config.clone();
        self.start_again();
    }

    /// Starts netd as it was configured before.
    pub fn start_again(&self) {
        let config = self.config.lock().unwrap().clone();
        let mut netd = self.netd.lock().unwrap();
        assert!(netd.is_none(), "{}: netd runs already", self.name());
        *netd = Some(self.lab.netd_with(&config));
    }

    /// Ends netd as a service manager does.
    #[track_caller]
    pub fn stop(&self) {
        assert!(self.take().stop(), "{}: netd did not end well", self.name());
    }

    /// Ends netd with SIGKILL.
    #[track_caller]
    pub fn kill(&self) {
        self.take().kill();
    }

    /// Looks at the netd that runs.
    #[track_caller]
    pub fn netd<T>(&self, look: impl FnOnce(&mut Netd) -> T) -> T {
        look(self.netd.lock().unwrap().as_mut().expect("netd runs"))
    }

    #[track_caller]
    fn take(&self) -> Netd {
        self.netd.lock().unwrap().take().expect("netd runs")
    }

    /// A conflist of an overlay network.
    pub fn chain(&self, network: &str) -> Chain<'_> {
        let plugins = json!([{"type": "overlay"}]);
        self.lab.chain(json!({"cniVersion": "1.0.0", "name": network, "plugins": plugins}))
    }

    /// It loses power and boots: netd is killed; links, rules and the runtime state are gone, and
    /// so should the containers be, which are the caller's; what is on disk stays. Its addresses
    /// end in another number if one is given. netd is not started.
    pub fn reboot(&self, other: Option<usize>) {
        if let Some(netd) = self.netd.lock().unwrap().take() {
            netd.kill();
        }
        self.unplug();
        self.lab.host.renew();
        let run = self.lab.folder().join("run");
        fs::remove_dir_all(&run).unwrap();
        fs::create_dir(&run).unwrap();
        {
            let mut boots = self.boots.lock().unwrap();
            *boots += 1;
            let id = format!("{:08x}-0000-4000-8000-{:012x}", self.number, *boots);
            self.lab.set_boot(&id);
        }
        if let Some(last) = other {
            let [v4, v6] = addresses(last);
            self.lab.set_addresses([&v4, &v6]);
        }
        self.plug();
        wait_until("the node is on the switch", || self.lab.host.has_link_local("eth0"));
    }

    /// Its addresses on the switch become those that end in another number, in an instant.
    pub fn readdress(&self, last: usize) {
        let [v4, v6] = addresses(last);
        self.lab.set_addresses([&v4, &v6]);
        self.lab.host.ip("addr flush dev eth0 scope global");
        self.lab.configure();
    }

    /// The MTU of its link to the switch.
    pub fn set_mtu(&self, mtu: u32) {
        self.lab.host.ip(&format!("link set eth0 mtu {mtu}"));
        self.lab.lan.ip(&format!("link set {} mtu {mtu}", port_of(self.number)));
    }

    /// Deletes its link to the switch.
    pub fn unplug(&self) {
        self.lab.lan.ip(&format!("link del {}", port_of(self.number)));
    }

    /// Makes its link to the switch, with its addresses and default routes.
    pub fn plug(&self) {
        let port = port_of(self.number);
        // As a card's address: others may know it.
        let mac = format!("02:00:00:00:00:{:02x}", self.number);
        self.lab.connect(Some(&mac), &port);
        self.lab.lan.ip(&format!("link set {port} master br0 up"));
    }
}

fn addresses(last: usize) -> [String; 2] {
    assert!((3..200).contains(&last), "{last}: nodes have the numbers 3 to 199 on the switch");
    [format!("192.0.2.{last}"), format!("2001:db8::{last}")]
}

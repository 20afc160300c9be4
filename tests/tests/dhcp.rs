//! Addresses that a DHCP server gives, leased by netd or by `dhcp daemon`.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use cleat_tests::{Behaviour, Chain, Container, DhcpServer, Dnsmasq, End, Lab, wait_until};
use dhcproto::v4::{DhcpOption, MessageType, OptionCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const V4: &str = "dhcp-range=192.0.2.100,192.0.2.140,255.255.255.0,1h\n\
    dhcp-option=option:router,192.0.2.2\n\
    dhcp-option=option:dns-server,192.0.2.2,192.0.2.3\n\
    dhcp-option=option:domain-name,lan.example\n\
    dhcp-option=option:domain-search,lan.example,example.org";
const V6: &str = "dhcp-range=2001:db8::100,2001:db8::1ff,64,1h\n\
    dhcp-option=option6:dns-server,[2001:db8::2]";

fn ipam(extra: Value) -> Value {
    let mut ipam = json!({"type": "dhcp"});
    for (key, value) in extra.as_object().unwrap() {
        ipam[key] = value.clone();
    }
    ipam
}

fn macvlan(ipam: Value) -> Value {
    json!({"cniVersion": "1.1.0", "name": "net", "plugins": [
        {"type": "macvlan", "master": "eth0", "ipam": ipam}]})
}

/// A bridge that the LAN's station is behind, as a site's own bridge is.
fn bridged(lab: &Lab) -> Value {
    lab.host.ip("link add br0 address 02:00:00:00:00:b0 type bridge");
    lab.host.ip("link set br0 up");
    lab.host.ip("addr flush dev eth0");
    lab.host.ip("link set eth0 master br0");
    json!({"cniVersion": "1.1.0", "name": "net", "plugins": [
        {"type": "bridge", "bridge": "br0", "ipam": ipam(json!({}))}]})
}

fn add<'l>(lab: &'l Lab, conflist: Value) -> (Chain<'l>, Container) {
    (lab.chain(conflist), lab.container())
}

#[test]
fn a_macvlan_gets_what_dnsmasq_gives() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let server = lab.dnsmasq(&lab.lan, "eth0", V4);
    let netd = lab.netd();
    let (chain, container) = add(&lab, macvlan(ipam(json!({"priority": 50}))));
    let attached = chain.attach(&container);
    let result = &attached.result;
    let address = attached.v4();
    assert!(address.starts_with("192.0.2.1"), "{result}");
    assert_eq!(result["ips"][0]["address"], format!("{address}/24"));
    assert_eq!(result["ips"][0]["gateway"], "192.0.2.2");
    assert_eq!(result["routes"], json!([{"dst": "0.0.0.0/0", "gw": "192.0.2.2", "priority": 50}]));
    let dns = json!({"nameservers": ["192.0.2.2", "192.0.2.3"], "domain": "lan.example",
        "search": ["lan.example", "example.org"]});
    assert_eq!(result["dns"], dns);
    assert_eq!(container.ns.addresses("eth0"), [format!("{address}/24")]);
    assert!(container.ns.ping("192.0.2.2"));
    chain.check(&container, &attached).unwrap();
    assert!(server.leases().contains(&address), "{}", server.leases());
    // The client is who the reference says it is: type 0, then container, network, interface.
    let name = format!("{}/net/eth0", container.id);
    let hex: Vec<String> = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    let identifier = format!("00:{}", hex.join(":"));
    assert!(server.leases().contains(&identifier), "{}", server.leases());
    chain.detach(&container, &attached);
    wait_until("the server hears of the release", || !server.leases().contains(&address));
    assert_eq!(fs::read_dir(lab.folder().join("run/dhcp")).unwrap().count(), 0);
    drop(netd);
}

#[test]
fn both_families_on_a_bridge() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let mut conflist = bridged(&lab);
    let server = lab.dnsmasq(&lab.lan, "eth0", &format!("{V4}\n{V6}"));
    let _netd = lab.netd();
    let asked = json!({"ipv6": true, "prefixHint": "2001:db8::/64"});
    conflist["plugins"][0]["ipam"] = ipam(asked);
    let (chain, container) = add(&lab, conflist);
    let attached = chain.attach(&container);
    let addresses = container.ns.addresses("eth0");
    assert_eq!(addresses.len(), 2, "{addresses:?}");
    assert!(addresses[1].starts_with("2001:db8::1") && addresses[1].ends_with("/64"));
    let servers = json!(["192.0.2.2", "192.0.2.3", "2001:db8::2"]);
    assert_eq!(attached.result["dns"]["nameservers"], servers);
    for station in Lab::LAN {
        assert!(container.ns.ping(station), "{station}");
    }
    chain.check(&container, &attached).unwrap();
    chain.detach(&container, &attached);
    let held = |server: &Dnsmasq| attached.addresses().iter().any(|a| server.leases().contains(a));
    wait_until("the server hears of both releases", || !held(&server));
}

#[test]
fn a_lease_is_renewed_with_its_server() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let server = DhcpServer::start(&lab, (8, 1, 6));
    let netd = lab.netd();
    let (chain, container) = add(&lab, macvlan(ipam(json!({}))));
    let attached = chain.attach(&container);
    wait_until("it was renewed twice", || server.count(MessageType::Request) >= 3);
    let renewal = server.seen(MessageType::Request).pop().unwrap();
    assert_eq!(renewal.ciaddr().to_string(), attached.v4());
    assert!(!renewal.opts().contains(OptionCode::ServerIdentifier));
    chain.check(&container, &attached).unwrap();
    chain.detach(&container, &attached);
    wait_until("it was given back", || server.count(MessageType::Release) == 1);
    drop(netd);
}

#[test]
fn a_daemon_that_was_killed_goes_on_with_its_leases() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let server = DhcpServer::start(&lab, (20, 2, 15));
    let netd = lab.netd();
    let (chain, container) = add(&lab, macvlan(ipam(json!({}))));
    let attached = chain.attach(&container);
    netd.kill();
    let renewals = server.count(MessageType::Request);
    let _netd = lab.netd();
    wait_until("it was renewed", || server.count(MessageType::Request) > renewals);
    chain.check(&container, &attached).unwrap();
    chain.detach(&container, &attached);
    wait_until("it was given back", || server.count(MessageType::Release) == 1);
}

#[test]
fn a_lease_that_ends_is_told_and_asked_for_again() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let server = DhcpServer::start(&lab, (4, 1, 2));
    let netd = lab.netd_with(&json!({"dhcp": {"timeout": 1, "resendMax": 1}}));
    let (chain, container) = add(&lab, macvlan(ipam(json!({}))));
    let attached = chain.attach(&container);
    for (behaviour, how) in [(Behaviour::Silent, "silent"), (Behaviour::Refuses, "refusing")] {
        server.behave(behaviour);
        wait_until(how, || status(&lab).contains("has ended"));
        // The container keeps its address: whether to end it is its owner's to say.
        assert_eq!(container.ns.addresses("eth0").len(), 1, "{how}");
        let outcome = chain.check(&container, &attached).unwrap_err();
        assert!(outcome.error_text().contains("has ended"), "{how}: {outcome:?}");
        server.behave(Behaviour::Serves);
        netd.wait_to_say("dhcp.regained");
        wait_until("it is well again", || !status(&lab).contains("has ended"));
        chain.check(&container, &attached).unwrap();
    }
    chain.detach(&container, &attached);
}

fn status(lab: &Lab) -> String {
    let output = lab.cleat("status").output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn without_a_server_an_attach_fails_and_leaves_nothing() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let _netd = lab.netd_with(&json!({"dhcp": {"resendTimeout": 2}}));
    let before = lab.snapshot();
    let (chain, container) = add(&lab, macvlan(ipam(json!({}))));
    let start = Instant::now();
    let outcome = chain.add(&container).unwrap_err();
    assert_eq!(outcome.error_code(), 11, "{outcome:?}");
    assert!(outcome.error_text().contains("no DHCPv4 server answered within 2 s"), "{outcome:?}");
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(container.ns.link("eth0").is_none());
    let changes = lab.changes(&before);
    assert!(changes.is_empty(), "{changes}");
}

#[test]
fn without_a_daemon_the_error_says_how_to_start_it() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let socket = lab.folder().join("none.sock");
    let asked = ipam(json!({"daemonSocketPath": socket}));
    let (chain, container) = add(&lab, macvlan(asked.clone()));
    let before = lab.snapshot();
    let outcome = chain.add(&container).unwrap_err();
    assert_eq!(outcome.error_code(), 11, "{outcome:?}");
    assert!(outcome.error_text().contains("no DHCP daemon listens at"), "{outcome:?}");
    assert!(format!("{outcome:?}").contains("start netd (netd run), or dhcp daemon"));
    assert!(container.ns.link("eth0").is_none());
    chain.del(&container, None).unwrap();
    let config = json!({"cniVersion": "1.1.0", "name": "net", "type": "macvlan", "master": "eth0",
        "ipam": asked});
    let outcome = lab.plugin("macvlan").command("STATUS").config(&config).run();
    assert_eq!(outcome.error_code(), 50, "{outcome:?}");
    let changes = lab.additions(&before);
    assert!(!changes.contains("eth0"), "{changes}");
}

#[test]
fn options_are_sent_as_configured() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let server = DhcpServer::start(&lab, (60, 30, 50));
    let _netd = lab.netd();
    let asked = ipam(json!({
        "request": [{"skipDefault": true}, {"option": "routers"}, {"option": "42"}],
        "provide": [{"option": "host-name", "fromArg": "K8S_POD_NAME", "value": "nobody"},
            {"option": "vendor-class-identifier", "value": "cleat"},
            {"option": "77", "fromArg": "NOT_THERE"}],
    }));
    let (chain, container) = add(&lab, macvlan(asked));
    let chain = chain.args("IgnoreUnknown=1;K8S_POD_NAME=web-0");
    chain.attach(&container);
    let discover = server.seen(MessageType::Discover).pop().unwrap();
    let option = |code| discover.opts().get(code).cloned();
    assert_eq!(option(OptionCode::Hostname), Some(DhcpOption::Hostname("web-0".into())));
    let class = DhcpOption::ClassIdentifier(b"cleat".to_vec());
    assert_eq!(option(OptionCode::ClassIdentifier), Some(class));
    assert_eq!(option(OptionCode::UserClass), None);
    let list = vec![OptionCode::Router, OptionCode::NtpServers];
    let list = Some(DhcpOption::ParameterRequestList(list));
    assert_eq!(option(OptionCode::ParameterRequestList), list);
    chain.del(&container, None).unwrap();
}

#[test]
fn bad_sections_are_refused() {
    let lab = Lab::still();
    if lab.is_reference() {
        return;
    }
    for (extra, text) in [
        (json!({"ipv4": false}), "ipam.ipv4"),
        (json!({"prefixHint": "2001:db8::/64"}), "prefixHint"),
        (json!({"request": [{"option": "nothing"}]}), "ipam.request[0].option"),
        (json!({"provide": [{"option": "12", "value": "x".repeat(256)}]}), "ipam.provide[0]"),
    ] {
        let (chain, container) = add(&lab, macvlan(ipam(extra.clone())));
        let outcome = chain.add(&container).unwrap_err();
        assert_eq!(outcome.error_code(), 7, "{extra}: {outcome:?}");
        assert!(outcome.error_text().contains(text), "{extra}: {outcome:?}");
    }
}

#[test]
fn networks_that_lead_nowhere_are_refused() {
    let lab = Lab::still();
    if lab.is_reference() {
        return;
    }
    let ptp = json!({"cniVersion": "1.1.0", "name": "net", "plugins": [
        {"type": "ptp", "ipam": ipam(json!({}))}]});
    let (chain, container) = add(&lab, ptp);
    let outcome = chain.add(&container).unwrap_err();
    assert_eq!(outcome.error_code(), 7, "{outcome:?}");
    assert!(outcome.error_text().contains("ptp"), "{outcome:?}");
}

/// `dhcp daemon` with the reference's flags; ended when dropped.
struct Alone(Child);

impl Alone {
    fn start(lab: &Lab, flags: &[&str]) -> Self {
        let mut command = lab.host.command("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(lab.programs().path("dhcp")).arg("daemon");
        command.args(flags).envs(lab.environment()).stdin(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_raw(self.0.id() as i32).unwrap(), Signal::TERM);
        let _ = self.0.wait();
    }
}

#[test]
fn a_daemon_by_itself_takes_the_references_flags() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let server = DhcpServer::start(&lab, (60, 30, 50));
    let (socket, id) = (lab.folder().join("dhcp.sock"), lab.folder().join("dhcp.pid"));
    let daemon = Alone::start(
        &lab,
        &[
            "-socketpath",
            socket.to_str().unwrap(),
            "-pidfile",
            id.to_str().unwrap(),
            "-broadcast=true",
            "-timeout=2s",
            "-resendmax",
            "1m2s",
            "-resendtimeout",
            "208s",
        ],
    );
    wait_until("it listens", || socket.exists() && id.exists());
    assert_eq!(fs::read_to_string(&id).unwrap().trim(), daemon.0.id().to_string());
    let (chain, container) = add(&lab, macvlan(ipam(json!({"daemonSocketPath": socket}))));
    let attached = chain.attach(&container);
    assert!(server.seen(MessageType::Discover)[0].flags().broadcast());
    assert!(container.ns.ping("192.0.2.2"));
    chain.detach(&container, &attached);
    wait_until("it was given back", || server.count(MessageType::Release) == 1);
    drop(daemon);
    assert!(!socket.exists() && !id.exists());
}

#[test]
fn what_belongs_to_no_attachment_is_given_back() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let server = DhcpServer::start(&lab, (600, 300, 500));
    let netd = lab.netd();
    let (chain, one) = add(&lab, macvlan(ipam(json!({}))));
    let two = lab.container();
    let (_, kept) = (chain.attach(&one), chain.attach(&two));
    chain.gc(&[&two]).unwrap();
    wait_until("it was given back", || server.count(MessageType::Release) == 1);
    chain.check(&two, &kept).unwrap();
    assert_eq!(fs::read_dir(lab.folder().join("run/dhcp")).unwrap().count(), 1);
    chain.detach(&two, &kept);
    drop(netd);
}

#[test]
fn detach_leaves_nothing_however_the_container_ended() {
    for on_bridge in [false, true] {
        let lab = Lab::new();
        if lab.is_reference() {
            return;
        }
        let server = DhcpServer::start(&lab, (600, 300, 500));
        let _netd = lab.netd();
        let conflist = if on_bridge { bridged(&lab) } else { macvlan(ipam(json!({}))) };
        let chain = lab.chain(conflist);
        let before = chain.used();
        for end in End::ALL {
            chain.comes_and_goes(end, &before);
        }
        // Where the interface is gone before DEL there is no way to the server.
        let told = server.count(MessageType::Release);
        assert!(told >= 2, "{told}");
    }
}

/// dnsmasq's shortest lease is of two minutes, and T1 half of it.
#[test]
#[ignore = "takes long"]
fn dnsmasq_renews_both_families() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let lines = format!("{V4}\n{V6}").replace(",1h", ",2m");
    let server = lab.dnsmasq(&lab.lan, "eth0", &lines);
    let _netd = lab.netd();
    let (chain, container) = add(&lab, macvlan(ipam(json!({"ipv6": true}))));
    let attached = chain.attach(&container);
    let deadline = Instant::now() + Duration::from_secs(100);
    let renewed = || {
        let said = server.said();
        said.matches("DHCPACK(").count() >= 2 && said.contains("DHCPRENEW(")
    };
    while !renewed() {
        assert!(Instant::now() < deadline, "not renewed");
        std::thread::sleep(Duration::from_millis(200));
    }
    chain.check(&container, &attached).unwrap();
    chain.detach(&container, &attached);
}

/// A lease runs on while the machine sleeps: the daemon wakes up in another time.
#[test]
fn time_that_was_slept_through_counts() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let server = DhcpServer::start(&lab, (900, 300, 600));
    let netd = lab.netd();
    let (chain, container) = add(&lab, macvlan(ipam(json!({}))));
    let attached = chain.attach(&container);
    let asked = server.count(MessageType::Request);
    netd.kill();
    let sleep = ["unshare", "--time", "--boottime", "310", "--fork", "--kill-child"];
    let netd = lab.netd_through(&json!({}), &sleep);
    wait_until("it was renewed at once", || server.count(MessageType::Request) > asked);
    chain.check(&container, &attached).unwrap();
    chain.detach(&container, &attached);
    wait_until("it was given back", || server.count(MessageType::Release) == 1);
    netd.kill();
}

//! What runtimes that are not run here send, call by call: nerdctl, CRI by containerd, CRI-O,
//! Nomad, multus.

use std::process::Command;
use std::thread;

use cleat_tests::{Lab, Programs, Transport, ranges};
use serde_json::{Value, json};

fn bridge(extra: Value) -> Value {
    let mut bridge = json!({"type": "bridge", "bridge": "br0", "isGateway": true, "ipMasq": true,
        "hairpinMode": true, "ipam": ranges(&["10.88.0.0/24", "fd00:88::/64"])});
    bridge["ipam"]["routes"] = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]);
    for (key, value) in extra.as_object().unwrap() {
        bridge[key] = value.clone();
    }
    bridge
}

fn portmap() -> Value {
    json!({"type": "portmap", "capabilities": {"portMappings": true}})
}

/// As Go's encoder writes a structure without tags.
fn go_ports() -> Value {
    json!({"portMappings": [
        {"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""},
        {"HostPort": 8080, "ContainerPort": 80, "Protocol": "udp", "HostIP": ""}]})
}

#[track_caller]
fn assert_published(lab: &Lab, container: &cleat_tests::Container) {
    let _server = container.ns.serve(80);
    for by in [Transport::Tcp, Transport::Udp] {
        for to in ["192.0.2.1:8080", "[2001:db8::1]:8080"] {
            lab.lan.ask(by, to).unwrap_or_else(|e| panic!("LAN {by:?} {to}: {e}"));
            container.ns.ask(by, to).unwrap_or_else(|e| panic!("hairpin {by:?} {to}: {e}"));
        }
        lab.host.ask(by, "127.0.0.1:8080").unwrap_or_else(|e| panic!("localhost {by:?}: {e}"));
    }
    for to in ["10.88.0.1", "fd00:88::1"] {
        assert!(container.ns.ping(to), "{to}");
    }
}

#[test]
fn nerdctl() {
    let lab = Lab::new();
    // It asks the firewall for its version by executing it without a command.
    let output = Command::new(lab.programs().path("firewall")).env_clear().output().unwrap();
    let about = String::from_utf8_lossy(&output.stderr).into_owned();
    let version = about.lines().next().unwrap().strip_prefix("CNI firewall plugin v").unwrap();
    let numbers: Vec<u32> = version.split(['.', '-', '+']).flat_map(str::parse).collect();
    assert!(
        lab.is_reference() || numbers[..3] >= [1, 7, 1][..],
        "same-bridge and isolated: {about}"
    );

    let chain = lab
        .chain(json!({"cniVersion": "1.0.0", "name": "net", "nerdctlID": "17f29b07",
            "nerdctlLabels": {}, "plugins": [bridge(json!({})), portmap(),
                {"type": "firewall", "ingressPolicy": "same-bridge"}, {"type": "tuning"}]}))
        .capabilities(go_ports());
    let before = chain.used();
    let (container, neighbour) = (lab.container(), lab.container());
    let named = chain.clone().args("IgnoreUnknown=1;IP=10.88.0.77;MAC=02:00:00:00:00:77");
    // Before each ADD, in case a crash left something.
    named.del_without_namespace(&container).unwrap();
    let attached = named.attach(&container);
    assert_eq!(attached.v4(), "10.88.0.77");
    assert_eq!(container.ns.link("eth0").unwrap()["address"], "02:00:00:00:00:77");
    chain.clone().capabilities(json!({})).attach(&neighbour);
    assert!(neighbour.ns.ping("10.88.0.77"));
    assert_published(&lab, &container);
    named.del_without_namespace(&container).unwrap();
    chain.del_without_namespace(&neighbour).unwrap();
    drop((container, neighbour));
    if !lab.is_reference() {
        lab.assert_as_before(&before);
    }
}

#[test]
fn cri_by_containerd() {
    let lab = Lab::new();
    let mut main = bridge(json!({"capabilities": {"ipRanges": true, "dns": true,
        "bandwidth": true, "aliases": true, "cgroupPath": true,
        "io.kubernetes.cri.pod-annotations": true}}));
    main["dns"] = json!({"nameservers": ["10.96.0.10"]});
    let chain = lab.chain(json!({"cniVersion": "1.0.0", "name": "k8s", "plugins": [
        main, portmap()]}));
    let mut capabilities = go_ports();
    for (name, value) in [
        (
            "bandwidth",
            json!({"IngressRate": 1_000_000, "IngressBurst": u32::MAX,
            "EgressRate": 1_000_000, "EgressBurst": u32::MAX}),
        ),
        ("dns", json!({"Servers": ["10.96.0.10"], "Searches": ["svc.local"], "Options": []})),
        ("aliases", json!(["web"])),
        ("cgroupPath", json!("/kubepods/pod1")),
        ("io.kubernetes.cri.pod-annotations", json!({"a": "b", "c": ""})),
    ] {
        capabilities[name] = value;
    }
    let chain = chain.capabilities(capabilities);
    let loopback = lab
        .chain(json!({"cniVersion": "0.3.1", "name": "cni-loopback", "plugins": [
            {"type": "loopback"}]}))
        .ifname("lo");
    let before = chain.used();
    let args = [
        "K8S_POD_UID=1-2;IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web",
        "K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=ab;K8S_POD_UID=1-2;IgnoreUnknown=1",
    ];
    for order in args {
        let container = lab.container();
        let (chain, loopback) = (chain.clone().args(order), loopback.clone().args(order));
        let (attached, lo) = thread::scope(|scope| {
            let lo = scope.spawn(|| loopback.attach(&container));
            (chain.attach(&container), lo.join().unwrap())
        });
        for ip in attached.result["ips"].as_array().unwrap() {
            let index = ip["interface"].as_u64().unwrap() as usize;
            assert!(attached.result["interfaces"][index]["sandbox"].is_string(), "{ip}");
        }
        assert_eq!(attached.result["dns"]["nameservers"], json!(["10.96.0.10"]));
        assert_eq!(container.ns.link("lo").unwrap()["flags"][0], "LOOPBACK");
        assert_published(&lab, &container);
        chain.detach(&container, &attached);
        loopback.detach(&container, &lo);
        chain.del_without_namespace(&container).unwrap();
        lab.assert_as_before(&before);
    }
}

#[test]
fn cri_o() {
    let lab = Lab::new();
    let chain = lab
        .chain(json!({"cniVersion": "1.0.0", "name": "k8s", "plugins": [
            bridge(json!({"capabilities": {"ipRanges": true, "aliases": true}})), portmap(),
            {"type": "tuning"}]}))
        .capabilities(json!({"portMappings": [
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""},
            {"hostPort": 8080, "containerPort": 80, "protocol": "udp", "hostIP": ""}],
            "aliases": {"k8s": ["web"]}, "bandwidth": {"ingressRate": 1000}}))
        .args("IgnoreUnknown=1;K8S_POD_NAMESPACE=d;K8S_POD_NAME=w;K8S_POD_UID=1;IP=10.88.0.5");
    let container = lab.container();
    container.ns.ip("link set lo up");
    let attached = chain.attach(&container);
    assert_eq!(attached.v4(), "10.88.0.5");
    if !lab.is_reference() {
        // The state of a pod is asked for often.
        for _ in 0..3 {
            chain.check(&container, &attached).unwrap();
        }
    }
    assert_published(&lab, &container);
    chain.detach(&container, &attached);
    assert!(lab.leased("k8s").is_empty());
}

#[test]
fn nomad() {
    let lab = Lab::new();
    let plugins = json!([{"type": "loopback"}, bridge(json!({"forceAddress": true})),
        {"type": "firewall", "backend": "iptables", "iptablesAdminChainName": "NOMAD-ADMIN"},
        {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}]);
    let chain = lab
        .chain(json!({"cniVersion": "0.4.0", "name": "nomad", "plugins": plugins}))
        .capabilities(go_ports());
    let before = chain.used();
    let (container, neighbour) = (lab.container(), lab.container());
    let attached = chain.attach(&container);
    assert_eq!(attached.result["interfaces"][0]["name"], "br0", "the bridge leads the result");
    assert_eq!(attached.result["cniVersion"], "0.4.0");
    let beside = chain.clone().capabilities(json!({}));
    let next = beside.attach(&neighbour);
    assert!(neighbour.ns.ping(&attached.v4()));
    assert_published(&lab, &container);
    beside.detach(&neighbour, &next);
    chain.detach(&container, &attached);
    lab.assert_as_before(&before);
}

#[test]
fn multus() {
    let lab = Lab::new();
    // What it was given itself follows what it adds: every key is there twice.
    let own = "IgnoreUnknown=true;K8S_POD_NAMESPACE=d;K8S_POD_NAME=w;K8S_POD_UID=1";
    let twice = format!("{own};{own};IgnoreUnknown=1");
    let first = lab
        .chain(json!({"cniVersion": "0.3.1", "name": "one", "plugins": [
            bridge(json!({"capabilities": {"mac": true, "ips": true}})), portmap()]}))
        .args(&twice)
        .capabilities(go_ports());
    let second = lab
        .chain(json!({"cniVersion": "0.3.1", "name": "two", "plugins": [{"type": "bridge",
            "bridge": "br1", "capabilities": {"mac": true, "ips": true},
            "ipam": ranges(&["10.89.0.0/24"])}]}))
        .args(&twice)
        .ifname("net1")
        .capabilities(json!({"mac": "02:00:00:00:00:55", "ips": ["10.89.0.55"],
            "deviceID": "", "CNIDeviceInfoFile": "/nowhere"}));
    let container = lab.container();
    let attached = first.attach(&container);
    let also = second.attach(&container);
    assert_eq!(container.ns.link("net1").unwrap()["address"], "02:00:00:00:00:55");
    assert_eq!(container.ns.addresses("net1"), ["10.89.0.55/24"]);
    assert_published(&lab, &container);
    second.detach(&container, &also);
    first.detach(&container, &attached);
    assert!(container.ns.link("net1").is_none() && container.ns.link("eth0").is_none());
}

#[test]
fn chains_have_the_references_results() {
    for (version, plugins) in [
        (
            "0.4.0",
            json!([{"type": "loopback"}, bridge(json!({})), {"type": "firewall"}, portmap()]),
        ),
        ("1.0.0", json!([bridge(json!({})), portmap(), {"type": "firewall"}, {"type": "tuning"}])),
        ("0.3.1", json!([bridge(json!({})), {"type": "tuning", "mtu": 1400}, portmap()])),
    ] {
        let results = [Programs::under_test(), Programs::reference()].map(|programs| {
            let lab = Lab::still();
            let list = json!({"cniVersion": version, "name": "net", "plugins": plugins});
            let chain = lab.chain(list).capabilities(go_ports()).by(&programs);
            let container = lab.container();
            chain.attach(&container).without_names(&container)
        });
        assert_eq!(results[0], results[1], "{version}");
    }
}

/// In a user namespace without privileges outside of it, as rootless engines have one.
#[test]
fn rootless() {
    let lab = Lab::still();
    let folder = lab.folder().display().to_string();
    let config = |plugin: Value| {
        let mut config = plugin;
        config["name"] = json!("net");
        config["cniVersion"] = json!("1.0.0");
        if config["type"] == "bridge" {
            config["ipam"]["dataDir"] = json!(format!("{folder}/leases"));
        }
        config.to_string()
    };
    let chain = [
        config(bridge(json!({}))),
        config(json!({"type": "portmap", "runtimeConfig": go_ports()})),
        config(json!({"type": "firewall"})),
    ];
    lab.host.sh(&format!("chown -R 65534 {folder}; chmod 755 {folder}"));
    for (n, text) in chain.iter().enumerate() {
        std::fs::write(lab.folder().join(format!("{n}.json")), text).unwrap();
    }
    let script = r#"
        mount -t tmpfs none /run; mkdir -p /run/netns; ip netns add c; ip link set lo up
        # A sysctl that may not be set.
        mount --bind /proc/sys/net /proc/sys/net && mount -o remount,bind,ro /proc/sys/net
        export CNI_CONTAINERID=a CNI_NETNS=/run/netns/c CNI_IFNAME=eth0 CNI_PATH=$PLUGINS
        before='{}'
        for n in 0 1 2; do
            type=$(jq -r .type $LAB/$n.json)
            jq -c --argjson p "$before" 'if $p != {} then .prevResult = $p else . end' $LAB/$n.json |
                CNI_COMMAND=ADD $PLUGINS/$type >$LAB/out || { cat $LAB/out >&2; exit 1; }
            before=$(cat $LAB/out)
        done
        ip netns exec c ping -n -c 1 -W 2 10.88.0.1 >/dev/null
        for n in 2 1 0; do
            type=$(jq -r .type $LAB/$n.json)
            jq -c --argjson p "$before" '.prevResult = $p' $LAB/$n.json |
                CNI_COMMAND=DEL $PLUGINS/$type || exit 1
        done
        echo "$before""#;
    let mut command = Command::new("timeout");
    command
        .args(["60", "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .args(["unshare", "-Urnm", "sh", "-ec", script])
        .envs(lab.environment())
        .env("LAB", &folder)
        .env("PLUGINS", lab.programs().folder())
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}: {said}", output.status);
    assert!(said.contains("stays off"), "a warning says what could not be set: {said}");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["ips"].as_array().unwrap().len(), 2);
}

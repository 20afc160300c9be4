//! The plugin host-device with a device on a bus: by its PCI address, and by its folder in sysfs.
//@ vm-modules: virtio_pci virtio_net
//@ vm-devices: virtio-net-pci,mac=52:54:00:00:00:07

use std::fs;
use std::path::{Path, PathBuf};

use cleat_tests::{Container, Lab, ranges};
use serde_json::{Value, json};

const MAC: &str = "52:54:00:00:00:07";

/// The machine's only network card: its name, and its folder in sysfs. It is in the first
/// namespace, and each test takes it into its lab.
fn device() -> (String, PathBuf) {
    for entry in fs::read_dir("/sys/class/net").unwrap() {
        let path = entry.unwrap().path();
        let mac = fs::read_to_string(path.join("address")).unwrap_or_default();
        if mac.trim() == MAC {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            return (name, fs::canonicalize(path).unwrap());
        }
    }
    panic!("the machine has no card {MAC}");
}

/// The PCI function that a network interface's folder lies below.
fn pci(folder: &Path) -> &Path {
    let is_pci =
        |path: &&Path| fs::read_link(path.join("subsystem")).is_ok_and(|s| s.ends_with("pci"));
    folder.ancestors().find(is_pci).unwrap()
}

fn network(which: Value) -> Value {
    let mut plugin = json!({"type": "host-device", "ipam": ranges(&["10.88.0.0/24"])});
    for (key, value) in which.as_object().unwrap() {
        plugin[key] = value.clone();
    }
    json!({"cniVersion": "1.0.0", "name": "net", "plugins": [plugin]})
}

fn mac_of(container: &Container) -> Value {
    container.ns.link("eth0").unwrap()["address"].clone()
}

/// One test, since there is one card.
#[test]
fn by_pci_address_by_folder_and_by_a_runtimes_choice() {
    let (found, folder) = device();
    // The lab's host has an eth0 of its own.
    let name = "card0";
    let function = pci(&folder);
    let address = function.file_name().unwrap().to_str().unwrap();
    let lab = Lab::still();
    let status = std::process::Command::new("ip")
        .args(["link", "set", &found, "netns", lab.host.name(), "name", name])
        .status()
        .unwrap();
    assert!(status.success());
    let capability = json!({"deviceID": address});
    for (which, asked) in [
        (json!({"pciBusID": address}), None),
        (json!({"kernelpath": function}), None),
        (json!({"hwaddr": MAC}), None),
        (json!({"device": "other", "capabilities": {"deviceID": true}}), Some(&capability)),
    ] {
        let mut chain = lab.chain(network(which.clone()));
        if let Some(asked) = asked {
            chain = chain.capabilities(asked.clone());
        }
        let container = lab.container();
        let attached = chain.attach(&container);
        assert_eq!(mac_of(&container), MAC, "{which}");
        assert!(lab.host.link(name).is_none());
        chain.check(&container, &attached).unwrap();
        chain.detach(&container, &attached);
        let back = lab.host.link(name).unwrap();
        assert_eq!(back["address"], MAC, "{which}");
    }
    for (which, text) in [
        (json!({"pciBusID": "0000:00:1f.7"}), "0000:00:1f.7"),
        (json!({"kernelpath": "/sys/devices/none"}), "none"),
    ] {
        let container = lab.container();
        let outcome = lab.chain(network(which.clone())).add(&container).unwrap_err();
        assert!(outcome.error_text().contains(text), "{which}: {outcome:?}");
        assert!(lab.leased("net").is_empty(), "{which}");
    }
}

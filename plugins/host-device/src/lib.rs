//! The `host-device` plugin: a device of the host's is the container's interface for as long as the
//! container lives.

use std::path::{Path, PathBuf};

use cleat_cni::{Error, Request, name};
use cleat_engine::plan::{Device, Driver, NetworkPlan};
use cleat_front::interface::{Interface, InterfacePlugin};
use cleat_front::{parse_mac, runtime_value};
use serde::Deserialize;

/// The plugin.
pub const PLUGIN: InterfacePlugin<HostDevice> = InterfacePlugin(HostDevice);

/// Drivers that hand a device to user space: it has no interface of the kernel's.
const USER_SPACE: [&str; 3] = ["vfio-pci", "uio_pci_generic", "igb_uio"];

/// What it makes.
pub struct HostDevice;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire {
    device: Option<String>,
    hwaddr: Option<String>,
    kernelpath: Option<String>,
    #[serde(rename = "pciBusID")]
    pci_bus_id: Option<String>,
}

impl Interface for HostDevice {
    const NAME: &'static str = "host-device";
    const IS_DEVICE: bool = true;

    fn network(request: &Request) -> Result<NetworkPlan, Error> {
        let driver = Driver::Device(device(request)?);
        Ok(NetworkPlan::new(&request.config.name, driver))
    }
}

/// The runtime's choice before the configuration's.
fn device(request: &Request) -> Result<Device, Error> {
    let bad = |text: String| Err(Error::invalid_config(text));
    if let Some(id) = runtime_value::<String>(request, "deviceID")? {
        return on_bus("runtimeConfig.deviceID", &id);
    }
    let wire: Wire = request.config_as()?;
    match (wire.device, wire.hwaddr, wire.kernelpath, wire.pci_bus_id) {
        (Some(device), None, None, None) => {
            name::check_interface(&device)
                .map_err(|e| Error::invalid_config(format!("device: {device:?}: {}", e.msg)))?;
            Ok(Device::Name(device))
        }
        (None, Some(mac), None, None) => parse_mac("hwaddr", &mac).map(Device::Mac),
        (None, None, Some(path), None) => {
            let folder = PathBuf::from(&path);
            let inside = folder.starts_with("/sys/devices") && !path.contains("..");
            if inside {
                Ok(Device::Folder(folder))
            } else {
                bad(format!("kernelpath: {path:?} is not below /sys/devices/"))
            }
        }
        (None, None, None, Some(id)) => on_bus("pciBusID", &id),
        _ => bad("device: give one of device, hwaddr, kernelpath and pciBusID".to_owned()),
    }
}

/// A device by its address on the PCI or the auxiliary bus.
fn on_bus(field: &str, id: &str) -> Result<Device, Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".:_-".contains(c);
    if id.is_empty() || !id.chars().all(plain) || id.contains("..") {
        let text = format!("{field}: {id:?} is no device's address, such as 0000:00:1f.6");
        return Err(Error::invalid_config(text));
    }
    let bus = if id.contains(':') { "pci" } else { "auxiliary" };
    let folder = Path::new("/sys/bus").join(bus).join("devices").join(id);
    let driver = std::fs::read_link(folder.join("driver")).ok();
    let driver = driver.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    if let Some(driver) = driver.filter(|driver| USER_SPACE.contains(driver)) {
        let text = format!("a device of driver {driver} has no interface to move");
        return Err(Error::unsupported_field(field, &text));
    }
    Ok(Device::Folder(folder))
}

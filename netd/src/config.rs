//! The daemon's configuration: one JSON file, read at the start and again on SIGHUP. All keys have
//! defaults, and the file need not exist.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use serde::Deserialize;

use crate::dhcp::Settings;
use crate::error::{Error, Result};
use crate::overlay::OverlayConfig;

/// Where it is looked for unless told otherwise.
pub const DEFAULT_PATH: &str = "/etc/cleat/netd.json";

/// The configuration.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// Names.
    pub dns: DnsConfig,
    /// Leases of DHCP servers.
    pub dhcp: Settings,
    /// Published ports at ::1.
    pub relay: RelayConfig,
    /// Repair of the node.
    pub repair: RepairConfig,
    /// Overlay networks; read at the start alone.
    pub overlay: OverlayConfig,
    /// A loopback address that metrics are served at beside the control socket.
    pub metrics: Option<SocketAddr>,
}

/// How the node is repaired.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct RepairConfig {
    /// Hold the table `inet cleat-guard`. Some versions of nft cannot print it as JSON.
    pub guard: bool,
}

impl Default for RepairConfig {
    fn default() -> Self {
        Self { guard: true }
    }
}

/// How published ports are reached at ::1.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct RelayConfig {
    /// They are.
    pub enabled: bool,
    /// Connections at once, of each of TCP and UDP.
    pub connections: u64,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self { enabled: true, connections: 1024 }
    }
}

/// How names are answered.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct DnsConfig {
    /// Servers for what is not a name here, in place of those of the host's resolv.conf.
    pub servers: Vec<IpAddr>,
    /// The port that is listened at where another server has port 53.
    pub fallback_port: u16,
    /// Names of a single label that are none here are asked for elsewhere.
    pub forward_single_labels: bool,
    /// Memory for answers of other servers, in bytes.
    pub cache_bytes: u64,
    /// Questions of one client that may be under way to other servers at once.
    pub outstanding_per_client: usize,
    /// Questions of all clients that may be under way to other servers at once.
    pub outstanding: usize,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            fallback_port: 5330,
            forward_single_labels: false,
            cache_bytes: 4 << 20,
            outstanding_per_client: 256,
            outstanding: 2048,
        }
    }
}

impl Config {
    /// Reads it; without a file all is as by default.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field; [`Error::File`] for a file that cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        let wrong = |problem: String| Error::Config { path: path.to_owned(), problem };
        let config: Self =
            serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        config.check().map_err(wrong)?;
        Ok(config)
    }

    fn check(&self) -> std::result::Result<(), String> {
        self.overlay.check()?;
        if let Some(address) = self.metrics.filter(|address| !address.ip().is_loopback()) {
            return Err(format!(
                "metrics: {address} is not on the loopback; metrics name containers, so give one \
                 such as 127.0.0.1:9330"
            ));
        }
        if [0, 53].contains(&self.dns.fallback_port) {
            return Err(format!(
                "dns.fallbackPort: {} cannot be listened at beside port 53; choose another port \
                 below 32768, such as 5330",
                self.dns.fallback_port
            ));
        }
        for (field, value) in [
            ("dns.outstandingPerClient", self.dns.outstanding_per_client),
            ("dns.outstanding", self.dns.outstanding),
        ] {
            if value == 0 {
                return Err(format!("{field}: 0 would let no question through; use at least 1"));
            }
        }
        self.dhcp.check()?;
        if self.relay.connections == 0 {
            return Err("relay.connections: 0 would let none through; to relay nothing, set \
                        relay.enabled to false"
                .to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file.as_file(), text.as_bytes()).unwrap();
        Config::read(file.path())
    }

    #[test]
    fn no_file_and_no_keys_are_the_defaults() {
        assert_eq!(Config::read(Path::new("/nowhere/netd.json")).unwrap(), Config::default());
        assert_eq!(read("{}").unwrap(), Config::default());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("{\"dsn\": {}}", "dsn"),
            ("{\"dns\": {\"servers\": [\"a\"]}}", "IP address"),
            ("{\"metrics\": \"192.0.2.1:9330\"}", "metrics: 192.0.2.1:9330"),
            ("{\"dns\": {\"fallbackPort\": 53}}", "dns.fallbackPort: 53"),
            ("{\"dns\": {\"outstanding\": 0}}", "dns.outstanding"),
            ("{\"dhcp\": {\"timeout\": 0}}", "dhcp.timeout"),
            ("{\"relay\": {\"connections\": 0}}", "relay.enabled"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}

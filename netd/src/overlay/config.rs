//! The section `overlay` of the configuration. It is read at the start alone: who changes it
//! restarts netd, which leaves all traffic as it is.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;

/// How this node takes part in overlay networks.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct OverlayConfig {
    /// What keeps the networks, the nodes and their blocks.
    pub engine: Engine,
    /// This node's name for people; `None`: the host's.
    pub name: Option<String>,
    /// The address that other nodes send to; `None`: the source address of the default route.
    pub address: Option<IpAddr>,
    /// A node that has not been heard of for so long counts as down, in seconds.
    pub ttl: u64,
    /// A network is left so long after its last container here, in seconds.
    pub linger: u64,
    /// Where the store is.
    pub etcd: EtcdConfig,
    /// The UDP port of WireGuard; the next one is used while keys change.
    pub wireguard_port: u16,
}

/// What keeps the networks, the nodes and their blocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// Files of this host: it is the only node.
    #[default]
    Local,
    /// etcd, for many hosts.
    Etcd,
}

/// How etcd is reached.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct EtcdConfig {
    /// Such as `https://192.0.2.9:2379`, one per member.
    pub endpoints: Vec<String>,
    /// Who signed the members' certificates, in PEM.
    pub ca: Option<PathBuf>,
    /// The certificate that this node shows, in PEM.
    pub cert: Option<PathBuf>,
    /// Its key, in PEM.
    pub key: Option<PathBuf>,
    /// The user of etcd.
    pub user: Option<String>,
    /// A file with the user's password in its first line.
    pub password_file: Option<PathBuf>,
    /// What all keys begin with.
    pub prefix: String,
    /// How long one request may take, in milliseconds.
    pub timeout_ms: u64,
}

impl Default for OverlayConfig {
    fn default() -> Self {
        Self {
            engine: Engine::Local,
            name: None,
            address: None,
            ttl: 15,
            linger: 60,
            etcd: EtcdConfig::default(),
            wireguard_port: 51871,
        }
    }
}

impl Default for EtcdConfig {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            ca: None,
            cert: None,
            key: None,
            user: None,
            password_file: None,
            prefix: "/cleat/".to_owned(),
            timeout_ms: 2000,
        }
    }
}

impl OverlayConfig {
    /// What is wrong with it: the field, its value, and what would be right.
    ///
    /// # Errors
    /// That text.
    pub fn check(&self) -> Result<(), String> {
        if !(5..=60).contains(&self.ttl) {
            return Err(format!("overlay.ttl: {} is not in 5..60 seconds", self.ttl));
        }
        if self.wireguard_port == 0 || self.wireguard_port == u16::MAX {
            let port = self.wireguard_port;
            return Err(format!("overlay.wireguardPort: {port} is not in 1..65534"));
        }
        if let Some(address) =
            self.address.filter(|a| a.is_loopback() || a.is_unspecified() || a.is_multicast())
        {
            return Err(format!(
                "overlay.address: {address} is no address that other nodes can send to"
            ));
        }
        if let Some(name) = self.name.as_ref().filter(|name| !is_name(name)) {
            return Err(format!(
                "overlay.name: {name:?}: expected up to 63 letters, digits, `.` or `-`"
            ));
        }
        match self.engine {
            Engine::Local => Ok(()),
            Engine::Etcd => self.etcd.check(),
        }
    }
}

fn is_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-')
}

impl EtcdConfig {
    fn check(&self) -> Result<(), String> {
        if self.endpoints.is_empty() {
            return Err("overlay.etcd.endpoints: none; expected such as \
                        [\"https://192.0.2.9:2379\"]"
                .to_owned());
        }
        for endpoint in &self.endpoints {
            let rest = endpoint.strip_prefix("https://").or(endpoint.strip_prefix("http://"));
            if rest.is_none_or(str::is_empty) {
                return Err(format!(
                    "overlay.etcd.endpoints: {endpoint:?}: expected such as \
                     https://192.0.2.9:2379"
                ));
            }
            let has_tls = self.ca.is_some() || self.cert.is_some();
            if has_tls && !endpoint.starts_with("https://") {
                return Err(format!(
                    "overlay.etcd.endpoints: {endpoint:?}: a certificate is given, so expected \
                     https://"
                ));
            }
        }
        if self.cert.is_some() != self.key.is_some() {
            return Err("overlay.etcd: cert and key belong together; one is missing".to_owned());
        }
        if self.user.is_some() != self.password_file.is_some() {
            return Err(
                "overlay.etcd: user and passwordFile belong together; one is missing".to_owned()
            );
        }
        if !self.prefix.starts_with('/') || !self.prefix.ends_with('/') {
            return Err(format!(
                "overlay.etcd.prefix: {:?}: expected to begin and end with `/`",
                self.prefix
            ));
        }
        if !(100..=60_000).contains(&self.timeout_ms) {
            return Err(format!(
                "overlay.etcd.timeoutMs: {} is not in 100..60000 milliseconds",
                self.timeout_ms
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        let config: OverlayConfig = serde_json::from_str(text).unwrap();
        config.check().unwrap_err()
    }

    #[test]
    fn what_is_wrong_is_named() {
        OverlayConfig::default().check().unwrap();
        for (text, part) in [
            (r#"{"ttl": 2}"#, "overlay.ttl: 2"),
            (r#"{"address": "127.0.0.1"}"#, "overlay.address: 127.0.0.1"),
            (r#"{"name": "a b"}"#, "overlay.name"),
            (r#"{"wireguardPort": 65535}"#, "overlay.wireguardPort: 65535"),
            (r#"{"engine": "etcd"}"#, "overlay.etcd.endpoints: none"),
            (r#"{"engine": "etcd", "etcd": {"endpoints": ["a:1"]}}"#, "\"a:1\""),
            (
                r#"{"engine": "etcd", "etcd": {"endpoints": ["http://a:1"], "ca": "/x"}}"#,
                "expected https://",
            ),
            (
                r#"{"engine": "etcd", "etcd": {"endpoints": ["https://a:1"], "cert": "/x"}}"#,
                "cert and key",
            ),
            (
                r#"{"engine": "etcd", "etcd": {"endpoints": ["https://a:1"], "user": "x"}}"#,
                "passwordFile",
            ),
            (
                r#"{"engine": "etcd", "etcd": {"endpoints": ["https://a:1"], "prefix": "x"}}"#,
                "overlay.etcd.prefix",
            ),
            (
                r#"{"engine": "etcd", "etcd": {"endpoints": ["https://a:1"], "timeoutMs": 1}}"#,
                "overlay.etcd.timeoutMs: 1",
            ),
        ] {
            let found = problem(text);
            assert!(found.contains(part), "{text}: {found}");
        }
    }
}

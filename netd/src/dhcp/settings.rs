//! How the client behaves, as a configuration or a command line says.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::exchange::Pace;

/// The first wait for an answer.
const FIRST: Duration = Duration::from_secs(1);

/// Settings of the DHCP client; the words are those of the reference's flags.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// Leases are asked for and held.
    pub enabled: bool,
    /// Where plugins ask; `None`: `dhcp.sock` in the run directory.
    pub socket: Option<PathBuf>,
    /// Goes before the paths of namespaces, where the host's files are mounted elsewhere.
    pub host_prefix: String,
    /// Servers are to answer by broadcast.
    pub broadcast: bool,
    /// An answer is waited for so many seconds at most before it is asked again.
    pub timeout: u64,
    /// The same, with all that grows in between.
    pub resend_max: u64,
    /// An attach fails after so many seconds without a lease.
    pub resend_timeout: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            socket: None,
            host_prefix: String::new(),
            broadcast: false,
            timeout: 10,
            resend_max: 62,
            resend_timeout: 208,
        }
    }
}

impl Settings {
    /// What is wrong with them.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (field, value) in [
            ("dhcp.timeout", self.timeout),
            ("dhcp.resendMax", self.resend_max),
            ("dhcp.resendTimeout", self.resend_timeout),
        ] {
            if value == 0 {
                return Err(format!("{field}: 0 leaves no time for an answer; use at least 1"));
            }
        }
        Ok(())
    }

    pub(super) fn whole(&self) -> Duration {
        Duration::from_secs(self.resend_timeout)
    }

    pub(super) fn pace(&self, whole: Duration) -> Pace {
        let longest = Duration::from_secs(self.timeout.min(self.resend_max));
        Pace { first: FIRST.min(longest), longest, whole }
    }
}

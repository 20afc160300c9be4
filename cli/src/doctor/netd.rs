//! Whether the node daemon runs, and what it has to say.

use super::Finding;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::netd::client::Netd;
use crate::netd::status::{Status, parse};

pub(super) fn look(context: &Context, findings: &mut Vec<Finding>) -> Result<()> {
    let status: Status = match Netd::new(context)?.get("/v1/status") {
        Err(Error::NoNetd { .. }) => {
            let text = "does not run: no names are answered, and nothing is repaired by itself";
            let remedy = "systemctl enable --now cleat-netd, or netd run, if you want these";
            findings.push(Finding::note("netd", text).with_remedy(remedy));
            return Ok(());
        }
        outcome => parse(outcome?)?,
    };
    findings.push(Finding::ok("netd", format!("{} runs, process {}", status.version, status.pid)));
    if status.names.fallback {
        let text = format!(
            "another server has port 53; questions are led to port {} by rules",
            status.names.port
        );
        findings.push(Finding::note("netd names", text));
    }
    let troubles = status.troubles.into_iter();
    findings.extend(troubles.map(|trouble| {
        Finding::note(format!("netd {}", trouble.subject), trouble.text)
            .with_remedy("cleat status, cleat events")
    }));
    Ok(())
}

//! Which conflist a CRI runtime (containerd, CRI-O) takes for Kubernetes' pods: the first by name.

use cleat_cni::{ConfList, conf_files};

use super::Finding;
use crate::context::Context;
use crate::error::Result;
use crate::network::create::has_kubelet;

pub(super) fn look(context: &Context, findings: &mut Vec<Finding>) -> Result<()> {
    let folder = context.net_dir();
    let kubelet = has_kubelet();
    let subject = "Kubernetes' network";
    let files = conf_files(folder)?;
    let Some(first) = files.first() else {
        let text = format!("CRI finds no conflist in {}", folder.display());
        findings.push(Finding::ok(subject, text));
        return Ok(());
    };
    let name = first.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let text = format!("CRI takes {}", first.display());
    findings.push(match ConfList::load(first) {
        Err(error) if kubelet => {
            Finding::problem(subject, format!("{text}, which it cannot read: {error}"), "mend it")
        }
        _ if name.starts_with("zz-cleat-") && kubelet => Finding::problem(
            subject,
            format!("{text}, which was not made for pods"),
            "install the cluster's network, whose file then comes first",
        ),
        _ if kubelet => Finding::ok(subject, text),
        _ => Finding::ok(subject, format!("{text}, if Kubernetes is installed here")),
    });
    Ok(())
}

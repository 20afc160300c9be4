//! What belongs to nothing, and what nothing can be proven of.

use cleat_engine::inventory::{self, Standing};
use cleat_engine::kernel::Rtnl;

use super::Finding;
use crate::context::Context;
use crate::error::Result;
use crate::gc;

pub(super) fn look(context: &Context, findings: &mut Vec<Finding>) -> Result<()> {
    let (leaked, _) = gc::sweep(context, true)?;
    for leak in &leaked {
        let subject = format!("{} {}", leak.kind, leak.name);
        findings.push(Finding::problem(subject, leak.why, "cleat gc"));
    }
    if leaked.is_empty() {
        findings.push(Finding::ok("leaks", "none"));
    }
    let mut rtnl = Rtnl::open()?;
    for record in inventory::attachments(&context.node)? {
        if inventory::standing(&context.node, &mut rtnl, &record)? == Standing::Unknown {
            let text = "its container may be gone, but nothing proves it";
            let remedy = "if it is gone, send DEL by its runtime";
            let subject = format!("attachment {}", record.id);
            findings.push(Finding::note(subject, text).with_remedy(remedy));
        }
    }
    Ok(())
}

//! What belongs to nothing, what was taken from containers, and what nothing can be proven of.

use cleat_engine::{guard, repair};

use super::Finding;
use crate::context::Context;
use crate::error::Result;
use crate::gc;

pub(super) fn look(context: &Context, findings: &mut Vec<Finding>) -> Result<()> {
    let (leaked, _) = gc::sweep(context, true)?;
    for leak in &leaked {
        let subject = format!("{} {}", leak.kind, leak.name);
        findings.push(Finding::problem(subject, leak.why.clone(), "cleat gc"));
    }
    if leaked.is_empty() {
        findings.push(Finding::ok("leaks", "none, and nothing to mend"));
    }
    let survey = repair::survey(&context.node)?;
    for found in survey.findings.iter().filter(|found| !found.is_mendable()) {
        let subject = format!("{} {}", found.kind(), found.object());
        let note = match found {
            repair::Finding::Unproven { .. } => Finding::note(subject, found.to_string()),
            _ => Finding::problem(subject, found.to_string(), ""),
        };
        findings.push(note.with_remedy(found.advice().unwrap_or_default()));
    }
    if survey.attachments > 0 {
        findings.push(if guard::is_held()? {
            Finding::ok("guard table", "held: a flush of the ruleset interrupts no connection")
        } else {
            let text = "nobody holds it: a flush of the ruleset resets translated connections";
            Finding::note("guard table", text).with_remedy("run netd, on Linux 5.12 or later")
        });
    }
    Ok(())
}

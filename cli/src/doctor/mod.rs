//! `cleat doctor`: what is wrong with this host, and what to do about it. It changes nothing; what
//! has to be tried is tried in a network namespace of its own, which is gone afterwards.

mod cri;
mod echo;
mod features;
mod firewalls;
mod leaks;
mod netd;
mod overlay;
mod plugins;
mod settings;

use std::process::ExitCode;

use serde::Serialize;

use crate::context::Context;
use crate::error::Result;
use crate::output::{self, Format, Tone, toned};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    /// Good to know; nothing is broken.
    Note,
    /// Something does not work, or will not.
    Problem,
}

/// Looks at one side of the host.
type Check = fn(&Context, &mut Vec<Finding>) -> Result<()>;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    level: Level,
    /// What was looked at.
    subject: String,
    /// What was found.
    found: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Finding {
    fn ok(subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self { level: Level::Ok, subject: subject.into(), found: found.into(), remedy: None }
    }

    fn note(subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self { level: Level::Note, ..Self::ok(subject, found) }
    }

    fn problem(
        subject: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { level: Level::Problem, remedy: Some(remedy.into()), ..Self::ok(subject, found) }
    }

    fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

pub(crate) fn run(context: &Context) -> Result<ExitCode> {
    let mut findings = Vec::new();
    let checks: [Check; 8] = [
        features::look,
        settings::look,
        firewalls::look,
        plugins::look,
        cri::look,
        leaks::look,
        netd::look,
        overlay::look,
    ];
    for check in checks {
        if let Err(error) = check(context, &mut findings) {
            let remedy = "run cleat doctor as root";
            findings.push(Finding::problem("this check", error.to_string(), remedy));
        }
    }
    match context.format {
        Format::Json => output::json(&findings),
        Format::Table => findings.iter().for_each(print),
    }
    let is_bad = findings.iter().any(|finding| finding.level == Level::Problem);
    Ok(if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(finding: &Finding) {
    let word = match finding.level {
        Level::Ok => toned("ok     ", Tone::Good),
        Level::Note => toned("note   ", Tone::Doubtful),
        Level::Problem => toned("PROBLEM", Tone::Bad),
    };
    output::line(&format!("{word}  {}: {}", finding.subject, finding.found));
    if let Some(remedy) = &finding.remedy {
        output::line(&format!("         -> {remedy}"));
    }
}

//! `cleat rm`: forgets containers that have ended.

use std::time::Duration;

use super::args::RmArgs;
use super::{record, stop, supervise};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::output;

pub(crate) fn run(context: &Context, asked: &RmArgs) -> Result<()> {
    let mut errors = Vec::new();
    let mut removed = Vec::new();
    for name in &asked.containers {
        match one(context, name, asked.force) {
            Ok(()) => removed.push(name),
            Err(Error::NoContainer { .. }) if asked.force => {}
            Err(error) => errors.push(error),
        }
    }
    output::names(context.format, "removed", &removed);
    Error::join(errors)
}

fn one(context: &Context, name: &str, force: bool) -> Result<()> {
    let container = record::find(context, name)?;
    if container.exit_code.is_none() && !container.is_abandoned() {
        if !force {
            return Err(Error::Running { name: container.name });
        }
        stop::stop(context, &container, Duration::ZERO)?;
    }
    // Gone by itself, if it was started with --rm.
    if let Some(container) = record::read(context, &container.id)? {
        supervise::take_back(context, &container)?;
    }
    let _lock = context.lock("containers")?;
    record::forget(context, &container.id)
}

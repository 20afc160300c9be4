//! `cleat stop`: a signal, patience, a stronger one; then until everything is taken back.

use std::time::Duration;

use cleat_engine::kernel::spawn;

use super::args::StopArgs;
use super::record::{self, Container};
use super::supervise;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::output;

const TERM: i32 = 15;
const KILL: i32 = 9;
/// Detaching takes milliseconds; a plugin of somebody else may take its time.
const CLEANING: Duration = Duration::from_secs(60);

pub(crate) fn run(context: &Context, asked: &StopArgs) -> Result<()> {
    let mut errors = Vec::new();
    let mut stopped = Vec::new();
    for name in &asked.containers {
        let outcome = record::find(context, name)
            .and_then(|container| stop(context, &container, Duration::from_secs(asked.time)));
        match outcome {
            Ok(()) => stopped.push(name),
            Err(error) => errors.push(error),
        }
    }
    output::names(context.format, "stopped", &stopped);
    Error::join(errors)
}

/// One that has ended is no error.
pub(crate) fn stop(context: &Context, container: &Container, patience: Duration) -> Result<()> {
    if let Some(process) = container.process.filter(|process| process.is_alive()) {
        spawn::signal(process.pid, TERM)?;
        if !spawn::wait_gone(process.pid, patience)? {
            spawn::signal(process.pid, KILL)?;
            spawn::wait_gone(process.pid, CLEANING)?;
        }
    }
    if container.process.is_none()
        && let Some(starting) = container.supervisor.filter(|process| process.is_alive())
    {
        // It hands this on as soon as there is somebody to hand it to.
        spawn::signal(starting.pid, TERM)?;
    }
    if let Some(supervisor) = container.supervisor.filter(|process| process.is_alive())
        && spawn::wait_gone(supervisor.pid, CLEANING)?
    {
        return Ok(());
    }
    // Nobody is left to clean up.
    match record::read(context, &container.id)? {
        Some(left) if left.exit_code.is_none() => supervise::end(context, &left.id, None),
        _ => Ok(()),
    }
}

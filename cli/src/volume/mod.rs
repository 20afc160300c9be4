//! `cleat volume`: volumes without a runtime, and beside one.

pub(crate) mod args;
mod backup;
mod clone;
pub(crate) mod create;
mod entry;
mod filter;
mod health;
mod list;
mod mount;
mod progress;
mod remove;
mod restore;
mod unpack;
mod usage;

use std::process::ExitCode;
use std::time::Duration;

use cleat_volumes::{Deadline, Settings, Volumes};

pub(crate) use args::Verb;

use crate::context::Context;
use crate::error::Result;
use crate::output;

/// What a person waits for.
const PATIENCE: Duration = Duration::from_secs(110);

pub(crate) fn run(context: &Context, verb: Verb) -> Result<ExitCode> {
    let done = |()| ExitCode::SUCCESS;
    match verb {
        Verb::Create(asked) => create::run(context, asked).map(done),
        Verb::Ls(asked) => list::list(context, &asked).map(done),
        Verb::Inspect(asked) => list::inspect(context, &asked.names).map(done),
        Verb::Rm(asked) => remove::run(context, &asked).map(done),
        Verb::Prune(asked) => remove::prune(context, &asked).map(done),
        Verb::Usage(asked) => usage::run(context, &asked.names).map(done),
        Verb::Mount(asked) => mount::mount(context, &asked).map(done),
        Verb::Unmount(asked) => mount::unmount(context, &asked).map(done),
        Verb::Backup(asked) => backup::run(context, &asked).map(done),
        Verb::Restore(asked) => restore::run(context, &asked).map(done),
        Verb::Clone(asked) => clone::run(context, &asked).map(done),
        Verb::Reset(asked) => mount::reset(context, &asked.names).map(done),
        Verb::Health(asked) => health::run(context, &asked.names),
    }
}

/// The volumes of this node.
pub(crate) fn volumes(context: &Context) -> Volumes {
    let mut settings = Settings::from_env(|name| std::env::var_os(name));
    let dirs = context.node.dirs();
    (settings.state, settings.run) = (dirs.state.clone(), dirs.run.clone());
    Volumes::new(settings, output::warn)
}

/// From now on.
pub(crate) fn deadline() -> Deadline {
    Deadline::after(PATIENCE)
}

/// These, or all.
fn chosen(volumes: &Volumes, names: &[String]) -> Result<Vec<cleat_volumes::Volume>> {
    if names.is_empty() {
        return Ok(volumes.list()?);
    }
    let found = names.iter().map(|name| volumes.get(name));
    Ok(found.collect::<cleat_volumes::Result<_>>()?)
}

/// A use of a volume by this very command.
struct Held<'v> {
    volumes: &'v Volumes,
    name: String,
    id: String,
    path: std::path::PathBuf,
}

impl<'v> Held<'v> {
    fn take(volumes: &'v Volumes, name: &str) -> Result<Self> {
        let id = format!("cleat-{}", std::process::id());
        let path = volumes.mount(name, &id, deadline())?;
        Ok(Self { volumes, name: name.to_owned(), id, path })
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.volumes.unmount(&self.name, &self.id, deadline()) {
            output::warn(&error.to_string());
        }
    }
}

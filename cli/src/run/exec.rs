//! `cleat exec`: a program in the namespaces of a container.

use std::ffi::OsString;
use std::process::ExitCode;

use cleat_engine::kernel::spawn::{Place, Signals, Spawn, spawn};

use super::args::ExecArgs;
use super::{program, record};
use crate::context::Context;
use crate::error::{Error, Result};

pub(crate) fn run(context: &Context, asked: ExecArgs) -> Result<ExitCode> {
    let container = record::find(context, &asked.container)?;
    let running = container.process.filter(|process| process.is_alive());
    let process = running.ok_or(Error::NotRunning { name: container.name.clone() })?;
    let mut env = container.setup.env.clone();
    env.extend(program::changes(&asked.env)?);
    let mut words = asked.command.into_iter();
    let path = program::find(&words.next().unwrap_or_default(), &env)?;
    let argv: Vec<OsString> = std::iter::once(path.into_os_string()).chain(words).collect();
    // What was given to `run` holds here, too.
    let folder = &container.setup.folder;
    let signals = Signals::hold()?;
    let child = spawn(&Spawn {
        argv: &argv,
        env: &program::environment(&env),
        folder: &asked.workdir.map_or_else(|| folder.clone(), |inner| folder.join(inner)),
        place: Place::Beside(process.pid),
        output: None,
        interactive: true,
    })?;
    let exit = signals.attend(child.id())?;
    Ok(ExitCode::from(u8::try_from(exit.code()).unwrap_or(u8::MAX)))
}

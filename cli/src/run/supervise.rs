//! The life of a container: namespace, attachments, program, and all of it taken back at its end.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use cleat_cni::Dns;
use cleat_engine::kernel::spawn::{self, Exit, Place, Seen, Signals, Spawn};
use cleat_engine::kernel::{Namespace, spawn::spawn as start};
use cleat_engine::loopback;

use super::attach::{self, Plan};
use super::process::Process;
use super::record::{self, Container};
use super::{files, mounts, program};
use crate::context::{Context, file_error, make_folder};
use crate::error::{Error, Result};
use crate::network::Known;
use crate::output::{self, time};

/// Runs it to its end, here.
pub(super) fn foreground(context: &Context, container: Container) -> Result<ExitCode> {
    let signals = Signals::hold()?;
    let id = container.id.clone();
    match begin(context, container, true) {
        Ok(pid) => {
            let exit = signals.attend(pid)?;
            end(context, &id, Some(exit))?;
            Ok(exit_code(exit))
        }
        Err(error) => Err(error),
    }
}

/// Runs it to its end, left behind by `cleat run -d`.
pub(crate) fn detached(context: &Context, id: &str) -> Result<ExitCode> {
    let _ = rustix::process::setsid();
    let signals = Signals::hold()?;
    let begun = record::read(context, id)
        .and_then(|found| found.ok_or_else(|| Error::NoContainer { name: id.to_owned() }))
        .and_then(|mut container| {
            container.supervisor = Process::of(std::process::id());
            begin(context, container, false)
        });
    match &begun {
        Ok(_) => output::line("{}"),
        Err(error) => {
            let code = error.exit_code(true);
            output::line(
                &serde_json::json!({"error": error.to_string(), "code": code}).to_string(),
            );
        }
    }
    let pid = match begun {
        Ok(pid) => pid,
        // Said already, to whoever started us.
        Err(error) => return Ok(ExitCode::from(error.exit_code(true))),
    };
    release_streams();
    let exit = signals.attend(pid)?;
    end(context, id, Some(exit))?;
    Ok(exit_code(exit))
}

fn exit_code(exit: Exit) -> ExitCode {
    ExitCode::from(u8::try_from(exit.code()).unwrap_or(u8::MAX))
}

/// The terminal and the pipe belong to those who started us.
fn release_streams() {
    if let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
    // No file system is kept busy.
    let _ = rustix::process::chdir("/");
}

/// From a record to a running program; on failure nothing is left, the record included.
fn begin(context: &Context, mut container: Container, interactive: bool) -> Result<u32> {
    let outcome = make(context, &mut container, interactive);
    if outcome.is_err() {
        let undone =
            take_back(context, &container).and_then(|()| record::forget(context, &container.id));
        if let Err(error) = undone {
            output::warn(&error.to_string());
        }
    }
    outcome
}

fn make(context: &Context, container: &mut Container, interactive: bool) -> Result<u32> {
    // What is noted before it is made is found by whoever cleans up after a crash.
    record::save(context, container)?;
    let namespace = container.netns.as_deref().map(make_namespace).transpose()?;
    let known = Known::read(context)?;
    let mut dns = Dns::default();
    let mut binds = Vec::new();
    if namespace.is_some() {
        let plan = Plan::make(&known, &container.requests, &container.publish)?;
        let outcome = plan.carry_out(context, container)?;
        container.networks = outcome.joined;
        dns = if outcome.names {
            files::with_a_way_out(&context.node, container, outcome.dns)
        } else {
            files::own_before(container, outcome.dns)
        };
        record::save(context, container)?;
    }
    if namespace.is_some() || !container.setup.nameservers.is_empty() {
        binds = files::write(context, container, &dns)?;
    }
    let mounts = mounts::make(context, container)?;
    let seen = Seen { binds: &binds, mounts: &mounts };
    let child = start_program(container, namespace.as_ref(), seen, interactive)?;
    container.process = Process::of(child);
    let _lock = context.lock("containers")?;
    record::save(context, container)?;
    Ok(child)
}

fn make_namespace(path: &Path) -> Result<Namespace> {
    path.parent().map(make_folder).transpose()?;
    let namespace = Namespace::create_at(path)?;
    loopback::up(path)?;
    Ok(namespace)
}

fn start_program(
    container: &Container,
    namespace: Option<&Namespace>,
    seen: Seen<'_>,
    interactive: bool,
) -> Result<u32> {
    let setup = &container.setup;
    let argv: Vec<OsString> = container.command.iter().map(OsString::from).collect();
    let output = (!interactive).then(|| open_log(setup.log.as_deref())).transpose()?;
    let asked = Spawn {
        argv: &argv,
        env: &program::environment(&setup.env),
        folder: &setup.folder,
        place: Place::New { netns: namespace, hostname: setup.hostname.as_deref(), seen },
        output: output.as_ref(),
        interactive,
    };
    Ok(start(&asked)?.id())
}

fn open_log(path: Option<&Path>) -> Result<File> {
    let path = path.unwrap_or(Path::new("/dev/null"));
    let mut options = OpenOptions::new();
    let opened = options.append(true).create(true).mode(0o600).open(path);
    opened.map_err(file_error("open", path))
}

/// What a container's end takes: the rest of its processes, attachments, namespace, files. The
/// record stays, to tell how it ended, unless it was to go.
pub(crate) fn end(context: &Context, id: &str, exit: Option<Exit>) -> Result<()> {
    // The one on disk: networks may have come and gone since.
    let Some(mut container) = record::read(context, id)? else {
        return Ok(());
    };
    let taken = take_back(context, &container);
    let _lock = context.lock("containers")?;
    if container.setup.remove && taken.is_ok() {
        return record::forget(context, id);
    }
    // A failed one is tried again by `rm` and `gc`.
    if taken.is_ok() {
        container.networks.clear();
        container.netns = None;
    }
    container.process = None;
    container.exit_code = Some(exit.map_or(137, Exit::code));
    container.ended = Some(time::now());
    record::save(context, &container)?;
    taken
}

/// Frees everything that a container holds but its record. All of it is tried.
pub(crate) fn take_back(context: &Context, container: &Container) -> Result<()> {
    let mut errors = Vec::new();
    if let Some(path) = &container.netns {
        // Those that the program left behind would keep the namespace, and its interfaces.
        if let Ok(namespace) = Namespace::open(path)
            && !namespace.is_current()
        {
            for pid in spawn::processes_in(&namespace) {
                const KILL: i32 = 9;
                errors.extend(spawn::signal(pid, KILL).err().map(Error::from));
            }
        }
        for joined in container.networks.iter().rev() {
            errors.extend(attach::leave(context, container, joined).err());
        }
        errors.extend(Namespace::remove_at(path).err().map(Error::from));
    }
    errors.extend(mounts::release(context, container));
    let folder = record::folder(context, &container.id);
    let removed = crate::network::remove::absent(std::fs::remove_dir_all(&folder));
    errors.extend(removed.map_err(file_error("remove", &folder)).err());
    let _ = std::io::stderr().flush();
    Error::join(errors)
}

//! `cleat run`: from what was typed to a container, run here or by a supervisor.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::process::{Command, ExitCode, Stdio};

use cleat_cni::name;
use cleat_engine::inventory;
use serde::Deserialize;

use super::args::RunArgs;
use super::attach::Plan;
use super::free_port::{self, Published};
use super::publish::PublishRequest;
use super::record::{self, Container, Setup};
use super::{mounts, program, supervise};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::network::Known;
use crate::output::{self, Format, time};

pub(crate) fn run(context: &Context, asked: RunArgs) -> Result<ExitCode> {
    let detach = asked.detach;
    let container = register(context, asked)?;
    if !detach {
        return supervise::foreground(context, container);
    }
    match start_supervisor(context, &container.id) {
        Ok(()) => {
            match context.format {
                Format::Table => output::line(&container.id),
                Format::Json => {
                    output::json(&serde_json::json!({"id": container.id, "name": container.name}))
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            // It has cleaned up after itself, unless it was killed.
            record::forget(context, &container.id)?;
            Err(error)
        }
    }
}

/// Checks all that can be checked, and takes the name.
fn register(context: &Context, asked: RunArgs) -> Result<Container> {
    let env = program::changes(&asked.env)?;
    let mut words = asked.command.into_iter();
    let program = program::find(&words.next().unwrap_or_default(), &env)?;
    let known = Known::read(context)?;
    let plan = Plan::make(&known, &asked.network, &[])?;
    let (short, long) = (asked.volume.into_iter(), asked.mount.into_iter());
    let mut mounts: Vec<_> = short.map(|s| s.0).chain(long.map(|l| l.0)).collect();
    mounts::settle(&mut mounts)?;
    let id = record::new_id()?;
    let short = id.get(..12).unwrap_or(&id);
    let name = asked.name.unwrap_or_else(|| short.to_owned());
    check_name(&name)?;
    let _lock = context.lock("containers")?;
    if let Some(other) = record::all(context)?.iter().find(|c| c.name == name || c.id == name) {
        return Err(Error::NameTaken { name, id: other.short_id().to_owned() });
    }
    let mut publish = asked.publish;
    for request in &mut publish {
        request.host = request.host.or(plan.host_binding());
    }
    let publish = free_port::choose(&publish, &published(context, &publish)?)?;
    Plan::make(&known, &asked.network, &publish)?;
    let is_host = asked.network.iter().any(|request| request.network == "host");
    let here = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let container = Container {
        command: std::iter::once(program.into_os_string())
            .chain(words)
            .map(|word| word.to_string_lossy().into_owned())
            .collect(),
        created: time::now(),
        requests: asked.network,
        publish,
        mounts,
        setup: Setup {
            // On the host's network the host's name is the right one.
            hostname: asked.hostname.or((!is_host).then(|| name.clone())),
            nameservers: asked.dns,
            search: asked.dns_search,
            resolver_options: asked.dns_option,
            hosts: hosts(&asked.add_host)?,
            env,
            folder: asked.workdir.map_or_else(|| here.clone(), |folder| here.join(folder)),
            log: asked.log.map(|log| here.join(log)),
            remove: asked.rm,
        },
        networks: Vec::new(),
        netns: (!is_host).then(|| record::netns_path(context, &id)),
        process: None,
        supervisor: super::process::Process::of(std::process::id()),
        exit_code: None,
        ended: None,
        id,
        name,
    };
    record::save(context, &container)?;
    Ok(container)
}

fn check_name(given: &str) -> Result<()> {
    if given.len() <= 63 && name::check_container_id(given).is_ok() {
        return Ok(());
    }
    let problem =
        "expected a letter or digit, then up to 62 letters, digits, `_`, `.` or `-`".to_owned();
    Err(Error::Argument { argument: "--name", value: given.to_owned(), problem })
}

fn hosts(given: &[String]) -> Result<Vec<(String, IpAddr)>> {
    let host = |text: &String| {
        // An IPv6 address has colons of its own.
        let pair = text.split_once(':').and_then(|(name, address)| {
            let bare = address.trim_start_matches('[').trim_end_matches(']');
            Some((name.to_owned(), bare.parse().ok()?))
        });
        pair.filter(|(name, _)| !name.is_empty() && !name.contains(char::is_whitespace)).ok_or_else(
            || Error::Argument {
                argument: "--add-host",
                value: text.clone(),
                problem: "expected NAME:ADDRESS".into(),
            },
        )
    };
    given.iter().map(host).collect()
}

/// What is published by anybody, if it matters.
fn published(context: &Context, wanted: &[PublishRequest]) -> Result<Published> {
    if wanted.is_empty() {
        return Ok(BTreeSet::new());
    }
    let records = inventory::attachments(&context.node)?;
    let engine = records.into_iter().filter_map(|record| record.ports);
    let bindings = engine.flat_map(|part| part.bindings).map(|b| (b.protocol.number(), b.port));
    let running = record::all(context)?.into_iter().filter(|c| c.exit_code.is_none());
    let own = running.flat_map(|c| c.publish).map(|m| (m.protocol.number(), m.host_port));
    Ok(bindings.chain(own).collect())
}

/// What a supervisor says when the program runs, or will not.
#[derive(Debug, Deserialize)]
pub(super) struct Report {
    pub(super) error: Option<String>,
    #[serde(default)]
    pub(super) code: u8,
}

/// Starts this program again, to stay behind. Returns when the container's program runs.
fn start_supervisor(context: &Context, id: &str) -> Result<()> {
    let own = std::path::Path::new("/proc/self/exe");
    let fail = crate::context::file_error("run", own);
    #[allow(clippy::disallowed_methods, reason = "a supervisor outlives the command")]
    let mut command = Command::new(own);
    // Folders that were split from a path have no colon in them.
    let folders = std::env::join_paths(&context.runtime.path).unwrap_or_default();
    command.arg("--cni-path").arg(folders);
    command.args(["supervise", id]).stdin(Stdio::null()).stdout(Stdio::piped());
    // Warnings of the start reach the user; later ones have no reader.
    let mut child = command.spawn().map_err(fail)?;
    let mut text = String::new();
    if let Some(pipe) = child.stdout.take() {
        let _ = BufReader::new(pipe).read_line(&mut text);
    }
    match serde_json::from_str::<Report>(&text) {
        Ok(Report { error: None, .. }) => Ok(()),
        Ok(Report { error: Some(text), code }) => {
            let _ = child.wait();
            Err(Error::Relayed { text, code })
        }
        Err(_) => Err(Error::Supervisor { what: "the container's supervisor died" }),
    }
}

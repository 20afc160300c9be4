//! What is kept of a container: one JSON file under the run directory, gone with the boot.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::IpAddr;
use std::path::PathBuf;

use cleat_engine::kernel::Namespace;
use cleat_engine::records::{Document, Durability, Store};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::mount_request::MountRequest;
use super::process::Process;
use super::publish::Mapping;
use super::request::NetworkRequest;
use crate::context::{Context, file_error};
use crate::error::{Error, Result};

/// A program that `cleat run` started, or is about to start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Container {
    /// 32 hex digits. The owner of its attachments.
    pub(crate) id: String,
    pub(crate) name: String,
    /// The program's path and its arguments.
    pub(crate) command: Vec<String>,
    /// Seconds since 1970.
    pub(crate) created: u64,
    /// In the order of the command line.
    pub(crate) requests: Vec<NetworkRequest>,
    pub(crate) publish: Vec<Mapping>,
    #[serde(default)]
    pub(crate) mounts: Vec<MountRequest>,
    pub(crate) setup: Setup,
    /// What was made; the first holds the default route.
    pub(crate) networks: Vec<Joined>,
    /// Its network namespace; `None`: the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) netns: Option<PathBuf>,
    /// Its program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) process: Option<Process>,
    /// Who waits for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) supervisor: Option<Process>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) exit_code: Option<i32>,
    /// When, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ended: Option<u64>,
}

/// What the program is to find.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Setup {
    pub(crate) hostname: Option<String>,
    pub(crate) nameservers: Vec<IpAddr>,
    pub(crate) search: Vec<String>,
    pub(crate) resolver_options: Vec<String>,
    /// Name and address.
    pub(crate) hosts: Vec<(String, IpAddr)>,
    /// `None` takes a variable out.
    pub(crate) env: BTreeMap<String, Option<String>>,
    pub(crate) folder: PathBuf,
    pub(crate) log: Option<PathBuf>,
    /// Forget it when it has ended.
    pub(crate) remove: bool,
}

/// An attachment of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Joined {
    pub(crate) network: String,
    /// The interface in the container.
    pub(crate) interface: String,
    pub(crate) addresses: Vec<IpNet>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mac: Option<String>,
    #[serde(default)]
    pub(crate) aliases: Vec<String>,
    /// Published on this network.
    #[serde(default)]
    pub(crate) ports: Vec<Mapping>,
}

impl Document for Container {
    const SCHEMA: u32 = 1;
}

impl Container {
    /// The part of the id that people see.
    pub(crate) fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }

    /// Its program runs.
    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some_and(Process::is_alive)
    }

    /// Somebody is at it: it starts, runs or ends.
    pub(crate) fn is_attended(&self) -> bool {
        self.supervisor.is_some_and(Process::is_alive)
    }

    /// Its attachments may be there.
    pub(crate) fn is_attached(&self) -> bool {
        self.exit_code.is_none() && !self.networks.is_empty()
    }

    /// A path to its namespace. Where it is bound is seen in the mount namespace that it was
    /// started from only; its program leads there from anywhere.
    pub(crate) fn netns_path(&self) -> Option<PathBuf> {
        let bound = self.netns.clone()?;
        match self.process {
            Some(process) if Namespace::open(&bound).is_err() => {
                Some(format!("/proc/{}/ns/net", process.pid).into())
            }
            _ => Some(bound),
        }
    }

    /// It ended with nobody to clean up after it.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.exit_code.is_none() && !self.is_running() && !self.is_attended()
    }
}

/// A new id.
pub(crate) fn new_id() -> Result<String> {
    let path = std::path::Path::new("/dev/urandom");
    let mut bytes = [0_u8; 16];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(file_error("read", path))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn store(context: &Context) -> Store<Container> {
    Store::open(context.run_path("containers"), Durability::Runtime)
}

/// Files of a container that are no record.
pub(crate) fn folder(context: &Context, id: &str) -> PathBuf {
    context.run_path("containers").join(id)
}

/// Where a container's namespace is bound.
pub(crate) fn netns_path(context: &Context, id: &str) -> PathBuf {
    context.run_path("netns").join(id)
}

/// All containers by age; those that cannot be read are warned of.
pub(crate) fn all(context: &Context) -> Result<Vec<Container>> {
    let mut found = Vec::new();
    for (name, stored) in store(context).list()? {
        match stored {
            Ok(container) => found.push(container),
            Err(error) => crate::output::warn(&format!("container {name}: {error}")),
        }
    }
    found.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    Ok(found)
}

/// By name, id, or the start of an id that no other has.
pub(crate) fn find(context: &Context, name: &str) -> Result<Container> {
    let mut all = all(context)?;
    if let Some(exact) = all.iter().position(|c| c.name == name || c.id == name) {
        return Ok(all.swap_remove(exact));
    }
    all.retain(|c| !name.is_empty() && c.id.starts_with(name));
    match all.len() {
        0 | 1 => all.pop().ok_or_else(|| Error::NoContainer { name: name.to_owned() }),
        _ => {
            let all: Vec<&str> = all.iter().map(Container::short_id).collect();
            Err(Error::Ambiguous { name: name.to_owned(), all: all.join(", ") })
        }
    }
}

/// By id.
pub(crate) fn read(context: &Context, id: &str) -> Result<Option<Container>> {
    Ok(store(context).read(id)?)
}

pub(crate) fn save(context: &Context, container: &Container) -> Result<()> {
    Ok(store(context).replace(&container.id, container)?)
}

/// Forgets it, and its files.
pub(crate) fn forget(context: &Context, id: &str) -> Result<()> {
    let folder = folder(context, id);
    crate::network::remove::absent(std::fs::remove_dir_all(&folder))
        .map_err(file_error("remove", &folder))?;
    store(context).remove(id)?;
    Ok(())
}

/// The names of all records, readable or not.
pub(crate) fn ids(context: &Context) -> Result<Vec<String>> {
    Ok(store(context).names()?)
}

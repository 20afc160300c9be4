//! The verbs over a whole network: its plugins in order, each given the one before's result.
//!
//! Order and inputs are libcni's. A DEL goes on past a plugin that fails, which libcni does not:
//! there one bad plugin keeps the address of every container.

use std::ffi::OsString;
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::cache::Cache;
use super::{Attachment, Cached, ConfList, RuntimeError, execute, find};
use crate::plugin::attachments;
use crate::{CniResult, Command, SpecVersion, ValidAttachment, name};

/// Where libcni keeps its cache.
const CACHE_DIR: &str = "/var/lib/cni";

/// Runs networks.
///
/// One operation at a time for one attachment, and a GC alone, are the caller's business.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Where the plugins are.
    pub path: Vec<PathBuf>,
    /// The folder above the results of attachments.
    pub cache_dir: PathBuf,
}

impl Runtime {
    /// With libcni's cache folder.
    pub fn new(path: Vec<PathBuf>) -> Self {
        Self { path, cache_dir: PathBuf::from(CACHE_DIR) }
    }

    /// ADD in order. The final result is kept for CHECK and DEL.
    ///
    /// # Errors
    /// The first failure. What earlier plugins did stays until [`Runtime::del_list`].
    pub fn add_list(
        &self,
        list: &ConfList,
        attachment: &Attachment,
    ) -> Result<CniResult, RuntimeError> {
        check_names(attachment)?;
        let task = Task { runtime: self, list, command: Command::Add, attachment };
        let mut previous: Option<(CniResult, Value)> = None;
        for plugin in &list.plugins {
            let given = previous.as_ref().map(|(_, value)| value);
            let output = task.run(plugin, given)?;
            let result = CniResult::parse(&output, list.cni_version).and_then(|result| {
                let value = result.to_value(list.cni_version)?;
                Ok((result, value))
            });
            previous = Some(result.map_err(|error| RuntimeError::Plugin {
                kind: kind(plugin).to_owned(),
                command: Command::Add,
                error,
            })?);
        }
        let (result, value) = previous.unwrap_or_default();
        Cache::new(&self.cache_dir).store(list, attachment, value)?;
        Ok(result)
    }

    /// DEL in reverse order, with the configuration, arguments and result of ADD where the cache
    /// has them. Every plugin is tried.
    ///
    /// # Errors
    /// All failures; the cache keeps the attachment then, for another try.
    pub fn del_list(&self, list: &ConfList, attachment: &Attachment) -> Result<(), RuntimeError> {
        check_names(attachment)?;
        let cache = Cache::new(&self.cache_dir);
        let cached = cache.load(&list.name, attachment).unwrap_or_default();
        let network = list.name.as_str();
        let list = cached.list.as_ref().filter(|cached| is_whole(cached, list)).unwrap_or(list);
        let mut attachment = attachment.clone();
        if attachment.args.is_empty() {
            attachment.args.clone_from(&cached.attachment.args);
        }
        if attachment.capability_args.is_empty() {
            attachment.capability_args.clone_from(&cached.attachment.capability_args);
        }
        let previous = previous(&cached, list.cni_version);
        let task = Task { runtime: self, list, command: Command::Del, attachment: &attachment };
        let errors = list
            .plugins
            .iter()
            .rev()
            .filter_map(|plugin| task.run(plugin, previous.as_ref()).err());
        RuntimeError::join(errors.collect())?;
        cache.remove(network, &attachment)
    }

    /// CHECK in order, with the result of ADD; nothing if the network disables it.
    ///
    /// # Errors
    /// The first failure; [`RuntimeError::NoSuchCommand`] before 0.4.0.
    pub fn check_list(&self, list: &ConfList, attachment: &Attachment) -> Result<(), RuntimeError> {
        check_names(attachment)?;
        let command = Command::Check;
        if !list.cni_version.has_check() {
            let (network, version) = (list.name.clone(), list.cni_version);
            return Err(RuntimeError::NoSuchCommand { network, version, command });
        }
        if list.disable_check {
            return Ok(());
        }
        let cached = Cache::new(&self.cache_dir).load(&list.name, attachment).unwrap_or_default();
        let previous = previous(&cached, list.cni_version);
        let task = Task { runtime: self, list, command, attachment };
        list.plugins.iter().try_for_each(|plugin| task.run(plugin, previous.as_ref()).map(drop))
    }

    /// DEL for every cached attachment of the network that is not in `valid`, then GC (from
    /// 1.1.0) for every plugin; nothing if the network disables it.
    ///
    /// # Errors
    /// All failures.
    pub fn gc_list(&self, list: &ConfList, valid: &[ValidAttachment]) -> Result<(), RuntimeError> {
        if list.disable_gc {
            return Ok(());
        }
        let mut errors = Vec::new();
        for cached in Cache::new(&self.cache_dir).list(&list.name)? {
            let Attachment { container_id, ifname, .. } = &cached.attachment;
            let is_valid = valid
                .iter()
                .any(|valid| valid.container_id == *container_id && valid.ifname == *ifname);
            if !is_valid {
                errors.extend(self.del_list(list, &cached.attachment).err());
            }
        }
        if list.cni_version.has_gc() {
            let keep: Value = valid.iter().map(ValidAttachment::to_value).collect();
            let attachment = &Attachment::default();
            let task = Task { runtime: self, list, command: Command::Gc, attachment };
            errors.extend(list.plugins.iter().filter_map(|plugin| {
                let mut config = task.config(plugin, None);
                config.extend(attachments::KEYS.map(|key| (key.to_owned(), keep.clone())));
                task.execute(plugin, config).err()
            }));
        }
        RuntimeError::join(errors)
    }

    /// STATUS in order; nothing before 1.1.0.
    ///
    /// # Errors
    /// The first failure.
    pub fn status_list(&self, list: &ConfList) -> Result<(), RuntimeError> {
        if !list.cni_version.has_gc() {
            return Ok(());
        }
        let attachment = &Attachment::default();
        let task = Task { runtime: self, list, command: Command::Status, attachment };
        list.plugins.iter().try_for_each(|plugin| task.run(plugin, None).map(drop))
    }

    /// What the cache has of an attachment, if it can be read.
    pub fn cached(&self, network: &str, attachment: &Attachment) -> Option<Cached> {
        name::check_network(network).ok()?;
        check_names(attachment).ok()?;
        Cache::new(&self.cache_dir).load(network, attachment)
    }

    /// Every attachment of a network that the cache has, in no order.
    ///
    /// # Errors
    /// [`RuntimeError::File`].
    pub fn cached_of(&self, network: &str) -> Result<Vec<Cached>, RuntimeError> {
        Cache::new(&self.cache_dir).list(network)
    }
}

/// libcni keeps the list without the plugins of the network's folder.
fn is_whole(cached: &ConfList, list: &ConfList) -> bool {
    let has_all = cached.load_only_inlined_plugins || cached.plugins.len() >= list.plugins.len();
    cached.name == list.name && has_all
}

fn check_names(attachment: &Attachment) -> Result<(), RuntimeError> {
    name::check_container_id(&attachment.container_id)
        .and_then(|()| name::check_interface(&attachment.ifname))
        .map_err(RuntimeError::Name)
}

/// `prevResult` for CHECK and DEL: none before 0.4.0, and none that cannot be said.
fn previous(cached: &Cached, version: SpecVersion) -> Option<Value> {
    let result = cached.result().filter(|_| version.has_check())?;
    result.to_value(version).ok()
}

fn kind(plugin: &Value) -> &str {
    plugin.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// One verb on its way through the plugins of a network.
struct Task<'a> {
    runtime: &'a Runtime,
    list: &'a ConfList,
    command: Command,
    attachment: &'a Attachment,
}

impl Task<'_> {
    fn run(&self, plugin: &Value, previous: Option<&Value>) -> Result<Vec<u8>, RuntimeError> {
        self.execute(plugin, self.config(plugin, previous))
    }

    fn execute(&self, plugin: &Value, config: Map<String, Value>) -> Result<Vec<u8>, RuntimeError> {
        let program = find(kind(plugin), &self.runtime.path)?;
        let stdin = Value::Object(config).to_string();
        execute(&program, self.command, &self.env(), stdin.as_bytes())
    }

    /// What the list and the runtime say is added to what the plugin's own part says.
    fn config(&self, plugin: &Value, previous: Option<&Value>) -> Map<String, Value> {
        let mut config = plugin.as_object().cloned().unwrap_or_default();
        config.insert("name".to_owned(), self.list.name.clone().into());
        config.insert("cniVersion".to_owned(), self.list.cni_version.as_str().into());
        if let Some(previous) = previous {
            config.insert("prevResult".to_owned(), previous.clone());
        }
        let declared = plugin.get("capabilities").and_then(Value::as_object);
        let values: Map<String, Value> = declared
            .into_iter()
            .flatten()
            .filter(|(_, enabled)| enabled.as_bool() == Some(true))
            .filter_map(|(name, _)| self.attachment.capability_args.get_key_value(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !values.is_empty() {
            config.insert("runtimeConfig".to_owned(), Value::Object(values));
        }
        config
    }

    fn env(&self) -> Vec<(&'static str, OsString)> {
        let Attachment { container_id, netns, ifname, args, .. } = self.attachment;
        let mut env = Vec::with_capacity(5);
        // Folders that were split from a path have no colon in them.
        env.push(("CNI_PATH", std::env::join_paths(&self.runtime.path).unwrap_or_default()));
        if self.command.has_attachment() {
            let args: Vec<_> = args.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let netns = netns.as_ref().map(|netns| netns.clone().into_os_string());
            env.extend([
                ("CNI_CONTAINERID", container_id.into()),
                ("CNI_NETNS", netns.unwrap_or_default()),
                ("CNI_IFNAME", ifname.into()),
                ("CNI_ARGS", args.join(";").into()),
            ]);
        }
        env
    }
}

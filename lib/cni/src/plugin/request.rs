//! One call of a plugin: environment and configuration together.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{CniArgs, Environment, NetConf, attachments};
use crate::{Command, Error, SpecVersion, ValidAttachment, json};

/// What a plugin is asked, in full.
#[derive(Clone, Debug)]
pub struct Request {
    /// The verb; never VERSION, which plugins do not see.
    pub command: Command,
    /// The container's id; empty for GC and STATUS.
    pub container_id: String,
    /// The path of the container's namespace; on DEL it may be absent or dangle.
    pub netns: Option<PathBuf>,
    /// The interface's name in the container; empty for GC and STATUS.
    pub ifname: String,
    /// `CNI_ARGS`.
    pub args: CniArgs,
    /// Where to look for plugins to delegate to.
    pub path: Vec<PathBuf>,
    /// Whether the container's namespace may be the plugin's own.
    pub netns_override: bool,
    /// The fields of the configuration that all plugins share.
    pub config: NetConf,
    /// The whole configuration.
    pub raw: Value,
    /// The configuration byte for byte, for delegation.
    pub stdin: Vec<u8>,
    /// The `CNI_*` variables that are set, for delegation.
    pub env: Vec<(&'static str, OsString)>,
    attachments: Vec<ValidAttachment>,
}

impl Request {
    /// Reads a request as [`crate::dispatch`] does, for a caller that has no plugin to call yet.
    ///
    /// # Errors
    /// What [`crate::dispatch`] would print; code 4 as well without `CNI_COMMAND`.
    pub fn parse(
        supported: &[SpecVersion],
        env: &dyn Fn(&str) -> Option<OsString>,
        stdin: &[u8],
    ) -> Result<Self, Error> {
        let env = Environment::read(env)?.ok_or_else(|| {
            Error::invalid_environment("required env variables [CNI_COMMAND] missing")
        })?;
        let raw = NetConf::parse(stdin)?;
        let version = NetConf::version(&raw, supported, env.command)?;
        Self::new(env, stdin.to_vec(), raw, version)
    }

    /// # Errors
    /// Code 6 or 7, naming the field; code 1 for a version or a verb that it does not have.
    pub(super) fn new(
        env: Environment,
        stdin: Vec<u8>,
        raw: Value,
        version: SpecVersion,
    ) -> Result<Self, Error> {
        let config = NetConf::read(&raw, version, env.command)?;
        env.check_names()?;
        let attachments = match env.command {
            Command::Gc => attachments::read(&raw)?,
            _ => Vec::new(),
        };
        Ok(Self {
            command: env.command,
            container_id: env.container_id,
            netns: env.netns,
            ifname: env.ifname,
            args: env.args,
            path: env.path,
            netns_override: env.netns_override,
            config,
            raw,
            stdin,
            env: env.variables,
            attachments,
        })
    }

    /// The plugin's own configuration, read by the rules of [`crate::json`].
    ///
    /// # Errors
    /// Code 7, naming the field, its value and what was expected.
    pub fn config_as<T: DeserializeOwned>(&self) -> Result<T, Error> {
        Ok(json::from_ref(&self.raw)?)
    }

    /// On GC, the attachments to keep; empty for the other verbs.
    pub fn attachments_valid(&self) -> &[ValidAttachment] {
        &self.attachments
    }
}

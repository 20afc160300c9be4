//! The part of a network configuration that means the same to every plugin.
//!
//! The rest is the plugin's own: it reads its own type with `Request::config_as`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{CniResult, Command, Dns, Error, SpecVersion, json, name};

/// The configuration on standard input.
#[derive(Clone, Debug, Default)]
pub struct NetConf {
    /// `cniVersion`.
    pub cni_version: SpecVersion,
    /// `name`: the network's, never empty.
    pub name: String,
    /// `type`: the plugin's.
    pub kind: String,
    /// `ipam`, if it names a plugin.
    pub ipam: Option<Ipam>,
    /// `dns`.
    pub dns: Dns,
    /// `prevResult`: what the plugins before this one made of the attachment.
    pub prev_result: Option<CniResult>,
    /// `runtimeConfig`: values of declared capabilities.
    pub runtime_config: Map<String, Value>,
    /// `args.cni`: settings for this attachment.
    pub args_cni: Map<String, Value>,
    /// `capabilities`: which of the runtime's settings the user wants handed on.
    pub capabilities: BTreeMap<String, bool>,
}

/// The delegation of address management.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipam {
    /// `ipam.type`: the plugin's, never empty.
    pub kind: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    ipam: WireIpam,
    dns: Dns,
    #[serde(rename = "runtimeConfig")]
    runtime_config: Map<String, Value>,
    args: WireArgs,
    capabilities: BTreeMap<String, bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireIpam {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireArgs {
    cni: Map<String, Value>,
}

impl NetConf {
    /// # Errors
    /// Code 6 for what is no JSON.
    pub(super) fn parse(stdin: &[u8]) -> Result<Value, Error> {
        json::from_slice(stdin)
            .map_err(|error| Error::decode(format!("error unmarshall network config: {error}")))
    }

    /// `cniVersion`, if it may be used.
    ///
    /// # Errors
    /// Code 6 if it is no text, or the document no object; code 1 if it is not supported, or does not have the command.
    pub(super) fn version(
        raw: &Value,
        supported: &[SpecVersion],
        command: Command,
    ) -> Result<SpecVersion, Error> {
        let text = version_text(raw)?;
        let version = text.parse().ok().filter(|version| supported.contains(version));
        let version = version.ok_or_else(|| Error::incompatible_version(text, supported))?;
        let allowed = match command {
            Command::Check => version.has_check(),
            Command::Gc | Command::Status => version.has_gc(),
            Command::Add | Command::Del | Command::Version => true,
        };
        if allowed { Ok(version) } else { Err(Error::command_not_in_version(command)) }
    }

    /// # Errors
    /// Code 6 for a `prevResult` that cannot be read and is needed; code 7 for a bad field.
    pub(super) fn read(raw: &Value, version: SpecVersion, command: Command) -> Result<Self, Error> {
        let wire: Wire = json::from_ref(raw)?;
        name::check_network(&wire.name)?;
        Ok(Self {
            cni_version: version,
            name: wire.name,
            kind: wire.kind,
            ipam: Some(Ipam { kind: wire.ipam.kind }).filter(|ipam| !ipam.kind.is_empty()),
            dns: wire.dns,
            prev_result: prev_result(raw, version, command)?,
            runtime_config: wire.runtime_config,
            args_cni: wire.args.cni,
            capabilities: wire.capabilities,
        })
    }
}

/// Absent and empty are both the empty text.
fn version_text(raw: &Value) -> Result<&str, Error> {
    let object = raw
        .as_object()
        .ok_or_else(|| Error::decode("error unmarshall network config: expected an object"))?;
    match json::field(object, "cniVersion") {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(Error::decode(format!(
            "decoding version from network config: cniVersion: invalid value {other}: expected a text"
        ))),
    }
}

fn prev_result(
    raw: &Value,
    version: SpecVersion,
    command: Command,
) -> Result<Option<CniResult>, Error> {
    let value = raw.as_object().and_then(|object| json::field(object, "prevResult"));
    let Some(value) = value.filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let read = CniResult::from_value(value, version).and_then(|result| {
        result.check_indexes()?;
        Ok(result)
    });
    match (read, command) {
        (Ok(result), _) => Ok(Some(result)),
        (Err(error), Command::Add | Command::Check) => {
            Err(Error::decode(format!("prevResult: {}", error.msg)))
        }
        // A DEL that fails for it could never be repeated with success.
        (Err(_), _) => Ok(None),
    }
}

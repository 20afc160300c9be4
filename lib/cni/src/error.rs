//! What a plugin tells its runtime when it fails: a code, a sentence, details.
//!
//! The codes are those of the specification (section "Error") and of the reference
//! implementation. 999 is for defects of the plugin itself and nothing else.

use std::fmt;

use serde::Serialize;

use crate::SpecVersion;

/// A plugin's failure as the protocol carries it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", Sentence(self))]
pub struct Error {
    /// The number a runtime decides by; 100 and above belong to the plugin.
    pub code: u32,
    /// What failed, in one sentence.
    pub msg: String,
    /// More to read, or empty.
    pub details: String,
}

impl Error {
    /// Code 1: the config's version is not supported.
    pub const INCOMPATIBLE_VERSION: u32 = 1;
    /// Code 2: a field of the config is not supported.
    pub const UNSUPPORTED_FIELD: u32 = 2;
    /// Code 3: the container does not exist, and need not be deleted.
    pub const UNKNOWN_CONTAINER: u32 = 3;
    /// Code 4: an environment variable is missing or bad.
    pub const INVALID_ENVIRONMENT: u32 = 4;
    /// Code 5: input or output failed.
    pub const IO: u32 = 5;
    /// Code 6: the input is not the JSON expected.
    pub const DECODE: u32 = 6;
    /// Code 7: the network configuration is bad.
    pub const INVALID_CONFIG: u32 = 7;
    /// Code 8: the network namespace is bad.
    pub const INVALID_NETNS: u32 = 8;
    /// Code 11: the failure will pass; try again later.
    pub const TRY_AGAIN: u32 = 11;
    /// Code 50: STATUS, no ADD can be served.
    pub const NOT_AVAILABLE: u32 = 50;
    /// Code 51: STATUS, as 50, and existing containers may have limited connectivity.
    pub const NOT_AVAILABLE_LIMITED: u32 = 51;
    /// Code 999: a defect of the plugin.
    pub const INTERNAL: u32 = 999;

    /// An error of any code. The constructors below name the specification's own.
    pub fn new(code: u32, msg: impl Into<String>) -> Self {
        Self { code, msg: msg.into(), details: String::new() }
    }

    /// The same error with more to read.
    pub fn with_details(mut self, details: impl fmt::Display) -> Self {
        self.details = details.to_string();
        self
    }

    /// Code 1, as the reference words it.
    pub fn incompatible_version(config: &str, supported: &[SpecVersion]) -> Self {
        let supported: Vec<_> = supported.iter().map(|version| format!("\"{version}\"")).collect();
        let details = format!("config is {config:?}, plugin supports [{}]", supported.join(" "));
        Self::new(Self::INCOMPATIBLE_VERSION, "incompatible CNI versions").with_details(details)
    }

    /// Code 1: the config's version has no such command.
    pub fn command_not_in_version(command: impl fmt::Display) -> Self {
        Self::new(Self::INCOMPATIBLE_VERSION, format!("config version does not allow {command}"))
    }

    /// Code 2: names the field and the value that is not supported.
    pub fn unsupported_field(field: &str, value: impl fmt::Display) -> Self {
        Self::new(Self::UNSUPPORTED_FIELD, format!("unsupported field {field}: {value}"))
    }

    /// Code 3.
    pub fn unknown_container(container_id: &str) -> Self {
        Self::new(Self::UNKNOWN_CONTAINER, format!("container {container_id} is unknown"))
    }

    /// Code 4.
    pub fn invalid_environment(msg: impl Into<String>) -> Self {
        Self::new(Self::INVALID_ENVIRONMENT, msg)
    }

    /// Code 5.
    pub fn io(msg: impl Into<String>) -> Self {
        Self::new(Self::IO, msg)
    }

    /// Code 6.
    pub fn decode(msg: impl Into<String>) -> Self {
        Self::new(Self::DECODE, msg)
    }

    /// Code 7.
    pub fn invalid_config(msg: impl Into<String>) -> Self {
        Self::new(Self::INVALID_CONFIG, msg)
    }

    /// Code 7: a chained plugin was called first in its chain.
    pub fn missing_prev_result(plugin: &str) -> Self {
        Self::invalid_config(format!(
            "{plugin} must be called as a chained plugin: prevResult is missing"
        ))
        .with_details("list it after the plugin that makes the interface")
    }

    /// Code 8.
    pub fn invalid_netns(msg: impl Into<String>) -> Self {
        Self::new(Self::INVALID_NETNS, msg)
    }

    /// Code 11.
    pub fn try_again(msg: impl Into<String>) -> Self {
        Self::new(Self::TRY_AGAIN, msg)
    }

    /// Code 50.
    pub fn not_available(msg: impl Into<String>) -> Self {
        Self::new(Self::NOT_AVAILABLE, msg)
    }

    /// Code 51.
    pub fn not_available_limited(msg: impl Into<String>) -> Self {
        Self::new(Self::NOT_AVAILABLE_LIMITED, msg)
    }

    /// Code 999: only where the plugin itself is at fault.
    pub fn internal(msg: impl Into<String>) -> Self {
        Self::new(Self::INTERNAL, msg)
    }

    /// The error document for standard output, indented by four spaces, no newline at the end.
    pub fn to_json(&self, version: SpecVersion) -> String {
        let wire = Wire {
            cni_version: version.as_str(),
            code: self.code,
            msg: &self.msg,
            details: &self.details,
        };
        crate::json::to_pretty(&wire)
    }
}

impl From<crate::json::Error> for Error {
    /// A config that is JSON but not this config: code 7.
    fn from(error: crate::json::Error) -> Self {
        if error.is_syntax() {
            Self::decode(error.to_string())
        } else {
            Self::invalid_config(error.to_string())
        }
    }
}

#[derive(Serialize)]
struct Wire<'a> {
    #[serde(rename = "cniVersion")]
    cni_version: &'a str,
    code: u32,
    msg: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    details: &'a str,
}

struct Sentence<'a>(&'a Error);

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.msg)?;
        if !self.0.details.is_empty() {
            write!(f, "; {}", self.0.details)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document() {
        let error =
            Error::incompatible_version("9.9.9", &[SpecVersion::V0_4_0, SpecVersion::V1_0_0]);
        insta::assert_snapshot!(error.to_json(SpecVersion::V1_0_0), @r#"
        {
            "cniVersion": "1.0.0",
            "code": 1,
            "msg": "incompatible CNI versions",
            "details": "config is \"9.9.9\", plugin supports [\"0.4.0\" \"1.0.0\"]"
        }
        "#);
        assert_eq!(Error::io("x").to_string(), "x");
        assert_eq!(Error::io("x").with_details("y").to_string(), "x; y");
    }
}

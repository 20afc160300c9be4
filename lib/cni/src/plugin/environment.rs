//! The `CNI_*` variables, read and checked.

use std::ffi::OsString;
use std::path::PathBuf;

use super::CniArgs;
use crate::{Command, Error, name};

/// Every variable that a plugin is told its task by.
const VARIABLES: &[&str] = &[
    "CNI_COMMAND",
    "CNI_CONTAINERID",
    "CNI_NETNS",
    "CNI_IFNAME",
    "CNI_ARGS",
    "CNI_PATH",
    "CNI_NETNS_OVERRIDE",
];

/// What the environment says.
#[derive(Clone, Debug)]
pub(super) struct Environment {
    /// `CNI_COMMAND`.
    pub(super) command: Command,
    /// `CNI_CONTAINERID`; empty for GC and STATUS.
    pub(super) container_id: String,
    /// `CNI_NETNS`, unless empty.
    pub(super) netns: Option<PathBuf>,
    /// `CNI_IFNAME`; empty for GC and STATUS.
    pub(super) ifname: String,
    /// `CNI_ARGS`.
    pub(super) args: CniArgs,
    /// `CNI_PATH`.
    pub(super) path: Vec<PathBuf>,
    /// `CNI_NETNS_OVERRIDE`: the plugin may work on its own namespace.
    pub(super) netns_override: bool,
    /// The variables as they came, those that were set.
    pub(super) variables: Vec<(&'static str, OsString)>,
}

impl Environment {
    /// Reads the variables; `None` if there is no `CNI_COMMAND`.
    ///
    /// # Errors
    /// Code 4: an unknown command, or everything missing at once, or a bad value.
    pub(super) fn read(env: &dyn Fn(&str) -> Option<OsString>) -> Result<Option<Self>, Error> {
        let variables = VARIABLES.iter().filter_map(|name| {
            let value = env(name).filter(|value| !value.is_empty())?;
            Some((*name, value))
        });
        let variables: Vec<_> = variables.collect();
        if lookup(&variables, "CNI_COMMAND").is_none() {
            return Ok(None);
        }
        let command = text(&variables, "CNI_COMMAND")?
            .parse()
            .map_err(|error| Error::invalid_environment(format!("{error}")))?;
        check_present(&variables, command)?;
        let netns_override = text(&variables, "CNI_NETNS_OVERRIDE")?;
        let environment = Self {
            command,
            container_id: text(&variables, "CNI_CONTAINERID")?,
            netns: lookup(&variables, "CNI_NETNS").map(PathBuf::from),
            ifname: text(&variables, "CNI_IFNAME")?,
            args: CniArgs::new(text(&variables, "CNI_ARGS")?),
            path: lookup(&variables, "CNI_PATH")
                .map(|path| std::env::split_paths(path).collect())
                .unwrap_or_default(),
            netns_override: netns_override == "1" || netns_override.eq_ignore_ascii_case("true"),
            variables,
        };
        Ok(Some(environment))
    }

    /// Checks the values that name the attachment.
    ///
    /// # Errors
    /// Code 4.
    pub(super) fn check_names(&self) -> Result<(), Error> {
        if !self.command.has_attachment() {
            return Ok(());
        }
        name::check_container_id(&self.container_id)?;
        name::check_interface(&self.ifname)
    }
}

fn check_present(variables: &[(&'static str, OsString)], command: Command) -> Result<(), Error> {
    let required: &[&str] = match command {
        Command::Add | Command::Check => {
            &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]
        }
        Command::Del => &["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
        Command::Gc | Command::Status => &["CNI_PATH"],
        Command::Version => &[],
    };
    let missing: Vec<_> =
        required.iter().copied().filter(|name| lookup(variables, name).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(",");
    Err(Error::invalid_environment(format!("required env variables [{missing}] missing")))
}

fn lookup<'v>(variables: &'v [(&'static str, OsString)], name: &str) -> Option<&'v OsString> {
    variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn text(variables: &[(&'static str, OsString)], name: &str) -> Result<String, Error> {
    let Some(value) = lookup(variables, name) else {
        return Ok(String::new());
    };
    value.to_str().map(str::to_owned).ok_or_else(|| {
        Error::invalid_environment(format!("invalid value {value:?} of {name}: expected UTF-8"))
    })
}

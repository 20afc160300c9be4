//! Why a network could not be read, or its plugins not be run.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use crate::{Command, Error, SpecVersion};

/// A failure of the runtime half.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// A file or folder could not be used.
    #[error("{doing} {}: {source}", path.display())]
    File {
        /// Such as `read`.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A network configuration is bad.
    #[error("{}: {problem}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The field, its value and what was expected.
        problem: String,
    },
    /// No folder of the search path has the plugin.
    #[error("failed to find plugin {kind:?} in path [{}]", Folders(path))]
    NotFound {
        /// Its `type`.
        kind: String,
        /// The folders, in order.
        path: Vec<PathBuf>,
    },
    /// The plugin could not be started, or its output not be read.
    #[error("run {}: {source}", program.display())]
    Run {
        /// The plugin's path.
        program: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The plugin failed and did not say why.
    #[error("{} failed ({status}) without an error document: {output:?}", program.display())]
    Unexplained {
        /// The plugin's path.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The start of what it printed.
        output: String,
    },
    /// The plugin refused.
    #[error("plugin {kind:?} {command}: {error} (code {})", error.code)]
    Plugin {
        /// Its `type`.
        kind: String,
        /// What it was asked.
        command: Command,
        /// Its answer.
        error: Error,
    },
    /// The network's version does not have the verb.
    #[error("network {network}: CNI {version} does not have {command}")]
    NoSuchCommand {
        /// The network.
        network: String,
        /// Its version.
        version: SpecVersion,
        /// The verb.
        command: Command,
    },
    /// A container id or interface name is not allowed.
    #[error(transparent)]
    Name(Error),
    /// Several of the above; never empty.
    #[error("{}", Joined(.0))]
    Several(Vec<RuntimeError>),
}

impl RuntimeError {
    /// Success if there are none; a single one is itself.
    pub(super) fn join(mut errors: Vec<Self>) -> Result<(), Self> {
        match errors.pop() {
            None => Ok(()),
            Some(only) if errors.is_empty() => Err(only),
            Some(last) => {
                errors.push(last);
                Err(Self::Several(errors))
            }
        }
    }
}

impl From<RuntimeError> for Error {
    /// For delegation: a plugin's own answer is handed on as it is.
    fn from(error: RuntimeError) -> Self {
        match error {
            RuntimeError::Plugin { error, .. } | RuntimeError::Name(error) => error,
            RuntimeError::NotFound { .. } | RuntimeError::Config { .. } => {
                Self::invalid_config(error.to_string())
            }
            RuntimeError::NoSuchCommand { .. } => {
                Self::new(Self::INCOMPATIBLE_VERSION, error.to_string())
            }
            RuntimeError::File { .. }
            | RuntimeError::Run { .. }
            | RuntimeError::Unexplained { .. }
            | RuntimeError::Several(_) => Self::io(error.to_string()),
        }
    }
}

struct Folders<'a>(&'a [PathBuf]);

impl fmt::Display for Folders<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, folder) in self.0.iter().enumerate() {
            let before = if position == 0 { "" } else { " " };
            write!(f, "{before}{}", folder.display())?;
        }
        Ok(())
    }
}

struct Joined<'a>(&'a [RuntimeError]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, error) in self.0.iter().enumerate() {
            let before = if position == 0 { "" } else { "; " };
            write!(f, "{before}{error}")?;
        }
        Ok(())
    }
}

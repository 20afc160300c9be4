//! One plugin calling another with its own task, as the interface plugins call IPAM.

use super::{execute, find};
use crate::{CniResult, Command, Error, Request};

/// Runs plugin `kind` from the request's `CNI_PATH` with the request's variables and its
/// configuration byte for byte, but for the command. The result is that of ADD, else `None`.
///
/// # Errors
/// The other plugin's own answer as it is; code 7 if it cannot be found; code 5 if it could not
/// be run; code 6 for a result that cannot be read.
pub fn delegate(
    request: &Request,
    kind: &str,
    command: Command,
) -> Result<Option<CniResult>, Error> {
    let program = find(kind, &request.path)?;
    let output = execute(&program, command, &request.env, &request.stdin)?;
    if command != Command::Add {
        return Ok(None);
    }
    CniResult::parse(&output, request.config.cni_version)
        .map(Some)
        .map_err(|error| Error { msg: format!("plugin {kind:?}: {}", error.msg), ..error })
}

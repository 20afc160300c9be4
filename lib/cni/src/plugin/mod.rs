//! The plugin half: from environment and standard input to a handler, and its answer back.
//!
//! A plugin implements [`Plugin`] and calls [`run`] in `main`. It never sees a request that the
//! protocol forbids, and it never prints.

mod args;
pub(crate) mod attachments;
mod config;
mod dispatch;
mod environment;
mod netns;
mod panic;
mod request;

pub use args::CniArgs;
pub use attachments::ValidAttachment;
pub use config::{Ipam, NetConf};
pub use dispatch::{Io, dispatch, run};
use environment::Environment;
pub use request::Request;

use crate::{CniResult, Command, Error, SpecVersion};

/// A CNI plugin.
pub trait Plugin {
    /// Its name, as in `type`.
    fn name(&self) -> &'static str;

    /// The versions that it accepts, oldest first.
    fn versions(&self) -> &'static [SpecVersion] {
        SpecVersion::ALL
    }

    /// Attaches. On failure it leaves nothing behind.
    ///
    /// # Errors
    /// What the runtime is told.
    fn add(&self, request: &Request) -> Result<CniResult, Error>;

    /// Detaches. Nothing needs to exist, and a second call succeeds. It is called as well when a
    /// result cannot be given to the runtime.
    ///
    /// # Errors
    /// What the runtime is told.
    fn del(&self, request: &Request) -> Result<(), Error>;

    /// Compares the attachment with `prevResult`.
    ///
    /// # Errors
    /// The first difference.
    fn check(&self, request: &Request) -> Result<(), Error>;

    /// Removes what belongs to no attachment of [`Request::attachments_valid`].
    ///
    /// # Errors
    /// What could not be removed, after all else was.
    fn gc(&self, _request: &Request) -> Result<(), Error> {
        Ok(())
    }

    /// Says whether an ADD could be served.
    ///
    /// # Errors
    /// Code 50 or 51.
    fn status(&self, _request: &Request) -> Result<(), Error> {
        Ok(())
    }

    /// Called before every other handler; `is_own` says that the request's namespace is the one
    /// this program runs in.
    ///
    /// # Errors
    /// Code 8 to refuse, which by default ADD and DEL do unless `CNI_NETNS_OVERRIDE` is set.
    fn netns_check(&self, request: &Request, is_own: bool) -> Result<(), Error> {
        let applies = matches!(request.command, Command::Add | Command::Del);
        if applies && is_own && !request.netns_override {
            return Err(Error::invalid_netns(
                "plugin's netns and netns from CNI_NETNS should not be the same",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

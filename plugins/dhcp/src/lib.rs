//! The `dhcp` plugin: addresses that a server on the container's network gives. A daemon holds the
//! leases and renews them: netd, or this program as `dhcp daemon`.

mod daemon;

use std::path::Path;

use cleat_cni::{CniResult, Error, Plugin, Request};
use cleat_front::dhcp::{Answer, Question, Section, ask};
use cleat_front::{attachment, node, result_of};

pub use daemon::{asks_for_daemon, become_daemon};

/// The plugin.
pub struct Dhcp;

impl Plugin for Dhcp {
    fn name(&self) -> &'static str {
        "dhcp"
    }

    fn add(&self, request: &Request) -> Result<CniResult, Error> {
        let Section { socket, asked } = Section::read(request)?;
        match ask(&socket, &Question::Lease(asked))? {
            Some(Answer::Leased(leased)) => Ok(result_of(&leased.grants(), leased.dns)),
            Some(_) => Err(Error::io("the DHCP daemon answers what was not asked")),
            None => Err(absent(&socket)),
        }
    }

    fn del(&self, request: &Request) -> Result<(), Error> {
        let socket = Section::read(request)?.socket;
        let asked = Question::Release(attachment(request));
        if ask(&socket, &asked)?.is_none() {
            // Started again, it sees that the container is gone; the server sees the lease end.
            let text = "a lease stays with its server until it ends there";
            node().warn(&format!("{}: {text}", absent(&socket).msg));
        }
        Ok(())
    }

    fn check(&self, request: &Request) -> Result<(), Error> {
        let socket = Section::read(request)?.socket;
        present(&socket, &Question::Check(attachment(request)), absent)
    }

    fn gc(&self, request: &Request) -> Result<(), Error> {
        let socket = Section::read(request)?.socket;
        let valid = request.attachments_valid().iter();
        let keep = valid.map(|v| (v.container_id.clone(), v.ifname.clone())).collect();
        let collect = Question::Collect { network: request.config.name.clone(), keep };
        // Without a daemon nothing is held.
        ask(&socket, &collect).map(drop)
    }

    fn status(&self, request: &Request) -> Result<(), Error> {
        let socket = Section::read(request)?.socket;
        let unavailable = |error: Error| Error::not_available(error.to_string());
        present(&socket, &Question::Status, absent).map_err(unavailable)
    }
}

fn present(
    socket: &Path,
    question: &Question,
    absent: impl Fn(&Path) -> Error,
) -> Result<(), Error> {
    ask(socket, question)?.map(drop).ok_or_else(|| absent(socket))
}

fn absent(socket: &Path) -> Error {
    let text = format!("no DHCP daemon listens at {}", socket.display());
    Error::try_again(text).with_details("start netd (netd run), or dhcp daemon")
}

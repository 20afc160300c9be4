//! `cleat network connect` and `disconnect`: a running container's networks change.

use super::args::{ConnectArgs, DisconnectArgs};
use super::known::Known;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::output;
use crate::run::{attach, record};

pub(super) fn connect(context: &Context, asked: &ConnectArgs) -> Result<()> {
    let _lock = context.lock("containers")?;
    let mut container = record::find(context, &asked.container)?;
    let known = Known::read(context)?;
    let network = known.find(&asked.network.network)?;
    let fail =
        |what: &str| Err(Error::Connection { name: container.name.clone(), what: what.to_owned() });
    if !container.is_running() {
        return Err(Error::NotRunning { name: container.name });
    }
    if container.netns.is_none() {
        return fail("is on network host, which shuts out all others");
    }
    if network.is_predefined() {
        return fail("cannot be connected to a predefined network while it runs");
    }
    if container.networks.iter().any(|joined| joined.network == network.name) {
        return fail(&format!("is on network {} already", network.name));
    }
    let joined = attach::one_more(context, &container, network, &asked.network)?;
    container.networks.push(joined);
    record::save(context, &container)
}

pub(super) fn disconnect(context: &Context, asked: &DisconnectArgs) -> Result<()> {
    let _lock = context.lock("containers")?;
    let mut container = record::find(context, &asked.container)?;
    let position = container.networks.iter().position(|j| j.network == asked.network);
    let Some(position) = position else {
        let what = format!("is not on network {}", asked.network);
        return Err(Error::Connection { name: container.name, what });
    };
    let joined = container.networks.remove(position);
    match attach::leave(context, &container, &joined) {
        Err(error) if asked.force => output::warn(&error.to_string()),
        outcome => outcome?,
    }
    record::save(context, &container)
}

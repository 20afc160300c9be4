//! What the plugin asks of netd: a file per question, removed by netd when the answer is in the
//! membership's note or in the file's place. There is no other connection between the two.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use cleat_records::{Document, Durability, Store, Watch};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::{Node, service};

/// Between two looks at the answer's place.
const AGAIN: Duration = Duration::from_millis(20);

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Want {
    /// The network.
    pub network: String,
    /// This address, and not any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// How many blocks the asker knew of when they had no room; netd claims one more only if
    /// there still are no more than these.
    pub blocks: usize,
    /// netd's answer where it cannot be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}

impl Document for Want {
    const SCHEMA: u32 = 1;
}

/// All questions that wait for an answer, with the names they are answered by.
pub fn wants(node: &Node) -> Result<Vec<(String, Want)>> {
    let store = store(node);
    let mut found = Vec::new();
    for name in store.names()? {
        match store.read(&name) {
            Ok(Some(want)) if want.refusal.is_none() => found.push((name, want)),
            Ok(_) => {}
            Err(error) => node.warn(&error.to_string()),
        }
    }
    Ok(found)
}

/// Answers a question: it is granted, and the note says so; or it is refused, for a reason.
pub fn answered(node: &Node, name: &str, refusal: Option<(Want, String)>) -> Result<()> {
    match refusal {
        None => {
            store(node).remove(name)?;
        }
        Some((want, text)) => {
            store(node).replace(name, &Want { refusal: Some(text), ..want })?;
        }
    }
    Ok(())
}

/// Asks netd and waits for its answer.
///
/// # Errors
/// [`Error::Overlay`]: netd does not run, refuses, or does not answer in time.
pub fn ask(node: &Node, name: &str, want: &Want, patience: Duration) -> Result<()> {
    let network = &want.network;
    let failed = |problem: String| Error::Overlay { network: network.clone(), problem };
    if !service::is_attended(node) {
        return Err(failed(
            "this node has no block of the network with room, and netd, which would claim one, \
             does not run; start netd"
                .to_owned(),
        ));
    }
    let store = store(node);
    cleat_records::make_dir(store.dir(), Durability::Runtime)?;
    // A host has few watches (fs.inotify.max_user_instances, by default 128), and as many
    // containers as like may start at once: who gets none looks again and again.
    let mut watch = Watch::open(store.dir()).ok();
    store.replace(name, want)?;
    let deadline = Instant::now() + patience;
    loop {
        match store.read(name)? {
            None => return Ok(()),
            Some(Want { refusal: Some(text), .. }) => {
                store.remove(name)?;
                return Err(failed(text));
            }
            Some(_) => {}
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            store.remove(name)?;
            return Err(failed(format!("netd has not answered within {patience:?}; see its log")));
        }
        match &mut watch {
            Some(watch) => {
                watch.wait(left)?;
                watch.drain()?;
            }
            None => look_again_after(left.min(AGAIN)),
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "what cannot be watched is looked at again")]
fn look_again_after(pause: Duration) {
    thread::sleep(pause);
}

fn store(node: &Node) -> Store<Want> {
    Store::open(node.run_path("overlay/wants"), Durability::Runtime)
}

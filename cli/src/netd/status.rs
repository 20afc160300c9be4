//! `cleat status`: netd at a glance.

use serde::Deserialize;
use serde_json::Value;

use super::client::Netd;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::output::{self, Format, Tone, toned};

/// As `/v1/status` has it, as far as people are shown it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    pub(crate) version: String,
    pub(crate) pid: u32,
    started_at: u64,
    run_dir: String,
    pub(crate) names: Names,
    relay: Relay,
    metrics: Option<String>,
    counts: Counts,
    repairs: Vec<Repairs>,
    pub(crate) troubles: Vec<Trouble>,
}

#[derive(Deserialize)]
pub(crate) struct Names {
    pub(crate) port: u16,
    pub(crate) fallback: bool,
    addresses: Vec<String>,
    inside: usize,
}

#[derive(Deserialize)]
struct Relay {
    enabled: bool,
    listeners: u64,
    connections: u64,
    sessions: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    networks: usize,
    attachments: usize,
    named: usize,
    published_ports: usize,
    cache_entries: usize,
}

#[derive(Deserialize)]
struct Repairs {
    kind: String,
    done: u64,
    failed: u64,
}

#[derive(Deserialize)]
pub(crate) struct Trouble {
    pub(crate) subject: String,
    pub(crate) text: String,
}

pub(crate) fn run(context: &Context) -> Result<()> {
    let document = Netd::new(context)?.get("/v1/status")?;
    match context.format {
        Format::Json => output::json(&document),
        Format::Table => print(&parse(document)?),
    }
    Ok(())
}

/// A document of another version of netd may lack what this one shows.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(document: Value) -> Result<T> {
    serde_json::from_value(document)
        .map_err(|error| Error::Netd { message: format!("another version answered: {error}") })
}

fn print(status: &Status) {
    let field = |name: &str, value: String| output::line(&format!("{name:<13}{value}"));
    let since = output::time::ago(status.started_at / 1000);
    field("netd", format!("{}, process {}, started {since}", status.version, status.pid));
    field("serves", status.run_dir.clone());
    let counts = &status.counts;
    field(
        "counts",
        format!(
            "{} networks, {} attachments, {} published ports",
            counts.networks, counts.attachments, counts.published_ports
        ),
    );
    let names = &status.names;
    let mut places = names.addresses.clone();
    if names.inside > 0 {
        places.push(format!("inside {} containers", names.inside));
    }
    let places = if places.is_empty() { "nowhere".to_owned() } else { places.join(", ") };
    let port = if names.fallback { " (another server has port 53)" } else { "" };
    field("names", format!("of {} attachments, at {places}", counts.named));
    field("", format!("port {}{port}, {} answers cached", names.port, counts.cache_entries));
    let relay = &status.relay;
    let relayed = format!(
        "{} ports, {} connections, {} sessions",
        relay.listeners, relay.connections, relay.sessions
    );
    field("at ::1", if relay.enabled { relayed } else { "switched off".to_owned() });
    field("metrics", status.metrics.clone().unwrap_or_else(|| "at the socket only".to_owned()));
    let repairs = status.repairs.iter().map(|repairs| match repairs.failed {
        0 => format!("{} {}", repairs.done, repairs.kind),
        failed => format!("{} {} ({failed} failed)", repairs.done, repairs.kind),
    });
    let repairs: Vec<String> = repairs.collect();
    field("repairs", if repairs.is_empty() { "none".to_owned() } else { repairs.join(", ") });
    if status.troubles.is_empty() {
        field("troubles", toned("none", Tone::Good));
    }
    for trouble in &status.troubles {
        field("trouble", toned(&format!("{}: {}", trouble.subject, trouble.text), Tone::Doubtful));
    }
}

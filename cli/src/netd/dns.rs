//! `cleat dns`: names as netd answers them.

use clap::Subcommand;
use serde::Deserialize;
use serde_json::json;

use super::client::{Netd, escaped};
use super::status::parse;
use crate::context::Context;
use crate::error::Result;
use crate::output::{self, Format, print_table};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List names and what they stand for
    #[command(after_long_help = "Examples:\n  cleat dns ls\n  cleat dns ls web")]
    #[command(visible_alias = "list")]
    Ls {
        /// Of this network only
        network: Option<String>,
    },
    /// Show what a container would be answered
    #[command(
        after_long_help = "Examples:\n  cleat dns query site\n  cleat dns query example.org AAAA --client site"
    )]
    Query {
        /// Who asks: an address, a name, or a container's id [default: the host]
        #[arg(long, value_name = "CONTAINER")]
        client: Option<String>,
        /// What is asked for
        name: String,
        /// The record type
        #[arg(value_name = "TYPE", default_value = "A")]
        kind: String,
    },
    /// Forget all answers of other servers
    Flush,
    /// List the servers that other names are asked of
    Upstreams,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    network: String,
    container: String,
    names: Vec<String>,
    addresses: Vec<String>,
}

#[derive(Deserialize)]
struct Answer {
    code: String,
    answers: Vec<Record>,
}

#[derive(Deserialize)]
struct Record {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    ttl: u32,
    data: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Upstream {
    server: String,
    healthy: bool,
    usual_micros: Option<u64>,
    answers: u64,
    failures: u64,
}

#[derive(Deserialize)]
struct Flushed {
    flushed: usize,
}

pub(crate) fn run(context: &Context, verb: Verb) -> Result<()> {
    let netd = Netd::new(context)?;
    let document = match &verb {
        Verb::Ls { network: None } => netd.get("/v1/names")?,
        Verb::Ls { network: Some(network) } => {
            netd.get(&format!("/v1/names?network={}", escaped(network)))?
        }
        Verb::Query { client, name, kind } => {
            netd.post("/v1/dns/query", &json!({"name": name, "type": kind, "client": client}))?
        }
        Verb::Flush => netd.post("/v1/dns/flush", &json!({}))?,
        Verb::Upstreams => netd.get("/v1/upstreams")?,
    };
    if context.format == Format::Json {
        output::json(&document);
        return Ok(());
    }
    match verb {
        Verb::Ls { .. } => print_names(parse(document)?),
        Verb::Query { .. } => print_answer(parse(document)?),
        Verb::Flush => {
            let Flushed { flushed } = parse(document)?;
            output::line(&format!("{flushed} answers forgotten"));
        }
        Verb::Upstreams => print_upstreams(parse(document)?),
    }
    Ok(())
}

fn print_names(names: Vec<Named>) {
    let rows = names.into_iter().map(|named| {
        // Ids are long; their start tells them apart.
        let container = named.container.chars().take(12).collect();
        [named.network, named.names.join(", "), named.addresses.join(", "), container]
    });
    print_table(["NETWORK", "NAMES", "ADDRESSES", "CONTAINER"], rows.collect());
}

fn print_answer(answer: Answer) {
    if answer.answers.is_empty() {
        let text = if answer.code == "NOERROR" { "no such data" } else { answer.code.as_str() };
        return output::line(text);
    }
    let rows = answer.answers.into_iter();
    let rows = rows.map(|record| [record.name, record.ttl.to_string(), record.kind, record.data]);
    print_table(["NAME", "TTL", "TYPE", "DATA"], rows.collect());
}

fn print_upstreams(upstreams: Vec<Upstream>) {
    let rows = upstreams.into_iter().map(|upstream| {
        [
            upstream.server,
            if upstream.healthy { "answers" } else { "does not answer" }.to_owned(),
            upstream.usual_micros.map(|micros| format!("{} µs", micros)).unwrap_or_default(),
            upstream.answers.to_string(),
            upstream.failures.to_string(),
        ]
    });
    print_table(["SERVER", "STATE", "USUALLY AFTER", "ANSWERS", "FAILURES"], rows.collect());
}

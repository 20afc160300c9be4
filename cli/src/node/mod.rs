//! `cleat node`: the hosts that share overlay networks, as netd sees them.

use clap::Subcommand;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::Result;
use crate::netd::client::{Netd, escaped};
use crate::netd::status::parse;
use crate::output::{self, Format, Tone, print_table, toned};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the nodes of the store that netd is configured with
    #[command(after_long_help = "Examples:\n  cleat node ls\n  cleat --format json node ls")]
    #[command(visible_alias = "list")]
    Ls,
    /// Show all there is to know of nodes
    #[command(after_long_help = "Examples:\n  cleat node inspect\n  cleat node inspect worker-3")]
    Inspect {
        /// Names or ids, or the beginning of an id [default: this node]
        nodes: Vec<String>,
    },
    /// Give up all blocks of a node that will not come back
    #[command(after_long_help = FORGET)]
    Forget {
        /// Its name or id
        node: String,
    },
    /// Give up the blocks of this node that no container uses, and claim no more
    #[command(after_long_help = DRAIN)]
    Drain {
        /// Claim blocks again
        #[arg(long)]
        undo: bool,
    },
    /// Change the key that this node encrypts with; no packet is lost
    #[command(after_long_help = "Examples:\n  cleat node rotate-key")]
    RotateKey,
}

const FORGET: &str = "\
Examples:
  cleat node forget worker-3

Other nodes stop sending to it, and its blocks may be claimed by others: containers that still run
there are cut off. It is refused while the node's netd runs. A node that comes back claims new blocks, and says which containers have
addresses of others.";

const DRAIN: &str = "\
Examples:
  cleat node drain
  cleat node drain --undo

Containers that run keep their addresses; a block is given up when its last container ends. Until
then, and until --undo, no container on this node gets an address of an overlay.";

/// As `/v1/overlay/nodes` has it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    id: String,
    name: String,
    addresses: Vec<String>,
    alive: bool,
    #[serde(default, rename = "self")]
    is_self: bool,
    #[serde(default)]
    draining: bool,
    version: Option<String>,
    blocks: Vec<Block>,
    public_key: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Block {
    network: String,
    block: String,
}

pub(crate) fn run(context: &Context, verb: Verb) -> Result<()> {
    let netd = Netd::new(context)?;
    match verb {
        Verb::Ls => list(context, &netd.get("/v1/overlay/nodes")?),
        Verb::Inspect { nodes } => inspect(context, &netd, &nodes),
        Verb::Forget { node } => {
            let path = format!("/v1/overlay/nodes/{}/forget", escaped(&node));
            done(context, &netd.post(&path, &json!({}))?)
        }
        Verb::Drain { undo } => {
            done(context, &netd.post("/v1/overlay/drain", &json!({"undo": undo}))?)
        }
        Verb::RotateKey => done(context, &netd.post("/v1/overlay/rotate-key", &json!({}))?),
    }
}

fn done(context: &Context, document: &Value) -> Result<()> {
    match context.format {
        Format::Json => output::json(document),
        Format::Table => {
            output::line(document.get("text").and_then(Value::as_str).unwrap_or_default());
        }
    }
    Ok(())
}

fn list(context: &Context, document: &Value) -> Result<()> {
    if context.format == Format::Json {
        output::json(document);
        return Ok(());
    }
    let nodes: Vec<Node> = parse(document.clone())?;
    let rows = nodes.iter().map(|node| {
        [
            if node.is_self { format!("{} (here)", node.name) } else { node.name.clone() },
            node.addresses.join(", "),
            state(node),
            node.blocks.len().to_string(),
            node.version.clone().unwrap_or_default(),
            node.id.clone(),
        ]
    });
    print_table(["NODE", "ADDRESS", "STATE", "BLOCKS", "VERSION", "ID"], rows.collect());
    Ok(())
}

fn state(node: &Node) -> String {
    let text = if node.draining { ", draining" } else { "" };
    match node.alive {
        true => toned(&format!("up{text}"), Tone::Good),
        false => toned(&format!("down{text}"), Tone::Bad),
    }
}

fn inspect(context: &Context, netd: &Netd, wanted: &[String]) -> Result<()> {
    let own = ["self".to_owned()];
    let wanted = if wanted.is_empty() { &own[..] } else { wanted };
    let paths = wanted.iter().map(|node| format!("/v1/overlay/nodes/{}", escaped(node)));
    let found: Vec<Value> = paths.map(|path| netd.get(&path)).collect::<Result<_>>()?;
    if context.format == Format::Json {
        output::json(&found);
        return Ok(());
    }
    for document in found {
        print(&parse(document)?);
    }
    Ok(())
}

fn print(node: &Node) {
    let field =
        |name: &str, value: &str| output::line(&format!("{:<12} {value}", format!("{name}:")));
    field("Name", &node.name);
    field("Id", &node.id);
    field("State", &state(node));
    field("Address", &node.addresses.join(", "));
    field("Version", node.version.as_deref().unwrap_or("unknown"));
    if let Some(key) = &node.public_key {
        field("Public key", key);
    }
    for block in &node.blocks {
        field("Block", &format!("{} of {}", block.block, block.network));
    }
    output::line("");
}

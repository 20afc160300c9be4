//! `cleat ip`: which addresses are held, and durable reservations. A reserved address is never
//! leased; it is released by name only.

use std::net::IpAddr;

use clap::Subcommand;
use cleat_engine::ipam::{Held, Kind, Owner};
use cleat_engine::lease::open_pool;
use serde::Serialize;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::network::usage::{self, Usage};
use crate::network::{Known, Network};
use crate::output::{self, Format, print_table};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List held addresses
    #[command(after_long_help = "Examples:\n  cleat ip ls\n  cleat ip ls web")]
    #[command(visible_alias = "list")]
    Ls {
        /// Of this network only
        network: Option<String>,
    },
    /// Reserve an address until it is released; prints it
    #[command(
        after_long_help = "Examples:\n  cleat ip allocate web\n  cleat ip allocate --for printer web 10.89.0.9"
    )]
    Allocate {
        /// Whom it is for
        #[arg(long = "for", value_name = "NAME", default_value = "reserved")]
        owner: String,
        /// The network
        network: String,
        /// The address [default: a free one]
        address: Option<IpAddr>,
    },
    /// Release reserved addresses
    #[command(after_long_help = "Examples:\n  cleat ip release web 10.89.0.9")]
    Release {
        /// Also those of attachments, which go on using them
        #[arg(short, long)]
        force: bool,
        /// The network
        network: String,
        /// Addresses
        #[arg(required = true)]
        addresses: Vec<IpAddr>,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    network: String,
    address: IpAddr,
    /// `lease`, `foreign` or `reservation`.
    kind: &'static str,
    /// The container's id, or whom it is reserved for.
    owner: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    interface: String,
}

pub(crate) fn run(context: &Context, verb: Verb) -> Result<()> {
    let known = Known::read(context)?;
    match verb {
        Verb::Ls { network } => list(context, &known, network.as_deref()),
        Verb::Allocate { owner, network, address } => {
            allocate(context, known.find(&network)?, (owner, address))
        }
        Verb::Release { force, network, addresses } => {
            release(context, known.find(&network)?, &addresses, force)
        }
    }
}

fn list(context: &Context, known: &Known, network: Option<&str>) -> Result<()> {
    let networks: Vec<&Network> = match network {
        Some(name) => vec![known.find(name)?],
        None => known.networks.iter().collect(),
    };
    let names = Usage::read(context)?;
    let mut rows = Vec::new();
    for network in networks {
        for held in usage::leases(context, network)? {
            rows.push(row(network, held, &names));
        }
    }
    match context.format {
        Format::Json => output::json(&rows),
        Format::Table => {
            let cells = rows.into_iter().map(|row| {
                let owner = row.name.unwrap_or(row.owner);
                [row.network, row.address.to_string(), row.kind.to_owned(), owner, row.interface]
            });
            print_table(["NETWORK", "ADDRESS", "KIND", "OWNER", "INTERFACE"], cells.collect());
        }
    }
    Ok(())
}

fn row(network: &Network, held: Held, names: &Usage) -> Row {
    let kind = match held.kind {
        Kind::Lease => "lease",
        Kind::Foreign => "foreign",
        Kind::Reservation => "reservation",
    };
    Row {
        network: network.name.clone(),
        address: held.address,
        kind,
        name: names.name_of(&held.owner.id).map(str::to_owned),
        interface: if held.kind == Kind::Reservation { String::new() } else { held.owner.slot },
        owner: held.owner.id,
    }
}

fn allocate(context: &Context, network: &Network, asked: (String, Option<IpAddr>)) -> Result<()> {
    let (owner, address) = asked;
    let pool = open_pool(&context.node, network.pool()?);
    let lease = pool.reserve_durable(&Owner::new(owner.as_str(), ""), address)?;
    match context.format {
        Format::Table => output::line(&lease.address.addr().to_string()),
        Format::Json => output::json(&serde_json::json!({
            "network": network.name, "address": lease.address.addr(),
            "gateway": lease.gateway, "prefixLength": lease.address.prefix_len(), "owner": owner,
        })),
    }
    Ok(())
}

fn release(context: &Context, network: &Network, addresses: &[IpAddr], force: bool) -> Result<()> {
    let pool = open_pool(&context.node, network.pool()?);
    let held = pool.list()?;
    let mut errors = Vec::new();
    let mut released = Vec::new();
    for &address in addresses {
        let network = network.name.clone();
        match held.iter().find(|held| held.address == address) {
            None => errors.push(Error::NotHeld { network, address }),
            Some(held) if held.kind != Kind::Reservation && !force => {
                errors.push(Error::Leased { network, address, owner: held.owner.to_string() });
            }
            Some(_) => {
                pool.release_address(address)?;
                released.push(address);
            }
        }
    }
    output::names(context.format, "released", &released);
    Error::join(errors)
}

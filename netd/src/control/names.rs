//! `GET /v1/names`: what names stand for.

use std::net::IpAddr;

use axum::Json;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use serde::{Deserialize, Serialize};

use super::{Outcome, State};
use crate::dns::full_name;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    network: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Named {
    network: String,
    container: String,
    /// The first one is what a question for the address's name is answered with.
    names: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    full_name: Option<String>,
    addresses: Vec<IpAddr>,
    /// The node it is on, if it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// Where it asks; empty: at 127.0.0.11, inside.
    asks: Vec<IpAddr>,
}

pub(super) async fn get(
    shared: State,
    which: Result<Query<Which>, QueryRejection>,
) -> Outcome<Vec<Named>> {
    let wanted = which?.0.network.map(|network| network.to_ascii_lowercase());
    let index = shared.answerer.directory().current();
    let entries = index.entries();
    let mut all: Vec<Named> = entries
        .filter(|entry| wanted.as_deref().is_none_or(|network| **entry.network() == *network))
        .map(|entry| Named {
            network: entry.network().to_string(),
            container: entry.owner().to_owned(),
            names: entry.names().map(str::to_owned).collect(),
            full_name: full_name(entry),
            addresses: entry.addresses.to_vec(),
            node: entry.node().map(str::to_owned),
            asks: entry.membership.asks.to_vec(),
        })
        .collect();
    drop(index);
    all.sort_by(|a, b| (&a.network, &a.names).cmp(&(&b.network, &b.names)));
    Ok(Json(all))
}

//! `cleat volume create`.

use std::collections::BTreeMap;

use cleat_volumes::Order;

use super::args::CreateArgs;
use super::{deadline, volumes};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::output::{self, Format};
use crate::run::record::new_id;

/// What Docker calls a volume that nobody named.
pub(crate) const ANONYMOUS: &str = "com.docker.volume.anonymous";

pub(super) fn run(context: &Context, asked: CreateArgs) -> Result<()> {
    let options = pairs("--opt", &asked.opt)?;
    let labels = labels(&asked.label);
    let order = match asked.name {
        Some(name) => Order { name, options, labels, made_for: None },
        None => Order { options, ..anonymous(labels)? },
    };
    let volume = volumes(context).create(&order, deadline())?;
    match context.format {
        Format::Table => output::line(volume.record.name.as_str()),
        Format::Json => output::json(&serde_json::json!({
            "name": volume.record.name, "mountpoint": volume.mountpoint,
        })),
    }
    Ok(())
}

/// A volume under a name that nobody needs to know.
pub(crate) fn anonymous(mut labels: BTreeMap<String, String>) -> Result<Order> {
    labels.insert(ANONYMOUS.to_owned(), String::new());
    let name = format!("{}{}", new_id()?, new_id()?);
    Ok(Order { name, labels, ..Order::default() })
}

/// `KEY=VALUE`, repeated.
pub(crate) fn pairs(argument: &'static str, given: &[String]) -> Result<BTreeMap<String, String>> {
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => {
            let problem = "expected KEY=VALUE".to_owned();
            Err(Error::Argument { argument, value: text.clone(), problem })
        }
    };
    given.iter().map(pair).collect()
}

fn labels(given: &[String]) -> BTreeMap<String, String> {
    let label = |text: &String| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    given.iter().map(label).collect()
}

//! `cleat events`: what netd saw and did.

use std::io::Write;

use clap::Args;
use serde::Deserialize;

use super::client::Netd;
use super::status::parse;
use crate::context::Context;
use crate::error::Result;
use crate::output::{self, Format};

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  cleat events\n  cleat events -f --format json")]
pub(crate) struct EventsArgs {
    /// Go on with those to come; as JSON one document a line
    #[arg(short, long)]
    follow: bool,
}

#[derive(Deserialize)]
struct Event {
    time: u64,
    kind: String,
    subject: String,
    text: String,
}

pub(crate) fn run(context: &Context, asked: &EventsArgs) -> Result<()> {
    let netd = Netd::new(context)?;
    if asked.follow {
        return netd.follow("/v1/events?follow=true", |line| {
            let text = match context.format {
                Format::Json => line.to_owned(),
                Format::Table => serde_json::from_str(line).map_or(line.to_owned(), |e| text(&e)),
            };
            let mut out = std::io::stdout();
            writeln!(out, "{text}").and_then(|()| out.flush()).is_ok()
        });
    }
    let document = netd.get("/v1/events")?;
    match context.format {
        Format::Json => output::json(&document),
        Format::Table => {
            let events: Vec<Event> = parse(document)?;
            events.iter().for_each(|event| output::line(&text(event)));
        }
    }
    Ok(())
}

fn text(event: &Event) -> String {
    let time = output::time::rfc3339(event.time / 1000);
    format!("{time}  {:<16}  {}: {}", event.kind, event.subject, event.text)
}

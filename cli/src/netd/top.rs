//! `cleat top`: attachments with what passes through them, seen again and again until the user has
//! seen enough. The terminal is given back as it was, whatever happens.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::Args;
use crossterm::event::{Event, KeyCode, KeyModifiers, poll, read};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode, size,
};
use crossterm::{cursor, execute, queue};
use serde::Deserialize;

use super::bytes;
use super::client::Netd;
use super::status::parse;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::output::{self, Format, render_table};

#[derive(Debug, Args)]
#[command(
    after_long_help = "Keys:\n  q, Esc, Ctrl-C   leave\n\nExamples:\n  cleat top\n  cleat top --once"
)]
pub(crate) struct TopArgs {
    /// Print one table with sums, and end
    #[arg(long)]
    once: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attachment {
    network: String,
    container: String,
    interface: String,
    name: Option<String>,
    addresses: Vec<String>,
    received: Option<Counters>,
    sent: Option<Counters>,
    questions: Option<Questions>,
}

#[derive(Deserialize, Clone, Copy, Default)]
struct Counters {
    bytes: u64,
    errors: u64,
    dropped: u64,
}

#[derive(Deserialize, Clone, Copy, Default)]
struct Questions {
    asked: u64,
    failed: u64,
}

/// What is counted of an attachment.
#[derive(Clone, Copy, Default)]
struct Sums {
    received: u64,
    sent: u64,
    asked: u64,
}

const HEADER: [&str; 8] =
    ["CONTAINER", "NETWORK", "INTERFACE", "ADDRESS", "RECEIVED", "SENT", "QUESTIONS", "ERRORS"];

pub(crate) fn run(context: &Context, asked: &TopArgs) -> Result<()> {
    let netd = Netd::new(context)?;
    if context.format == Format::Json {
        output::json(&netd.get("/v1/attachments")?);
        return Ok(());
    }
    if asked.once {
        let all: Vec<Attachment> = parse(netd.get("/v1/attachments")?)?;
        let rows = all.iter().map(|attachment| row(attachment, None)).collect();
        render_table(HEADER, rows).iter().for_each(|line| output::line(line));
        return Ok(());
    }
    if !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
        return Err(Error::NoTerminal);
    }
    // Whether it runs at all is seen before the screen is taken.
    let first: Vec<Attachment> = parse(netd.get("/v1/attachments")?)?;
    let _screen = Screen::take()?;
    watch(&netd, first, Duration::from_secs(asked.interval))
}

fn watch(netd: &Netd, first: Vec<Attachment>, interval: Duration) -> Result<()> {
    let mut current = first;
    let mut before: HashMap<String, Sums> = HashMap::new();
    let mut since = Duration::ZERO;
    let mut looked = Instant::now();
    loop {
        draw(&current, &before, since).map_err(terminal)?;
        let next = looked + interval;
        loop {
            let left = next.saturating_duration_since(Instant::now());
            if !poll(left).map_err(terminal)? {
                break;
            }
            match read().map_err(terminal)? {
                Event::Key(key) if is_end(key.code, key.modifiers) => return Ok(()),
                Event::Resize(..) => draw(&current, &before, since).map_err(terminal)?,
                _ => {}
            }
        }
        before = current.iter().map(|attachment| (key(attachment), sums(attachment))).collect();
        current = parse(netd.get("/v1/attachments")?)?;
        since = looked.elapsed();
        looked = Instant::now();
    }
}

fn is_end(code: KeyCode, modifiers: KeyModifiers) -> bool {
    match code {
        KeyCode::Char('q') | KeyCode::Esc => true,
        KeyCode::Char('c') => modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}

fn draw(all: &[Attachment], before: &HashMap<String, Sums>, since: Duration) -> io::Result<()> {
    let (width, height) = size()?;
    // A terminal that does not know its size says nought.
    let or = |given: u16, usual| if given == 0 { usual } else { usize::from(given) };
    let (width, height) = (or(width, 80), or(height, 24));
    let mut out = io::stdout().lock();
    queue!(out, cursor::MoveTo(0, 0), Clear(ClearType::All))?;
    let mut shown: Vec<(u64, [String; 8])> = all
        .iter()
        .map(|attachment| {
            let rates = before.get(&key(attachment)).map(|old| rates(attachment, *old, since));
            let weight = rates.map_or(0, |rates| rates.received + rates.sent);
            (weight, row(attachment, Some(rates.unwrap_or_default())))
        })
        .collect();
    // The busiest first; those that are equally so in the order of their names.
    shown.sort_by(|(a, _), (b, _)| b.cmp(a));
    let title = format!("{} attachments, per second; q leaves", all.len());
    let rows = shown.into_iter().map(|(_, row)| row).collect();
    let lines = std::iter::once(title).chain(render_table(HEADER, rows));
    for line in lines.take(height.saturating_sub(1)) {
        let line: String = line.chars().take(width).collect();
        write!(out, "{line}\r\n")?;
    }
    out.flush()
}

/// With rates, or with the sums so far.
fn row(attachment: &Attachment, rates: Option<Sums>) -> [String; 8] {
    let is_counted = attachment.received.is_some();
    let shown = rates.unwrap_or_else(|| sums(attachment));
    let when = |known: bool, text: String| if known { text } else { String::new() };
    let both = [attachment.received, attachment.sent].into_iter().flatten();
    let failed = attachment.questions.unwrap_or_default().failed;
    let errors: u64 = both.map(|c| c.errors + c.dropped).sum::<u64>() + failed;
    let short = || attachment.container.chars().take(12).collect();
    [
        attachment.name.clone().unwrap_or_else(short),
        attachment.network.clone(),
        attachment.interface.clone(),
        attachment.addresses.first().cloned().unwrap_or_default(),
        when(is_counted, bytes(shown.received)),
        when(is_counted, bytes(shown.sent)),
        when(attachment.questions.is_some(), shown.asked.to_string()),
        errors.to_string(),
    ]
}

fn key(attachment: &Attachment) -> String {
    format!("{}\0{}\0{}", attachment.network, attachment.container, attachment.interface)
}

fn sums(attachment: &Attachment) -> Sums {
    Sums {
        received: attachment.received.unwrap_or_default().bytes,
        sent: attachment.sent.unwrap_or_default().bytes,
        asked: attachment.questions.unwrap_or_default().asked,
    }
}

fn rates(attachment: &Attachment, old: Sums, since: Duration) -> Sums {
    let now = sums(attachment);
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1);
    // A counter that went back is another interface's.
    let rate = |new: u64, old: u64| new.saturating_sub(old).saturating_mul(1000) / millis;
    Sums {
        received: rate(now.received, old.received),
        sent: rate(now.sent, old.sent),
        asked: rate(now.asked, old.asked),
    }
}

fn terminal(source: io::Error) -> Error {
    Error::File { doing: "use", path: "the terminal".into(), source }
}

/// The terminal while it is ours.
struct Screen;

impl Screen {
    fn take() -> Result<Self> {
        enable_raw_mode().map_err(terminal)?;
        let screen = Self;
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide).map_err(terminal)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = execute!(io::stdout(), cursor::Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_by_the_second_and_never_negative() {
        let of = |bytes| Some(Counters { bytes, errors: 1, dropped: 0 });
        let attachment = Attachment {
            network: "web".into(),
            container: "0123456789abcdef".into(),
            interface: "eth0".into(),
            name: None,
            addresses: vec!["10.1.0.2".into()],
            received: of(4096),
            sent: of(10),
            questions: None,
        };
        let old = Sums { received: 2048, sent: 20, asked: 0 };
        let rates = rates(&attachment, old, Duration::from_secs(2));
        let text = row(&attachment, Some(rates));
        let [container, .., received, sent, asked, errors] = text;
        assert_eq!([container, received, sent], ["0123456789ab", "1.0 KiB", "0 B"]);
        assert_eq!([asked, errors], ["", "2"]);
    }
}

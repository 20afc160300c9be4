//! dnsperf from inside a container: questions out of a file, as many as a server answers.

use std::fs;
use std::path::PathBuf;

use cleat_tests::Transport;

use crate::name_servers::{GATEWAY, Server};

/// Questions that wait for an answer at once, of all clients together.
const OUTSTANDING: usize = 100;

/// A load: what is asked, how, for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load<'f> {
    pub(crate) questions: &'f Questions,
    pub(crate) by: Transport,
    pub(crate) clients: usize,
    pub(crate) seconds: usize,
    /// Each question at most once.
    pub(crate) once: bool,
}

/// What came of a load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Came {
    pub(crate) per_second: f64,
    pub(crate) lost: u64,
    /// Answers that were neither addresses nor anything else without fault.
    pub(crate) faulty: u64,
}

impl Load<'_> {
    /// Lays it on a server.
    pub(crate) fn on(&self, server: &Server) -> Came {
        let mut command = server.container.ns.command("dnsperf");
        let by = if self.by == Transport::Tcp { "tcp" } else { "udp" };
        command.args(["-s", GATEWAY, "-m", by, "-W", "-t", "2"]);
        command.args(["-c", &self.clients.to_string(), "-l", &self.seconds.to_string()]);
        command.args(["-q", &OUTSTANDING.to_string(), "-d"]).arg(&self.questions.0);
        if self.once {
            command.args(["-n", "1"]);
        }
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{command:?}: {text}");
        let value = |label: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(label));
            line.and_then(|line| line.split_whitespace().next()).map(str::to_owned)
        };
        let sent = number(value("Queries sent:"), &text);
        let right = text.split_once("NOERROR ").and_then(|(_, rest)| rest.split(' ').next());
        let right = right.map_or(0, |count| count.parse().unwrap());
        let lost = number(value("Queries lost:"), &text);
        Came {
            per_second: value("Queries per second:").unwrap().parse().unwrap(),
            lost,
            // dnsperf interrupts what is under way when its time is over.
            faulty: number(value("Queries completed:"), &text).min(sent) - right,
        }
    }
}

fn number(text: Option<String>, all: &str) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("not dnsperf's: {all}"))
}

/// A file of questions for IPv4 addresses.
#[derive(Debug)]
pub(crate) struct Questions(PathBuf);

impl Questions {
    pub(crate) fn new(label: &str, names: impl Iterator<Item = String>) -> Self {
        let file = format!("cleat-questions-{}-{label}", std::process::id());
        let path = std::env::temp_dir().join(file);
        let text: String = names.map(|name| name + " A\n").collect();
        fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Questions {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Answers per second, one value per round.
#[derive(Debug, Default, Clone)]
pub(crate) struct Rates {
    values: Vec<f64>,
    lost: u64,
    faulty: u64,
}

impl Rates {
    pub(crate) fn push(&mut self, came: Came) {
        self.values.push(came.per_second);
        self.lost += came.lost;
        self.faulty += came.faulty;
    }

    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }

    /// The lowest and the highest.
    pub(crate) fn ends(&self) -> (f64, f64) {
        let ends = (f64::INFINITY, 0.0);
        self.values.iter().fold(ends, |(low, high), v| (v.min(low), v.max(high)))
    }

    /// A row for a table that begins with [`Self::head`].
    pub(crate) fn row(&self, what: &str) -> Vec<String> {
        let (low, high) = self.ends();
        let mut row = vec![what.to_owned()];
        row.extend([self.median(), low, high].map(|value| format!("{value:.0}")));
        row.extend([self.lost, self.faulty].map(|count| count.to_string()));
        row
    }

    pub(crate) fn head() -> Vec<String> {
        crate::report::row(["answers per second", "median", "minimum", "maximum", "lost", "faulty"])
    }
}

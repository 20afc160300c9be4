//! Tables of plain text, and what a number should be.

use std::fs;
use std::process::Command;
use std::sync::Once;

use crate::timing::Samples;

static HEADING: Once = Once::new();

/// Begins a table's section; the first one is preceded by the machine and the versions.
pub(crate) fn section(title: &str) {
    HEADING.call_once(heading);
    println!("\n{title}\n");
}

fn heading() {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut models = cpu.lines().filter_map(|line| line.strip_prefix("model name"));
    let model = models.next().unwrap_or(": unknown").trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism().map_or(0, |n| n.get());
    println!("\ncommand    sudo tests/run --only bench");
    println!("machine    {model}, {cores} cores");
    println!("kernel     {}", file("/proc/sys/kernel/osrelease"));
    println!("load       {}", file("/proc/loadavg"));
    println!("cleat      {}", said("git", &["describe", "--always", "--dirty"]));
    for package in [
        "containernetworking-plugins",
        "iptables",
        "gcc",
        "dnsperf",
        "dnsmasq-base",
        "rclone",
        "iperf3",
        "etcd-server",
    ] {
        let version = said("dpkg-query", &["-W", "-f", "${Version}", package]);
        println!("{package} {version}");
    }
}

fn file(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn said(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output();
    output.map_or("unknown".into(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}

/// Rows of cells; the first row is the head. The first column is text, the others are numbers.
pub(crate) fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let space = widths[column];
            line +=
                &if column == 0 { format!("{cell:<space$}") } else { format!("  {cell:>space$}") };
        }
        println!("{}", line.trim_end());
    }
}

/// Cells of text.
pub(crate) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// The head of [`timed`].
pub(crate) fn timed_head() -> Vec<String> {
    row(["ms", "median", "minimum", "rounds"])
}

/// What, by whom, median, minimum, rounds.
pub(crate) fn timed(what: &str, samples: &Samples) -> Vec<String> {
    let (median, min) = (samples.median(), samples.min());
    let digits = if median < 0.1 { 4 } else { 2 };
    let shown = |value: f64| format!("{value:.digits$}");
    vec![what.into(), shown(median), shown(min), samples.len().to_string()]
}

/// The head of [`late`].
pub(crate) fn late_head() -> Vec<String> {
    row(["ms", "median", "99 of 100", "maximum", "samples"])
}

/// What, the median, what 99 of 100 do not exceed, the maximum, how many there are.
pub(crate) fn late(what: &str, samples: &Samples) -> Vec<String> {
    let values = [samples.median(), samples.percentile(99), samples.max()];
    let shown = values.map(|value| format!("{value:.2}"));
    [vec![what.to_owned()], shown.to_vec(), vec![samples.len().to_string()]].concat()
}

/// Compares medians, and minima beside them, with a goal.
pub(crate) fn compare(what: &str, ours: &Samples, theirs: &Samples, most: f64) {
    let by_min = ours.min() / theirs.min();
    verdict(
        &format!("{what} (by minimum {})", shown(by_min)),
        ours.median() / theirs.median(),
        most,
    );
}

/// Says whether a ratio is at most what it should be.
pub(crate) fn verdict(what: &str, ratio: f64, most: f64) {
    let met = if ratio <= most { "met" } else { "MISSED" };
    println!("{met:<6} {what}: {}, goal at most {}", shown(ratio), shown(most));
}

/// Says whether something never happened, as it should.
pub(crate) fn none(what: &str, count: usize) {
    let met = if count == 0 { "met" } else { "MISSED" };
    println!("{met:<6} {what}: {count}, goal none");
}

/// Says whether a ratio is at least what it should be.
pub(crate) fn reached(what: &str, ratio: f64, least: f64) {
    let met = if ratio >= least { "met" } else { "MISSED" };
    println!("{met:<6} {what}: {ratio:.2}, goal at least {least:.2}");
}

/// A ratio as people say it: 1/12 rather than 0.083.
fn shown(ratio: f64) -> String {
    if ratio < 0.8 { format!("1/{:.1}", 1.0 / ratio) } else { format!("{ratio:.2}") }
}

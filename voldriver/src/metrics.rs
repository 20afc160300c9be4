//! How many calls there were and how long they took, in Prometheus' text format, at `GET
//! /metrics` of the same socket.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// By call, and whether it was done.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    calls: Mutex<BTreeMap<(&'static str, bool), Tally>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    count: u64,
    seconds: f64,
}

impl Metrics {
    pub(crate) fn count(&self, method: &'static str, is_done: bool, took: Duration) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = calls.entry((method, is_done)).or_default();
        tally.count += 1;
        tally.seconds += took.as_secs_f64();
    }

    pub(crate) fn text(&self) -> String {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for (name, kind, help) in [
            ("voldriver_calls_total", "counter", "Calls of the volume plugin protocol."),
            ("voldriver_call_seconds_total", "counter", "Time spent in them."),
        ] {
            text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
            for ((method, is_done), tally) in calls.iter() {
                let outcome = if *is_done { "done" } else { "failed" };
                let value = if name.ends_with("seconds_total") {
                    format!("{:.6}", tally.seconds)
                } else {
                    tally.count.to_string()
                };
                text.push_str(&format!(
                    "{name}{{call=\"{method}\",outcome=\"{outcome}\"}} {value}\n"
                ));
            }
        }
        text
    }
}

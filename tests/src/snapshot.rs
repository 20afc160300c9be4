//! What is there: links, addresses, routes, rules, neighbours, the nft ruleset and files, as lines
//! of text, so that two moments can be compared. Left out is what the kernel changes by itself:
//! carrier, counters, handles, learned neighbours, the routes that come and go with a link's state;
//! and the files that belong to a network rather than to a container.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::lab::Lab;

/// What was there at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    lines: BTreeSet<String>,
}

impl Snapshot {
    pub(crate) fn take(lab: &Lab) -> Self {
        let mut lines = BTreeSet::new();
        for link in objects(&lab.host.ip_json("addr")) {
            lines.extend(link_lines(link));
        }
        for family in ["-4", "-6"] {
            for route in objects(&lab.host.ip_json(&format!("{family} route show table all"))) {
                lines.extend(route_line(route));
            }
            for rule in objects(&lab.host.ip_json(&format!("{family} rule"))) {
                lines.insert(format!("rule {rule}"));
            }
        }
        for neighbour in objects(&lab.host.ip_json("neigh show nud permanent")) {
            lines.insert(format!("neighbour {} {}", neighbour["dev"], neighbour["dst"]));
        }
        for entry in objects(&lab.host.nft_json()) {
            ruleset_lines(entry.clone(), &mut lines);
        }
        file_lines(lab.folder(), lab.folder(), &mut lines);
        Self { lines }
    }

    /// What is gone (`-`) and what came (`+`), a line each; empty if nothing changed.
    pub fn difference(&self, later: &Self) -> String {
        let gone = self.lines.difference(&later.lines).map(|line| format!("- {line}\n"));
        let came = later.lines.difference(&self.lines).map(|line| format!("+ {line}\n"));
        gone.chain(came).collect()
    }

    /// What came, a line each: for when the later one may hold less.
    pub fn added(&self, later: &Self) -> String {
        later.lines.difference(&self.lines).map(|line| format!("+ {line}\n")).collect()
    }

    /// Without the files: what is in the kernel.
    pub fn kernel(&self) -> Self {
        let lines = self.lines.iter().filter(|line| !line.starts_with("file ")).cloned();
        Self { lines: lines.collect() }
    }

    /// The files that came, by their path in the lab's folder.
    pub fn new_files(&self, later: &Self) -> Vec<String> {
        let came = later.lines.difference(&self.lines);
        came.filter_map(|line| line.strip_prefix("file ")).map(str::to_owned).collect()
    }

    /// Some line contains the text.
    pub fn mentions(&self, text: &str) -> bool {
        self.lines.iter().any(|line| line.contains(text))
    }
}

fn objects(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn link_lines(link: &Value) -> Vec<String> {
    let name = link["ifname"].as_str().unwrap();
    let up = objects(&link["flags"]).any(|flag| flag == "UP");
    let mut lines = vec![format!(
        "link {name} {} up={up} mtu={} mac={} master={} promisc={}",
        link["linkinfo"]["info_kind"],
        link["mtu"],
        link["address"],
        link["master"],
        link["promiscuity"]
    )];
    for address in objects(&link["addr_info"]).filter(|a| a["scope"] != "link") {
        lines.push(format!("address {name} {}/{}", address["local"], address["prefixlen"]));
    }
    lines
}

/// Routes that someone added; the kernel's own for addresses and multicast follow the links.
fn route_line(route: &Value) -> Option<String> {
    let kernels = route["protocol"] == "kernel" || route["table"] == "local";
    let destination = route["dst"].as_str().unwrap_or_default();
    if kernels || destination.starts_with("ff00::") || destination.starts_with("fe80::") {
        return None;
    }
    Some(format!(
        "route {} {destination} via={} dev={} table={} metric={}",
        route["type"], route["gateway"], route["dev"], route["table"], route["metric"]
    ))
}

/// One line per object, and one per element of a set or map.
fn ruleset_lines(mut entry: Value, lines: &mut BTreeSet<String>) {
    let Some((kind, object)) = entry.as_object_mut().and_then(|o| o.iter_mut().next()) else {
        return;
    };
    if kind == "metainfo" {
        return;
    }
    let kind = kind.clone();
    let elements = object.as_object_mut().and_then(|o| {
        o.remove("handle");
        o.remove("index");
        o.remove("elem")
    });
    for element in elements.iter().flat_map(objects) {
        lines.insert(format!("nft element {} {} {element}", object["table"], object["name"]));
    }
    lines.insert(format!("nft {kind} {object}"));
}

/// What a network keeps and no container holds: locks, host-local's cursors, plans by content; and
/// what a daemon in an enclosure or netd is given and writes.
const KEPT: [&str; 4] = ["run/locks/", "run/plans/", "enclosure/", "daemon/"];

fn is_kept(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or_default();
    let of_leases = name == "lock" || name.starts_with("last_reserved_ip.");
    KEPT.iter().any(|folder| file.starts_with(folder)) || of_leases
}

/// Files by name. Folders that came empty count as nothing.
fn file_lines(folder: &Path, root: &Path, lines: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            file_lines(&path, root, lines);
        } else {
            let file = path.strip_prefix(root).unwrap().display().to_string();
            if !is_kept(&file) {
                lines.insert(format!("file {file}"));
            }
        }
    }
}

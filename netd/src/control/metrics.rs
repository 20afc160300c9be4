//! `GET /metrics`: what was counted, and what there is now.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use cleat_engine::record::AttachmentRecord;
use cleat_engine::{Node, inventory, service};
use rustix::process::{Resource, getrlimit};

use super::exposition::{self, Exposition};
use super::refusal::Refusal;
use super::{State, attachments, networks, with_node};
use crate::daemon::Shared;
use crate::error::Result;
use crate::metrics::{Answered, LATENCY_BOUNDS};

pub(super) async fn get(shared: State) -> std::result::Result<Response, Refusal> {
    let all = with_node(shared.0, |shared, node| {
        let mut all = Exposition::default();
        of_process(&mut all, shared);
        of_node(&mut all, node)?;
        of_names(&mut all, shared, node);
        of_overlay(&mut all, shared);
        of_rest(&mut all, shared);
        Ok(all)
    });
    let text = all.await?.text().map_err(|error| Refusal::internal(error.to_string()))?;
    Ok(([(CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response())
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds fit a double")]
fn of_process(all: &mut Exposition, shared: &Shared) {
    all.gauges("cleat_netd_info", "The daemon that runs.")
        .of(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    all.gauges("process_start_time_seconds", "When it was started, since 1970.")
        .of_real(&[], shared.started_at as f64 / 1000.0);
    if let Some(bytes) = resident() {
        all.gauges("process_resident_memory_bytes", "Memory that it holds.").of(&[], bytes);
    }
    if let Ok(folder) = std::fs::read_dir("/proc/self/fd") {
        // One of them reads the folder.
        let count = folder.count().saturating_sub(1);
        all.gauges("process_open_fds", "File descriptors that it holds.").of(&[], count as u64);
    }
    if let Some(limit) = getrlimit(Resource::Nofile).current {
        all.gauges("process_max_fds", "File descriptors that it may hold.").of(&[], limit);
    }
}

/// `VmRSS` of proc_pid_status(5), in bytes.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

fn of_node(all: &mut Exposition, node: &Node) -> Result<()> {
    let mut records = inventory::attachments(node)?;
    records.retain(|record| node.is_this_boot(&record.boot));
    let mut networks: BTreeMap<&str, Vec<&AttachmentRecord>> = BTreeMap::new();
    for record in &records {
        networks.entry(&record.id.network).or_default().push(record);
    }
    let mut family = all.gauges("cleat_attachments", "Attachments on record.");
    for (network, records) in &networks {
        family = family.of(&[("network", network)], records.len() as u64);
    }
    let mut family = all.gauges("cleat_published_ports", "Published ports.");
    for (network, records) in &networks {
        let ports = records.iter().filter_map(|record| record.ports.as_ref());
        let count: usize = ports.map(|part| part.bindings.len()).sum();
        family = family.of(&[("network", network)], count as u64);
    }
    of_pools(all, node);
    let traffic = attachments::traffic()?;
    let help = "Bytes that containers received and sent, of those that are attached now.";
    let mut family = all.gauges("cleat_traffic_bytes", help);
    for (network, records) in &networks {
        let links = records.iter().filter_map(|record| record.link.as_ref()?.host_index);
        let counted: Vec<_> = links.filter_map(|index| traffic.get(&index)).collect();
        let received = counted.iter().map(|traffic| traffic.sent.bytes).sum();
        let sent = counted.iter().map(|traffic| traffic.received.bytes).sum();
        for (direction, bytes) in [("received", received), ("sent", sent)] {
            family = family.of(&[("network", network), ("direction", direction)], bytes);
        }
    }
    Ok(())
}

/// Nodes and their blocks, as far as the store was heard of.
fn of_overlay(all: &mut Exposition, shared: &Shared) {
    let Some(plane) = shared.overlay.get() else { return };
    all.gauges("cleat_overlay_store_up", "The overlay's store was heard of last time.")
        .of(&[], u64::from(plane.view().problem().is_none()));
    let (up, down, blocks) = plane.view().read(|view| {
        let up = view.hosts().filter(|(id, _)| view.is_up(id)).count();
        let blocks = view
            .networks()
            .map(|network| (network.name.clone(), view.claims(&network.id).count() as u64));
        (up, view.hosts().count() - up, blocks.collect::<Vec<_>>())
    });
    all.gauges("cleat_overlay_nodes", "Nodes that share overlay networks.")
        .of(&[("state", "up")], up as u64)
        .of(&[("state", "down")], down as u64);
    let mut family = all.gauges("cleat_overlay_blocks", "Blocks of all nodes.");
    for (network, count) in &blocks {
        family = family.of(&[("network", network)], *count);
    }
}

#[allow(clippy::cast_precision_loss, reason = "the format's numbers are doubles")]
fn of_pools(all: &mut Exposition, node: &Node) {
    let help = "Addresses of a network's pools, held and free.";
    let mut family = all.gauges("cleat_pool_addresses", help);
    for list in networks::lists(node) {
        for pool in networks::pools(node, &list) {
            let free = pool.capacity.saturating_sub(pool.held);
            for (state, count) in [("held", pool.held), ("free", free)] {
                let labels =
                    [("network", list.name.as_str()), ("pool", &pool.subnet), ("state", state)];
                family = family.of_real(&labels, count as f64);
            }
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "microseconds of years fit a double")]
fn of_names(all: &mut Exposition, shared: &Shared, node: &Node) {
    let metrics = &shared.metrics;
    let forwarder = shared.answerer.forwarder();
    let mut family = all.counters("cleat_dns_questions_total", "Questions by what became of them.");
    for how in Answered::ALL {
        family = family.of(&[("result", how.name())], metrics.count(how));
    }
    let seconds = |micros: u64| micros as f64 / 1e6;
    let (counts, sum) = metrics.latencies();
    let bounds = LATENCY_BOUNDS.map(seconds);
    let help = "Time from a question's arrival to its answer.";
    all.histogram("cleat_dns_latency_seconds", help, &bounds, (&counts, seconds(sum)));
    let help = "Questions that joined one under way.";
    all.counters("cleat_dns_coalesced_total", help)
        .of(&[], metrics.coalesced.load(Ordering::Relaxed));
    all.gauges("cleat_dns_cache_entries", "Answers of other servers that are kept.")
        .of(&[], forwarder.kept_count() as u64);
    all.gauges("cleat_dns_named_attachments", "Attachments with names.")
        .of(&[], shared.answerer.directory().current().len() as u64);
    let served = service::served(node);
    all.gauges("cleat_dns_listeners", "Places that are listened at for questions.")
        .of(&[("place", "gateway")], served.addresses.len() as u64)
        .of(&[("place", "container")], service::listened_inside(node) as u64);
    let upstreams: Vec<_> = forwarder.upstreams();
    let upstreams: Vec<_> = upstreams.iter().map(|u| (u.server.to_string(), u)).collect();
    let mut family = all.gauges("cleat_dns_upstream_up", "The server answered last time.");
    for (server, upstream) in &upstreams {
        family = family.of(&[("server", server)], u64::from(upstream.healthy));
    }
    let mut family = all.gauges("cleat_dns_upstream_latency_seconds", "Its usual time.");
    for (server, upstream) in &upstreams {
        if let Some(usual) = upstream.usual_micros {
            family = family.of_real(&[("server", server)], seconds(usual));
        }
    }
    let mut family = all.counters("cleat_dns_upstream_answers_total", "Answers of a server.");
    for (server, upstream) in &upstreams {
        family = family.of(&[("server", server)], upstream.answers);
    }
    let mut family = all.counters("cleat_dns_upstream_failures_total", "Failures of a server.");
    for (server, upstream) in &upstreams {
        family = family.of(&[("server", server)], upstream.failures);
    }
}

fn of_rest(all: &mut Exposition, shared: &Shared) {
    let repairs = shared.metrics.repairs();
    let mut family = all.counters("cleat_repairs_total", "What was mended, by what it was.");
    for (kind, done, _) in &repairs {
        family = family.of(&[("kind", kind)], *done);
    }
    let mut family = all.counters("cleat_repair_failures_total", "What could not be mended.");
    for (kind, _, failed) in &repairs {
        family = family.of(&[("kind", kind)], *failed);
    }
    let relay = &shared.relay;
    all.gauges("cleat_relay_listeners", "Published ports that are relayed from ::1.")
        .of(&[], relay.listeners.load(Ordering::Relaxed));
    let kinds = [("tcp", &relay.connections), ("udp", &relay.sessions)];
    let mut family = all.gauges("cleat_relay_connections", "Connections from ::1 now.");
    for (protocol, kind) in kinds {
        family = family.of(&[("protocol", protocol)], kind.active());
    }
    let mut family = all.counters("cleat_relay_connections_total", "Connections from ::1 so far.");
    for (protocol, kind) in kinds {
        family = family.of(&[("protocol", protocol)], kind.total());
    }
    let mut family =
        all.counters("cleat_relay_refused_total", "Connections from ::1 that were refused.");
    for (protocol, kind) in kinds {
        family = family.of(&[("protocol", protocol)], kind.refused());
    }
    if let Some(dhcp) = shared.dhcp.get() {
        let figures = dhcp.figures();
        all.gauges("cleat_dhcp_leases", "Addresses that DHCP servers gave, held and lost.")
            .of(&[("state", "held")], figures.held)
            .of(&[("state", "lost")], figures.lost);
        let mut family =
            all.counters("cleat_dhcp_exchanges_total", "What was done with leases, by what.");
        for (result, count) in figures.done {
            family = family.of(&[("result", result)], count);
        }
    }
    all.gauges("cleat_troubles", "What is wrong now; see /v1/status.")
        .of(&[], shared.events.troubles().len() as u64);
}

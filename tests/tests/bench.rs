//! How long things take, how much they need, and how that grows: in turns with the reference
//! plugins, with other name servers, and with bare C programs. A slow number fails nothing; what does not work does.
//! `tests/run --only bench` prints the tables; docs/benchmarks.md says what they mean.

#[path = "../bench/attach.rs"]
mod attach;
#[path = "../bench/catalogue.rs"]
mod catalogue;
#[path = "../bench/crowd.rs"]
mod crowd;
#[path = "../bench/dhcp.rs"]
mod dhcp;
#[path = "../bench/floor.rs"]
mod floor;
#[path = "../bench/growth.rs"]
mod growth;
#[path = "../bench/load.rs"]
mod load;
#[path = "../bench/name_servers.rs"]
mod name_servers;
#[path = "../bench/names.rs"]
mod names;
#[path = "../bench/names_life.rs"]
mod names_life;
#[path = "../bench/node.rs"]
mod node;
#[path = "../bench/overlay.rs"]
mod overlay;
#[path = "../bench/overlay_changes.rs"]
mod overlay_changes;
#[path = "../bench/overlay_traffic.rs"]
mod overlay_traffic;
#[path = "../bench/peers.rs"]
mod peers;
#[path = "../bench/ports.rs"]
mod ports;
#[path = "../bench/program.rs"]
mod program;
#[path = "../bench/report.rs"]
mod report;
#[path = "../bench/store.rs"]
mod store;
#[path = "../bench/timing.rs"]
mod timing;
#[path = "../bench/tools.rs"]
mod tools;
#[path = "../bench/volumes.rs"]
mod volumes;

//! What an overlay network's peers cost: `overlay_peers COUNT LOCAL-ADDRESS FOLDER` makes a network
//! without peers in the calling thread's network namespace, and applies it with so many: when none
//! is there yet, when all are as wanted, and when one has moved. Prints the microseconds of each,
//! and removes the network.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Instant;

use cleat_engine::kernel::Rtnl;
use cleat_engine::overlay::{Applied, OverlayNetwork, Peer, Segment, segment, vtep_mac};
use cleat_engine::{Dirs, Node};
use ipnet::{IpNet, Ipv4Net};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const VNI: u32 = 4100;
const FIRST_BLOCK: u32 = 0x0a00_0000;
/// Nothing else here is in this network.
const FIRST_OUTER: u32 = 0xc612_0000;

fn block(n: u32) -> Result<IpNet> {
    Ok(Ipv4Net::new(Ipv4Addr::from(FIRST_BLOCK + (n << 8)), 24)?.into())
}

fn wanted(count: u32, local: IpAddr) -> Result<Segment> {
    let peer = |n: u32| -> Result<Peer> {
        let outer = Ipv4Addr::from(FIRST_OUTER + n).into();
        Ok(Peer { block: block(n)?, mac: vtep_mac(&n.to_string(), VNI), outer })
    };
    Ok(Segment {
        network: OverlayNetwork::new("peers", "0123456789abcdef", VNI, vec!["10.0.0.0/8".parse()?]),
        mac: vtep_mac("self", VNI),
        local,
        blocks: vec![block(0)?],
        statics: Vec::new(),
        peers: (1..=count).map(peer).collect::<Result<_>>()?,
        senders: Vec::new(),
        complete: true,
    })
}

fn timed(node: &Node, rtnl: &mut Rtnl, wanted: &Segment) -> Result<(u128, Applied)> {
    let start = Instant::now();
    let applied = segment::apply(node, rtnl, wanted)?;
    Ok((start.elapsed().as_micros(), applied))
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [count, local, folder] = words.as_slice() else {
        return Err("usage: overlay_peers COUNT LOCAL-ADDRESS FOLDER".into());
    };
    let at = |name: &str| Path::new(folder).join(name);
    let dirs = Dirs { run: at("run"), state: at("state"), net: at("net"), config: at("config") };
    let node = Node::new(dirs, |_| {});
    let mut wanted = wanted(count.parse()?, local.parse()?)?;
    let mut rtnl = Rtnl::open()?;
    timed(&node, &mut rtnl, &Segment { peers: Vec::new(), ..wanted.clone() })?;
    let (cold, first) = timed(&node, &mut rtnl, &wanted)?;
    let (again, second) = timed(&node, &mut rtnl, &wanted)?;
    if let Some(peer) = wanted.peers.last_mut() {
        peer.outer = Ipv4Addr::from(FIRST_OUTER).into();
    }
    let (moved, third) = timed(&node, &mut rtnl, &wanted)?;
    let entries = 3 * wanted.peers.len();
    if first.added != entries || !second.nothing() || third.moved != 1 {
        return Err(format!("not as wanted: {first:?}, {second:?}, {third:?}").into());
    }
    println!("{cold} {again} {moved}");
    segment::remove(&node, &mut rtnl, &wanted.network)?;
    Ok(())
}

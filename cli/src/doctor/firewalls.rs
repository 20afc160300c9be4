//! Other people's firewalls that drop containers' traffic.

use cleat_engine::nft::{Backend, ChainBase, ChainInfo, Family, Hook, Netlink};
use cleat_engine::ruleset::{INET, foreign};

use super::Finding;
use crate::context::Context;
use crate::error::Result;

pub(super) fn look(context: &Context, findings: &mut Vec<Finding>) -> Result<()> {
    let mark = context.node.mark()?;
    let mut backend = Netlink::open();
    let dropping = foreign::dropping(&mut backend)?;
    if dropping.is_empty() {
        findings.push(Finding::ok("other nftables firewalls", "none drops forwarded traffic"));
    }
    for chain in dropping {
        findings.push(Finding::problem(
            format!("nftables chain {chain}"),
            "drops forwarded traffic unless a rule of its own accepts it",
            format!("nft insert rule {chain} meta mark and {mark:#x} == {mark:#x} accept"),
        ));
    }
    iptables(&mut backend, mark, findings)?;
    input(&mut backend, findings)?;
    firewalld(&mut backend, findings)?;
    legacy(mark, findings);
    Ok(())
}

/// In iptables' own tables a rule of ours stands as soon as a container needs it, unless somebody
/// flushed it.
fn iptables(backend: &mut Netlink, mark: u32, findings: &mut Vec<Finding>) -> Result<()> {
    let in_use = backend.table_exists(INET)?;
    for (family, program) in [(Family::Ip, "iptables"), (Family::Ip6, "ip6tables")] {
        let chains = backend.chains(family, "filter")?;
        let drops = |chain: &ChainInfo| {
            chain.name == "FORWARD" && chain.base.as_ref().is_some_and(|base| base.drop)
        };
        if !in_use || !chains.iter().any(drops) {
            continue;
        }
        let mut accepts = false;
        for chain in ["FORWARD", "DOCKER-USER"] {
            let rules = backend.rules(family, "filter", chain)?;
            accepts |= rules.iter().any(|rule| rule.accepts_mark == Some(mark));
        }
        findings.push(if accepts {
            Finding::ok(program, "drops forwarded traffic, but lets that of containers through")
        } else {
            Finding::problem(
                program,
                "drops forwarded traffic, that of containers too",
                format!("{program} -I FORWARD -m mark --mark {mark:#x}/{mark:#x} -j ACCEPT"),
            )
        });
    }
    Ok(())
}

/// What drops containers' packets to the host itself: to its services, the gateway's ping.
fn input(backend: &mut Netlink, findings: &mut Vec<Finding>) -> Result<()> {
    for (number, table) in backend.tables()? {
        let families = [Family::Ip, Family::Ip6, Family::Inet];
        let Some(family) = families.into_iter().find(|f| f.number() == number) else { continue };
        for chain in backend.chains(family, &table)? {
            let drops = |base: &ChainBase| base.drop && base.hook == Some(Hook::Input);
            if chain.base.as_ref().is_some_and(drops) {
                let name = format!("{} {table} {}", family.name(), chain.name);
                let text = "drops what containers send to the host itself, unless a rule of its \
                            own accepts it";
                let remedy = format!(
                    "if they are to reach it: nft insert rule {name} iifname \"cl*\" accept"
                );
                let subject = format!("nftables chain {name}");
                findings.push(Finding::note(subject, text).with_remedy(remedy));
            }
        }
    }
    Ok(())
}

fn firewalld(backend: &mut Netlink, findings: &mut Vec<Finding>) -> Result<()> {
    let tables = backend.tables()?;
    if tables.iter().any(|(_, name)| name == "firewalld") {
        findings.push(
            Finding::note("firewalld", "is running; containers' traffic passes its zones too")
                .with_remedy("run netd, which puts links into a zone and takes them out; or, where traffic is dropped, firewall-cmd --permanent --zone=trusted --add-interface=BRIDGE, for each of `cleat network ls`"),
        );
    }
    Ok(())
}

/// The rules of iptables-legacy are out of reach of nftables: only its own tool can add to them.
fn legacy(mark: u32, findings: &mut Vec<Finding>) {
    for (program, file) in [
        ("iptables-legacy", "/proc/net/ip_tables_names"),
        ("ip6tables-legacy", "/proc/net/ip6_tables_names"),
    ] {
        let tables = std::fs::read_to_string(file).unwrap_or_default();
        if tables.lines().any(|table| table == "filter") {
            findings.push(
                Finding::note(program, "its filter table is loaded, and its rules cannot be seen from here")
                    .with_remedy(format!(
                        "if it drops forwarded traffic: {program} -I FORWARD -m mark --mark {mark:#x}/{mark:#x} -j ACCEPT"
                    )),
            );
        }
    }
}

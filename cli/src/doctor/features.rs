//! What the kernel can do, by doing it in a namespace that is thrown away.

use cleat_engine::kernel::{
    Change, Errno, Error as KernelError, Mac, Namespace, Result as Kernel, Rtnl, VethPair,
};
use cleat_engine::nft::{Backend, Family, Netlink, Table, Transaction};

use super::Finding;
use crate::context::Context;
use crate::error::Result;

const MAC: Mac = Mac([0x02, 0, 0, 0, 0, 1]);
/// Kinds of links, the kernel's options, and what does not work without.
const KINDS: [(&str, &str, &str); 6] = [
    ("macvlan", "CONFIG_MACVLAN", "macvlan networks"),
    ("ipvlan", "CONFIG_IPVLAN", "ipvlan networks"),
    ("vlan", "CONFIG_VLAN_8021Q", "vlan networks"),
    ("dummy", "CONFIG_DUMMY", "dummy networks"),
    ("vrf", "CONFIG_NET_VRF", "the vrf plugin"),
    ("ifb", "CONFIG_IFB", "the bandwidth plugin"),
];

pub(super) fn look(context: &Context, findings: &mut Vec<Finding>) -> Result<()> {
    findings.push(release());
    let folder = context.run_path("netns");
    crate::context::make_folder(&folder)?;
    let path = folder.join(format!("doctor-{}", std::process::id()));
    let namespace = Namespace::create_at(&path)?;
    let inside = namespace.run(|| try_all(&namespace));
    drop(namespace);
    Namespace::remove_at(&path)?;
    findings.extend(inside?);
    Ok(())
}

/// The oldest kernel that everything was tried on.
fn release() -> Finding {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    if version < (5, 10) {
        let remedy = "run Linux 5.10 or later";
        return Finding::problem("kernel", format!("{release} is too old"), remedy);
    }
    let found = Finding::ok("kernel", release);
    if version < (5, 14) {
        let text = "before 5.14: namespaces are told apart by their host ends only";
        return Finding::note("kernel", format!("{} ({text})", found.found));
    }
    found
}

fn try_all(namespace: &Namespace) -> Vec<Finding> {
    let mut rtnl = match Rtnl::open() {
        Ok(rtnl) => rtnl,
        Err(error) => {
            let remedy = "enable CONFIG_NET";
            return vec![Finding::problem("netlink", error.to_string(), remedy)];
        }
    };
    let bridge = Change::Bridge { name: "doctor-br", mac: MAC, mtu: None, vlan_filtering: false };
    let veth = Change::Veth(VethPair {
        name: "doctor-a",
        mac: MAC,
        mtu: None,
        master: None,
        peer: "doctor-b",
        peer_mac: None,
        netns: namespace,
    });
    let mut findings = vec![
        feature("bridges", "CONFIG_BRIDGE", make(&mut rtnl, bridge)),
        feature("veth pairs", "CONFIG_VETH", make(&mut rtnl, veth)),
    ];
    for (kind, option, lost) in KINDS {
        findings.push(optional((kind, option, lost), knows(&mut rtnl, kind)));
    }
    let vlans = Change::Bridge { name: "doctor-vl", mac: MAC, mtu: None, vlan_filtering: true };
    findings.push(optional(
        ("VLAN filtering", "CONFIG_BRIDGE_VLAN_FILTERING", "the vlan keys of bridge networks"),
        make(&mut rtnl, vlans),
    ));
    findings.extend(tables());
    findings
}

fn knows(rtnl: &mut Rtnl, kind: &str) -> Kernel<()> {
    match rtnl.has_kind(kind) {
        Ok(false) => Err(KernelError::kernel("make", kind, Errno::OPNOTSUPP)),
        other => other.map(drop),
    }
}

fn make(rtnl: &mut Rtnl, change: Change<'_>) -> Kernel<()> {
    rtnl.apply(&[change]).map_err(|refused| refused.error)
}

fn feature(subject: &str, option: &str, outcome: Kernel<()>) -> Finding {
    match outcome {
        Ok(()) => Finding::ok(subject, "the kernel has them"),
        Err(error) => {
            let remedy = format!("a kernel with {option}, or load its module");
            Finding::problem(subject, error.to_string(), remedy)
        }
    }
}

fn optional(what: (&str, &str, &str), outcome: Kernel<()>) -> Finding {
    let (subject, option, lost) = what;
    match outcome {
        Ok(()) => Finding::ok(subject, "the kernel has it"),
        Err(error) => Finding::note(subject, format!("{error}; {lost} will not work"))
            .with_remedy(format!("a kernel with {option}, if you need it")),
    }
}

fn tables() -> Vec<Finding> {
    let mut backend = Netlink::open();
    let mut findings = Vec::new();
    for (family, subject) in [(Family::Inet, "nftables"), (Family::Bridge, "nftables on bridges")] {
        let table = Table::new(family, "doctor");
        let mut transaction = Transaction::new();
        transaction.add_table(table);
        findings.push(match backend.commit(&transaction) {
            Ok(()) => Finding::ok(subject, "the kernel has it"),
            Err(error) if family == Family::Bridge => {
                let lost = "no protection against spoofing";
                Finding::note(subject, format!("{error}; {lost}"))
                    .with_remedy("a kernel with CONFIG_NF_TABLES_BRIDGE")
            }
            Err(error) => {
                let remedy = "a kernel with CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET";
                Finding::problem(subject, error.to_string(), remedy)
            }
        });
    }
    findings
}

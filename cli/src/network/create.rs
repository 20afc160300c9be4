//! `cleat network create`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cleat_cni::{conf_files, name};
use cleat_engine::identity::hashed_name;
use cleat_engine::kernel::Rtnl;
use cleat_engine::records::{Durability, write_atomic};
use ipnet::IpNet;

use super::args::{CreateArgs, DriverName, IpamName};
use super::conflist::{self, NewNetwork};
use super::known::{Known, Note, PREDEFINED, Subnet};
use super::settings::Settings;
use super::subnets::{self, Asked, Used};
use super::{link, options, overlay, settle};
use crate::context::{Context, file_error};
use crate::error::{Error, Result};
use crate::output::{self, Format, time};

pub(super) fn run(context: &Context, asked: &CreateArgs) -> Result<()> {
    if asked.opt.iter().any(|option| option == "help") {
        options::names(asked.driver).into_iter().for_each(output::line);
        return Ok(());
    }
    let path = create(context, asked)?;
    match context.format {
        Format::Table => output::line(&asked.name),
        Format::Json => output::json(&serde_json::json!({"name": asked.name, "path": path})),
    }
    Ok(())
}

fn create(context: &Context, asked: &CreateArgs) -> Result<PathBuf> {
    check_name(&asked.name)?;
    let options = pairs("--opt", &asked.opt)?;
    let mut settings = options::read(asked.driver, &options)?;
    settle::settle(asked, &mut settings)?;
    if asked.driver == DriverName::Overlay {
        let path = context.net_dir().join(conflist::file_name(&asked.name));
        refuse_double(&Known::read(context)?, &asked.name, &path)?;
        refuse_for_kubernetes(context, asked.force)?;
        return overlay::create(context, asked, &settings, pairs("--label", &asked.label)?);
    }
    // Nobody else may choose a subnet meanwhile.
    let _lock = context.lock("networks")?;
    let known = Known::read(context)?;
    let path = context.net_dir().join(conflist::file_name(&asked.name));
    refuse_double(&known, &asked.name, &path)?;
    refuse_for_kubernetes(context, asked.force)?;
    let links = Rtnl::open()?.links()?;
    let link = link::choose(asked, &settings, &known, &links)?;
    let subnets = choose_subnets(asked, &settings, &known)?;
    let note = Note {
        created: time::rfc3339(time::now()),
        labels: pairs("--label", &asked.label)?.into_iter().collect(),
        options: options.into_iter().collect::<BTreeMap<_, _>>(),
        interface_prefix: settings.interface_prefix.clone(),
        host_binding: settings.host_binding,
    };
    let document = NewNetwork {
        name: &asked.name,
        driver: asked.driver,
        settings: &settings,
        subnets: &subnets,
        internal: asked.internal,
        link: link.as_deref(),
        data_dir: context.lease_dir().as_deref(),
        note: &note,
    }
    .to_value();
    write(&path, &document)?;
    Ok(path)
}

fn check_name(name: &str) -> Result<()> {
    let fail = |problem: &str| {
        let (value, problem) = (name.to_owned(), problem.to_owned());
        Err(Error::Argument { argument: "network name", value, problem })
    };
    if PREDEFINED.contains(&name) {
        return Err(Error::Predefined { name: name.to_owned(), what: "cannot be made anew" });
    }
    if name.len() > 128 {
        return fail("expected at most 128 characters");
    }
    match name::check_network(name) {
        Ok(()) => Ok(()),
        Err(_) => fail("expected a letter or digit, then letters, digits, `_`, `.` or `-`"),
    }
}

fn pairs(argument: &'static str, given: &[String]) -> Result<Vec<(String, String)>> {
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        // A label may be just a word.
        None if argument == "--label" && !text.is_empty() => Ok((text.clone(), String::new())),
        // As Docker has it.
        None if text == "encrypted" => Ok((text.clone(), String::new())),
        _ => {
            let (value, problem) = (text.clone(), "expected KEY=VALUE".to_owned());
            Err(Error::Argument { argument, value, problem })
        }
    };
    given.iter().map(pair).collect()
}

fn refuse_double(known: &Known, name: &str, path: &Path) -> Result<()> {
    let found = known.networks.iter().find(|network| network.name == name);
    let existing = found.and_then(|network| network.list.as_ref()).map(|list| list.path.clone());
    match existing.or_else(|| path.exists().then(|| path.to_owned())) {
        Some(path) => Err(Error::NetworkExists { name: name.to_owned(), path }),
        None => Ok(()),
    }
}

/// A CRI runtime takes the first conflist by name. Ours come last; but the only one is the first.
fn refuse_for_kubernetes(context: &Context, force: bool) -> Result<()> {
    if force || !has_kubelet() {
        return Ok(());
    }
    let is_ours = |path: &PathBuf| {
        path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("zz-cleat-"))
    };
    let folder = context.net_dir();
    if conf_files(folder)?.iter().all(is_ours) {
        return Err(Error::Kubernetes { folder: folder.to_owned() });
    }
    Ok(())
}

/// The kubelet is installed here.
pub(crate) fn has_kubelet() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join("kubelet").is_file())
        || ["/var/lib/kubelet/config.yaml", "/etc/kubernetes/kubelet.conf"]
            .iter()
            .any(|file| Path::new(file).exists())
}

fn choose_subnets(asked: &CreateArgs, settings: &Settings, known: &Known) -> Result<Vec<Subnet>> {
    if asked.ipam_driver == IpamName::None {
        return Ok(Vec::new());
    }
    let networks = subnets::of_networks(known);
    let host = of_host()?;
    if asked.driver == DriverName::Bridge && !settings.bridge.unmanaged {
        warn_of_hidden_routes(&asked.subnet, &host);
    }
    let mut chosen: Vec<IpNet> = asked.subnet.clone();
    let mut used = networks.clone();
    used.extend(host);
    used.extend(asked.subnet.iter().map(|s| Used { net: *s, by: String::new() }));
    // With subnets of one family only, the other is not wanted unless asked for.
    if settings.ipv4 && asked.subnet.is_empty() {
        chosen.insert(0, subnets::free_v4(&used)?);
    }
    if settings.ipv6 && !asked.subnet.iter().any(|s| s.addr().is_ipv6()) {
        chosen.push(subnets::free_v6(host_seed(), &used)?);
    }
    let asked = Asked { subnets: &chosen, gateways: &asked.gateway, ranges: &asked.ip_range };
    subnets::assemble(&asked, &networks)
}

/// A subnet by hand may be meant to overlap; the bridge's route then hides what was there.
fn warn_of_hidden_routes(asked: &[IpNet], host: &[Used]) {
    for subnet in asked {
        if let Some(hidden) = subnets::overlap(subnet, host) {
            let net = hidden.net;
            output::warn(&format!(
                "subnet {subnet} overlaps {net} of this host; once a container runs, the host \
                 looks for {subnet} on the bridge"
            ));
        }
    }
}

/// Routes and addresses of this host, but for default routes.
fn of_host() -> Result<Vec<Used>> {
    let mut rtnl = Rtnl::open()?;
    let by = || "this host".to_owned();
    let routes = rtnl.routes()?.into_iter().map(|route| route.dst);
    let routes: Vec<Used> =
        routes.filter(|dst| dst.prefix_len() > 0).map(|net| Used { net, by: by() }).collect();
    let addresses =
        rtnl.addresses(None)?.into_iter().map(|a| Used { net: a.net.trunc(), by: by() });
    Ok(routes.into_iter().chain(addresses).collect())
}

/// The same on every call: machine-id(5), hashed, since it must not be told to the network.
fn host_seed() -> [u8; 5] {
    let id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let hash = hashed_name(&format!("cleat {}", id.trim()), 10);
    let digits = u64::from_str_radix(&hash, 16).unwrap_or_default();
    let [_, _, _, a, b, c, d, e] = digits.to_be_bytes();
    [a, b, c, d, e]
}

/// Under a temporary name that no runtime reads first.
fn write(path: &Path, document: &serde_json::Value) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(file_error("make", folder))?;
    }
    let text = format!("{document:#}\n");
    Ok(write_atomic(path, text.as_bytes(), 0o644, Durability::Disk)?)
}

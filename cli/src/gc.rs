//! `cleat gc`: removes what belongs to nothing that still runs: containers that ended with their
//! supervisor, attachments whose container is proven to be gone or whose making was interrupted,
//! leases of an earlier boot. What is not proven is left, and told by `cleat doctor`. A ruleset that
//! somebody flushed is made again from what is stored.

use clap::Args;
use cleat_engine::inventory::{self, Standing};
use cleat_engine::kernel::{Namespace, Rtnl};
use cleat_engine::lease::open_pool;
use cleat_engine::nft::Backend;
use cleat_engine::ruleset::{INET, Ruleset};
use cleat_engine::{AttachmentId, collect};
use serde::Serialize;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::network::Known;
use crate::output::{self, Format, print_table};
use crate::run::{record, supervise};

#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Something that belongs to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Leaked {
    /// `container`, `attachment`, `address`, `namespace`, `files` or `ruleset`.
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) why: &'static str,
}

pub(crate) fn run(context: &Context, asked: &GcArgs) -> Result<()> {
    let outcome = sweep(context, asked.dry_run);
    let (found, errors) = outcome?;
    match context.format {
        Format::Json => output::json(&found),
        Format::Table if found.is_empty() => output::line("Nothing to remove."),
        Format::Table => {
            let rows = found.iter().map(|l| [l.kind.to_owned(), l.name.clone(), l.why.to_owned()]);
            print_table(["KIND", "NAME", "WHY"], rows.collect());
        }
    }
    Error::join(errors)
}

/// What is leaked, removed unless `dry`; with what could not be.
pub(crate) fn sweep(context: &Context, dry: bool) -> Result<(Vec<Leaked>, Vec<Error>)> {
    let mut sweep = Sweep { context, dry, found: Vec::new(), errors: Vec::new() };
    sweep.containers()?;
    sweep.attachments()?;
    sweep.addresses()?;
    sweep.files()?;
    sweep.ruleset()?;
    Ok((sweep.found, sweep.errors))
}

struct Sweep<'c> {
    context: &'c Context,
    dry: bool,
    found: Vec<Leaked>,
    errors: Vec<Error>,
}

impl Sweep<'_> {
    fn note(&mut self, kind: &'static str, name: impl Into<String>, why: &'static str) {
        self.found.push(Leaked { kind, name: name.into(), why });
    }

    fn containers(&mut self) -> Result<()> {
        for container in record::all(self.context)? {
            let half = container.exit_code.is_some() && container.netns.is_some();
            if !container.is_abandoned() && !half {
                continue;
            }
            self.note("container", &container.name, "it ended, and its supervisor with it");
            if !self.dry {
                let ended = supervise::end(self.context, &container.id, None);
                self.errors.extend(ended.err());
            }
        }
        Ok(())
    }

    fn attachments(&mut self) -> Result<()> {
        let node = &self.context.node;
        let mut rtnl = Rtnl::open()?;
        let mut over: Vec<AttachmentId> = Vec::new();
        for found in inventory::attachments(node)? {
            let why = match inventory::standing(node, &mut rtnl, &found)? {
                Standing::Gone => "its container is gone",
                // Whoever is at it holds its lock.
                Standing::Interrupted if !self.is_busy(&found.id)? => "its making was interrupted",
                _ => continue,
            };
            self.note("attachment", found.id.to_string(), why);
            over.push(found.id);
        }
        if !self.dry && !over.is_empty() {
            let freed = collect(node, None, &|id| !over.contains(id));
            self.errors.extend(freed.err().map(Error::from));
            cleat_engine::kernel::delete::reap();
        }
        Ok(())
    }

    fn is_busy(&self, id: &AttachmentId) -> Result<bool> {
        let locks = cleat_engine::records::Locks::open(self.context.run_path("locks"));
        Ok(locks.try_acquire(&id.record_name())?.is_none())
    }

    /// Leases of an earlier boot, and those that a killed writer left unfinished.
    fn addresses(&mut self) -> Result<()> {
        for network in Known::read(self.context)?.networks {
            let Ok(config) = network.pool() else { continue };
            let pool = open_pool(&self.context.node, config);
            let boot = self.context.node.boot_id();
            for held in pool.list()? {
                let earlier = held.boot.as_deref().is_some_and(|made_in| made_in != boot);
                if earlier || held.owner.id.is_empty() {
                    let name = format!("{} on network {}", held.address, network.name);
                    self.note("address", name, "it was leased before the host was started");
                }
            }
            if !self.dry {
                self.errors.extend(pool.collect(&|_| true).err().map(Error::from));
            }
        }
        Ok(())
    }

    fn ruleset(&mut self) -> Result<()> {
        let node = &self.context.node;
        let mut ruleset = Ruleset::open(node);
        let needed = inventory::attachments(node)?.iter().any(|found| found.boot == node.boot_id());
        if needed && !ruleset.backend().table_exists(INET)? {
            self.note("ruleset", "inet cleat", "somebody flushed it; it is made again");
            if !self.dry {
                self.errors.extend(ruleset.rebuild(None).err().map(Error::from));
            }
        }
        Ok(())
    }

    /// Namespaces and folders of containers that nobody knows of.
    fn files(&mut self) -> Result<()> {
        let known = record::ids(self.context)?;
        let entries = |folder: &str| {
            let path = self.context.run_path(folder);
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect::<Vec<_>>()
        };
        let (namespaces, containers) = (entries("netns"), entries("containers"));
        let is_lost = |path: &std::path::PathBuf| {
            path.file_name().is_some_and(|name| !known.iter().any(|id| name == id.as_str()))
        };
        for path in namespaces.into_iter().filter(is_lost) {
            self.note("namespace", path.display().to_string(), "its container is forgotten");
            if !self.dry {
                self.errors.extend(Namespace::remove_at(&path).err().map(Error::from));
            }
        }
        for path in containers.into_iter().filter(|p| p.is_dir()).filter(is_lost) {
            self.note("files", path.display().to_string(), "their container is forgotten");
            if !self.dry {
                let removed = std::fs::remove_dir_all(&path);
                let removed = removed.map_err(crate::context::file_error("remove", &path));
                self.errors.extend(removed.err());
            }
        }
        Ok(())
    }
}
